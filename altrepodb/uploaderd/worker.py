"""A worker process: takes one work after the other, runs the loader, tells how it ended.

It has a database connection of its own and none to the broker. It obeys its service's pipe only:
signals that are meant for the daemon are ignored, and when the pipe closes or the service is
killed it ends at once, with what it has started. A load may start processes of its own.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from altrepodb.config import DatabaseSettings
from altrepodb.db import open_database
from altrepodb.db.database import Database
from altrepodb.db.ledger import LoaderRun, result_of, summary_counts
from altrepodb.errors import AlreadyLoadedError, AltrepodbError, DatabaseUnavailableError
from altrepodb.uploaderd.log import LogSink, daemon_log
from altrepodb.uploaderd.outcome import (
    Outcome,
    OutcomeKind,
    outcome_of_error,
    outcome_of_summary,
)
from altrepodb.uploaderd.processes import (
    die_with_parent,
    ignore_signals,
    set_title,
    watch_pipe,
)
from altrepodb.uploaderd.recording import Recorder
from altrepodb.uploaderd.service_type import ServiceType, Work

__all__ = ["LEAVE", "PROBE", "READY", "LoadRequest", "WorkerStart", "run_worker"]

LEAVE: Literal["leave"] = "leave"
"""Asks a worker to write what it has for the ledger, and to end."""

PROBE: Literal["probe"] = "probe"
"""Asks a worker to look whether the database answers."""

READY: Literal["ready"] = "ready"
"""Says that a worker has started."""

_EMBEDDED_WAIT_S = 600.0
_TESTED_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """All that a worker needs to know; no credentials but those of its database."""

    type: ServiceType
    own: Any
    database: DatabaseSettings
    log: LogSink
    parent: int


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One work, and what the ledger tells about its message."""

    work: Work
    routing_key: str
    attempt: int


def run_worker(start: WorkerStart, pipe: Connection) -> None:
    """The life of a worker process."""
    ignore_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    die_with_parent(start.parent)
    # A group of its own, so that what a load has started can be killed with it.
    os.setpgid(0, 0)
    set_title(f"{start.type.name}_worker")
    watch_pipe(pipe)
    with daemon_log(start.log), _Connections(start.database) as connections:
        recorder = Recorder(connections.database)
        pipe.send(READY)
        with suppress(EOFError):
            _serve(pipe, start, connections, recorder)


def _serve(
    pipe: Connection, start: WorkerStart, connections: _Connections, recorder: Recorder
) -> None:
    """Answer requests until told to leave. Raises EOFError when the service is gone."""
    while True:
        wait_s = recorder.wait_s()
        if wait_s == 0.0 or not pipe.poll(wait_s):
            recorder.write()
            continue
        request = pipe.recv()
        if request == LEAVE:
            recorder.write()
            return
        pipe.send(_answer(request, start, connections, recorder))


class _Connections:
    """The worker's way to its database.

    A connection to a server stays open from load to load. The embedded engine admits one process
    at a time, so it is opened for each load and closed after it.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._open = ExitStack()
        self._database: Database | None = None
        self._used = 0.0

    def __enter__(self) -> _Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database for one load. Raises DatabaseUnavailableError, whatever hinders it."""
        with ExitStack() as stack:
            if self._settings.embedded is not None:
                yield stack.enter_context(_opened(self._settings))
                return
            database = self._database
            if database is None:
                database = self._database = self._open.enter_context(_opened(self._settings))
            elif time.monotonic() - self._used > _TESTED_AFTER_S:
                database = self._tested(database)
            try:
                yield database
            except BaseException:
                # Whatever state it is in, the next load shall not inherit it.
                self.forget()
                raise
            self._used = time.monotonic()

    def forget(self) -> None:
        """Close the connection, if there is one."""
        self._database = None
        self._open.close()

    def _tested(self, database: Database) -> Database:
        """A connection that has rested may have been closed by the server."""
        try:
            database.query("SELECT 1")
        except AltrepodbError:
            self.forget()
            database = self._database = self._open.enter_context(_opened(self._settings))
        return database


@contextmanager
def _opened(settings: DatabaseSettings) -> Iterator[Database]:
    """Open a database; a database that cannot be opened is no message's fault."""
    with ExitStack() as stack:
        try:
            database = stack.enter_context(open_database(settings, _EMBEDDED_WAIT_S))
        except DatabaseUnavailableError:
            raise
        except AltrepodbError as error:
            raise DatabaseUnavailableError(str(error)) from error
        yield database


def _answer(
    request: Any, start: WorkerStart, connections: _Connections, recorder: Recorder
) -> Outcome:
    started = time.monotonic()
    try:
        with connections.database() as database:
            if request == PROBE:
                database.query("SELECT 1")
                outcome = Outcome(OutcomeKind.DONE)
            else:
                assert isinstance(request, LoadRequest)
                outcome = _load(request, start, database, recorder)
                if start.database.embedded is not None:
                    # To open it once more would take longer than most loads.
                    recorder.write_to(database)
    except MemoryError:
        # What is left of this process is not to be trusted; the service counts a crash.
        raise
    except Exception as error:
        # The one place that turns whatever a loader raises into the fate of the message.
        outcome = outcome_of_error(error)
        if not isinstance(error, AltrepodbError):
            logging.getLogger(f"altrepodb.{start.type.name}").exception("defect")
    return Outcome(outcome.kind, outcome.reason, time.monotonic() - started)


def _load(
    request: LoadRequest, start: WorkerStart, database: Database, recorder: Recorder
) -> Outcome:
    """Call the loader, and have the ledger tell how it ended."""
    started = time.monotonic()
    try:
        summary = start.type.load(request.work, start.own, database)
    except MemoryError:
        raise
    except Exception as error:
        _record(request, start, recorder, started, outcome_of_error(error), error)
        raise
    outcome = outcome_of_summary(summary)
    _record(request, start, recorder, started, outcome, summary)
    return outcome


def _record(
    request: LoadRequest,
    start: WorkerStart,
    recorder: Recorder,
    started: float,
    outcome: Outcome,
    end: object,
) -> None:
    """Add one row; ``end`` is the summary or the exception that the loader ended with."""
    if outcome.kind is OutcomeKind.DATABASE_AWAY:
        return
    seconds = time.monotonic() - started
    is_error = isinstance(end, Exception)
    exit_code = getattr(end, "exit_code", AltrepodbError.exit_code if is_error else 0)
    is_loaded = exit_code == AlreadyLoadedError.exit_code
    inserted, warnings = summary_counts(end)
    recorder.add(
        LoaderRun(
            program=start.type.name,
            started=time.time() - seconds,
            seconds=seconds,
            result=result_of(exit_code) if is_loaded else outcome.kind.value,
            exit_code=exit_code,
            subject=request.work.subject,
            routing_key=request.routing_key,
            attempt=request.attempt,
            inserted=inserted,
            warnings=warnings,
            error=outcome.reason,
        ),
    )
