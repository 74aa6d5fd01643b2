"""Deleting rows of MergeTree tables, done when the call returns."""

from __future__ import annotations

import time

from altrepodb.db.database import Database, Parameters
from altrepodb.db.parameters import quoted_identifier
from altrepodb.errors import DatabaseError

__all__ = ["delete_rows", "wait_for_deletions"]

_POLL_S = 0.02
_TIMEOUT_S = 3600.0

_COUNT = "SELECT count() FROM {table} WHERE {condition}"
_DELETE = "ALTER TABLE {table} DELETE WHERE {condition}"
_UNFINISHED = """
SELECT any(latest_fail_reason) FROM system.mutations
WHERE database = {database:String} AND table = {table:String} AND NOT is_done
HAVING count() > 0
"""
_UNFINISHED_WITHOUT_REASON = """
SELECT '' FROM system.mutations
WHERE database = {database:String} AND table = {table:String} AND NOT is_done LIMIT 1
"""
_FIRST_VERSION_WITH_REASON = (19, 10)


def delete_rows(
    database: Database, table: str, condition: str, parameters: Parameters | None = None
) -> int:
    """Delete the rows that meet a condition and wait until they are gone.

    Nothing is started when no row meets it. Returns their number. Raises DatabaseError when
    the engine cannot delete them.
    """
    named = {"table": quoted_identifier(table), "condition": condition}
    ((count,),) = database.query(_filled(_COUNT, named), parameters)
    if count:
        database.execute(_filled(_DELETE, named), parameters)
        wait_for_deletions(database, table)
    return int(count)


def _filled(statement: str, named: dict[str, str]) -> str:
    """The statement for a table and a condition, both fixed texts of the program."""
    return statement.replace("{table}", named["table"]).replace("{condition}", named["condition"])


def wait_for_deletions(database: Database, table: str) -> None:
    """Wait until no deletion is under way in a table, also one that a killed process began.

    Raises DatabaseError when the engine cannot finish it.
    """
    has_reason = database.version >= _FIRST_VERSION_WITH_REASON
    statement = _UNFINISHED if has_reason else _UNFINISHED_WITHOUT_REASON
    parameters = {"database": database.name, "table": table}
    deadline = time.monotonic() + _TIMEOUT_S
    while unfinished := database.query(statement, parameters):
        ((reason,),) = unfinished
        if reason or time.monotonic() > deadline:
            raise DatabaseError(f"{table}: rows cannot be deleted: {reason or 'timed out'}")
        time.sleep(_POLL_S)
