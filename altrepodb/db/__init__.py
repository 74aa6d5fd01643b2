"""The database: one interface, an embedded and a server backend, the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from altrepodb.db.database import Columns, Database, Parameters, Row

if TYPE_CHECKING:
    from altrepodb.config import DatabaseSettings

__all__ = ["Columns", "Database", "Parameters", "Row", "kept_open", "open_database"]

EMBEDDED_WAIT_S = 30.0
"""How long to wait for another process to leave the embedded database."""


_kept: ContextVar[_Kept | None] = ContextVar("kept databases", default=None)


class _Kept:
    """The databases that were opened inside ``kept_open``, by their settings."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.databases: dict[DatabaseSettings, Database] = {}


@contextmanager
def kept_open() -> Iterator[Callable[[DatabaseSettings], Database | None]]:
    """Close the databases that are opened in the block at the end of the block, not before.

    What a command has to say about its run goes into the database that it used, and opening an
    embedded one again would cost more than some runs. Yields what finds an open database.
    """
    kept = _Kept()
    with kept.stack:
        token = _kept.set(kept)
        try:
            yield kept.databases.get
        finally:
            _kept.reset(token)


def open_database(
    settings: DatabaseSettings, wait_s: float = EMBEDDED_WAIT_S, *, with_schema: bool = True
) -> AbstractContextManager[Database]:
    """Open the database that the settings choose; an embedded one gets its schema, if wanted.

    Raises DatabaseUnavailableError, LockHeldError, DatabaseError or ConfigurationError.
    """
    kept = _kept.get()
    opened = _opened(settings, wait_s, with_schema)
    return opened if kept is None else _shared(kept, settings, opened)


@contextmanager
def _shared(
    kept: _Kept, settings: DatabaseSettings, opened: AbstractContextManager[Database]
) -> Iterator[Database]:
    if settings not in kept.databases:
        kept.databases[settings] = kept.stack.enter_context(opened)
    yield kept.databases[settings]


def _opened(
    settings: DatabaseSettings, wait_s: float, with_schema: bool
) -> AbstractContextManager[Database]:
    if settings.embedded is None:
        from altrepodb.db.server import open_server

        return open_server(settings)
    from altrepodb.db.embedded import open_embedded

    return open_embedded(settings.embedded, settings.dbname, wait_s, with_schema)
