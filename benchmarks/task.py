"""``task_loader`` on composed tasks: one with half a gigabyte of logs, and a thousand small ones.

The large task has 20 subtasks, 3 architectures and 400 packages; its load begins without a
database, so the engine's start and the schema are part of it. The small ones go through one
process with ``--batch``; what that process needs before the first task is taken off.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import peak_memory_mib, seconds
from tests.support.task_tree import SampleSize, TaskPlan, compose_task, sample_plan, sample_plans

__all__ = ["measure_tasks"]

_ROUNDS = 3
_LARGE_ID, _FIRST_SMALL_ID = 500123, 10_000
_LARGE = SampleSize(20, ("x86_64", "i586", "aarch64"), packages=400, log_bytes=500_000_000)
_SMALL = SampleSize(packages=3, log_bytes=20_000)
_SMALL_TASKS = 1000
_MAX_SUBTASKS = 3


def composed_tasks(directory: Path, plans: Sequence[TaskPlan]) -> Path:
    """The tasks of plans, composed unless an earlier run has left them there whole."""
    mark = directory.with_name(directory.name + ".complete")
    if not mark.exists():
        shutil.rmtree(directory, ignore_errors=True)
        for plan in plans:
            compose_task(directory / str(plan.task_id), plan)
        mark.touch()
    return directory


def _line_count(task: Path) -> int:
    """Lines of all logs, by the line feeds that composed logs end with."""
    total = 0
    for path in [*task.glob("build/*/*/log"), *task.glob("build/*/*/srpm.log")]:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total += block.count(b"\n")
    return total


def _load_command(database: Path, *what: str | Path) -> list[str]:
    loader = str(Path(sys.executable).with_name("task_loader"))
    return [loader, "--quiet", "--embedded", str(database), *map(str, what)]


def _cold_load_s(database: Path, *what: str | Path) -> float:
    shutil.rmtree(database, ignore_errors=True)
    return seconds(_load_command(database, *what))


def _small_tasks_s(database: Path, tasks: Path) -> float:
    """The time of a batch, without what a process needs to find that one task is there."""
    first = tasks / str(_FIRST_SMALL_ID)
    _cold_load_s(database, first)
    start_s = seconds(_load_command(database, first))
    return seconds(_load_command(database, "--batch", tasks)) - start_s


def measure_tasks(directory: Path) -> dict[str, float]:
    """All figures of the task loader; ``directory`` keeps the tasks between runs."""
    large = composed_tasks(directory / "large-task", [sample_plan(_LARGE_ID, _LARGE)])
    plans = sample_plans(_FIRST_SMALL_ID, _SMALL_TASKS, _SMALL, max_subtasks=_MAX_SUBTASKS)
    small = composed_tasks(directory / "small-tasks", list(plans))
    task, database = large / str(_LARGE_ID), directory / "task-database"
    lines = _line_count(task)
    load_s = statistics.median(_cold_load_s(database, task) for _ in range(_ROUNDS))
    shutil.rmtree(database)
    peak_mib = peak_memory_mib(_load_command(database, task))
    # A thousand tasks are rounds enough.
    small_s = _small_tasks_s(database, small)
    shutil.rmtree(database)
    return {
        "task_log_lines_per_s": lines / load_s,
        "task_peak_mib": peak_mib,
        "small_task_ms": small_s * 1000 / _SMALL_TASKS,
    }
