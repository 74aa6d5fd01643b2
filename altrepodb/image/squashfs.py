"""squashfs 4.0 in all its compressors, read in place and without a mount.

Tables stand in ``squashfs_metadata``, compressors in ``squashfs_compression``; digests of all files
at once in ``squashfs_digests``. Metadata and file contents are decompressed block by block when
asked for, and a few blocks are kept.
"""

from __future__ import annotations

import stat
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from altrepodb.byte_source import ByteSource, check_range
from altrepodb.errors import SourceError
from altrepodb.image.squashfs_metadata import (
    METADATA_BYTES,
    NO_FRAGMENT,
    SIZE_MASK,
    Blocks,
    Metadata,
    SuperBlock,
    read_superblock,
)
from altrepodb.image.tree import Entry, EntryType, shown_name

__all__ = ["FileLayout", "SquashfsFile", "SquashfsTree", "open_squashfs"]

MAX_LISTING_BYTES = 16 << 20
"""Of one directory: half a million files."""
MAX_LISTING_PER_INODE_BYTE = 16
"""A name of 256 bytes for an inode of 20; who links the same file a million times wants to harm."""
MAX_FILE_BLOCKS = 1 << 22
MAX_LINK_TARGET_BYTES = 4096

_HEADER = struct.Struct("<HHHHII")
# After the common header: what each of the fourteen types of inodes has.
_BODIES = {
    1: struct.Struct("<IIHHI"),
    2: struct.Struct("<IIII"),
    3: struct.Struct("<II"),
    4: struct.Struct("<II"),
    5: struct.Struct("<II"),
    6: struct.Struct("<I"),
    7: struct.Struct("<I"),
    8: struct.Struct("<IIIIHHI"),
    9: struct.Struct("<QQQIIII"),
    10: struct.Struct("<II"),
    11: struct.Struct("<III"),
    12: struct.Struct("<III"),
    13: struct.Struct("<II"),
    14: struct.Struct("<II"),
}
_EXTENDED = 7
_DIRECTORY, _FILE, _SYMLINK, _BLOCK, _CHARACTER, _FIFO, _SOCKET = range(1, 8)
_MODES = {
    _DIRECTORY: (EntryType.DIRECTORY, stat.S_IFDIR),
    _FILE: (EntryType.FILE, stat.S_IFREG),
    _SYMLINK: (EntryType.SYMLINK, stat.S_IFLNK),
    _BLOCK: (EntryType.BLOCK_DEVICE, stat.S_IFBLK),
    _CHARACTER: (EntryType.CHARACTER_DEVICE, stat.S_IFCHR),
    _FIFO: (EntryType.FIFO, stat.S_IFIFO),
    _SOCKET: (EntryType.SOCKET, stat.S_IFSOCK),
}
_LISTING_HEADER = struct.Struct("<III")
_LISTING_ENTRY = struct.Struct("<HhHH")
# A directory's size counts three bytes for "." and "..", which are not there.
_UNLISTED_BYTES = 3
_FRAGMENT = struct.Struct("<QII")
_FRAGMENTS_PER_BLOCK = METADATA_BYTES // _FRAGMENT.size
_IDS_PER_BLOCK = METADATA_BYTES // 4
_BAD_NAMES = (b".", b"..")


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Where a regular file is: block places and size words, then a tail in a fragment block.

    ``places`` are offsets in the image in bytes; a size word of 0 is a hole.
    """

    size: int
    places: array[int]
    size_words: array[int]
    fragment: int | None
    fragment_offset: int


@dataclass(frozen=True, slots=True)
class _Listing:
    """Where a directory's listing is in the directory table."""

    block: int
    offset: int
    size: int


