"""The database: one interface, an embedded and a server backend, the schema."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from altrepodb.db.database import Columns, Database, Parameters, Row

if TYPE_CHECKING:
    from altrepodb.config import DatabaseSettings

__all__ = ["Columns", "Database", "Parameters", "Row", "open_database"]

EMBEDDED_WAIT_S = 30.0
"""How long to wait for another process to leave the embedded database."""


def open_database(
    settings: DatabaseSettings, wait_s: float = EMBEDDED_WAIT_S, *, with_schema: bool = True
) -> AbstractContextManager[Database]:
    """Open the database that the settings choose; an embedded one gets its schema, if wanted.

    Raises DatabaseUnavailableError, LockHeldError, DatabaseError or ConfigurationError.
    """
    if settings.embedded is None:
        from altrepodb.db.server import open_server

        return open_server(settings)
    from altrepodb.db.embedded import open_embedded

    return open_embedded(settings.embedded, settings.dbname, wait_s, with_schema)
