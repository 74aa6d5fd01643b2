"""The SQLite file in which rpm since 4.16 keeps its headers (``rpmdb.sqlite``).

rpm leaves the file in WAL mode, which SQLite opens only where it can write. Without rows in the
write-ahead log the file is read from memory, or from a copy when it is large, marked as a plain
one; with rows there, both are copied to a private directory, and SQLite applies the log.

The file may be hostile, so nothing of its schema is run: the table must be a table with plain
columns, and size and time of reading are limited.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import AltrepodbError, SourceError

__all__ = ["is_sqlite_file", "iter_blobs"]

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_VERSIONS_OFFSET = 18
"""Two bytes, the file format versions for writing and reading: 1 is a plain file, 2 WAL mode."""
_PLAIN = b"\1\1"

_MEMORY_LIMIT_BYTES = 48 << 20
_CHUNK_BYTES = 1 << 20
_TIME_LIMIT_S = 120.0
_INSTRUCTIONS_PER_CHECK = 10_000
_MAX_SQL_BYTES = 100_000
_MAX_COLUMNS = 100
_MAX_MESSAGE_LENGTH = 200

_TABLES = "SELECT type, rootpage FROM sqlite_master WHERE name = 'Packages' COLLATE NOCASE"
_COLUMNS = "PRAGMA table_xinfo('Packages')"
# An index of a hostile file could hold other rows than the table.
_BLOBS = "SELECT blob FROM main.Packages NOT INDEXED"


def is_sqlite_file(source: ByteSource) -> bool:
    """Whether the source begins as a file of SQLite does."""
    return source.size >= _HEADER_BYTES and source.pread(len(_MAGIC), 0) == _MAGIC


def iter_blobs(
    source: ByteSource, log: ByteSource | None, max_blob_bytes: int, scratch_directory: Path | None
) -> Iterator[bytes]:
    """The blobs of the table ``Packages``; ``log`` is the file's write-ahead log.

    Copies are made below ``scratch_directory``, or the default one, and are gone at the end.
    Raises SourceError for damage and for a blob above ``max_blob_bytes``.
    """
    try:
        with _open(source, log, scratch_directory) as connection:
            _restrict(connection, max_blob_bytes)
            _check_table(connection, source.name)
            for (blob,) in connection.execute(_BLOBS):
                if not isinstance(blob, bytes):
                    raise SourceError(f"{source.name}: a package that is no blob")
                yield blob
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Messages quote the file, which may hold anything, also what is no text.
        text = " ".join(str(error).split())[:_MAX_MESSAGE_LENGTH]
        raise SourceError(f"{source.name}: damaged SQLite file: {text}") from error


@contextmanager
def _open(
    source: ByteSource, log: ByteSource | None, scratch_directory: Path | None
) -> Iterator[sqlite3.Connection]:
    has_rows_in_log = log is not None and log.size > 0
    if sys.version_info >= (3, 11) and not has_rows_in_log and source.size <= _MEMORY_LIMIT_BYTES:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(_as_plain_file(source.pread(source.size, 0)))
            yield connection
        return
    with _private_directory(source.name, scratch_directory) as directory:
        path = Path(directory, "rpmdb.sqlite")
        _copy(source, path, keep_mode=has_rows_in_log)
        if log is not None and has_rows_in_log:
            _copy(log, Path(directory, "rpmdb.sqlite-wal"), keep_mode=True)
        with closing(sqlite3.connect(path)) as connection:
            yield connection


def _private_directory(
    name: str, scratch_directory: Path | None
) -> tempfile.TemporaryDirectory[str]:
    try:
        if scratch_directory is not None:
            scratch_directory.mkdir(mode=0o700, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="altrepodb-", dir=scratch_directory)
    except OSError as error:
        raise AltrepodbError(f"{name}: no place for a copy of it: {error.strerror}") from error


def _as_plain_file(start: bytes) -> bytes:
    return start[:_VERSIONS_OFFSET] + _PLAIN + start[_VERSIONS_OFFSET + len(_PLAIN) :]


def _copy(source: ByteSource, path: Path, keep_mode: bool) -> None:
    try:
        with path.open("wb") as file:
            for start in range(0, source.size, _CHUNK_BYTES):
                chunk = source.pread(min(_CHUNK_BYTES, source.size - start), start)
                file.write(chunk if start or keep_mode else _as_plain_file(chunk))
    except OSError as error:
        raise AltrepodbError(f"{path}: cannot be written: {error.strerror}") from error


def _restrict(connection: sqlite3.Connection, max_blob_bytes: int) -> None:
    """Nothing that the file defines may run, and reading ends in time."""
    # Text as it is stored: whoever put text in place of a blob may not have put UTF-8.
    connection.text_factory = bytes
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_blob_bytes)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_SQL_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, _MAX_COLUMNS)
    end = time.monotonic() + _TIME_LIMIT_S
    connection.set_progress_handler(lambda: time.monotonic() > end, _INSTRUCTIONS_PER_CHECK)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _check_table(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a view, a virtual table and computed columns under the names that we read."""
    tables = connection.execute(_TABLES).fetchall()
    if not tables:
        raise SourceError(f"{name}: an SQLite file without the table Packages")
    if len(tables) > 1 or tables[0][0] != b"table" or not tables[0][1]:
        raise SourceError(f"{name}: Packages is no table of its own")
    columns = {row[1].lower(): row[-1] for row in connection.execute(_COLUMNS)}
    if columns.get(b"blob") != 0:
        raise SourceError(f"{name}: the table Packages has no plain column named blob")