class SquashfsTree:
    """The files of an image; see ``altrepodb.image.tree.Tree``. Safe for several threads."""

    def __init__(self, source: ByteSource, superblock: SuperBlock) -> None:
        self.name = source.name
        self.superblock = superblock
        self.blocks = Blocks(source, superblock)
        self._inodes = Metadata(self.blocks, superblock.inode_table, superblock.directory_table)
        self._listings = Metadata(self.blocks, superblock.directory_table, superblock.id_table)
        self._known_inodes: set[int] = set()
        self._inode_bytes = 0
        self._listed: set[int] = set()
        self._listed_bytes = 0
        self._ids = self._read_ids()
        self._fragments = self._read_index(
            superblock.fragment_table, superblock.fragment_count, _FRAGMENTS_PER_BLOCK
        )
        self._root = self._entry(b"", superblock.root, _DIRECTORY)

    @property
    def root(self) -> Entry:
        return self._root

    def entries(self, directory: Entry) -> Iterator[Entry]:
        place: _Listing = directory.location
        size = place.size - _UNLISTED_BYTES
        if size <= 0:
            return
        if size > MAX_LISTING_BYTES:
            raise self._damaged(f"directory {shown_name(directory.name)} is too large")
        listing = self._listings.read(place.block, place.offset, size)
        self._count_listing(directory)
        position = 0
        while position < size:
            count, block, _ = self._unpack(_LISTING_HEADER, listing, position)
            position += _LISTING_HEADER.size
            for _ in range(count + 1):
                offset, _, kind, last = self._unpack(_LISTING_ENTRY, listing, position)
                position += _LISTING_ENTRY.size + last + 1
                name = listing[position - last - 1 : position]
                if position > size or b"/" in name or b"\0" in name or name in _BAD_NAMES:
                    raise self._damaged(f"a file has the name {shown_name(name)!r}")
                yield self._entry(name, block << 16 | offset, kind)

    def _count_listing(self, directory: Entry) -> None:
        """Listings never overlap: together they are no larger than the blocks they stand in.

        Thus a small image cannot have a million directories that all hold the same million files.
        """
        reference: int = directory.inode  # type: ignore[assignment]
        if reference not in self._listed:
            self._listed.add(reference)
            self._listed_bytes += directory.location.size - _UNLISTED_BYTES
        if self._listed_bytes > self._listings.seen_bytes:
            raise self._damaged("directories share their listings")
        inode_bytes = self._inodes.seen_bytes
        if self._listed_bytes > MAX_LISTING_BYTES + MAX_LISTING_PER_INODE_BYTE * inode_bytes:
            raise self._damaged("far more names than files")

    def open(self, file: Entry) -> SquashfsFile:
        return SquashfsFile(self, self.layout(file), f"{self.name}: {shown_name(file.name)}")

    def layout(self, file: Entry) -> FileLayout:
        """Where the content of a regular file is."""
        reference: int = file.location
        kind, _, body, end = self._inode(reference)
        if kind == _FILE:
            start, fragment, offset, size = body
        elif kind == _FILE + _EXTENDED:
            start, size, _, _, fragment, offset, _ = body
        else:
            raise self._damaged(f"{shown_name(file.name)} is no regular file")
        count = size // self.blocks.block_bytes
        if fragment == NO_FRAGMENT and size % self.blocks.block_bytes:
            count += 1
        words = self._size_words(reference, end, count)
        places = array("Q", accumulate((word & SIZE_MASK for word in words), initial=start))
        if places.pop() > self.blocks.bytes_used:
            raise self._damaged(f"{shown_name(file.name)} reaches beyond the end")
        tail = None if fragment == NO_FRAGMENT else fragment
        return FileLayout(size, places, words, tail, offset)

    def _size_words(self, reference: int, start: int, count: int) -> array[int]:
        if count > MAX_FILE_BLOCKS:
            raise self._damaged(f"a file of {count} blocks")
        words = array("I")
        raw = self._inodes.read(reference >> 16, (reference & 0xFFFF), start + 4 * count)
        words.frombytes(raw[start:])
        if sys.byteorder == "big":
            words.byteswap()
        return words

    def fragment(self, number: int) -> tuple[int, int]:
        """Place and size word of a fragment block."""
        if number >= self.superblock.fragment_count:
            raise self._damaged(f"fragment {number} of {self.superblock.fragment_count}")
        index, inner = divmod(number, _FRAGMENTS_PER_BLOCK)
        data, _ = self.blocks.metadata(self._fragments[index])
        place, size_word, _ = self._unpack(_FRAGMENT, data, inner * _FRAGMENT.size)
        return place, size_word

    # Inodes

    def _entry(self, name: bytes, reference: int, listed_kind: int) -> Entry:
        kind, header, body, end = self._inode(reference)
        _, mode, uid, gid, mtime, _ = header
        basic = kind if kind <= _EXTENDED else kind - _EXTENDED
        if basic != listed_kind:
            raise self._damaged(f"{shown_name(name)} has another type than its directory says")
        entry_type, type_bits = _MODES[basic]
        size, rdev, target = 0, 0, b""
        listing = None
        if basic == _FILE:
            size = body[3] if kind == _FILE else body[1]
        elif basic == _DIRECTORY:
            listing = self._listing_of(kind, body)
            size = listing.size
        elif basic == _SYMLINK:
            size = body[1]
            target = self._link_target(reference, end, size)
        elif basic in (_BLOCK, _CHARACTER):
            rdev = body[1]
        self._count_inode(reference, end + len(target))
        return Entry(
            name,
            entry_type,
            type_bits | mode & 0o7777,
            self._id(uid),
            self._id(gid),
            size,
            mtime,
            reference,
            rdev,
            target,
            listing or reference,
        )

    def _count_inode(self, reference: int, size: int) -> None:
        """Inodes never overlap: together they are no larger than the blocks they stand in."""
        if reference not in self._known_inodes:
            self._known_inodes.add(reference)
            self._inode_bytes += size
            if self._inode_bytes > self._inodes.seen_bytes:
                raise self._damaged("inodes overlap")

    def _inode(self, reference: int) -> tuple[int, tuple[int, ...], tuple[int, ...], int]:
        """Its type, header and body, and how many bytes these take."""
        block, offset = reference >> 16, reference & 0xFFFF
        header = _HEADER.unpack(self._inodes.read(block, offset, _HEADER.size))
        body = _BODIES.get(header[0])
        if body is None:
            raise self._damaged(f"an inode of type {header[0]}")
        end = _HEADER.size + body.size
        data = self._inodes.read(block, offset, end)
        return header[0], header, body.unpack_from(data, _HEADER.size), end

    @staticmethod
    def _listing_of(kind: int, body: tuple[int, ...]) -> _Listing:
        if kind == _DIRECTORY:
            block, _, size, offset, _ = body
        else:
            _, size, block, _, _, offset, _ = body
        return _Listing(block, offset, size)

    def _link_target(self, reference: int, start: int, size: int) -> bytes:
        if size > MAX_LINK_TARGET_BYTES:
            raise self._damaged("a link's target is too long")
        return self._inodes.read(reference >> 16, reference & 0xFFFF, start + size)[start:]

    def _id(self, index: int) -> int:
        if index >= len(self._ids):
            raise self._damaged(f"owner {index} of {len(self._ids)}")
        return self._ids[index]

    # Indexed tables

    def _read_ids(self) -> list[int]:
        count = self.superblock.id_count
        ids: list[int] = []
        for place in self._read_index(self.superblock.id_table, count, _IDS_PER_BLOCK):
            data, _ = self.blocks.metadata(place)
            wanted = min(count - len(ids), _IDS_PER_BLOCK)
            ids += self._unpack(struct.Struct(f"<{wanted}I"), data, 0)
        return ids

    def _read_index(self, table: int, count: int, per_block: int) -> tuple[int, ...]:
        """Places of the metadata blocks of a table that is not read from end to end."""
        blocks = -(-count // per_block)
        raw = self.blocks.pread(8 * blocks, table) if blocks else b""
        return struct.unpack(f"<{blocks}Q", raw)

    def _unpack(self, layout: struct.Struct, data: bytes, offset: int) -> tuple[int, ...]:
        try:
            return layout.unpack_from(data, offset)
        except struct.error as error:
            raise self._damaged("a table is cut off") from error

    def _damaged(self, reason: object) -> SourceError:
        return self.blocks.damaged(reason)


class SquashfsFile:
    """The content of a regular file, as a byte source for several threads."""

    def __init__(self, tree: SquashfsTree, layout: FileLayout, name: str) -> None:
        self.name = name
        self.size = layout.size
        self._tree = tree
        self._layout = layout

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        block_bytes = self._tree.blocks.block_bytes
        pieces = []
        while count:
            index, inner = divmod(offset, block_bytes)
            piece = self._block(index)[inner : inner + count]
            pieces.append(piece)
            count -= len(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, index: int) -> bytes:
        """A block of the right length, whether it is one, a hole or a tail."""
        blocks, layout = self._tree.blocks, self._layout
        length = min(blocks.block_bytes, layout.size - index * blocks.block_bytes)
        if index == len(layout.places):
            return self._tail(length)
        word = layout.size_words[index]
        if not word:
            return bytes(length)
        data = blocks.cached_data(layout.places[index], word, blocks.block_bytes)
        if len(data) != length:
            raise SourceError(f"{self.name}: a block has {len(data)} bytes instead of {length}")
        return data

    def _tail(self, length: int) -> bytes:
        if self._layout.fragment is None:
            raise SourceError(f"{self.name}: its last part is missing")
        place, word = self._tree.fragment(self._layout.fragment)
        data = self._tree.blocks.cached_data(place, word, self._tree.blocks.block_bytes)
        start = self._layout.fragment_offset
        tail = data[start : start + length]
        if len(tail) != length:
            raise SourceError(f"{self.name}: reaches beyond its fragment block")
        return tail


def open_squashfs(source: ByteSource) -> SquashfsTree:
    """The tree of a squashfs image, which starts with the source and may end before it.

    Raises SourceError when it is none, is cut off or damaged; ConfigurationError when its
    compressor's module is not installed.
    """
    return SquashfsTree(source, read_superblock(source))
