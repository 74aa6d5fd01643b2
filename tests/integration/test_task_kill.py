"""The task loader is killed at any moment; the next run leaves what one clean run does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from altrepodb.task.load import TaskOptions, load_tasks
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.killing import Target, kill_at_some_moment, run_cleanly, table_directory
from tests.support.loading import (
    open_database_in,
    stored_rows,
)
from tests.support.task_tree import SampleSize, compose_task, sample_plan

pytestmark = pytest.mark.slow

SIZE = SampleSize(subtasks=4, packages=30, log_bytes=200_000, state="DONE")
ROUNDS = 50
FURTHER_ROUNDS = 20
_SEEN_BY_READERS = (
    "TaskStates", "Tasks", "TaskIterations", "TaskChroots", "TaskLogs", "TaskApprovals",
    "TaskPlanPackages", "TaskPlanPkgHash", "Packages", "PackageHash", "Files", "FileNames",
    "Depends", "Changelog", "Specfiles",
)  # fmt: skip

Rows = dict[str, list[str]]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_task(tmp_path_factory.mktemp("kill") / "900", sample_plan(900, SIZE)).root


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with worker_pool(2) as workers:
        yield workers


def differing(found: Rows, expected: Rows) -> list[str]:
    return [table for table in {*found, *expected} if found.get(table) != expected.get(table)]


def test_killed_load(schema_template: Path, task: Path, pool: WorkerPool, tmp_path: Path) -> None:
    """Half of the kills come anywhere, half after all but the state was written.

    A state is there with all that it points to or not at all; after another load everything is
    as a clean run leaves it.
    """
    command = ("task_loader", "-w", "2", task)
    subtasks, states = (table_directory(schema_template, name) for name in ("Tasks", "TaskStates"))
    clean = run_cleanly(Target(schema_template, tmp_path / "clean", subtasks, *command))
    assert {*_SEEN_BY_READERS, "BranchPackageHistory"} <= {*clean.rows}

    def has_state_when_killed(number: int, watched: Path, in_commit: bool, latest: float) -> bool:
        target = Target(schema_template, tmp_path / f"round{number}", watched, *command)
        moment = kill_at_some_moment(
            target, clean, Random(number), in_commit, latest_in_commit=latest
        )
        with open_database_in(target.directory) as database:
            killed = stored_rows(database)
            load_tasks(TaskOptions([task]), database, pool)
            rows = stored_rows(database)
        if "TaskStates" in killed:
            missing = [t for t in _SEEN_BY_READERS if killed.get(t) != clean.rows[t]]
            assert missing == [], f"killed {moment}"
        assert differing(rows, clean.rows) == [], f"killed {moment}"
        shutil.rmtree(target.directory)
        return "TaskStates" in killed

    found = {
        has_state_when_killed(number, subtasks, number % 2 == 1, 0.8) for number in range(ROUNDS)
    }
    # On a machine that became faster or slower after the clean run, all of these kills may have
    # come too late or too early to tell anything: then some as early and as late as can be.
    for number in range(FURTHER_ROUNDS):
        if len(found) == 2:
            break
        watched = subtasks if True in found else states
        found.add(has_state_when_killed(ROUNDS + number, watched, True, 0.0))
    assert found == {False, True}
