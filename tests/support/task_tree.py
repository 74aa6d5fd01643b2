"""Compose build tasks of any shape and size, and the worked example of the specification.

task = compose_worked_example(directory)          # directory/500123
task = compose_task(directory / "7", TaskPlan(task_id=7, subtasks=(...)))
"""

from __future__ import annotations

from tests.support.task_compose import ComposedTask, chroot_hash, compose_task
from tests.support.task_example import compose_worked_example, worked_example
from tests.support.task_logs import LogPattern
from tests.support.task_packages import ChrootPackage, TaskRpm, make_rpm, task_rpm
from tests.support.task_plan import (
    Approval,
    Build,
    EventLog,
    Subtask,
    TaskPlan,
    TaskTimes,
    at,
)

__all__ = [
    "Approval",
    "Build",
    "ChrootPackage",
    "ComposedTask",
    "EventLog",
    "LogPattern",
    "Subtask",
    "TaskPlan",
    "TaskRpm",
    "TaskTimes",
    "at",
    "chroot_hash",
    "compose_task",
    "compose_worked_example",
    "make_rpm",
    "task_rpm",
    "worked_example",
]
