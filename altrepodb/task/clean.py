"""Stored task states -> reconciled with the disk: tasks that are gone are marked as deleted.

Nothing is deleted, neither on disk nor in the database; rows with the state DELETED are added.
What cannot be decided goes to a report for a person to read.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from altrepodb.db.buffers import flush_buffers
from altrepodb.db.database import Columns, Database
from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.rpm.package_file import printable

__all__ = ["REPORT_NAME", "CleanOptions", "CleanSummary", "clean_tasks"]

logger = logging.getLogger("altrepodb.clean")

REPORT_NAME = "unclear_state_tasks.log"

_STATE_DELETED = "DELETED"
_MESSAGE = "task found as deleted by task_cleaner"
_TASKS_PER_ARCHIVE_DIRECTORY = 1024
_MAX_TASK_ID = 0xFFFFFFFF
_MAX_TIME = 0xFFFFFFFF
_MAX_STATE_BYTES = 4096
_MAX_NAMED_TASKS = 20
_TASK_DIRECTORY = re.compile("[0-9]+")
_ARCHIVE_DIRECTORY = re.compile("_[0-9]+")

# Rows of one moment and task are told apart by when they were stored.
_NEWEST_STATES = """
SELECT task_id, toUnixTimestamp(task_changed), task_state
FROM
(
    SELECT task_id, task_changed, task_state
    FROM TaskStates
    ORDER BY task_id, task_changed DESC, ts DESC
    LIMIT 1 BY task_id
)
WHERE task_state NOT IN ('DONE', 'DELETED')
ORDER BY task_id
"""
_NEWEST_STATE_OF_TASK = """
SELECT task_id, toUnixTimestamp(task_changed), task_state
FROM
(
    SELECT task_id, task_changed, task_state
    FROM TaskStates
    WHERE task_id = {task_id:UInt32}
    ORDER BY task_changed DESC, ts DESC
    LIMIT 1
)
WHERE task_state NOT IN ('DONE', 'DELETED')
"""


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """Where the tasks are and what may be done.

    ``task_id`` restricts the run to one task. ``archive_dir`` holds finished tasks as
    ``_<id div 1024>/<id>``. A run that would mark more than ``max_deleted`` tasks marks none;
    0 is no limit. ``report`` is written when there are unclear tasks.
    """

    path: Path
    task_id: int | None = None
    archive_dir: Path | None = None
    max_deleted: int = 100
    dry_run: bool = False
    report: Path = Path(REPORT_NAME)

    def check(self) -> None:
        """Raise AltrepodbError for a task number that is none, SourceError for bad directories."""
        if self.task_id is not None and not 0 < self.task_id <= _MAX_TASK_ID:
            raise AltrepodbError(f"{self.task_id}: not a task number")
        for directory in (self.path, self.archive_dir):
            if directory is not None and not _is_directory(directory):
                raise SourceError(f"{printable(str(directory))}: not a directory")


@dataclass(slots=True)
class CleanSummary:
    """What a run found and did; also the object that ``--json`` prints.

    ``gone`` are the tasks without a directory, ``archived`` how many of the ``unclear`` ones
    were found in the archive, ``marked`` how many rows were inserted.
    """

    path: str
    candidates: int = 0
    unchanged: int = 0
    gone: list[int] = field(default_factory=list)
    unclear: int = 0
    archived: int = 0
    marked: int = 0
    report: str | None = None
    inserted: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False
    exit_code: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _StoredState:
    """The newest state of a task in the database; undecodable bytes are lone surrogates."""

    task_id: int
    changed: int
    state: str


@dataclass(frozen=True, slots=True)
class _UnclearTask:
    """A task whose states in the database and on disk differ."""

    stored: _StoredState
    on_disk: bytes
    is_archived: bool

    @property
    def line(self) -> bytes:
        """Its line in the report, undecodable bytes as they are."""
        stored = self.stored.state.encode("utf-8", "surrogateescape")
        fields = [b"%d" % self.stored.task_id, b"@DB", _field(stored), b"@FS", _field(self.on_disk)]
        return b"\t".join(fields) + b"\n"


@dataclass(slots=True)
class _Findings:
    """Candidates, sorted by what is on disk."""

    gone: list[_StoredState] = field(default_factory=list)
    unclear: list[_UnclearTask] = field(default_factory=list)
    unchanged: int = 0


def clean_tasks(options: CleanOptions, database: Database) -> CleanSummary:
    """Mark the open tasks that have no directory any more as deleted, and report the odd ones.

    When the directories look unmounted, or too many tasks are gone, nothing is marked and the
    summary says so. Raises SourceError for a directory that cannot be read, DatabaseError.
    """
    options.check()
    summary = CleanSummary(str(options.path), dry_run=options.dry_run)
    if not options.dry_run:
        # What another program left in the buffer must be seen.
        flush_buffers(database, ["TaskStates_buffer"])
    candidates = _find_candidates(options, database)
    summary.candidates = len(candidates)
    if options.task_id is not None and not candidates:
        logger.info("task %d: not stored, or done or deleted already", options.task_id)
        return summary
    findings = _examine(options, candidates)
    _count(findings, summary)
    summary.error = _reason_to_refuse(options, findings)
    if summary.error is not None:
        summary.exit_code = AltrepodbError.exit_code
    elif not options.dry_run:
        _mark(options, database, findings.gone, summary)
    if findings.unclear:
        _write_report(options, findings.unclear, summary)
    return summary


def _find_candidates(options: CleanOptions, database: Database) -> list[_StoredState]:
    """Newest states of the tasks that are neither done nor deleted, by task."""
    if options.task_id is None:
        rows = database.query(_NEWEST_STATES)
    else:
        rows = database.query(_NEWEST_STATE_OF_TASK, {"task_id": options.task_id})
    return [_StoredState(task_id, changed, state) for task_id, changed, state in rows]


# --- the disk


def _examine(options: CleanOptions, candidates: Iterable[_StoredState]) -> _Findings:
    """Look for the directory of each candidate, and into it."""
    findings = _Findings()
    for stored in candidates:
        directory = options.path / str(stored.task_id)
        if _is_directory(directory):
            on_disk = _read_state(directory)
            if _is_same(stored.state, on_disk):
                findings.unchanged += 1
            else:
                findings.unclear.append(_UnclearTask(stored, on_disk, is_archived=False))
            continue
        archived = _archived_directory(options, stored.task_id)
        if archived is not None:
            # It was committed and moved: its last state has not been loaded yet.
            findings.unclear.append(_UnclearTask(stored, _read_state(archived), is_archived=True))
        else:
            findings.gone.append(stored)
    return findings


def _archived_directory(options: CleanOptions, task_id: int) -> Path | None:
    if options.archive_dir is None:
        return None
    group = f"_{task_id // _TASKS_PER_ARCHIVE_DIRECTORY}"
    directory = options.archive_dir / group / str(task_id)
    return directory if _is_directory(directory) else None


def _is_directory(path: Path) -> bool:
    """Whether it is a directory. Only what is not there is not: other failures are errors."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: {error.strerror}") from error


