"""Compose build tasks of any shape and size, and the worked example of the specification.

task = compose_worked_example(directory)          # directory/500123
task = compose_task(directory / "7", TaskPlan(task_id=7, subtasks=(...)))
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.task_compose import ComposedTask, chroot_hash, compose_task, loaded_packages
from tests.support.task_example import compose_worked_example, worked_example
from tests.support.task_logs import LogPattern
from tests.support.task_packages import ChrootPackage, TaskRpm, make_rpm, task_rpm
from tests.support.task_plan import (
    SECOND,
    Approval,
    Build,
    EventLog,
    Subtask,
    TaskPlan,
    TaskTimes,
    at,
)
from tests.support.task_samples import SampleSize, sample_plan, sample_plans

__all__ = [
    "SECOND",
    "Approval",
    "Build",
    "ChrootPackage",
    "ComposedTask",
    "EventLog",
    "LogPattern",
    "SampleSize",
    "Subtask",
    "TaskPlan",
    "TaskRpm",
    "TaskTimes",
    "at",
    "chroot_hash",
    "compose_task",
    "compose_worked_example",
    "loaded_packages",
    "make_rpm",
    "sample_plan",
    "sample_plans",
    "task_rpm",
    "totals",
    "worked_example",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compose tasks from the command line and print what they hold as JSON."""
    options = _parser().parse_args(arguments)
    size = SampleSize(
        options.subtasks,
        tuple(options.arches.split(",")),
        options.packages,
        int(options.log_mb * 1_000_000),
        options.state,
    )
    plans = sample_plans(
        options.id, options.tasks, size, options.seed, max_subtasks=options.max_subtasks
    )
    for plan in plans:
        task = compose_task(options.directory / str(plan.task_id), plan)
        print(json.dumps({"path": str(task.root), **totals(task)}))
    return 0


def totals(task: ComposedTask) -> dict[str, int]:
    """How big a task is: subtasks, builds, different packages, bytes of logs."""
    return {
        "subtasks": len(task.plan.subtasks),
        "builds": sum(len(subtask.builds) for subtask in task.plan.subtasks),
        "packages": len(loaded_packages(task)),
        "log_bytes": sum(task.log_sizes.values()),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.task_tree", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("directory", type=Path, help="tasks are made as DIRECTORY/<id>")
    parser.add_argument("--id", type=int, default=500123, help="number of the first task")
    parser.add_argument("--tasks", type=int, default=1, help="how many, numbered on from there")
    parser.add_argument("--subtasks", type=int, default=3)
    parser.add_argument(
        "--max-subtasks", type=int, metavar="N", help="1 to N subtasks in turn, not --subtasks"
    )
    parser.add_argument("--arches", default="x86_64,i586", help="with commas between them")
    parser.add_argument("--packages", type=int, default=12, help="package files of a task")
    parser.add_argument("--log-mb", type=float, default=0.2, help="10^6 bytes of logs of a task")
    parser.add_argument("--state", default="TESTED")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
