"""Batches of package rows -> the package tables, children before parents.

Rows go straight to the stored tables. PackageHash comes last: its row says "this package is
completely stored", and the next load trusts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from altrepodb.db.database import Columns, Database
from altrepodb.memory import return_free_memory
from altrepodb.packages.batch import (
    DEPENDS_COLUMNS,
    DIGEST_COLUMNS,
    FILE_COLUMNS,
    PACKAGE_COLUMNS,
    SPECFILE_COLUMNS,
    PackageBatch,
)

__all__ = ["PackageWriter", "insert_files"]

_BATCH_FILES = 100_000
_BATCH_PACKAGES = 700
_BATCH_TEXTS = 50_000

_JOINED_FILES = "altrepodb_joined_files"
_JOINED_FILES_STRUCTURE = {
    "pkg_hash": "UInt64", "names": "String", "linktos": "String", "digests": "String",
    "usernames": "String", "groupnames": "String", "langs": "String", "modes": "Array(UInt16)",
    "rdevs": "Array(UInt16)", "mtimes": "Array(UInt32)", "flags": "Array(UInt32)",
    "verifyflags": "Array(UInt32)", "devices": "Array(UInt32)", "sizes": "Array(UInt32)",
}  # fmt: skip

# A name without a slash (of a file in a source package) has no directory.
_DIRECTORY = """
if(position(name, '/') = 0, '', substring(name, 1, length(name) - position(reverse(name), '/')))
"""

_INSERT_FILES = f"""
INSERT INTO Files (pkg_hash, file_hashname, file_hashdir, file_linkto, file_md5, file_size,
    file_mode, file_rdev, file_mtime, file_flag, file_username, file_groupname,
    file_verifyflag, file_device, file_lang, file_class)
SELECT
    pkg_hash,
    murmurHash3_64(name),
    murmurHash3_64({_DIRECTORY}),
    linkto,
    toFixedString(if(length(digest) = 32, unhex(digest), ''), 16),
    size,
    mode,
    rdev,
    toDateTime(mtime),
    toUInt16(least(flag, 65535)),
    username,
    groupname,
    verifyflag,
    device,
    lang,
    multiIf(
        bitAnd(mode, 61440) = 16384, 'directory',
        bitAnd(mode, 61440) = 40960, 'symlink',
        bitAnd(mode, 61440) = 49152, 'socket',
        bitAnd(mode, 61440) = 24576, 'block',
        bitAnd(mode, 61440) = 8192, 'char',
        bitAnd(mode, 61440) = 4096, 'fifo',
        'file')
FROM {_JOINED_FILES}
ARRAY JOIN
    splitByChar('\\0', names) AS name,
    splitByChar('\\0', linktos) AS linkto,
    splitByChar('\\0', digests) AS digest,
    splitByChar('\\0', usernames) AS username,
    splitByChar('\\0', groupnames) AS groupname,
    splitByChar('\\0', langs) AS lang,
    modes AS mode, rdevs AS rdev, mtimes AS mtime, flags AS flag,
    verifyflags AS verifyflag, devices AS device, sizes AS size
"""

# Names of files hardly ever repeat within a batch, names of directories do. One insert makes one
# part, so that there are fewer to merge.
_INSERT_FILE_NAMES = f"""
INSERT INTO FileNames (fn_name)
SELECT name FROM
(
    SELECT arrayJoin(splitByChar('\\0', names)) AS name FROM {_JOINED_FILES}
    UNION ALL
    SELECT DISTINCT {_DIRECTORY} AS name
    FROM (SELECT arrayJoin(splitByChar('\\0', names)) AS name FROM {_JOINED_FILES})
)
"""


class PackageWriter:
    """Collects batches and writes them in large blocks; ``flush`` writes what is left.

    With a second connection the rows of files, which are most of all, are written beside the
    others.
    """

    def __init__(self, database: Database, second: Database | None = None) -> None:
        self._database = database
        self._second = second
        self._pending = PackageBatch()
        self._known_texts: set[int] = set()
        self.inserted: Counter[str] = Counter()
        """Rows written so far, by table."""

    def add(self, batch: PackageBatch) -> None:
        """Take over a batch; it may be written now or later."""
        self._pending.extend(batch)
        if (
            self._pending.file_count >= _BATCH_FILES
            or len(self._pending.packages) >= _BATCH_PACKAGES
            or len(self._pending.changelog) >= _BATCH_TEXTS
        ):
            self.flush()

    def flush(self) -> None:
        """Write all that was added; the rows are durable on return."""
        batch, self._pending = self._pending, PackageBatch()
        return_free_memory()
        if self._second is None:
            self._insert_files(self._database, batch)
            self._insert_packages(batch)
        else:
            with ThreadPoolExecutor(1) as other:
                files = other.submit(self._insert_files, self._second, batch)
                self._insert_packages(batch)
                files.result()
        self._insert("PackageHash", _columns(DIGEST_COLUMNS, batch.digests))

    def _insert_packages(self, batch: PackageBatch) -> None:
        """Everything but files and digests; views look the texts up when packages arrive."""
        self._insert_changelog(batch.changelog)
        self._insert("Depends", dict(zip(DEPENDS_COLUMNS, batch.depends, strict=True)))
        links = {"pkg_srcrpm_hash": batch.links}
        self._insert("Packages", _columns(PACKAGE_COLUMNS, batch.packages) | links)
        self._insert("Specfiles", _columns(SPECFILE_COLUMNS, batch.specfiles))

    def _insert(self, table: str, columns: Columns) -> None:
        self.inserted[table] += self._database.insert(table, columns)

    def _insert_changelog(self, texts: dict[int, bytes]) -> None:
        new = {key: text for key, text in texts.items() if key not in self._known_texts}
        self._insert("Changelog", {"chlog_hash": list(new), "chlog_text": list(new.values())})
        self._known_texts.update(new)

    def _insert_files(self, database: Database, batch: PackageBatch) -> None:
        if batch.files:
            insert_files(database, batch.files)
            self.inserted["Files"] += batch.file_count


def insert_files(database: Database, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write the files of packages, a row per package in the order of ``FILE_COLUMNS``."""
    with database.temporary_table(_JOINED_FILES, _JOINED_FILES_STRUCTURE) as joined:
        database.insert(joined, _columns(FILE_COLUMNS, rows))
        database.execute(_INSERT_FILES)
        # Last, so that merges which it sets off do not want memory at the same time as the files.
        database.execute(_INSERT_FILE_NAMES)


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    """Rows turned into columns."""
    return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
