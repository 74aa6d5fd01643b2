"""What messages of the build system ask for, done: loads, deletions, decisions, progress.

Everything here may be done again, as happens when a message is delivered a second time, and adds
no row then.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altrepodb.db.database import Columns, Database
from altrepodb.errors import SourceError, TemporaryError
from altrepodb.rpm.package_file import printable
from altrepodb.task.files import text
from altrepodb.task.messages import Decision, Deletion, TaskEvent
from altrepodb.task.progress import store_progress
from altrepodb.task.rows import STATE_COLUMNS
from altrepodb.task.summary import TaskOptions, TaskSummary

__all__ = ["TaskTrees", "apply_event", "find_task", "store_decision", "store_deletion"]

WORKERS = 4

_TASKS_PER_ARCHIVE_DIRECTORY = 1024
_MOVING_S = 600.0
"""How long a task may be in neither place, while it is moved to the archive."""

_SETTLED_STATES = frozenset({"DONE", "FAILED", "NEW", "TESTED", "EPERM"})
_DELETED, _DELETED_MESSAGE = "DELETED", "task deleted"
_TS_RESOLUTION_S = 1.0

_STATES = """
SELECT task_state, toUnixTimestamp(task_changed) FROM TaskStates
WHERE task_id = {task_id:UInt32}
ORDER BY task_changed DESC, ts DESC
"""
_DECISIONS = """
SELECT toString(tapp_type), toUnixTimestamp(tapp_date), tapp_message, tapp_revoked,
    toUnixTimestamp(ts) >= toUnixTimestamp(now())
FROM TaskApprovals
WHERE task_id = {task_id:UInt32} AND subtask_id = {subtask_id:UInt32} AND tapp_name = {name:String}
"""


@dataclass(frozen=True, slots=True)
class TaskTrees:
    """Where the build system keeps tasks: those it works on, and those that are done."""

    live: Path
    archive: Path


def apply_event(
    event: TaskEvent, trees: TaskTrees, received: float, database: Database
) -> TaskSummary:
    """Do all that a message asks for.

    ``received`` is when the message came, in seconds since 1970. Raises TemporaryError while the
    task may still be on its way to another place, SourceError, DatabaseError.
    """
    inserted = store_progress(event.progress, database) if event.progress else {}
    if event.deletion is not None:
        inserted |= store_deletion(event.task_id, event.deletion, database)
    if event.decision is not None:
        inserted |= store_decision(event.decision, database)
    summary = TaskSummary()
    if event.is_load:
        summary = load_announced(event.task_id, trees, received, database)
    summary.inserted = inserted | summary.inserted
    return summary


# --- loads


def load_announced(
    task_id: int, trees: TaskTrees, received: float, database: Database
) -> TaskSummary:
    """Load a task as far as its state on disk is one to be loaded; raises as ``apply_event``.

    When it has gone on to another state meanwhile, another message follows.
    """
    from altrepodb.task.load import load_tasks
    from altrepodb.workers import worker_pool

    root = find_task(task_id, trees, received)
    state = text(root / "task" / "state").strip()
    if state and state not in _SETTLED_STATES:
        return TaskSummary(tasks=1, skipped=1)
    options = TaskOptions(
        paths=[root],
        with_approvals=False,
        with_new_logs=False,
        flush_buffers=True,
        states=_SETTLED_STATES,
    )
    try:
        with worker_pool(WORKERS) as pool:
            return load_tasks(options, database, pool)
    except SourceError as error:
        if root.is_dir():
            raise
        raise TemporaryError(f"{_shown(root)}: moved while it was read") from error


def find_task(task_id: int, trees: TaskTrees, received: float) -> Path:
    """The directory of a task, preferably the live one.

    Raises TemporaryError when there is none while it may be on its way to the archive, or when a
    directory cannot be looked into; SourceError when it is nowhere for too long.
    """
    archived = f"_{task_id // _TASKS_PER_ARCHIVE_DIRECTORY}"
    places = trees.live / str(task_id), trees.archive / archived / str(task_id)
    for place in places:
        try:
            if place.is_dir():
                return place
        except OSError as error:
            raise TemporaryError(f"{_shown(place)}: {error.strerror}") from error
    message = f"task {task_id}: neither {' nor '.join(map(_shown, places))} is there"
    # The clock may have been set back meanwhile.
    if abs(time.time() - received) < _MOVING_S:
        raise TemporaryError(message)
    raise SourceError(message)


def _shown(path: Path) -> str:
    return printable(os.fspath(path))


# --- rows


def store_deletion(task_id: int, deletion: Deletion, database: Database) -> dict[str, int]:
    """Store that a task was deleted, unless that is its newest state already.

    Returns the number of rows by table, as the others do.
    """
    states = database.query(_STATES, {"task_id": task_id})
    changed = int(time.time()) if deletion.time is None else deletion.time
    if (states and states[0][0] == _DELETED) or (_DELETED, changed) in states:
        return {}
    row: tuple[Any, ...] = (
        changed,
        task_id,
        _DELETED,
        "",
        [],
        0,
        0,
        0,
        0,
        _DELETED_MESSAGE,
        "",
        0,
        [],
    )
    columns = {name: [value] for name, value in zip(STATE_COLUMNS, row, strict=True)}
    return {"TaskStates": database.insert("TaskStates", columns)}


def store_decision(decision: Decision, database: Database) -> dict[str, int]:
    """Store a decision, unless the very row is there.

    Not only the newest row is looked at: a decision that was withdrawn meanwhile would come to
    life again when its message is delivered a second time.
    """
    approval = decision.approval
    row = (approval.kind, approval.date, approval.message, int(decision.is_revoked))
    parameters = {
        "task_id": approval.task_id,
        "subtask_id": approval.subtask_id,
        "name": approval.name,
    }
    stored = database.query(_DECISIONS, parameters)
    if any(known[:4] == row for known in stored):
        return {}
    # Readers take the newest row by a time of insertion in whole seconds.
    if any(is_fresh for *_, is_fresh in stored):
        time.sleep(_TS_RESOLUTION_S)
    columns: Columns = {
        "task_id": [approval.task_id],
        "subtask_id": [approval.subtask_id],
        "tapp_type": [approval.kind],
        "tapp_revoked": [int(decision.is_revoked)],
        "tapp_date": [approval.date],
        "tapp_name": [approval.name],
        "tapp_message": [approval.message],
    }
    return {"TaskApprovals": database.insert("TaskApprovals", columns)}
