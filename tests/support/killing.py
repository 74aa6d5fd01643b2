"""Kill a command that loads into a database, at any moment or in its last phase."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from altrepodb.db.database import Database
from tests.support.loading import (
    command_line,
    environment,
    living_processes,
    open_database_in,
    stored_rows,
)

__all__ = ["CleanRun", "Target", "kill_at_some_moment", "run_cleanly", "table_directory"]

_POLL_S = 0.0005
_TIMEOUT_S = 300.0
_DEATH_S = 60.0
_DATA_PATH = """
SELECT data_paths[1] FROM system.tables
WHERE name = {table:String} AND database = currentDatabase()
"""

Rows = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What a run without trouble leaves, and how long it and its last phase take."""

    rows: Rows
    seconds: float
    commit_seconds: float


class Target:
    """A copy of a closed database, to be loaded into by a process that will be killed.

    ``watched`` is the directory, relative to the database's, of the table whose first new part
    shows that the last phase of the load has begun.
    """

    def __init__(
        self, template: Path, directory: Path, watched: Path, program: str, *arguments: str | Path
    ) -> None:
        shutil.copytree(template, directory, symlinks=True)
        self.directory = directory
        self._watched = directory / watched
        self._command = command_line(program, "--quiet", "-e", directory, *arguments)
        self._parts = self._watched_parts()

    def _watched_parts(self) -> set[str]:
        names = os.listdir(self._watched)
        return {name for name in names if not name.startswith("tmp") and name[0].isalpha()}

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own."""
        return subprocess.Popen(
            self._command, env=environment(self.directory.parent), start_new_session=True
        )

    def wait_for_commit(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the last phase has begun, or the process has ended."""
        while self._watched_parts() == self._parts and process.poll() is None:
            time.sleep(_POLL_S)


def table_directory(template: Path, table: str) -> Path:
    """Where a closed database keeps a table, relative to its directory."""
    with open_database_in(template) as database:
        ((path,),) = database.query(_DATA_PATH, {"table": table})
    return Path(path).relative_to(template.resolve())


def run_cleanly(target: Target, rows_of: Callable[[Database], Rows] = stored_rows) -> CleanRun:
    """Let the command end, and look at the rows."""
    started = time.monotonic()
    with target.start() as process:
        target.wait_for_commit(process)
        commit = time.monotonic()
        assert process.wait(_TIMEOUT_S) == 0
    ended = time.monotonic()
    with open_database_in(target.directory) as database:
        rows = rows_of(database)
    return CleanRun(rows, ended - started, ended - commit)


def kill_at_some_moment(
    target: Target,
    clean: CleanRun,
    rng: Random,
    in_commit: bool,
    *,
    earliest: float = 0.2,
    latest_in_commit: float = 1.0,
) -> str:
    """Start the command and kill it, in its last phase or at any moment; tells when that was.

    The bounds are parts of the time that a clean run and its last phase take. The first part of
    a run does nothing but start an interpreter.
    """
    with target.start() as process:
        moment = rng.uniform(earliest, 1.05) * clean.seconds
        if in_commit:
            target.wait_for_commit(process)
            moment = rng.uniform(0, latest_in_commit) * clean.commit_seconds
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        exit_code = process.wait(_TIMEOUT_S)
    assert exit_code in (0, -signal.SIGKILL)
    deadline = time.monotonic() + _DEATH_S
    while living_processes(process.pid):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(_POLL_S)
    return f"{moment:.3f} s {'after the commit began' if in_commit else 'after the start'}"
