"""The ledger's rows of a worker: written in groups, since a message may take a millisecond only.

A row waits for a second at most, and is lost if the worker is killed meanwhile; the log has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from altrepodb.db.database import Database
from altrepodb.db.ledger import LoaderRun, record_runs
from altrepodb.errors import AltrepodbError

__all__ = ["Recorder"]

_WAIT_S = 1.0
_MAX_ROWS = 1000
_PAUSE_AFTER_FAILURE_S = 60.0


class Recorder:
    """Rows that wait to be written; ``database`` opens the database for them."""

    def __init__(self, database: Callable[[], AbstractContextManager[Database]]) -> None:
        self._database = database
        self._rows: list[LoaderRun] = []
        self._since = 0.0
        self._silent_until = 0.0

    def add(self, run: LoaderRun) -> None:
        """Have a row written; none is kept while the ledger cannot be written."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._since = self._since if self._rows else now
            self._rows.append(run)

    def wait_s(self) -> float | None:
        """Seconds until rows are to be written; None when there are none."""
        if not self._rows:
            return None
        if len(self._rows) >= _MAX_ROWS:
            return 0.0
        return max(0.0, self._since + _WAIT_S - time.monotonic())

    def write(self) -> None:
        """Write what waits. A failure never matters to the messages."""
        if not self._rows:
            return
        try:
            with self._database() as database:
                self.write_to(database)
        except AltrepodbError:
            self._rows.clear()
            self._be_silent()

    def write_to(self, database: Database) -> None:
        """Write what waits to a database that is open."""
        rows, self._rows = self._rows, []
        if rows and not record_runs(database, rows):
            self._be_silent()

    def _be_silent(self) -> None:
        self._silent_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
