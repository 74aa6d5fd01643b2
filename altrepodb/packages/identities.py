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

_IS_WANTED = f"""(
    pkgh_md5 IN (SELECT md5 FROM {_WANTED} WHERE by_md5 = 1)
    OR pkgh_sha256 IN (SELECT sha256 FROM {_WANTED} WHERE by_md5 = 0)
)"""
# A digest row alone is not proof: tables with buffers in front lose rows when a server dies.
_KNOWN = f"""
SELECT DISTINCT pkgh_mmh, pkgh_md5, toFixedString(substring(pkgh_sha256, 1, 16), 16)
FROM PackageHash_buffer
WHERE {_IS_WANTED} AND pkgh_mmh IN
(
    SELECT pkg_hash FROM Packages_buffer WHERE pkg_hash IN
    (
        SELECT pkgh_mmh FROM PackageHash_buffer WHERE {_IS_WANTED}
    )
)
"""


def _key(source: PackageSource) -> bytes:
    """What a file is known by: its MD5, or else the start of its SHA-256."""
    return source.md5 or (source.sha256 or b"")[:16]


class Identities:
    """Identities of package files by digest: what the database told, and what was read since."""

    def __init__(self, sources: Iterable[PackageSource]) -> None:
        self._by_digest = dict.fromkeys(map(_key, sources), 0)

    def get(self, source: PackageSource) -> int:
        """The identity of a file, 0 when it is not known yet."""
        return self._by_digest[_key(source)]

    def unknown(self, sources: Iterable[PackageSource]) -> Iterator[PackageSource]:
        """Files that have to be read, each content once, in their order."""
        seen: set[bytes] = set()
        for source in sources:
            key = _key(source)
            if not self._by_digest[key] and key not in seen:
                seen.add(key)
                yield source

    def learn(self, identity: int, digests: Iterable[bytes]) -> None:
        """Note the identity of a file with these digests, as far as one of ours has them."""
        for digest in digests:
            if digest in self._by_digest:
                self._by_digest[digest] = identity

    def add(self, batch: PackageBatch) -> None:
        """Learn the identities of packages that were read."""
        for identity, md5, _, sha256, _ in batch.digests:
            self.learn(identity, (md5, sha256[:16]))


def find_identities(database: Database, sources: Sequence[PackageSource]) -> Identities:
    """Ask the database for the identities of package files.

    A file that it knows under several identities counts as unknown: reading it tells which.
    """
    identities = Identities(sources)
    if not database.is_new:
        for start in range(0, len(sources), _CHUNK_PACKAGES):
            _find(database, sources[start : start + _CHUNK_PACKAGES], identities)
    return identities


def _find(database: Database, sources: Sequence[PackageSource], identities: Identities) -> None:
    structure = {"by_md5": "UInt8", "md5": "FixedString(16)", "sha256": "FixedString(32)"}
    columns: dict[str, list[Any]] = {
        "by_md5": [int(source.md5 is not None) for source in sources],
        "md5": [source.md5 or b"" for source in sources],
        "sha256": [source.sha256 or b"" for source in sources],
    }
    with database.temporary_table(_WANTED, structure):
        database.insert(_WANTED, columns)
        rows = database.query(_KNOWN)
    known: dict[bytes, set[int]] = {}
    for pkg_hash, *digests in rows:
        for digest in digests:
            known.setdefault(digest, set()).add(pkg_hash)
    for digest, hashes in known.items():
        if len(hashes) == 1:
            identities.learn(hashes.pop(), (digest,))
