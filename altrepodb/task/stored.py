"""What the database holds of tasks already, so that nothing is written twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from altrepodb.db.database import Database
from altrepodb.db.mutations import delete_rows
from altrepodb.task.approvals import Approval
from altrepodb.task.tree import Task

__all__ = [
    "delete_stale_rows",
    "recorded_logs",
    "stored_approvals",
    "stored_plan_rows",
    "stored_rows",
]

Row = tuple[Any, ...]

_SELECT_VERSIONS = """
SELECT {columns} FROM {table}
WHERE task_id IN {ids:Array(UInt32)} AND task_changed IN (
    SELECT toDateTime(arrayJoin({times:Array(UInt32)})))
"""
_SELECT_PLANS = "SELECT {columns} FROM {table} WHERE tplan_hash IN {keys:Array(UInt64)}"
_RECORDED_LOGS = """
SELECT task_id, log, max(changed) FROM
(
    SELECT task_id, arrayJoin(task_eventlog_hash) AS log, toUnixTimestamp(task_changed) AS changed
    FROM TaskStates WHERE task_id IN {ids:Array(UInt32)}
    UNION ALL
    SELECT task_id, arrayJoin([titer_buildlog_hash, titer_srpmlog_hash]) AS log,
        toUnixTimestamp(task_changed) AS changed
    FROM TaskIterations
    WHERE task_id IN {ids:Array(UInt32)} AND (task_id, task_changed) IN
        (SELECT task_id, task_changed FROM TaskStates WHERE task_id IN {ids:Array(UInt32)})
)
WHERE log != 0
GROUP BY task_id, log
"""
_NEWEST_APPROVALS = """
SELECT task_id, subtask_id, toString(argMax(tapp_type, ts)),
    toUnixTimestamp(argMax(tapp_date, ts)), tapp_name, argMax(tapp_message, ts),
    argMax(tapp_revoked, ts)
FROM TaskApprovals
WHERE task_id IN {ids:Array(UInt32)}
GROUP BY task_id, subtask_id, tapp_name
"""


def _ids(tasks: Iterable[Task]) -> dict[str, list[int]]:
    return {"ids": sorted({task.id for task in tasks})}


def _named(statement: str, table: str, columns: Sequence[str]) -> str:
    """The statement for a table and its columns, all of them fixed names of the program."""
    selected = ", ".join(f"`{column}`" for column in columns)
    return statement.replace("{table}", table).replace("{columns}", selected)


def stored_rows(
    database: Database, table: str, columns: Sequence[str], tasks: Sequence[Task]
) -> set[Row]:
    """The rows of these versions of tasks, with lists as tuples."""
    parameters = _ids(tasks) | {"times": sorted({task.changed for task in tasks})}
    rows = database.query(_named(_SELECT_VERSIONS, table, columns), parameters)
    return {comparable(row) for row in rows}


def stored_plan_rows(
    database: Database, table: str, columns: Sequence[str], keys: Iterable[int]
) -> set[Row]:
    """The rows under these plan keys."""
    rows = database.query(_named(_SELECT_PLANS, table, columns), {"keys": sorted(set(keys))})
    return {comparable(row) for row in rows}


def comparable(row: Row) -> Row:
    """A row in the form in which stored and new ones compare equal."""
    return tuple(map(_comparable_value, row))


def _comparable_value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bytes) and len(value) != 32:
        return value.decode("utf-8", "surrogateescape")
    return value


def recorded_logs(database: Database, tasks: Sequence[Task]) -> dict[tuple[int, int], int]:
    """(task, log key) -> the newest version of the task that recorded this log."""
    rows = database.query(_RECORDED_LOGS, _ids(tasks))
    return {(task_id, log_hash): changed for task_id, log_hash, changed in rows}


def stored_approvals(
    database: Database, tasks: Sequence[Task]
) -> dict[int, list[tuple[Approval, bool]]]:
    """The newest record of each (subtask, name), by task, with whether it is a revocation."""
    found: dict[int, list[tuple[Approval, bool]]] = {task.id: [] for task in tasks}
    for *fields, is_revoked in database.query(_NEWEST_APPROVALS, _ids(tasks)):
        approval = Approval(*fields)
        found[approval.task_id].append((approval, bool(is_revoked)))
    return found


_STALE_STATES = """
task_id = {task_id:UInt32} AND task_changed = toDateTime({changed:UInt32})
    AND (task_state != {state:String} OR task_try != {try:UInt16})
"""
_STALE_SUBTASKS = """
task_id = {task_id:UInt32} AND task_changed = toDateTime({changed:UInt32})
    AND NOT has({keys:Array(String)}, concat(toString(subtask_id), ' ',
        toString(toUnixTimestamp(subtask_changed)), ' ', toString(subtask_deleted)))
"""
_STALE_ITERATIONS = """
task_id = {task_id:UInt32} AND task_changed = toDateTime({changed:UInt32})
    AND NOT has({keys:Array(String)}, concat(toString(subtask_id), ' ', subtask_arch, ' ',
        toString(toUnixTimestamp(titer_ts)), ' ', titer_status, ' ', toString(task_try), ' ',
        toString(task_iter)))
"""


def delete_stale_rows(database: Database, task: Task) -> int:
    """Delete rows of this very version of a task that nothing on disk stands for any more."""
    version = {"task_id": task.id, "changed": task.changed}
    subtasks = [f"{s.id} {s.changed} {int(s.is_deleted)}" for s in task.subtasks]
    iterations = [
        f"{i.subtask_id} {i.arch} {i.time} {i.status} {task.task_try} {task.task_iter}"
        for i in task.iterations
    ]
    return (
        delete_rows(
            database,
            "TaskStates",
            _STALE_STATES,
            version | {"state": task.state, "try": task.task_try},
        )
        + delete_rows(database, "Tasks", _STALE_SUBTASKS, version | {"keys": subtasks})
        + delete_rows(database, "TaskIterations", _STALE_ITERATIONS, version | {"keys": iterations})
    )
