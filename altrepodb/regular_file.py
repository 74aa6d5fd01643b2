"""Opening what has to be a regular file: pipes and devices are refused, not waited for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from altrepodb.errors import SourceError

__all__ = ["open_now", "open_regular_file", "read_regular_file"]


def open_now(path: str, flags: int) -> int:
    """An opener for ``open`` that does not wait for the other end of a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def open_regular_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file, open for reading; links are followed.

    Raises SourceError, naming the file, when it is none, and when opening it or reading it
    inside the block fails.
    """
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        with open(path, "rb", opener=open_now) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError(f"{name}: not a regular file")
            yield file
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error


def read_regular_file(path: str | os.PathLike[str], largest_bytes: int) -> bytes:
    """The content of a small file. Raises SourceError as above, and when it is too large."""
    with open_regular_file(path) as file:
        content = file.read(largest_bytes + 1)
    if len(content) > largest_bytes:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise SourceError(f"{name}: more than {largest_bytes} bytes")
    return content
