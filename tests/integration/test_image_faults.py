"""Faults while an image is loaded: at every statement, and what the next load makes of it."""

from __future__ import annotations

import shutil
from itertools import count as counter
from pathlib import Path
from typing import cast

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import AlreadyLoadedError, DatabaseError
from tests.support.alt_images import COMPARED_TABLES, KnownImage, compose_disc, image_options
from tests.support.loading import (
    FailingDatabase,
    Fault,
    differences,
    open_database_in,
    stored_rows,
)

_TREES = """
SELECT pkgset_ruuid, countIf(pkgset_depth = 0), countIf(pkgset_depth = 1) FROM PackageSetName
WHERE pkgset_tag != ''
GROUP BY pkgset_ruuid
"""
_IMAGES = "SELECT pkgset_uuid FROM ImagePackageSetName"
_FORGOTTEN = ("ImagePackageSetName", "ImageStatus", "ImageTagStatus", "LoadIntents")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> KnownImage:
    return KnownImage.read(image_options(compose_disc(tmp_path_factory.mktemp("disc"))))


@pytest.mark.parametrize("force", [False, True], ids=["first", "replacement"])
def test_fault_at_every_statement(
    force: bool, branches_template: Path, image: KnownImage, tmp_path: Path
) -> None:
    """No image without all of its parts, and the next load ends as if nothing had been.

    The statements fail by turns before and after they had their effect.
    """
    directory = tmp_path / "database"
    shutil.copytree(branches_template, directory, symlinks=True)
    tables = set()
    with open_database_in(directory) as database:
        image.load(database, force=False)
        expected = comparable(database)
        for turn, number in enumerate(counter(1)):
            if not force:
                forget(database)
            fault = Fault(number, after=turn % 2 == 1)
            if fails_not(database, image, force, fault):
                break
            tables.add(fault.happened_at)
            if not fault.happened_at.startswith("altrepodb_"):
                check_trees(database, fault)
                complete(database, image, force)
                assert differences(comparable(database), expected) == {}, fault
    assert {"LoadIntents", "PackageSetName"} <= tables


def fails_not(database: Database, image: KnownImage, force: bool, fault: Fault) -> bool:
    """Load with a fault; whether it came too late to happen."""
    try:
        image.load(cast(Database, FailingDatabase.of(database, fault)), force)
    except DatabaseError as error:
        assert "injected failure" in str(error)
        return False
    return not fault.happened_at


def check_trees(database: Database, fault: Fault) -> None:
    """Whatever the list of images names is whole."""
    trees = {root: (roots, leaves) for root, roots, leaves in database.query(_TREES)}
    images = [trees.get(root) for (root,) in database.query(_IMAGES)]
    assert images in ([], [(1, 3)], [(1, 3), (1, 3)]), fault


def complete(database: Database, image: KnownImage, force: bool) -> None:
    try:
        image.load(database, force)
    except AlreadyLoadedError:
        assert len(database.query(_IMAGES)) == 1


def comparable(database: Database) -> dict[str, list[str]]:
    return stored_rows(database, COMPARED_TABLES)


def forget(database: Database) -> None:
    """Bring the database back to its branches, but for the rows of meta packages."""
    for table in _FORGOTTEN:
        database.execute(f"TRUNCATE TABLE {table}")
    roots = "SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_tag != ''"
    database.execute(f"DELETE FROM PackageSet WHERE pkgset_uuid IN ({roots})")
    database.execute("DELETE FROM PackageSetName WHERE pkgset_tag != ''")
