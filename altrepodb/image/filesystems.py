"""File systems on disks: ext2, ext3, ext4, xfs and btrfs, read by the libraries of dissect.

Each becomes a tree; links are followed by us, since the libraries treat them differently. What
these cannot read correctly is refused by name before they see it. Journals are not replayed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Hashable, Iterator
from typing import Any, BinaryIO, Protocol

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.library import LibrarySource, StrictStream, import_for, library_errors
from altrepodb.image.signatures import signature_of
from altrepodb.image.tree import Entry, EntryType

__all__ = ["FileSystem", "open_file_system"]

_MAX_LINK_BYTES = 4096
_MAX_DIRECTORY_BYTES = 64 << 20
_MAX_DIRECTORY_ENTRIES = 1_000_000
_NS_PER_S = 1_000_000_000

_EXT_SUPERBLOCK_OFFSET = 1024
_EXT_SUPERBLOCK_BYTES = 1024
_EXT_BLOCK_SIZE = 0x18
_EXT_MAX_BLOCK_SIZE = 6
"""As a power of two from 1 KiB on: 64 KiB."""
_EXT_INCOMPATIBLE = 0x60
_EXT_READ_ONLY = 0x64
_EXT_NEEDS_RECOVERY = 0x4
_EXT_REFUSED = {
    0x1: "compression", 0x8: "journal device", 0x10: "meta_bg", 0x8000: "inline_data",
    0x10000: "encryption",
}  # fmt: skip
_EXT_KNOWN = (
    0x2 | _EXT_NEEDS_RECOVERY | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x20000
)
_EXT_BIGALLOC = 0x200
_EXT_ENTRY = struct.Struct("<IHBB")


class _Inode(Protocol):
    """What the inodes of the three libraries have in common."""

    size: int
    link: str
    mtime_ns: int

    def open(self) -> BinaryIO: ...


_Owner = tuple[Hashable, int, int, int]
"""Inode number, mode, uid, gid."""


class FileSystem:
    """A tree over the inodes of a library; see ``open_file_system``."""

    def __init__(
        self,
        name: str,
        root: _Inode,
        children: Callable[[Any], Iterator[tuple[str, Any]]],
        owner: Callable[[Any], _Owner],
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.warnings = warnings
        self._children = children
        self._owner = owner
        with library_errors(name):
            self.root = self._entry("", root)

    def _entry(self, name: str, inode: Any) -> Entry:
        number, mode, uid, gid = self._owner(inode)
        entry_type = EntryType.of_mode(mode)
        if entry_type is None or inode.size < 0:
            raise SourceError(f"{self.name}: damaged: inode {number} of {name!r}")
        is_link = entry_type is EntryType.SYMLINK
        if is_link and inode.size > _MAX_LINK_BYTES:
            raise SourceError(f"{self.name}: damaged: link {name!r} of {inode.size} bytes")
        return Entry(
            name=os.fsencode(name), type=entry_type, mode=mode, uid=uid, gid=gid, size=inode.size,
            mtime=inode.mtime_ns // _NS_PER_S, inode=number,
            link_target=os.fsencode(inode.link) if is_link else b"", location=inode,
        )  # fmt: skip

    def entries(self, directory: Entry) -> Iterator[Entry]:
        if directory.size > _MAX_DIRECTORY_BYTES:
            raise SourceError(f"{self.name}: damaged: a directory of {directory.size} bytes")
        with library_errors(self.name):
            for count, (name, inode) in enumerate(self._children(directory.location)):
                if count >= _MAX_DIRECTORY_ENTRIES:
                    raise SourceError(f"{self.name}: damaged: a directory without end")
                if name not in (".", ".."):
                    yield self._entry(name, inode)

    def open(self, file: Entry) -> ByteSource:
        name = f"{self.name}: {os.fsdecode(file.name)}"
        if file.type is not EntryType.FILE:
            raise SourceError(f"{name}: not a regular file")
        with library_errors(name):
            return LibrarySource(file.location.open(), file.size, name)


def open_file_system(source: ByteSource) -> FileSystem | None:
    """The file system on a source; None when it is none that is read here.

    Raises SourceError for damage and for features that are not read, by their names, and
    ConfigurationError when the library for it is not installed.
    """
    opener = _OPENERS.get(signature_of(source) or "")
    return opener(source) if opener else None


def _open_ext(source: ByteSource) -> FileSystem:
    warnings = _check_ext_features(source)
    library = import_for(f"{source.name}: an ext file system", "dissect.extfs.extfs")
    with library_errors(source.name):
        file_system = library.ExtFS(StrictStream(source))
        return FileSystem(
            source.name, file_system.root, _ext_children(file_system), _ext_owner, warnings
        )


def _check_ext_features(source: ByteSource) -> tuple[str, ...]:
    """Warnings about a file system. Raises SourceError for what would be misread."""
    if source.size < _EXT_SUPERBLOCK_OFFSET + _EXT_SUPERBLOCK_BYTES:
        raise SourceError(f"{source.name}: truncated ext file system")
    superblock = source.pread(_EXT_SUPERBLOCK_BYTES, _EXT_SUPERBLOCK_OFFSET)
    (block_size,) = struct.unpack_from("<I", superblock, _EXT_BLOCK_SIZE)
    if block_size > _EXT_MAX_BLOCK_SIZE:
        raise SourceError(f"{source.name}: damaged ext file system: blocks of 2^{block_size} KiB")
    (incompatible,) = struct.unpack_from("<I", superblock, _EXT_INCOMPATIBLE)
    (read_only,) = struct.unpack_from("<I", superblock, _EXT_READ_ONLY)
    refused = [name for bit, name in _EXT_REFUSED.items() if incompatible & bit]
    unknown = incompatible & ~_EXT_KNOWN & ~sum(_EXT_REFUSED)
    refused += [f"feature 0x{unknown:x}"] if unknown else []
    refused += ["bigalloc"] if read_only & _EXT_BIGALLOC else []
    if refused:
        raise SourceError(f"{source.name}: ext file system with {', '.join(refused)}: not read")
    if incompatible & _EXT_NEEDS_RECOVERY:
        return (f"{source.name}: the journal was not replayed, the newest changes are not seen",)
    return ()


def _ext_children(file_system: Any) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    """Directories are read here: the library stops at the first bad entry, says nothing, and
    leaves out the last inode and an entry that fills the last twelve bytes."""

    def children(directory: Any) -> Iterator[tuple[str, Any]]:
        data = directory.open().read(directory.size)
        offset = 0
        while offset < len(data):
            number, length, name_length, _ = _EXT_ENTRY.unpack_from(data, offset)
            start = offset + _EXT_ENTRY.size
            if length % 4 or length < _EXT_ENTRY.size + name_length or offset + length > len(data):
                raise ValueError(f"directory entry of {length} bytes at {offset}")
            if number:
                name = os.fsdecode(data[start : start + name_length])
                yield name, file_system.get_inode(number, name)
            offset += length

    return children


def _ext_owner(inode: Any) -> _Owner:
    raw = inode.inode
    uid = raw.i_uid_high << 16 | raw.i_uid
    return inode.inum, raw.i_mode, uid, raw.i_gid_high << 16 | raw.i_gid


def _open_xfs(source: ByteSource) -> FileSystem:
    library = import_for(f"{source.name}: an xfs file system", "dissect.xfs.xfs")
    with library_errors(source.name):
        root = library.XFS(StrictStream(source)).root
        return FileSystem(source.name, root, _named_children, _xfs_owner)


def _named_children(directory: Any) -> Iterator[tuple[str, Any]]:
    for inode in directory.iterdir():
        yield inode.filename, inode


def _xfs_owner(inode: Any) -> _Owner:
    raw = inode.inode
    return inode.inum, raw.di_mode, raw.di_uid, raw.di_gid


def _open_btrfs(source: ByteSource) -> FileSystem:
    library = import_for(f"{source.name}: a btrfs file system", "dissect.btrfs.btrfs")
    with library_errors(source.name):
        root = library.Btrfs(StrictStream(source)).default_subvolume.root
        return FileSystem(source.name, root, lambda directory: directory.iterdir(), _btrfs_owner)


def _btrfs_owner(inode: Any) -> _Owner:
    return (inode.subvolume.objectid, inode.inum), inode.mode, inode.uid, inode.gid


_OPENERS: dict[str, Callable[[ByteSource], FileSystem]] = {
    "ext": _open_ext,
    "xfs": _open_xfs,
    "btrfs": _open_btrfs,
}
