"""The loader is killed at any moment; readers see whole sets only, and the next run ends well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from altrepodb.errors import AlreadyLoadedError
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.killing import Target, kill_at_some_moment, run_cleanly, table_directory
from tests.support.loading import (
    DAY,
    Loader,
    differences,
    faults_of_visible_sets,
    open_database_in,
    stored_rows,
)
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository

pytestmark = pytest.mark.slow

NAME = "sisyphus"
PLAN = RepositoryPlan(sources=8, binaries=20, files=300, dependencies=150, seed=31)
NODES = 2 + 3 + 4 + 2 + 1


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    return compose_repository(tmp_path_factory.mktemp("kill") / "tree", PLAN)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with worker_pool(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def journal(schema_template: Path) -> Path:
    return table_directory(schema_template, "LoadIntents")


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
    command = ("repo_loader", "-A", DAY, "-w", "2", *options, NAME, repository.root)
    clean = run_cleanly(Target(template, directory / "clean", journal, *command))
    for number, in_commit in enumerate(rounds):
        target = Target(template, directory / f"round{number}", journal, *command)
        rng = Random(f"{options}/{number}")
        moment = kill_at_some_moment(
            target, clean, rng, in_commit, earliest=0.1, latest_in_commit=1.1
        )
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
