"""File names as provides: what packages require by path and other packages contain.

For packages that a load brings, two things are completed. Their files that anybody requires
become provides of theirs; and a path that they require becomes a provide of every package that
contains it, unless some package provides it already. ``RequiredPaths`` holds the distinct paths
that are required at all, so the first costs no more than the load's own files. Only when a path
is required for the first time are all stored files looked through for its owners.
"""

from __future__ import annotations

from collections.abc import Sequence

from altrepodb.db.database import Database

__all__ = ["complete_provides"]

_NEW_PACKAGES = "altrepodb_new_packages"

_PROVIDE_OWN_FILES = f"""
INSERT INTO Depends (pkg_hash, dp_name, dp_version, dp_flag, dp_type)
SELECT DISTINCT file.pkg_hash, path.path_name, '', 0, 'provide'
FROM
(
    SELECT pkg_hash, file_hashname FROM Files
    WHERE pkg_hash IN (SELECT pkg_hash FROM {_NEW_PACKAGES})
        AND file_hashname IN (SELECT path_hash FROM RequiredPaths)
) AS file
INNER JOIN RequiredPaths AS path ON file.file_hashname = path.path_hash
WHERE (path.path_name, file.pkg_hash) NOT IN
(
    SELECT dp_name, pkg_hash FROM Depends
    WHERE dp_type = 'provide' AND dp_name IN (SELECT path_name FROM RequiredPaths)
        AND pkg_hash IN (SELECT pkg_hash FROM {_NEW_PACKAGES})
)
"""
_UNPROVIDED_PATHS = """
SELECT DISTINCT fn_name FROM FileNames
WHERE fn_name IN {paths:Array(String)} AND fn_name NOT IN
    (SELECT dp_name FROM Depends WHERE dp_type = 'provide' AND dp_name IN {paths:Array(String)})
"""
_PROVIDE_PATHS_OF_OWNERS = """
INSERT INTO Depends (pkg_hash, dp_name, dp_version, dp_flag, dp_type)
SELECT DISTINCT pkg_hash, path, '', 0, 'provide'
FROM
(
    SELECT pkg_hash, file_hashname FROM Files
    WHERE file_hashname IN (SELECT murmurHash3_64(arrayJoin({paths:Array(String)})))
) AS file
INNER JOIN
(
    SELECT arrayJoin({paths:Array(String)}) AS path, murmurHash3_64(path) AS path_hash
) AS wanted ON file.file_hashname = wanted.path_hash
"""
_REQUIRED_PATHS = f"""
SELECT DISTINCT dp_name FROM Depends
WHERE dp_type = 'require' AND dp_name IN (SELECT path_name FROM RequiredPaths)
    AND pkg_hash IN (SELECT pkg_hash FROM {_NEW_PACKAGES})
"""


def complete_provides(database: Database, packages: Sequence[int]) -> None:
    """Write the missing file provides that concern these packages, which are stored already."""
    if not packages:
        return
    with database.temporary_table(_NEW_PACKAGES, {"pkg_hash": "UInt64"}) as table:
        database.insert(table, {"pkg_hash": packages})
        required = [path for (path,) in database.query(_REQUIRED_PATHS)]
        unprovided = _unprovided(database, required)
        if unprovided:
            database.execute(_PROVIDE_PATHS_OF_OWNERS, {"paths": unprovided})
        database.execute(_PROVIDE_OWN_FILES)


def _unprovided(database: Database, paths: list[str]) -> list[str]:
    """Paths that some package contains and none provides."""
    if not paths:
        return []
    return [path for (path,) in database.query(_UNPROVIDED_PATHS, {"paths": paths})]
