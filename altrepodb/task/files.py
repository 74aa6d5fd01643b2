"""Reading the small files of a task tree.

Only "not found" means absent; whatever else keeps a file from being read is an error, so that a
task never silently loses a part. Text is UTF-8, or Latin-1 where it is not. Times are
nanoseconds since 1970 UTC, links followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from altrepodb.errors import SourceError
from altrepodb.regular_file import read_regular_file
from altrepodb.rpm.package_file import printable

__all__ = [
    "exists",
    "file_size",
    "modified_ns",
    "number",
    "numbered_directories",
    "raw",
    "regular_files",
    "seconds",
    "subdirectories",
    "text",
]

MAX_FILE_BYTES = 64 * 1024 * 1024
_LARGEST_TIME = 0xFFFFFFFF


def _error(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{printable(os.fspath(path))}: {error.strerror}")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _error(path, error) from error


def exists(path: Path) -> bool:
    """Whether something is there."""
    return _status(path) is not None


def file_size(path: Path) -> int:
    """Size of a regular file in bytes; 0 when it is absent or something else."""
    status = _status(path)
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0


def modified_ns(path: Path) -> int | None:
    """Modification time, None when there is nothing."""
    status = _status(path)
    return None if status is None else status.st_mtime_ns


def seconds(nanoseconds: int) -> int:
    """Whole seconds of a time as a DateTime column can hold them."""
    return min(max(nanoseconds // 1_000_000_000, 0), _LARGEST_TIME)


def _read(path: Path) -> bytes:
    """The content of a regular file; nothing when it is absent or a directory."""
    status = _status(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return b""
    return read_regular_file(path, MAX_FILE_BYTES)


def raw(path: Path) -> str:
    """The text of a file as it is; empty when there is none."""
    content = _read(path)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def text(path: Path) -> str:
    """The text of a file without white space around it; empty when there is none."""
    return raw(path).strip()


def number(path: Path, largest: int) -> int:
    """The decimal number in a file, 0 when it is absent or blank.

    Raises SourceError when it holds anything else or is greater than ``largest``.
    """
    word = text(path)
    if not word:
        return 0
    if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) <= largest):
        raise SourceError(f"{printable(os.fspath(path))}: {word[:40]!r} is no number to {largest}")
    return int(word)


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    """What a directory holds, by name; nothing when it is absent."""
    try:
        with os.scandir(path) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _error(path, error) from error


def subdirectories(path: Path, follow_links: bool = True) -> list[Path]:
    """The directories in a directory (links to directories too, if wanted), by name."""
    found = []
    for entry in _entries(path):
        try:
            if entry.is_dir(follow_symlinks=follow_links):
                found.append(path / entry.name)
        except OSError as error:
            raise _error(path / entry.name, error) from error
    return found


def numbered_directories(path: Path) -> list[tuple[int, Path]]:
    """The directories whose whole name is a decimal number, in ascending order."""
    named = [
        (int(directory.name), directory)
        for directory in subdirectories(path)
        if directory.name.isascii() and directory.name.isdigit() and len(directory.name) < 10
    ]
    return sorted(named)


def regular_files(path: Path) -> list[Path]:
    """The regular files in a directory (links to files too), by name."""
    found = []
    for entry in _entries(path):
        try:
            if entry.is_file():
                found.append(path / entry.name)
        except OSError as error:
            raise _error(path / entry.name, error) from error
    return found
