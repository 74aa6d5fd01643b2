"""What every loader may ask of a database, whichever backend stands behind it.

Values travel as parameters or as columns, never inside the text of a statement. A statement
names its parameters as ClickHouse does: ``SELECT ... WHERE pkg_name = {name:String}``.

Text goes in as ``bytes`` or ``str``; ``str`` is encoded as UTF-8 with lone surrogates standing
for undecodable bytes, and columns of type String come back as such a ``str``, so that any byte
survives the round trip. FixedString comes back as ``bytes``. DateTime goes in and comes back as
an integer: seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Columns", "Database", "Parameters", "Row"]

Columns = Mapping[str, Sequence[Any]]
"""Column name -> values; all columns of one block have the same length."""

Parameters = Mapping[str, Any]
Row = tuple[Any, ...]


class Database(Protocol):
    """One connection to one ClickHouse database, used by one thread at a time."""

    @property
    def name(self) -> str:
        """The name of the database that unqualified tables belong to."""

    @property
    def key(self) -> str:
        """What tells databases apart, as ``DatabaseSettings.key``."""

    @property
    def version(self) -> tuple[int, ...]:
        """The engine's version, for example ``(26, 9, 2, 1)``."""

    @property
    def is_new(self) -> bool:
        """Whether the database was made just now, so that nothing can be found in it."""

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        """Run one statement that returns nothing.

        Raises DatabaseError with the engine's words, DatabaseUnavailableError when the
        connection is lost.
        """

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one statement and return all its rows. Raises as ``execute``."""

    def insert(self, table: str, columns: Columns) -> int:
        """Insert one block of columns into a table and return its number of rows.

        The rows are durable in the table (not in the client) on return. An empty block is
        no statement at all. Raises as ``execute``.
        """

    def temporary_table(
        self, name: str, structure: Mapping[str, str]
    ) -> AbstractContextManager[str]:
        """A table in memory, seen by this connection alone, gone at the end of the block."""

    def second_connection(self) -> AbstractContextManager[Database]:
        """Another connection to the same database, for use by one other thread."""

    def close(self) -> None:
        """End the connection; all that was inserted is kept."""
