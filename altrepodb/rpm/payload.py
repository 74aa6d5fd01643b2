"""The payload of a package: a compressed cpio archive, read as a stream up to what is wanted.

Formats: cpio "newc" (magic 070701, with checksums 070702) and rpm's stripped form (07070X),
in which an entry is an index into the header's file list; it is used when a file has 4 GiB or
more. See ``lib/cpio.c`` and ``lib/rpmfi.c`` of rpm for the latter.
"""

from __future__ import annotations

import os
import struct
from binascii import unhexlify
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from altrepodb.errors import SourceError
from altrepodb.rpm import tags
from altrepodb.rpm.compression import compressor_of, iter_decompressed
from altrepodb.rpm.header import Header
from altrepodb.rpm.package_file import PackageFile

__all__ = ["SpecFile", "read_spec_file"]

MAX_SPEC_BYTES = 16 * 1024 * 1024
_UNSTATED_PAYLOAD_BYTES = 4 << 30
_MAX_PAYLOAD_BYTES = 32 << 30
"""Whatever the package states: reading this much takes minutes."""
_PAYLOAD_SLACK_BYTES = 1 << 20
_MAX_NAME_BYTES = 4096
_NEWC_MAGICS = (b"070701", b"070702")
_STRIPPED_MAGIC = b"07070X"
_TRAILER = b"TRAILER!!!"
_FILE_FLAG_SPEC, _FILE_FLAG_GHOST = 32, 64
_TYPE_MASK, _TYPE_REGULAR, _TYPE_LINK = 0o170000, 0o100000, 0o120000
_TYPES_WITH_DATA = (_TYPE_REGULAR, _TYPE_LINK)


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec file as it lies in the payload; ``mtime`` is seconds since 1970 UTC."""

    name: bytes
    mtime: int
    content: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    mode: int
    mtime: int
    size: int
    links: tuple[int, int, int] | None
    """Inode and device when further names of this file may come, the last with its data."""


class _Stream:
    """Exact reads from chunks, with an upper limit on what is read in all."""

    def __init__(self, chunks: Iterator[bytes], limit: int, name: str) -> None:
        self._chunks = chunks
        self._limit = limit
        self._name = name
        self._buffer = b""
        self._start = 0
        self.position = 0

    def _advance(self, size: int) -> None:
        self.position += size
        if self.position > self._limit:
            raise SourceError(f"{self._name}: payload is larger than {self._limit} bytes")

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise SourceError(f"{self._name}: payload ends before its trailer")
        self._buffer = self._buffer[self._start :] + chunk
        self._start = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; the caller has checked the size."""
        self._advance(size)
        while len(self._buffer) - self._start < size:
            self._more()
        taken = self._buffer[self._start : self._start + size]
        self._start += size
        return taken

    def skip(self, size: int) -> None:
        """Pass over bytes without keeping them."""
        self._advance(size)
        while (have := len(self._buffer) - self._start) < size:
            size -= have
            self._start = len(self._buffer)
            self._more()
        self._start += size

    def align(self) -> None:
        self.skip(-self.position % 4)


class _FileList:
    """The header's file arrays, as far as stripped entries need them."""

    def __init__(self, header: Header) -> None:
        self.names = header.strings(tags.BASE_NAMES) or [
            os.path.basename(path) for path in header.strings(tags.OLD_FILE_NAMES)
        ]
        self.modes = header.integers(tags.FILE_MODES)
        self.mtimes = header.integers(tags.FILE_MTIMES)
        long_sizes = header.integers(tags.LONG_FILE_SIZES)
        self.sizes = long_sizes if long_sizes else header.integers(tags.FILE_SIZES)
        self.flags = header.integers(tags.FILE_FLAGS)
        self._inodes = header.integers(tags.FILE_INODES)
        self._devices = header.integers(tags.FILE_DEVICES)

    def flagged_spec(self) -> bytes | None:
        """The first file that is flagged as the spec file."""
        flagged = zip(self.names, self.flags, strict=False)
        return next((name for name, flags in flagged if flags & _FILE_FLAG_SPEC), None)

    def entry(self, index: int, name: str) -> _Entry:
        """The entry with this index. Raises SourceError when an array is too short."""
        arrays: tuple[Sized, ...] = (self.names, self.modes, self.mtimes, self.sizes)
        if index >= min(map(len, arrays)):
            raise SourceError(f"{name}: payload names file {index}, which the header lacks")
        links = self._links.get(index, [])
        has_data = index == links[-1] if links else self._type(index) in _TYPES_WITH_DATA
        return _Entry(
            self.names[index],
            self.modes[index],
            self.mtimes[index],
            self.sizes[index] if has_data else 0,
            (links[0], 0, 0) if links else None,
        )

    def _type(self, index: int) -> int:
        return self.modes[index] & _TYPE_MASK

    @cached_property
    def _links(self) -> dict[int, list[int]]:
        """The files that are one with each file that has several names."""
        groups: dict[tuple[int, int], list[int]] = {}
        places = zip(self._inodes, self._devices, self.modes, self.flags, strict=False)
        for index, (inode, device, mode, flags) in enumerate(places):
            if inode and mode & _TYPE_MASK == _TYPE_REGULAR and not flags & _FILE_FLAG_GHOST:
                groups.setdefault((inode, device), []).append(index)
        return {index: group for group in groups.values() if len(group) > 1 for index in group}


