"""The parts of a squashfs 4.0 image that are no file contents: superblock, blocks, inodes.

Source of the format: the Linux kernel's ``squashfs_fs.h``. All numbers are little endian.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from altrepodb.byte_source import ByteSource, Slice
from altrepodb.errors import SourceError
from altrepodb.image.squashfs_compression import decompressor_of

__all__ = ["BlockCache", "Blocks", "Metadata", "SuperBlock", "read_superblock"]

METADATA_BYTES = 8192
NO_TABLE = (1 << 64) - 1
NO_FRAGMENT = (1 << 32) - 1
STORED_BIT = 1 << 24
SIZE_MASK = 0xFFFFFFFF ^ STORED_BIT

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
_METADATA_STORED = 0x8000
_MIN_BLOCK_BYTES = 4096
_MAX_BLOCK_BYTES = 1 << 20
_METADATA_CACHE_BYTES = 16 << 20
_DATA_CACHE_BYTES = 16 << 20
_BLOCK_OVERHEAD_BYTES = 256
_LOADS_CONSTANT = 20_000
_LOADS_PER_BLOCK = 20
"""Inodes stand in the order of directories, so that few blocks are wanted again much later."""


@dataclass(frozen=True, slots=True)
class SuperBlock:
    """Where the tables start (bytes), and how many things they hold."""

    inode_count: int
    mkfs_time: int
    block_bytes: int
    fragment_count: int
    compressor: int
    id_count: int
    root: int
    bytes_used: int
    id_table: int
    inode_table: int
    directory_table: int
    fragment_table: int


def read_superblock(source: ByteSource) -> SuperBlock:
    """Raises SourceError when it is no squashfs 4.0 that the source holds whole."""
    if source.size < _SUPERBLOCK.size:
        raise SourceError(f"{source.name}: not a squashfs image: {source.size} bytes only")
    (
        magic, inodes, time, block_bytes, fragments, compressor, block_log, _, ids, major, minor,
        root, used, id_table, _, inode_table, directory_table, fragment_table, _,
    ) = _SUPERBLOCK.unpack(source.pread(_SUPERBLOCK.size, 0))  # fmt: skip
    if magic != b"hsqs":
        what = "big-endian squashfs is not supported" if magic == b"sqsh" else "no squashfs image"
        raise SourceError(f"{source.name}: {what}")
    if (major, minor) != (4, 0):
        raise SourceError(f"{source.name}: squashfs {major}.{minor} is not supported, 4.0 is")
    if not _MIN_BLOCK_BYTES <= block_bytes <= _MAX_BLOCK_BYTES or block_bytes != 1 << block_log:
        raise SourceError(f"{source.name}: damaged squashfs: blocks of {block_bytes} bytes")
    if used > source.size:
        raise SourceError(
            f"{source.name}: truncated: {used} bytes in its superblock, {source.size} there"
        )
    tables = [_SUPERBLOCK.size, inode_table, directory_table, id_table, used]
    if fragments:
        tables.insert(3, fragment_table)
    if tables != sorted(tables):
        raise SourceError(f"{source.name}: damaged squashfs: its tables are not in order")
    return SuperBlock(
        inodes, time, block_bytes, fragments, compressor, ids, root, used, id_table, inode_table,
        directory_table, fragment_table,
    )  # fmt: skip


class BlockCache:
    """Decompressed blocks by their place, the least used ones dropped; for several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._blocks: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: int, load: Callable[[], tuple[bytes, int]]) -> tuple[bytes, int]:
        """A block and a number that belongs to it, from ``load`` when it is not there."""
        with self._lock:
            found = self._blocks.get(place)
            if found is not None:
                self._blocks.move_to_end(place)
                return found
        # Outside the lock: two threads may load the same block, but none waits for the other.
        loaded = load()
        with self._lock:
            if place not in self._blocks:
                self._blocks[place] = loaded
                self._bytes += len(loaded[0]) + _BLOCK_OVERHEAD_BYTES
            while self._bytes > self._limit_bytes and len(self._blocks) > 1:
                dropped = self._blocks.popitem(last=False)[1][0]
                self._bytes -= len(dropped) + _BLOCK_OVERHEAD_BYTES
        return loaded


