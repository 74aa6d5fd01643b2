"""What messages tell of tasks under way -> TaskProgress, and of subtasks -> TaskSubtaskProgress.

A message of a task gives a row of the first, one of a subtask a row of the second. ``type`` is the
last word of the routing key. Readers take the newest row; a message that comes again adds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from altrepodb.db.database import Database
from altrepodb.errors import SourceError
from altrepodb.json_values import (
    count_under,
    is_text,
    moment_under,
    number_of,
    number_under,
    text_under,
)

__all__ = ["Progress", "SubtaskProgress", "TaskProgress", "progress_of_message", "store_progress"]

_LARGEST_TRY, _LARGEST_ITER = 0xFFFF, 0xFF
_NO_ARCHITECTURE = "all"
_SUBTASK_TYPES = ("srpm", "gear", "copy", "delete", "rebuild")


class TaskProgress(NamedTuple):
    """A row of TaskProgress; ``task_changed`` is the time of the message, seconds since 1970."""

    task_id: int
    type: str
    task_repo: str
    task_owner: str
    task_state: str
    task_try: int
    task_iter: int
    task_testonly: int
    task_changed: int
    task_message: str
    task_depends: tuple[int, ...]
    stage: str
    stage_status: str


class SubtaskProgress(NamedTuple):
    """A row of TaskSubtaskProgress; ``subtask_changed`` is the time of the message."""

    task_id: int
    subtask_id: int
    type: str
    task_repo: str
    task_owner: str
    subtask_type: str
    subtask_srpm: str
    subtask_srpm_name: str
    subtask_srpm_evr: str
    subtask_dir: str
    subtask_tag_id: str
    subtask_tag_name: str
    subtask_tag_author: str
    subtask_package: str
    subtask_pkg_from: str
    subtask_changed: int
    arch: str
    status: str
    stage_status: str


Progress = TaskProgress | SubtaskProgress

_STORED_TASK = """
SELECT task_id, type, task_repo, task_owner, task_state, task_try, task_iter, task_testonly,
    toUnixTimestamp(task_changed), task_message, task_depends, stage, stage_status
FROM TaskProgress
WHERE task_id = {task_id:UInt32} AND task_changed = toDateTime({changed:UInt32})
"""
_STORED_SUBTASK = """
SELECT task_id, subtask_id, type, task_repo, task_owner, toString(subtask_type), subtask_srpm,
    subtask_srpm_name, subtask_srpm_evr, subtask_dir, subtask_tag_id, subtask_tag_name,
    subtask_tag_author, subtask_package, subtask_pkg_from, toUnixTimestamp(subtask_changed), arch,
    status, stage_status
FROM TaskSubtaskProgress
WHERE task_id = {task_id:UInt32} AND subtask_changed = toDateTime({changed:UInt32})
"""


def progress_of_message(kind: str, body: Mapping[str, Any]) -> Progress | None:
    """The row of a message; None when it lacks the task, its branch, owner, state or the time.

    ``kind`` is the last word of the routing key.
    """
    try:
        if body.get("subtaskid") is None:
            return _task_progress(kind, body)
        return _subtask_progress(kind, body)
    except SourceError:
        return None


def _task_progress(kind: str, body: Mapping[str, Any]) -> TaskProgress:
    return TaskProgress(
        task_id=number_under(body, "taskid"),
        type=kind,
        task_repo=text_under(body, "repo"),
        task_owner=text_under(body, "owner"),
        task_state=text_under(body, "state"),
        task_try=count_under(body, "try", _LARGEST_TRY),
        task_iter=count_under(body, "iter", _LARGEST_ITER),
        task_testonly=int(body.get("test_only") in (True, 1, "1")),
        task_changed=moment_under(body, "_timestamp"),
        task_message=_text(body, "message"),
        task_depends=_depends(body.get("depends")),
        stage=_text(body, "stage"),
        stage_status=_text(body, "stage_status"),
    )


def _subtask_progress(kind: str, body: Mapping[str, Any]) -> SubtaskProgress:
    subtask_type = _text(body, "type")
    return SubtaskProgress(
        task_id=number_under(body, "taskid"),
        subtask_id=number_under(body, "subtaskid"),
        type=kind,
        task_repo=text_under(body, "repo"),
        task_owner=text_under(body, "owner"),
        subtask_type=subtask_type if subtask_type in _SUBTASK_TYPES else "unknown",
        subtask_srpm=_text(body, "srpm"),
        subtask_srpm_name=_text(body, "srpm_name"),
        subtask_srpm_evr=_text(body, "srpm_evr"),
        subtask_dir=_text(body, "dir"),
        subtask_tag_id=_text(body, "tag_id"),
        subtask_tag_name=_text(body, "tag_name"),
        subtask_tag_author=_text(body, "tag_author"),
        subtask_package=_text(body, "package"),
        subtask_pkg_from=_text(body, "pkg_from"),
        subtask_changed=moment_under(body, "_timestamp"),
        arch=_text(body, "arch") or _NO_ARCHITECTURE,
        status=_text(body, "status"),
        stage_status=_text(body, "stage_status"),
    )


def _text(body: Mapping[str, Any], key: str) -> str:
    """A text that a message may lack."""
    value = body.get(key)
    return str(value) if is_text(value) else ""


def _depends(value: object) -> tuple[int, ...]:
    """The numbers of other tasks among the members of an array."""
    members = value if isinstance(value, list) else []
    return tuple(number for number in map(number_of, members) if number)


def store_progress(progress: Progress, database: Database) -> dict[str, int]:
    """Insert a row unless the very row is there; returns the number of rows by table."""
    if isinstance(progress, TaskProgress):
        table, statement, changed = "TaskProgress", _STORED_TASK, progress.task_changed
    else:
        table, statement = "TaskSubtaskProgress", _STORED_SUBTASK
        changed = progress.subtask_changed
    parameters = {"task_id": progress.task_id, "changed": changed}
    for row in database.query(statement, parameters):
        if tuple(tuple(v) if isinstance(v, list) else v for v in row) == tuple(progress):
            return {}
    columns = {name: [value] for name, value in progress._asdict().items()}
    return {table: database.insert(table, columns)}
