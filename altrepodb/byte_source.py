"""Bytes at an offset: the one way in which readers of images and rpm databases get at their input.

A source has a size and gives any part of itself, to several threads at a time. Sources stand on
each other: a file, a partition of it, a file system's file in that, a package in that. Nothing is
copied or written on the way.
"""

from __future__ import annotations

import io
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from altrepodb.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["ByteSource", "Extents", "FileSource", "Slice", "SourceStream", "open_file"]


class ByteSource(Protocol):
    """Something that holds ``size`` bytes. ``name`` is for messages: file, then what in it."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...

    def pread(self, count: int, offset: int) -> bytes:
        """Exactly ``count`` bytes from ``offset``; safe to call from several threads.

        Raises SourceError with the source's name when they reach beyond the end or cannot be
        read. Callers bound ``count`` themselves before they ask.
        """


def check_range(source: ByteSource, count: int, offset: int) -> None:
    """Raise SourceError for bytes that the source does not have."""
    if count < 0 or offset < 0 or offset + count > source.size:
        raise SourceError(
            f"{source.name}: truncated or damaged:"
            f" {count} bytes at {offset} wanted, {source.size} there"
        )


class FileSource:
    """A regular file that is open for reading; see ``open_file``."""

    def __init__(self, name: str, descriptor: int, size: int) -> None:
        self.name = name
        self.size = size
        self._descriptor = descriptor

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        parts = []
        while count:
            try:
                part = os.pread(self._descriptor, count, offset)
            except OSError as error:
                raise SourceError(f"{self.name}: cannot be read: {error.strerror}") from error
            if not part:
                raise SourceError(f"{self.name}: became shorter while it was read")
            parts.append(part)
            count -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[FileSource]:
    """A regular file as a source. Raises SourceError when it is none or cannot be opened."""
    name = os.fspath(path)
    try:
        # Not blocking, so that a named pipe is refused instead of waited for.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{name}: cannot be opened: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise SourceError(f"{name}: not a regular file")
        yield FileSource(name, descriptor, state.st_size)
    finally:
        os.close(descriptor)


class Slice:
    """A part of a source. Raises SourceError when the source does not hold all of it."""

    def __init__(self, source: ByteSource, offset: int, size: int, name: str) -> None:
        if offset < 0 or size < 0 or offset + size > source.size:
            raise SourceError(f"{name}: reaches beyond the end of {source.name}")
        self.name = name
        self.size = size
        self._source = source
        self._offset = offset

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        return self._source.pread(count, self._offset + offset)


class Extents:
    """Parts of a source one behind the other, given as (offset, size)."""

    def __init__(self, source: ByteSource, extents: Sequence[tuple[int, int]], name: str) -> None:
        self.name = name
        self._parts = [Slice(source, offset, size, name) for offset, size in extents if size]
        self._starts = list(accumulate((part.size for part in self._parts), initial=0))
        self.size = self._starts.pop()

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        pieces = []
        index = bisect_right(self._starts, offset) - 1
        while count:
            inner = offset - self._starts[index]
            length = min(count, self._parts[index].size - inner)
            pieces.append(self._parts[index].pread(length, inner))
            count -= length
            offset += length
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class SourceStream(io.RawIOBase):
    """A source as a seekable binary file, for libraries that want one; for one thread."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}
        position = base[whence] + offset
        if position < 0:
            raise ValueError(f"negative seek position {position}")
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._source.size - self._position))
        view[:count] = self._source.pread(count, self._position) if count else b""
        self._position += count
        return count
