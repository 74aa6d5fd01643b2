"""The loader is killed at any moment; readers see whole sets only, and the next run ends well."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from altrepodb.errors import AlreadyLoadedError
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.loading import (
    DAY,
    Loader,
    command_line,
    differences,
    environment,
    faults_of_visible_sets,
    living_processes,
    open_database_in,
    stored_rows,
)
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository

pytestmark = pytest.mark.slow

NAME = "sisyphus"
PLAN = RepositoryPlan(sources=8, binaries=20, files=300, dependencies=150, seed=31)
NODES = 2 + 3 + 4 + 2 + 1
_POLL_S = 0.0005
_TIMEOUT_S = 60.0
_DEATH_S = 10.0


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What a run without trouble leaves, and how long it and its last phase take."""

    rows: dict[str, list[str]]
    seconds: float
    commit_seconds: float


class Target:
    """A database to load a repository into by a process that will be killed."""

    def __init__(self, template: Path, directory: Path, journal: Path, *options: str) -> None:
        shutil.copytree(template, directory, symlinks=True)
        self.directory = directory
        self._journal = directory / journal
        self._options = options
        self._parts = self._journal_parts()

    def _journal_parts(self) -> set[str]:
        """Parts of the table that is written first when packages are stored."""
        names = os.listdir(self._journal)
        return {name for name in names if not name.startswith("tmp") and name[0].isalpha()}

    def start(self, repository: ComposedRepository) -> subprocess.Popen[bytes]:
        arguments = ("-A", DAY, "-w", "2", "-e", str(self.directory), *self._options)
        return subprocess.Popen(
            command_line("repo_loader", "--quiet", *arguments, NAME, repository.root),
            env=environment(self.directory.parent),
            start_new_session=True,
        )

    def wait_for_commit(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process writes the set, or has ended."""
        while self._journal_parts() == self._parts and process.poll() is None:
            time.sleep(_POLL_S)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    return compose_repository(tmp_path_factory.mktemp("kill") / "tree", PLAN)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with worker_pool(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def journal(schema_template: Path) -> Path:
    """Where a database keeps the journal of loads, relative to its directory."""
    with open_database_in(schema_template) as database:
        ((path,),) = database.query(
            "SELECT data_paths[1] FROM system.tables"
            " WHERE name = 'LoadIntents' AND database = currentDatabase()"
        )
    return Path(path).relative_to(schema_template.resolve())


@pytest.fixture(scope="module")
def loaded_template(
    schema_template: Path,
    repository: ComposedRepository,
    pool: WorkerPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A closed database that has the set already."""
    directory = tmp_path_factory.mktemp("loaded") / "database"
    shutil.copytree(schema_template, directory, symlinks=True)
    with open_database_in(directory) as database:
        Loader(database, pool).load(repository.root, NAME)
    return directory


def run_cleanly(target: Target, repository: ComposedRepository) -> CleanRun:
    started = time.monotonic()
    with target.start(repository) as process:
        target.wait_for_commit(process)
        commit = time.monotonic()
        assert process.wait(_TIMEOUT_S) == 0
    ended = time.monotonic()
    with open_database_in(target.directory) as database:
        rows = stored_rows(database)
    return CleanRun(rows, ended - started, ended - commit)


def kill_at_some_moment(
    target: Target, repository: ComposedRepository, clean: CleanRun, rng: Random, in_commit: bool
) -> str:
    """Start a load and kill it at a random moment; tells when that was."""
    with target.start(repository) as process:
        # The first tenth of a run does nothing but start an interpreter.
        moment = rng.uniform(0.1, 1.05) * clean.seconds
        if in_commit:
            target.wait_for_commit(process)
            moment = rng.uniform(0, 1.1) * clean.commit_seconds
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        exit_code = process.wait(_TIMEOUT_S)
    assert exit_code in (0, -signal.SIGKILL)
    deadline = time.monotonic() + _DEATH_S
    while living_processes(process.pid):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(_POLL_S)
    return f"{moment:.3f} s {'after the commit began' if in_commit else 'after the start'}"


def check_and_load_again(
    target: Target, repository: ComposedRepository, pool: WorkerPool, force: bool
) -> dict[str, list[str]]:
    """What readers see is whole; after another load, the rows of all tables."""
    hashes = {item.pkg_hash for item in repository.packages}
    with open_database_in(target.directory) as database:
        assert faults_of_visible_sets(database, NAME, NODES, hashes) == []
        try:
            Loader(database, pool).load(repository.root, NAME, force=force)
        except AlreadyLoadedError:
            assert not force
        faults = faults_of_visible_sets(database, NAME, NODES, hashes, exactly_one=True)
        assert faults == []
        return stored_rows(database)


def assert_survives(
    template: Path,
    directory: Path,
    journal: Path,
    repository: ComposedRepository,
    pool: WorkerPool,
    rounds: list[bool],
    *options: str,
) -> None:
    """Kill loads, ``rounds`` says for each whether in its last phase, and check what follows."""
    clean = run_cleanly(Target(template, directory / "clean", journal, *options), repository)
    for number, in_commit in enumerate(rounds):
        target = Target(template, directory / f"round{number}", journal, *options)
        rng = Random(f"{options}/{number}")
        moment = kill_at_some_moment(target, repository, clean, rng, in_commit)
        force = "--force" in options
        rows = check_and_load_again(target, repository, pool, force)
        assert differences(rows, clean.rows) == {}, f"killed {moment}"
        shutil.rmtree(target.directory)


def test_killed_load(
    schema_template: Path,
    journal: Path,
    repository: ComposedRepository,
    pool: WorkerPool,
    tmp_path: Path,
) -> None:
    rounds = [number % 2 == 1 for number in range(50)]
    assert_survives(schema_template, tmp_path, journal, repository, pool, rounds)


def test_killed_replacement(
    loaded_template: Path,
    journal: Path,
    repository: ComposedRepository,
    pool: WorkerPool,
    tmp_path: Path,
) -> None:
    rounds = [number % 5 > 0 for number in range(20)]
    assert_survives(loaded_template, tmp_path, journal, repository, pool, rounds, "--force")
