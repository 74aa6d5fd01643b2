"""Libraries that read images: the extra ``altrepodb[images]``, and what stands around them.

They get a stream that never ends early, and what they give is checked: a library that is handed
fewer bytes than it asked for returns fewer, and everything behind is in the wrong place.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from altrepodb.byte_source import ByteSource, SourceStream, check_range
from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["LibrarySource", "StrictStream", "import_for", "library_errors"]


def import_for(what: str, module: str) -> Any:
    """The module that reads ``what``, such as ``disk.img: an ext4 file system``.

    Raises ConfigurationError, naming the extra to install, where it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"{what} cannot be read without the package {module.rpartition('.')[0] or module}:"
            " install altrepodb[images]"
        ) from error


@contextmanager
def library_errors(name: str) -> Iterator[None]:
    """Turn whatever a library raises over damaged input into a SourceError that names it.

    Lack of memory stays what it is.
    """
    try:
        yield
    except (AltrepodbError, MemoryError, RecursionError):
        raise
    except Exception as error:
        # The libraries have no family of errors: EOFError, KeyError and others come as they may.
        text = " ".join(str(error).split())[:200]
        raise SourceError(f"{name}: damaged: {type(error).__name__}: {text}") from error


class StrictStream(SourceStream):
    """A source as a file that raises SourceError at its end instead of giving fewer bytes."""

    def __init__(self, source: ByteSource) -> None:
        super().__init__(source)
        self._whole = source

    def read(self, size: int = -1) -> bytes:
        # Checked before memory is taken: libraries ask for what a header says.
        position = self.tell()
        count = self._whole.size - position if size < 0 else size
        data = self._whole.pread(count, position)
        self.seek(position + count)
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        check_range(self._whole, memoryview(buffer).nbytes, self.tell())
        return super().readinto(buffer)


class LibrarySource:
    """A stream of a library as a source of so many bytes."""

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.name = name
        self.size = size
        self._stream = stream
        self._lock = threading.Lock()

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        with self._lock, library_errors(self.name):
            self._stream.seek(offset)
            data = self._stream.read(count)
        if len(data) != count:
            raise SourceError(f"{self.name}: damaged: {len(data)} of {count} bytes at {offset}")
        return data
