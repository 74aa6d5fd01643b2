"""Buffer tables: having the rows that other programs put there written to their tables."""

from __future__ import annotations

from collections.abc import Sequence

from altrepodb.db.database import Database
from altrepodb.db.parameters import quoted_identifier

__all__ = ["flush_buffers"]

_BUFFERS = """
SELECT name FROM system.tables
WHERE database = {database:String} AND engine = 'Buffer' AND has({names:Array(String)}, name)
"""


def flush_buffers(database: Database, names: Sequence[str]) -> None:
    """Flush these buffer tables, in this order, as far as they are there."""
    parameters = {"database": database.name, "names": list(names)}
    present = {name for (name,) in database.query(_BUFFERS, parameters)}
    for name in names:
        if name in present:
            database.execute(f"OPTIMIZE TABLE {quoted_identifier(name)}")
