"""The task loader is killed at any moment; the next run leaves what one clean run does."""

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

from altrepodb.task.load import TaskOptions, load_tasks
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.loading import (
    command_line,
    environment,
    living_processes,
    open_database_in,
    stored_rows,
)
from tests.support.task_tree import SampleSize, compose_task, sample_plan

pytestmark = pytest.mark.slow

SIZE = SampleSize(subtasks=4, packages=30, log_bytes=200_000, state="DONE")
ROUNDS = 50
_POLL_S = 0.0005
_TIMEOUT_S = 60.0
_DEATH_S = 10.0
_SEEN_BY_READERS = (
    "TaskStates", "Tasks", "TaskIterations", "TaskChroots", "TaskLogs", "TaskApprovals",
    "TaskPlanPackages", "TaskPlanPkgHash", "Packages", "PackageHash", "Files", "FileNames",
    "Depends", "Changelog", "Specfiles",
)  # fmt: skip

Rows = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What a run without trouble leaves, and how long it and its last phase take."""

    rows: Rows
    seconds: float
    commit_seconds: float


class Target:
    """A database to load a task into by a process that will be killed."""

    def __init__(self, template: Path, directory: Path, subtasks: Path) -> None:
        shutil.copytree(template, directory, symlinks=True)
        self.directory = directory
        self._subtasks = directory / subtasks

    def start(self, task: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command_line("task_loader", "--quiet", "-w", "2", "-e", self.directory, task),
            env=environment(self.directory.parent),
            start_new_session=True,
        )

    def wait_for_commit(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process writes subtasks, which only the state follows, or has ended."""
        while process.poll() is None:
            if any(name.startswith("all_") for name in os.listdir(self._subtasks)):
                return
            time.sleep(_POLL_S)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_task(tmp_path_factory.mktemp("kill") / "900", sample_plan(900, SIZE)).root


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with worker_pool(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def subtasks(schema_template: Path) -> Path:
    """Where a database keeps the subtasks, relative to its directory."""
    with open_database_in(schema_template) as database:
        ((path,),) = database.query(
            "SELECT data_paths[1] FROM system.tables"
            " WHERE name = 'Tasks' AND database = currentDatabase()"
        )
    return Path(path).relative_to(schema_template.resolve())


def run_cleanly(target: Target, task: Path) -> CleanRun:
    started = time.monotonic()
    with target.start(task) as process:
        target.wait_for_commit(process)
        commit = time.monotonic()
        assert process.wait(_TIMEOUT_S) == 0
    ended = time.monotonic()
    with open_database_in(target.directory) as database:
        rows = stored_rows(database)
    return CleanRun(rows, ended - started, ended - commit)


def kill_at_some_moment(
    target: Target, task: Path, clean: CleanRun, rng: Random, in_commit: bool
) -> str:
    """Start a load and kill it at a random moment; tells when that was."""
    with target.start(task) as process:
        # The first part of a run does nothing but start an interpreter.
        moment = rng.uniform(0.2, 1.05) * clean.seconds
        if in_commit:
            target.wait_for_commit(process)
            moment = rng.uniform(0, 0.8) * clean.commit_seconds
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        exit_code = process.wait(_TIMEOUT_S)
    assert exit_code in (0, -signal.SIGKILL)
    deadline = time.monotonic() + _DEATH_S
    while living_processes(process.pid):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(_POLL_S)
    return f"{moment:.3f} s {'after the commit began' if in_commit else 'after the start'}"


def differing(found: Rows, expected: Rows) -> list[str]:
    return [table for table in {*found, *expected} if found.get(table) != expected.get(table)]


def test_killed_load(
    schema_template: Path, subtasks: Path, task: Path, pool: WorkerPool, tmp_path: Path
) -> None:
    """Half of the kills come anywhere, half after all but the state was written.

    A state is there with all that it points to or not at all; after another load everything is
    as a clean run leaves it.
    """
    clean = run_cleanly(Target(schema_template, tmp_path / "clean", subtasks), task)
    assert {*_SEEN_BY_READERS, "BranchPackageHistory"} <= {*clean.rows}
    states = []
    for number in range(ROUNDS):
        target = Target(schema_template, tmp_path / f"round{number}", subtasks)
        moment = kill_at_some_moment(target, task, clean, Random(number), number % 2 == 1)
        with open_database_in(target.directory) as database:
            killed = stored_rows(database)
            load_tasks(TaskOptions([task]), database, pool)
            rows = stored_rows(database)
        if "TaskStates" in killed:
            missing = [t for t in _SEEN_BY_READERS if killed.get(t) != clean.rows[t]]
            assert missing == [], f"killed {moment}"
        assert differing(rows, clean.rows) == [], f"killed {moment}"
        states.append("TaskStates" in killed)
        shutil.rmtree(target.directory)
    # Otherwise the kills came too early or too late to tell anything.
    assert 0 < states.count(False) < ROUNDS
