"""Files in a scratch directory: sparse, and never the last bytes of a file system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from altrepodb.byte_source import FileSource, open_file
from altrepodb.errors import AltrepodbError, SourceError

__all__ = ["scratch_file"]

_SPACE_LEFT_BYTES = 64 << 20
_BLOCK_BYTES = 64 * 1024
_BYTES_PER_CHECK = 32 << 20


@contextmanager
def scratch_file(
    chunks: Iterable[bytes], name: str, directory: Path, max_bytes: int
) -> Iterator[FileSource]:
    """What the chunks hold as a source, in a file that is gone after the block.

    The directory is made when it is missing. ``name`` is the input's, for messages. Raises
    SourceError for more than ``max_bytes`` and AltrepodbError when the directory's file system
    has too little space.
    """
    path = directory / uuid4().hex
    try:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            _write(chunks, path, name, max_bytes)
        except OSError as error:
            raise AltrepodbError(f"{directory}: cannot be written: {error.strerror}") from error
        with open_file(path) as source:
            source.name = name
            yield source
    finally:
        path.unlink(missing_ok=True)


def _write(chunks: Iterable[bytes], path: Path, name: str, max_bytes: int) -> None:
    size = written = checked = 0
    with path.open("xb", buffering=0) as file:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise SourceError(f"{name}: unpacks to more than {max_bytes} bytes")
            if not written or written - checked > _BYTES_PER_CHECK:
                _check_space(path.parent, name)
                checked = written
            written += _write_sparse(file.fileno(), chunk, size - len(chunk))
        file.truncate(size)


def _check_space(directory: Path, name: str) -> None:
    if shutil.disk_usage(directory).free < _SPACE_LEFT_BYTES:
        raise AltrepodbError(f"{name}: not enough space to unpack it in {directory}")


def _write_sparse(descriptor: int, chunk: bytes, offset: int) -> int:
    """Write what is not zero, by blocks; returns how much was written."""
    written = 0
    for start in range(0, len(chunk), _BLOCK_BYTES):
        block = chunk[start : start + _BLOCK_BYTES]
        if block.count(0) != len(block):
            os.pwrite(descriptor, block, offset + start)
            written += len(block)
    return written