def _read_state(directory: Path) -> bytes:
    """The state of a task, nothing when it cannot be read."""
    try:
        # A pipe must not make us wait.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(directory / "task" / "state", flags)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.read(descriptor, _MAX_STATE_BYTES).strip()
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_same(stored: str, on_disk: bytes) -> bool:
    """Whether the states agree; bytes that are no UTF-8 may have been stored as Latin-1."""
    raw = stored.encode("utf-8", "surrogateescape")
    return raw in (on_disk, on_disk.decode("latin-1").encode())


def _has_directory(path: Path, name: re.Pattern[str]) -> bool:
    """Whether a directory of such a name is in the directory."""
    try:
        with os.scandir(path) as entries:
            return any(name.fullmatch(entry.name) and entry.is_dir() for entry in entries)
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: {error.strerror}") from error


def _reason_to_refuse(options: CleanOptions, findings: _Findings) -> str | None:
    """Why nothing may be marked: a missing mount would make every open task look deleted."""
    if not _has_directory(options.path, _TASK_DIRECTORY):
        return f"{options.path}: no task directory in it, is it mounted? Nothing was marked"
    archive = options.archive_dir
    if archive is not None and findings.gone and not _has_directory(archive, _ARCHIVE_DIRECTORY):
        return f"{archive}: no archived tasks in it, is it mounted? Nothing was marked"
    limit = options.max_deleted
    if limit and len(findings.gone) > limit:
        return (
            f"{options.path}: {len(findings.gone)} tasks are gone, more than the {limit} of"
            f" --max-deleted; nothing was marked"
        )
    return None


# --- the database


def _mark(
    options: CleanOptions, database: Database, gone: Sequence[_StoredState], summary: CleanSummary
) -> None:
    """Insert a deleted state for each task that is still open."""
    if not gone:
        return
    # A task may have been committed, moved and loaded while we looked for it.
    current = {stored.task_id: stored for stored in _find_candidates(options, database)}
    still_open = [stored for stored in gone if current.get(stored.task_id) == stored]
    summary.marked = database.insert("TaskStates", _deleted_rows(still_open, int(time.time())))
    summary.inserted["TaskStates"] = summary.marked
    logger.info("marked as deleted: %d", summary.marked)


def _deleted_rows(tasks: Sequence[_StoredState], now: int) -> Columns:
    """Rows of TaskStates that say so; always newer than what is stored, clocks may differ."""
    count = len(tasks)
    return {
        "task_changed": [min(max(now, task.changed + 1), _MAX_TIME) for task in tasks],
        "task_id": [task.task_id for task in tasks],
        "task_state": [_STATE_DELETED] * count,
        "task_runby": [""] * count,
        "task_depends": [[]] * count,
        "task_try": [0] * count,
        "task_testonly": [0] * count,
        "task_failearly": [0] * count,
        "task_shared": [0] * count,
        "task_message": [_MESSAGE] * count,
        "task_version": [""] * count,
        "task_prev": [0] * count,
        "task_eventlog_hash": [[]] * count,
    }


# --- what a person sees


def _count(findings: _Findings, summary: CleanSummary) -> None:
    summary.unchanged = findings.unchanged
    summary.gone = [stored.task_id for stored in findings.gone]
    summary.unclear = len(findings.unclear)
    summary.archived = sum(task.is_archived for task in findings.unclear)
    logger.info(
        "open tasks: %d, of them %d as stored, %d gone, %d unclear",
        summary.candidates, summary.unchanged, len(findings.gone), summary.unclear,
    )  # fmt: skip
    for stored in findings.gone[:_MAX_NAMED_TASKS]:
        logger.info("task %d: gone, stored as %s", stored.task_id, stored.state)
    if len(findings.gone) > _MAX_NAMED_TASKS:
        logger.info("... and %d more", len(findings.gone) - _MAX_NAMED_TASKS)


def _write_report(
    options: CleanOptions, unclear: Sequence[_UnclearTask], summary: CleanSummary
) -> None:
    """Write the unclear tasks, one line each, over an earlier report."""
    options.report.write_bytes(b"".join([task.line for task in unclear]))
    summary.report = str(options.report)
    logger.warning("unclear tasks: %d, see %s", len(unclear), options.report)


def _field(value: bytes) -> bytes:
    """A value that cannot break its line or add columns."""
    return value.replace(b"\t", rb"\t").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
