"""Packages of a file system without an rpm database: found by the names and digests of its files.

All comparing is done inside the database. What is sent is, for each file, the hash of its path and
its MD5, which is zero for links and devices, as it is in the table Files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from altrepodb.db.database import Database
from altrepodb.hashing import text_hash
from altrepodb.image.base_branch import BRANCH_NODES, BaseState, find_base_state
from altrepodb.image.installed import InstalledPackage
from altrepodb.image.records import SquashfsContent

__all__ = ["MatchedFiles", "match_files"]

_FILES = "altrepodb_image_files"
_FILES_STRUCTURE = {
    "number": "UInt32", "file_hashname": "UInt64", "file_md5": "FixedString(16)",
}  # fmt: skip
_OWNERS = "altrepodb_file_owners"
_LISTED = "altrepodb_listed_packages"

# Only packages of the branch can be in one of its states, and the table is ordered by packages.
_FIND_OWNERS = f"""
SELECT DISTINCT pkg_hash FROM Files_buffer
WHERE pkg_hash IN (SELECT pkg_hash FROM PackageSet_buffer WHERE pkgset_uuid IN ({BRANCH_NODES}))
    AND file_class != 'directory'
    AND (file_hashname, file_md5) IN (SELECT file_hashname, file_md5 FROM {_FILES})
"""
_IN_STATE = """
pkg_arch IN (SELECT arrayJoin({archs:Array(String)})) AND pkg_hash IN
(
    SELECT pkg_hash FROM PackageSet_buffer WHERE pkgset_uuid IN
    (
        SELECT pkgset_uuid FROM PackageSetName
        WHERE pkgset_depth = 2 AND pkgset_ruuid = {root:UUID}
    )
)
"""
_PACKAGE_COLUMNS = "pkg_hash, pkg_name, pkg_epoch, pkg_version, pkg_release, pkg_arch"
_OWNERS_IN_STATE = f"""
SELECT DISTINCT {_PACKAGE_COLUMNS} FROM Packages_buffer
WHERE pkg_hash IN (SELECT pkg_hash FROM {_OWNERS}) AND {_IN_STATE}
"""
_LISTED_IN_STATE = f"""
SELECT DISTINCT {_PACKAGE_COLUMNS} FROM Packages_buffer
WHERE pkg_sourcepackage = 0 AND pkg_filename IN (SELECT pkg_filename FROM {_LISTED}) AND {_IN_STATE}
"""
_ORPHANS = f"""
SELECT number FROM {_FILES}
WHERE (file_hashname, file_md5) NOT IN
(
    SELECT file_hashname, file_md5 FROM Files_buffer
    WHERE pkg_hash IN (SELECT pkg_hash FROM {_OWNERS}) AND file_class != 'directory'
)
ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class MatchedFiles:
    """The packages of a file system, and the positions of files that none of them has.

    ``owners`` is the number of packages of the branch that have a file of that name and content.
    """

    state: BaseState | None
    owners: int
    packages: tuple[InstalledPackage, ...]
    orphans: list[int]


def match_files(
    database: Database, squashfs: SquashfsContent, branch: str, arch: str
) -> MatchedFiles:
    """Find the packages whose files a squashfs has, among those of one state of the branch.

    The state is the one with most packages of equal files. When the disc lists the packages, the
    list counts and files only tell what belongs to none.
    """
    with _stored_files(database, squashfs):
        owners = [pkg_hash for (pkg_hash,) in database.query(_FIND_OWNERS, {"branch": branch})]
        state = find_base_state(database, owners, branch)
        packages = _packages(database, squashfs, state, owners, arch) if state else ()
        return MatchedFiles(state, len(owners), packages, _orphans(database, packages))


@contextmanager
def _stored_files(database: Database, squashfs: SquashfsContent) -> Iterator[None]:
    files = squashfs.files
    assert files is not None
    with database.temporary_table(_FILES, _FILES_STRUCTURE):
        columns = {
            "number": range(len(files)),
            "file_hashname": [text_hash(path) for path in files.paths],
            "file_md5": files.md5,
        }
        database.insert(_FILES, columns)
        yield


def _packages(
    database: Database,
    squashfs: SquashfsContent,
    state: BaseState,
    owners: Collection[int],
    arch: str,
) -> tuple[InstalledPackage, ...]:
    parameters = {"root": state.root, "archs": _installable(arch)}
    if squashfs.listed:
        with database.temporary_table(_LISTED, {"pkg_filename": "String"}):
            database.insert(_LISTED, {"pkg_filename": list(squashfs.listed)})
            rows = database.query(_LISTED_IN_STATE, parameters)
    else:
        with database.temporary_table(_OWNERS, {"pkg_hash": "UInt64"}):
            database.insert(_OWNERS, {"pkg_hash": list(owners)})
            rows = database.query(_OWNERS_IN_STATE, parameters)
    return tuple(InstalledPackage(*row) for row in sorted(rows))


def _installable(arch: str) -> list[str]:
    """Architectures of packages in an image of an architecture."""
    return ["noarch", arch, *(["x86_64-i586"] if arch == "x86_64" else [])]


def _orphans(database: Database, packages: Collection[InstalledPackage]) -> list[int]:
    with database.temporary_table(_OWNERS, {"pkg_hash": "UInt64"}):
        database.insert(_OWNERS, {"pkg_hash": [package.hash for package in packages]})
        return [number for (number,) in database.query(_ORPHANS)]