def _read_entry(stream: _Stream, files: _FileList, name: str) -> _Entry:
    magic = stream.take(6)
    try:
        if magic == _STRIPPED_MAGIC:
            index = int.from_bytes(unhexlify(stream.take(8)), "big")
            stream.skip(2)
            return files.entry(index, name)
        if magic not in _NEWC_MAGICS:
            raise SourceError(f"{name}: payload has {magic!r} where a cpio entry should be")
        fields = struct.unpack(">13I", unhexlify(stream.take(104)))
    except ValueError:
        raise SourceError(f"{name}: payload has a cpio entry of no hexadecimal digits") from None
    inode, mode, _, _, link_count, mtime, size, major, minor, _, _, name_size, _ = fields
    if not 0 < name_size <= _MAX_NAME_BYTES:
        raise SourceError(f"{name}: payload has a file name of {name_size} bytes")
    entry_name = stream.take(name_size).rstrip(b"\0").removeprefix(b"./")
    stream.align()
    links = (inode, major, minor) if link_count > 1 else None
    return _Entry(entry_name, mode, mtime, size, links)


def _find_content(stream: _Stream, files: _FileList, name: str) -> SpecFile | None:
    """Walk the archive to the spec file; its data may follow under another name of the file."""
    wanted_name = files.flagged_spec()
    awaited: _Entry | None = None
    while (entry := _read_entry(stream, files, name)).name != _TRAILER:
        is_spec = _is_spec(entry, wanted_name)
        if is_spec and awaited is None and entry.links and not entry.size:
            awaited = entry
        elif is_spec or (awaited and entry.links == awaited.links and entry.size):
            found = awaited or entry
            if entry.size > MAX_SPEC_BYTES:
                raise SourceError(f"{name}: spec file of {entry.size} bytes")
            return SpecFile(found.name, found.mtime, stream.take(entry.size))
        stream.skip(entry.size)
        stream.align()
    return SpecFile(awaited.name, awaited.mtime, b"") if awaited else None


def _is_spec(entry: _Entry, wanted_name: bytes | None) -> bool:
    if wanted_name is not None:
        return entry.name == wanted_name
    is_regular = entry.mode & _TYPE_MASK == _TYPE_REGULAR
    return is_regular and (entry.name.endswith(b".spec") or entry.name == b"spec")


def _compressor(start: bytes, package: PackageFile) -> str:
    stated = package.header.string(tags.PAYLOAD_COMPRESSOR).decode("ascii", "replace")
    return compressor_of(start) or stated or "gzip"


def read_spec_file(package: PackageFile) -> SpecFile | None:
    """The spec file of a source package, None when its payload holds none.

    The file flagged as spec in the header is taken; without a flag the first regular file named
    ``*.spec`` or ``spec``. Reading stops there. Raises SourceError, naming the package, when
    the payload is damaged before that.
    """
    stated = package.archive_size or _UNSTATED_PAYLOAD_BYTES
    limit = min(stated + _PAYLOAD_SLACK_BYTES, _MAX_PAYLOAD_BYTES)
    with _payload_file(package) as source:
        start = source.peek(6)[:6] if hasattr(source, "peek") else b""
        chunks = iter_decompressed(source, _compressor(start, package), package.name)
        stream = _Stream(chunks, limit, package.name)
        return _find_content(stream, _FileList(package.header), package.name)


def _payload_file(package: PackageFile) -> BinaryIO:
    source = os.fdopen(os.dup(package.descriptor), "rb")
    source.seek(package.payload_offset)
    return source
