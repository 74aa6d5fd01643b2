"""Which state of a repository an image was made of, and which of its packages are unknown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from altrepodb.db.database import Database

__all__ = [
    "BRANCH_NODES",
    "BaseState",
    "Match",
    "find_base_state",
    "find_best_matches",
    "find_unknown",
]

_PACKAGES = "altrepodb_image_packages"
_STRUCTURE = {"pkg_hash": "UInt64"}

_BEST_MATCHES = f"""
SELECT pkgset_name, toUnixTimestamp(pkgset_date), uniqExact(pkg_hash) AS matches
FROM static_last_packages
WHERE pkg_sourcepackage = 0 AND position(pkgset_name, ':') = 0
    AND pkg_hash IN (SELECT pkg_hash FROM {_PACKAGES})
GROUP BY pkgset_name, pkgset_date
ORDER BY matches DESC, pkgset_date DESC
"""
BRANCH_NODES = """
SELECT pkgset_uuid FROM PackageSetName
WHERE pkgset_depth = 2 AND pkgset_ruuid IN
(
    SELECT pkgset_uuid FROM PackageSetName
    WHERE pkgset_depth = 0 AND pkgset_nodename = {branch:String}
)
"""
"""The sets with packages of all states of a branch."""
_BASE_STATE = f"""
SELECT node.root, toUnixTimestamp(node.date), uniqExact(member.pkg_hash) AS matches
FROM
(
    SELECT pkgset_uuid, pkg_hash FROM PackageSet_buffer
    WHERE pkgset_uuid IN ({BRANCH_NODES}) AND pkg_hash IN (SELECT pkg_hash FROM {_PACKAGES})
) AS member
INNER JOIN
(
    SELECT pkgset_uuid, pkgset_ruuid AS root, pkgset_date AS date FROM PackageSetName
    WHERE pkgset_depth = 2 AND pkgset_uuid IN ({BRANCH_NODES})
) AS node ON member.pkgset_uuid = node.pkgset_uuid
GROUP BY node.root, node.date
ORDER BY matches DESC, node.date DESC
LIMIT 1
"""
_UNKNOWN = f"""
SELECT DISTINCT pkg_hash FROM {_PACKAGES}
WHERE pkg_hash NOT IN
(
    SELECT pkg_hash FROM Packages_buffer WHERE pkg_hash IN (SELECT pkg_hash FROM {_PACKAGES})
)
"""


@dataclass(frozen=True, slots=True)
class Match:
    """The newest state of a repository, and how many of the packages are in it."""

    name: str
    date: int
    packages: int


@dataclass(frozen=True, slots=True)
class BaseState:
    """The state of a branch that shares most packages, and how many; the newest of equals."""

    root: UUID
    date: int
    packages: int


def find_best_matches(database: Database, hashes: Collection[int]) -> list[Match]:
    """The newest states of all repositories that have any of the packages, best first."""
    with database.temporary_table(_PACKAGES, _STRUCTURE):
        database.insert(_PACKAGES, {"pkg_hash": list(hashes)})
        return [Match(*row) for row in database.query(_BEST_MATCHES)]


def find_base_state(database: Database, hashes: Collection[int], branch: str) -> BaseState | None:
    """The state of a branch that has most of the packages; None when none has any."""
    with database.temporary_table(_PACKAGES, _STRUCTURE):
        database.insert(_PACKAGES, {"pkg_hash": list(hashes)})
        rows = database.query(_BASE_STATE, {"branch": branch})
    return BaseState(*rows[0]) if rows else None


def find_unknown(database: Database, hashes: Collection[int]) -> set[int]:
    """Those of the packages that are not in the database."""
    with database.temporary_table(_PACKAGES, _STRUCTURE):
        database.insert(_PACKAGES, {"pkg_hash": list(hashes)})
        return {pkg_hash for (pkg_hash,) in database.query(_UNKNOWN)}
