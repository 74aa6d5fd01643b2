"""What the database holds of tasks already, so that nothing is written twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from altrepodb.db.database import Database
from altrepodb.db.mutations import delete_rows
from altrepodb.task.approvals import Approval
from altrepodb.task.tree import Task

__all__ = [
    "StoredApproval",
    "comparable",
    "delete_stale_rows",
    "recorded_logs",
    "stored_approvals",
    "stored_plan_rows",
    "stored_rows",
    "without_history",
]

Row = tuple[Any, ...]

_SELECT_VERSIONS = """
SELECT {columns} FROM {table}
WHERE task_id IN {ids:Array(UInt32)} AND task_changed IN (
    SELECT toDateTime(arrayJoin({times:Array(UInt32)})))
"""
_SELECT_PLANS = "SELECT {columns} FROM {table} WHERE tplan_hash IN {keys:Array(UInt64)}"
# A version in state NEW may have been loaded without lines, so only that version itself counts.
_WITH_LOGS = """
task_id IN {ids:Array(UInt32)}
    AND (task_state != 'NEW' OR toUnixTimestamp(task_changed) IN {times:Array(UInt32)})
"""
_RECORDED_LOGS = f"""
SELECT task_id, log, max(changed) FROM
(
    SELECT task_id, arrayJoin(task_eventlog_hash) AS log, toUnixTimestamp(task_changed) AS changed
    FROM TaskStates WHERE {_WITH_LOGS}
    UNION ALL
    SELECT task_id, arrayJoin([titer_buildlog_hash, titer_srpmlog_hash]) AS log,
        toUnixTimestamp(task_changed) AS changed
    FROM TaskIterations
    WHERE task_id IN {{ids:Array(UInt32)}} AND (task_id, task_changed) IN
        (SELECT task_id, task_changed FROM TaskStates WHERE {_WITH_LOGS})
)
WHERE log != 0
GROUP BY task_id, log
"""
_HISTORIES = """
SELECT DISTINCT task_id, toUnixTimestamp(task_changed) FROM BranchPackageHistory
WHERE task_id IN {ids:Array(UInt32)}
"""
_NEWEST_APPROVALS = """
SELECT task_id, subtask_id, newest.1, newest.2, tapp_name, newest.3, newest.4, is_fresh
FROM
(
    SELECT task_id, subtask_id, tapp_name, max(ts) >= now() AS is_fresh, argMax(
        (toString(tapp_type), toUnixTimestamp(tapp_date), tapp_message, tapp_revoked),
        (ts, tapp_date)) AS newest
    FROM TaskApprovals
    WHERE task_id IN {ids:Array(UInt32)}
    GROUP BY task_id, subtask_id, tapp_name
)
"""


def _ids(tasks: Iterable[Task]) -> dict[str, list[int]]:
    return {"ids": sorted({task.id for task in tasks})}


def _versions(tasks: Sequence[Task]) -> dict[str, list[int]]:
    return _ids(tasks) | {"times": sorted({task.changed for task in tasks})}


def _named(statement: str, table: str, columns: Sequence[str]) -> str:
    """The statement for a table and its columns, all of them fixed names of the program."""
    selected = ", ".join(f"`{column}`" for column in columns)
    return statement.replace("{table}", table).replace("{columns}", selected)


def stored_rows(
    database: Database, table: str, columns: Sequence[str], tasks: Sequence[Task]
) -> set[Row]:
    """The rows of these versions of tasks, with lists as tuples."""
    rows = database.query(_named(_SELECT_VERSIONS, table, columns), _versions(tasks))
    versions = {(task.id, task.changed) for task in tasks}
    task_id, changed = columns.index("task_id"), columns.index("task_changed")
    return {comparable(row) for row in rows if (row[task_id], row[changed]) in versions}


def stored_plan_rows(
    database: Database, table: str, columns: Sequence[str], keys: Iterable[int]
) -> set[Row]:
    """The rows under these plan keys."""
    rows = database.query(_named(_SELECT_PLANS, table, columns), {"keys": sorted(set(keys))})
    return {comparable(row) for row in rows}


def comparable(row: Row) -> Row:
    """A row in the form in which stored and new ones compare equal."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def recorded_logs(database: Database, tasks: Sequence[Task]) -> dict[tuple[int, int], int]:
    """(task, log key) -> the newest version of the task that recorded this log."""
    rows = database.query(_RECORDED_LOGS, _versions(tasks))
    return {(task_id, log_hash): changed for task_id, log_hash, changed in rows}


def without_history(database: Database, tasks: Sequence[Task]) -> set[int]:
    """Which of these finished tasks lack their history.

    A view writes it after the state, at least one row for each; a load that is killed in
    between leaves the state alone.
    """
    finished = {(task.id, task.changed) for task in tasks if task.state == "DONE"}
    if not finished:
        return set()
    return {task_id for task_id, _ in finished.difference(database.query(_HISTORIES, _ids(tasks)))}


class StoredApproval(NamedTuple):
    """A record, whether it withdraws the approval, and whether it is of this very second."""

    approval: Approval
    is_revoked: bool
    is_fresh: bool


def stored_approvals(database: Database, tasks: Sequence[Task]) -> list[StoredApproval]:
    """The newest record of each (task, subtask, name)."""
    return [
        StoredApproval(Approval(*fields), bool(is_revoked), bool(is_fresh))
        for *fields, is_revoked, is_fresh in database.query(_NEWEST_APPROVALS, _ids(tasks))
    ]


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
