"""The ledger: one row of LoaderRuns for each run of a command and each message of the daemon.

It says what ran when, on which host, with which result. It is written last and never matters to
the run itself: a row that cannot be written is a warning.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from altrepodb import __version__
from altrepodb.db.database import Database
from altrepodb.errors import AltrepodbError

__all__ = ["LoaderRun", "record_run", "record_runs", "result_of", "summary_counts"]

logger = logging.getLogger(__name__)

_TABLE = "LoaderRuns"
_MAX_TEXT_CHARACTERS = 2000
_MAX_UINT32 = 0xFFFFFFFF
_RESULTS = {0: "done", 2: "misconfigured", 3: "already loaded", 75: "temporary failure"}


@dataclass(frozen=True, slots=True)
class LoaderRun:
    """One run. ``started`` is in seconds since 1970 UTC.

    ``program`` is a command or a service, ``subject`` what it worked on. ``inserted`` has the
    number of rows by table. ``routing_key`` and ``attempt`` (from 1) are those of a message; a
    command has none.
    """

    program: str
    started: float
    seconds: float
    result: str
    exit_code: int = 0
    subject: str = ""
    routing_key: str = ""
    attempt: int = 0
    inserted: Mapping[str, int] = field(default_factory=dict)
    warnings: int = 0
    error: str = ""


def result_of(exit_code: int) -> str:
    """The word for an exit code in the column ``run_result``."""
    return _RESULTS.get(exit_code, "failed" if exit_code < 128 else "interrupted")


def summary_counts(summary: object) -> tuple[Mapping[str, int], int]:
    """What a loader's summary says for the ledger: rows inserted by table, and warnings."""
    inserted = getattr(summary, "inserted", None)
    warnings = getattr(summary, "warnings", None)
    return (
        inserted if isinstance(inserted, Mapping) else {},
        warnings if isinstance(warnings, int) else 0,
    )


def record_run(database: Database, run: LoaderRun) -> bool:
    """Write the row of a run; when that fails, warn and return False."""
    return record_runs(database, [run])


def record_runs(database: Database, runs: Sequence[LoaderRun]) -> bool:
    """Write the rows of several runs in one block; when that fails, warn and return False."""
    rows = [_row(run) for run in runs]
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    try:
        database.insert(_TABLE, columns)
    except AltrepodbError as error:
        what = "this run is" if len(runs) == 1 else f"{len(runs)} runs are"
        logger.warning("%s: %s not recorded: %s", _TABLE, what, error)
        return False
    return True


def _row(run: LoaderRun) -> Mapping[str, Any]:
    """The row by column. Texts are cut, so that one error cannot fill the table."""
    counts = {table: rows for table, rows in run.inserted.items() if rows > 0}
    return {
        "run_program": run.program,
        "run_version": __version__,
        "run_host": socket.gethostname(),
        "run_started": round(run.started * 1000),
        "run_seconds": float(run.seconds),
        "run_result": run.result,
        "run_exit_code": run.exit_code & 0xFF,
        "run_subject": run.subject[:_MAX_TEXT_CHARACTERS],
        "run_routing_key": run.routing_key,
        "run_attempt": min(run.attempt, _MAX_UINT32),
        "run_tables": list(counts),
        "run_table_rows": list(counts.values()),
        "run_rows": sum(counts.values()),
        "run_warnings": min(run.warnings, _MAX_UINT32),
        "run_error": run.error[:_MAX_TEXT_CHARACTERS],
    }
