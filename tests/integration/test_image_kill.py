"""The image loader is killed at any moment; the next run leaves what one clean run does."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import AlreadyLoadedError
from tests.support.alt_images import (
    COMPARED_TABLES,
    LOADER_OPTIONS,
    KnownImage,
    compose_disc,
    image_options,
)
from tests.support.killing import Target, kill_at_some_moment, run_cleanly, table_directory
from tests.support.loading import (
    differences,
    open_database_in,
    stored_rows,
)

pytestmark = pytest.mark.slow

ROUNDS = 8
"""Of a first load, and of one that replaces an image."""
ROUNDS_PER_EARLY_KILL = 4
"""One of so many is killed at any moment, the others in the last phase."""
_LEAVES = """
SELECT pkgset_nodename, pkgset_kv.v[indexOf(pkgset_kv.k, 'size')] = toString(members)
FROM PackageSetName
LEFT JOIN
(
    SELECT pkgset_uuid AS node, uniqExact(pkg_hash) AS members FROM PackageSet
    WHERE pkg_hash IN (SELECT pkgh_mmh FROM PackageHash) GROUP BY node
) AS content ON pkgset_uuid = node
WHERE pkgset_depth = 1 AND pkgset_ruuid = {root:UUID}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_disc(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def known_image(image: Path) -> KnownImage:
    return KnownImage.read(image_options(image))


@pytest.fixture(scope="module")
def journal(branches_template: Path) -> Path:
    return table_directory(branches_template, "LoadIntents")


@pytest.fixture(scope="module")
def loaded_template(
    branches_template: Path, known_image: KnownImage, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A closed database that has the image already."""
    directory = tmp_path_factory.mktemp("loaded") / "database"
    shutil.copytree(branches_template, directory, symlinks=True)
    with open_database_in(directory) as database:
        known_image.load(database, force=False)
    return directory


def comparable_rows(database: Database) -> dict[str, list[str]]:
    assert database.query("SELECT count() FROM ImageStatus") == [(1,)]
    return stored_rows(database, COMPARED_TABLES)


def check_visible(database: Database, moment: str) -> None:
    """An image that readers find has all of its leaves, and these all of their packages."""
    for (root,) in database.query("SELECT pkgset_uuid FROM ImagePackageSetName"):
        leaves = dict(database.query(_LEAVES, {"root": root}))
        assert leaves == {"rpms": 1, "live": 1, "altinst": 1}, moment


@pytest.mark.parametrize("options", [(), ("--force",)], ids=["first", "replacement"])
def test_killed_load(
    options: tuple[str, ...],
    branches_template: Path,
    loaded_template: Path,
    journal: Path,
    image: Path,
    known_image: KnownImage,
    tmp_path: Path,
) -> None:
    template = loaded_template if options else branches_template
    command = ("iso_loader", *options, *LOADER_OPTIONS, image)
    clean = run_cleanly(Target(template, tmp_path / "clean", journal, *command), comparable_rows)
    for number in range(ROUNDS):
        target = Target(template, tmp_path / f"round{number}", journal, *command)
        in_commit = number % ROUNDS_PER_EARLY_KILL != 0
        rng = Random(f"{options}/{number}")
        moment = kill_at_some_moment(target, clean, rng, in_commit)
        with open_database_in(target.directory) as database:
            check_visible(database, moment)
            try:
                known_image.load(database, force=bool(options))
            except AlreadyLoadedError:
                assert not options
            check_visible(database, moment)
            assert differences(comparable_rows(database), clean.rows) == {}, f"killed {moment}"
        shutil.rmtree(target.directory)
