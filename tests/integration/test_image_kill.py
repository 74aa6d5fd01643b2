"""The image loader is killed at any moment; the next run leaves what one clean run does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
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
from tests.support.loading import (
    command_line,
    differences,
    environment,
    living_processes,
    open_database_in,
    stored_rows,
)

pytestmark = pytest.mark.slow

ROUNDS = 8
"""Of a first load, and of one that replaces an image."""
ROUNDS_PER_EARLY_KILL = 4
"""One of so many is killed at any moment, the others in the last phase."""
_POLL_S = 0.0005
_TIMEOUT_S = 60.0
_DEATH_S = 10.0
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


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What a run without trouble leaves, and how long it and its last phase take."""

    rows: dict[str, list[str]]
    seconds: float
    commit_seconds: float


class Target:
    """A database to load the image into by a process that will be killed."""

    def __init__(self, template: Path, directory: Path, journal: Path, *options: str) -> None:
        shutil.copytree(template, directory, symlinks=True)
        self.directory = directory
        self._journal = directory / journal
        self._options = options
        self._parts = self._journal_parts()

    def _journal_parts(self) -> set[str]:
        names = os.listdir(self._journal)
        return {name for name in names if not name.startswith("tmp") and name[0].isalpha()}

    def start(self, image: Path) -> subprocess.Popen[bytes]:
        arguments = ("--quiet", "-e", self.directory, *self._options, *LOADER_OPTIONS, image)
        return subprocess.Popen(
            command_line("iso_loader", *arguments),
            env=environment(self.directory.parent),
            start_new_session=True,
        )

    def wait_for_commit(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process has announced the set, or has ended."""
        while self._journal_parts() == self._parts and process.poll() is None:
            time.sleep(_POLL_S)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_disc(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def known_image(image: Path) -> KnownImage:
    return KnownImage.read(image_options(image))


@pytest.fixture(scope="module")
def journal(branches_template: Path) -> Path:
    """Where a database keeps the journal of loads, relative to its directory."""
    with open_database_in(branches_template) as database:
        ((path,),) = database.query(
            "SELECT data_paths[1] FROM system.tables"
            " WHERE name = 'LoadIntents' AND database = currentDatabase()"
        )
    return Path(path).relative_to(branches_template.resolve())


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


def run_cleanly(target: Target, image: Path) -> CleanRun:
    started = time.monotonic()
    with target.start(image) as process:
        target.wait_for_commit(process)
        commit = time.monotonic()
        assert process.wait(_TIMEOUT_S) == 0
    ended = time.monotonic()
    with open_database_in(target.directory) as database:
        rows = comparable_rows(database)
    return CleanRun(rows, ended - started, ended - commit)


def comparable_rows(database: Database) -> dict[str, list[str]]:
    assert database.query("SELECT count() FROM ImageStatus") == [(1,)]
    return stored_rows(database, COMPARED_TABLES)


def kill_at_some_moment(
    target: Target, image: Path, clean: CleanRun, rng: Random, in_commit: bool
) -> str:
    """Start a load and kill it, in its last phase or at any moment; tells when that was."""
    with target.start(image) as process:
        # The first part of a run does nothing but start an interpreter.
        moment = rng.uniform(0.2, 1.05) * clean.seconds
        if in_commit:
            target.wait_for_commit(process)
            moment = rng.uniform(0, 1) * clean.commit_seconds
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        exit_code = process.wait(_TIMEOUT_S)
    assert exit_code in (0, -signal.SIGKILL)
    deadline = time.monotonic() + _DEATH_S
    while living_processes(process.pid):
        assert time.monotonic() < deadline, "the reader outlives its parent"
        time.sleep(_POLL_S)
    return f"{moment:.3f} s {'after the commit began' if in_commit else 'after the start'}"


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
    clean = run_cleanly(Target(template, tmp_path / "clean", journal, *options), image)
    for number in range(ROUNDS):
        target = Target(template, tmp_path / f"round{number}", journal, *options)
        in_commit = number % ROUNDS_PER_EARLY_KILL != 0
        rng = Random(f"{options}/{number}")
        moment = kill_at_some_moment(target, image, clean, rng, in_commit)
        with open_database_in(target.directory) as database:
            check_visible(database, moment)
            try:
                known_image.load(database, force=bool(options))
            except AlreadyLoadedError:
                assert not options
            check_visible(database, moment)
            assert differences(comparable_rows(database), clean.rows) == {}, f"killed {moment}"
        shutil.rmtree(target.directory)
