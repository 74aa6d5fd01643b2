"""Which package files the database knows already, and under which identity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from altrepodb.db.database import Database
from altrepodb.packages.batch import PackageBatch
from altrepodb.packages.read import PackageSource

__all__ = ["Identities", "find_identities"]

_WANTED = "altrepodb_wanted_packages"
_CHUNK_PACKAGES = 200_000

# A digest row alone is not proof: tables with buffers in front lose rows when a server dies.
_KNOWN = f"""
SELECT digest, groupUniqArray(pkg_hash) FROM
(
    SELECT pkgh_md5 AS digest, pkgh_mmh AS pkg_hash FROM PackageHash_buffer
    WHERE pkgh_md5 IN (SELECT md5 FROM {_WANTED} WHERE by_md5 = 1)
    UNION ALL
    SELECT toFixedString(substring(pkgh_sha256, 1, 16), 16) AS digest, pkgh_mmh AS pkg_hash
    FROM PackageHash_buffer
    WHERE pkgh_sha256 IN (SELECT sha256 FROM {_WANTED} WHERE by_md5 = 0)
)
WHERE pkg_hash IN
(
    SELECT pkg_hash FROM Packages_buffer WHERE pkg_hash IN
    (
        SELECT pkgh_mmh FROM PackageHash_buffer
        WHERE pkgh_md5 IN (SELECT md5 FROM {_WANTED} WHERE by_md5 = 1)
            OR pkgh_sha256 IN (SELECT sha256 FROM {_WANTED} WHERE by_md5 = 0)
    )
)
GROUP BY digest
"""


def _key(source: PackageSource) -> bytes:
    """What a file is known by: its MD5, or else the start of its SHA-256."""
    return source.md5 or (source.sha256 or b"")[:16]


class Identities:
    """Identities of package files by digest: what the database told, and what was read since."""

    def __init__(self, known: dict[bytes, int]) -> None:
        self._by_digest = known

    def get(self, source: PackageSource) -> int:
        """The identity of a file, 0 when it is not known yet."""
        return self._by_digest.get(_key(source), 0)

    def unknown(self, sources: Iterable[PackageSource]) -> Iterator[PackageSource]:
        """Files that have to be read, each content once, in their order."""
        seen: set[bytes] = set()
        for source in sources:
            key = _key(source)
            if key not in self._by_digest and key not in seen:
                seen.add(key)
                yield source

    def add(self, batch: PackageBatch) -> None:
        """Learn the identities of packages that were read."""
        for identity, md5, _, sha256, _ in batch.digests:
            self._by_digest[md5] = identity
            self._by_digest[sha256[:16]] = identity


def find_identities(database: Database, sources: Sequence[PackageSource]) -> Identities:
    """Ask the database for the identities of package files.

    A file that it knows under several identities counts as unknown: reading it tells which.
    """
    known: dict[bytes, int] = {}
    if database.is_new:
        return Identities(known)
    for start in range(0, len(sources), _CHUNK_PACKAGES):
        known.update(_find(database, sources[start : start + _CHUNK_PACKAGES]))
    return Identities(known)


def _find(database: Database, sources: Sequence[PackageSource]) -> Iterator[tuple[bytes, int]]:
    structure = {"by_md5": "UInt8", "md5": "FixedString(16)", "sha256": "FixedString(32)"}
    columns: dict[str, list[Any]] = {
        "by_md5": [int(source.md5 is not None) for source in sources],
        "md5": [source.md5 or b"" for source in sources],
        "sha256": [source.sha256 or b"" for source in sources],
    }
    with database.temporary_table(_WANTED, structure):
        database.insert(_WANTED, columns)
        rows = database.query(_KNOWN)
    for digest, hashes in rows:
        if len(hashes) == 1:
            yield digest, hashes[0]