class Blocks:
    """The blocks of an image, decompressed one at a time."""

    def __init__(self, source: ByteSource, superblock: SuperBlock) -> None:
        self.name = source.name
        self.block_bytes = superblock.block_bytes
        self.bytes_used = superblock.bytes_used
        self._source = Slice(source, 0, superblock.bytes_used, source.name)
        self._decompress = decompressor_of(superblock.compressor, source.name)
        self._metadata = BlockCache(_METADATA_CACHE_BYTES)
        self._metadata_places: set[int] = set()
        self._metadata_loads = 0
        self._data = BlockCache(_DATA_CACHE_BYTES)

    def pread(self, count: int, offset: int) -> bytes:
        return self._source.pread(count, offset)

    def metadata(self, offset: int) -> tuple[bytes, int]:
        """A block of metadata, and where the next one starts."""
        return self._metadata.get(offset, lambda: self._load_metadata(offset))

    def _load_metadata(self, offset: int) -> tuple[bytes, int]:
        self._count_load(offset)
        header = int.from_bytes(self._source.pread(2, offset), "little")
        size = header & ~_METADATA_STORED or _METADATA_STORED
        if size > METADATA_BYTES:
            raise self.damaged(f"a metadata block of {size} bytes at {offset}")
        data = self._source.pread(size, offset + 2)
        if not header & _METADATA_STORED:
            data = self._expand(data, METADATA_BYTES, offset)
        if not data:
            raise self.damaged(f"an empty metadata block at {offset}")
        return data, offset + 2 + size

    def _count_load(self, offset: int) -> None:
        """Refuse inodes in an order in which each one costs us a block."""
        self._metadata_places.add(offset)
        self._metadata_loads += 1
        if self._metadata_loads > _LOADS_CONSTANT + _LOADS_PER_BLOCK * len(self._metadata_places):
            raise self.damaged("its metadata is in no order")

    def data(self, offset: int, size_word: int, limit: int) -> bytes:
        """A block of file contents or fragments of ``limit`` bytes at most. Not kept."""
        size = size_word & SIZE_MASK
        if not 0 < size <= self.block_bytes:
            raise self.damaged(f"a block of {size} bytes at {offset}")
        data = self._source.pread(size, offset)
        if not size_word & STORED_BIT:
            return self._expand(data, limit, offset)
        if size > limit:
            raise self.damaged(f"a block of {size} bytes instead of {limit} at {offset}")
        return data

    def cached_data(self, offset: int, size_word: int, limit: int) -> bytes:
        """The same, kept for a while: who reads a file in small pieces asks often."""
        return self._data.get(offset, lambda: (self.data(offset, size_word, limit), 0))[0]

    def _expand(self, data: bytes, limit: int, offset: int) -> bytes:
        try:
            return self._decompress(data, limit)
        except ValueError as error:
            raise self.damaged(f"the block at {offset}: {error}") from error

    def damaged(self, reason: object) -> SourceError:
        return SourceError(f"{self.name}: damaged squashfs: {reason}")


class Metadata:
    """A table: metadata blocks one behind the other, from ``start`` up to ``end``.

    ``seen_bytes`` is how large the blocks are that were read so far.
    """

    def __init__(self, blocks: Blocks, start: int, end: int) -> None:
        self._blocks = blocks
        self._start = start
        self._end = end
        self._seen: set[int] = set()
        self.seen_bytes = 0

    def read(self, block: int, offset: int, count: int) -> bytes:
        """``count`` bytes from a place in a block, which starts ``block`` bytes into the table."""
        data, following = self._block(self._start + block)
        if offset > len(data):
            raise self._blocks.damaged("a reference beyond the end of a metadata block")
        piece = data[offset : offset + count]
        if len(piece) == count:
            return piece
        pieces = [piece]
        count -= len(piece)
        while count:
            # Only the last block of a table may be shorter; else one of them is damaged.
            if len(data) != METADATA_BYTES:
                raise self._blocks.damaged(f"a metadata block has {len(data)} bytes")
            data, following = self._block(following)
            pieces.append(data[:count])
            count -= len(pieces[-1])
        return b"".join(pieces)

    def _block(self, place: int) -> tuple[bytes, int]:
        if not self._start <= place < self._end:
            raise self._blocks.damaged("a reference beyond the end of a metadata table")
        block = self._blocks.metadata(place)
        if place not in self._seen:
            self._seen.add(place)
            self.seen_bytes += len(block[0])
        return block
