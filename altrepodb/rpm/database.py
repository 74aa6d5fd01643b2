"""The headers of an rpm database, whatever its format, read without librpm and its side effects.

librpm reads the formats it was built with, needs a real directory that it may write to, and makes
an empty database where there is none. Here a database is a few byte sources by their file names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.rpm import berkeley_db, ndb, sqlite_db

__all__ = ["DATABASE_FILES", "database_files", "iter_header_blobs"]

_BERKELEY_DB = "Packages"
_SQLITE = "rpmdb.sqlite"
_SQLITE_LOG = "rpmdb.sqlite-wal"
_NDB = "Packages.db"

DATABASE_FILES = (_BERKELEY_DB, _SQLITE, _SQLITE_LOG, _NDB)
"""Names of the files that are read. The others in the directory are indexes and environments."""

_MAX_DATABASE_BYTES = 4 << 30
_MAX_BLOB_BYTES = 256 << 20
_MIN_BLOB_BYTES = 8

_IS_DATABASE: dict[str, Callable[[ByteSource], bool]] = {
    _BERKELEY_DB: berkeley_db.is_hash_file,
    _SQLITE: sqlite_db.is_sqlite_file,
    _NDB: ndb.is_package_file,
}


def database_files(files: Mapping[str, ByteSource]) -> list[str]:
    """Which of the files are databases: those with the signature of their format."""
    return [name for name, check in _IS_DATABASE.items() if name in files and check(files[name])]


def iter_header_blobs(
    files: Mapping[str, ByteSource], database_file: str, scratch_directory: Path | None = None
) -> Generator[bytes, None, None]:
    """The headers in a database, each without the magic of a header; see ``parse_header_blob``.

    ``database_file`` is one that ``database_files`` names. Raises SourceError for damage.
    """
    source = files[database_file]
    log = files.get(_SQLITE_LOG) if database_file == _SQLITE else None
    total_bytes = source.size + (log.size if log else 0)
    if total_bytes > _MAX_DATABASE_BYTES:
        raise SourceError(
            f"{source.name}: {total_bytes} bytes, limit {_MAX_DATABASE_BYTES} for a database"
        )
    if database_file == _BERKELEY_DB:
        blobs = berkeley_db.iter_values(source, _MAX_BLOB_BYTES)
    elif database_file == _NDB:
        blobs = ndb.iter_blobs(source, _MAX_BLOB_BYTES)
    else:
        blobs = sqlite_db.iter_blobs(source, log, _MAX_BLOB_BYTES, scratch_directory)
    yield from _bounded(blobs, source.name, total_bytes)


def _bounded(blobs: Iterator[bytes], name: str, total_bytes: int) -> Iterator[bytes]:
    """The blobs, as long as they fit the file: a small file cannot stand for many of them."""
    left = total_bytes
    for blob in blobs:
        if len(blob) < _MIN_BLOB_BYTES:
            raise SourceError(f"{name}: a package of {len(blob)} bytes")
        left -= len(blob)
        if left < 0:
            raise SourceError(f"{name}: more bytes of packages than of file")
        yield blob
