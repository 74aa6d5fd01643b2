"""Tasks that were read -> rows in the database, in the order that keeps readers safe."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

from altrepodb.db.database import Database
from altrepodb.packages.insert import PackageWriter
from altrepodb.packages.read import PackageSource, ReadOptions, read_packages
from altrepodb.rpm.package_file import printable
from altrepodb.task.approvals import Approval, compare_approvals
from altrepodb.task.identify import (
    find_identities,
    find_stored,
    package_paths,
    package_sources,
    source_links,
)
from altrepodb.task.logs import LogChunk, LogFile, iter_log_chunks
from altrepodb.task.provides import complete_provides
from altrepodb.task.rows import (
    CHROOT_COLUMNS,
    ITERATION_COLUMNS,
    PLAN_DIGEST_COLUMNS,
    PLAN_PACKAGE_COLUMNS,
    STATE_COLUMNS,
    SUBTASK_COLUMNS,
    chroot_rows,
    iteration_rows,
    plan_digest_rows,
    plan_package_rows,
    state_row,
    subtask_rows,
)
from altrepodb.task.snapshot import Snapshot, TaskInFluxError, take_snapshot
from altrepodb.task.stored import (
    comparable,
    delete_stale_rows,
    recorded_logs,
    stored_approvals,
    stored_plan_rows,
    stored_rows,
    without_history,
)
from altrepodb.task.summary import TaskOptions, TaskSummary
from altrepodb.task.tree import Task
from altrepodb.workers import WorkerPool, read_ahead

__all__ = ["ReadTask", "Writing", "write_group"]

logger = logging.getLogger("altrepodb.task")

_LOG_BATCH_LINES = 150_000
_LOG_BATCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A task that was at rest while it was read, and what it looked like then."""

    task: Task
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Writing:
    """What all steps of writing need."""

    options: TaskOptions
    database: Database
    pool: WorkerPool
    summary: TaskSummary
    inserted: Counter[str]

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows that are not there yet, in one block."""
        values = list(zip(*rows, strict=True))
        if values:
            block = dict(zip(columns, values, strict=True))
            self.inserted[table] += self.database.insert(table, block)


def write_group(writing: Writing, group: Sequence[ReadTask]) -> list[ReadTask]:
    """Write tasks together, children before parents, the states last.

    Returns those that changed meanwhile, of which no version became visible. Raises SourceError
    when a package or log cannot be read.
    """
    tasks = [read.task for read in group]
    states = [state_row(task) for task in tasks]
    are_new = _are_missing(writing, "TaskStates", STATE_COLUMNS, states, tasks)
    known = [task for task, is_new in zip(tasks, are_new, strict=True) if not is_new]
    unfinished = without_history(writing.database, known)
    uncommitted = [task for task in tasks if task not in known or task.id in unfinished]
    identities = _write_packages(writing, tasks, uncommitted)
    _write_logs(writing, tasks)
    _write_plans(writing, tasks)
    _write_parts(writing, tasks, identities)
    settled = [read for read in group if take_snapshot(read.task.root) == read.snapshot]
    if writing.options.with_approvals:
        _write_approvals(writing, [read.task for read in settled])
    if writing.options.replace:
        for read in settled:
            delete_stale_rows(writing.database, read.task)
    committed = [read.task for read in settled if read.task in uncommitted]
    writing.insert("TaskStates", STATE_COLUMNS, [state_row(task) for task in committed])
    writing.summary.packages += len(package_paths([read.task for read in settled]))
    writing.summary.loaded += len(committed)
    writing.summary.unchanged += len(settled) - len(committed)
    return [read for read in group if read not in settled]


def _write_packages(
    writing: Writing, tasks: Sequence[Task], uncommitted: Sequence[Task]
) -> dict[Path, int]:
    """Write the packages that the database lacks; returns the identities of all."""
    paths = package_paths(tasks)
    identities = find_identities(paths, writing.pool)
    stored = set()
    if not writing.options.force:
        stored = find_stored(writing.database, identities.values())
    missing = {identities[path]: path for path in reversed(paths)}
    wanted = [path for path in missing.values() if identities[path] not in stored][::-1]
    links = source_links(tasks, identities)
    writer = PackageWriter(writing.database)
    work = _package_tasks(package_sources(tasks, wanted))
    few = len(wanted) <= _FEW_PACKAGES
    for batch in map(read_packages, work) if few else writing.pool.map(read_packages, work):
        for row, (identity, is_source) in enumerate(
            zip(batch.column("pkg_hash"), batch.column("pkg_sourcepackage"), strict=True)
        ):
            if not is_source:
                batch.links[row] = links.get(identity, 0)
        for warning in batch.warnings:
            logger.warning("%s", warning)
        writing.summary.warnings += len(batch.warnings)
        writer.add(batch)
    writer.flush()
    writing.inserted.update(writer.inserted)
    new = {identities[path] for path in wanted}
    new.update(identities[path] for path in package_paths(uncommitted))
    complete_provides(writing.database, sorted(new))
    return identities


def _package_tasks(
    sources: Sequence[PackageSource],
) -> Iterator[tuple[Sequence[PackageSource], ReadOptions]]:
    for start in range(0, len(sources), _FEW_PACKAGES):
        yield sources[start : start + _FEW_PACKAGES], ReadOptions()


_FEW_PACKAGES = 32
"""So many are read at once here; handing them to a worker takes as long."""

_JOINED_LOGS = "altrepodb_joined_logs"
_JOINED_LOGS_STRUCTURE = {
    "tlog_hash": "UInt64",
    "first_line": "UInt32",
    "times": "Array(UInt32)",
    "messages": "String",
}
_INSERT_LOGS = f"""
INSERT INTO TaskLogs (tlog_hash, tlog_line, tlog_ts, tlog_message)
SELECT tlog_hash, toUInt32(first_line + position - 1), toDateTime(time), message
FROM {_JOINED_LOGS}
ARRAY JOIN arrayEnumerate(times) AS position, times AS time,
    splitByChar('\n', messages) AS message
"""


def _write_logs(writing: Writing, tasks: Sequence[Task]) -> None:
    """Write the lines of logs that no committed version of the task has recorded as they are."""
    recorded = recorded_logs(writing.database, tasks)
    logs = [
        log
        for task in tasks
        if writing.options.with_new_logs or task.state != "NEW"
        for log in task.logs
        if log.modified_ns > recorded.get((task.id, log.log_hash), -1) * 1_000_000_000
    ]
    if not logs:
        return
    with (
        writing.database.temporary_table(_JOINED_LOGS, _JOINED_LOGS_STRUCTURE),
        read_ahead(_log_batches(logs), 2) as batches,
    ):
        for batch in batches:
            lines = sum(len(chunk.times) for _, chunk in batch)
            _insert_log_batch(writing.database, batch)
            writing.inserted["TaskLogs"] += lines
            writing.summary.log_lines += lines


def _log_batches(logs: Iterable[LogFile]) -> Iterator[list[tuple[int, LogChunk]]]:
    """Chunks of logs with the logs' keys, as many together as make a good insert."""
    batch: list[tuple[int, LogChunk]] = []
    lines = size = 0
    for log in logs:
        try:
            for chunk in iter_log_chunks(log):
                batch.append((log.log_hash, chunk))
                lines += len(chunk.times)
                size += len(chunk.messages)
                if lines >= _LOG_BATCH_LINES or size >= _LOG_BATCH_BYTES:
                    yield batch
                    batch, lines, size = [], 0, 0
        except FileNotFoundError as error:
            name = printable(os.fspath(log.path))
            raise TaskInFluxError(f"{name}: vanished while it was read") from error
    if batch:
        yield batch


def _insert_log_batch(database: Database, batch: Sequence[tuple[int, LogChunk]]) -> None:
    database.insert(
        _JOINED_LOGS,
        {
            "tlog_hash": [log_hash for log_hash, _ in batch],
            "first_line": [chunk.first_line for _, chunk in batch],
            "times": [chunk.times for _, chunk in batch],
            "messages": [chunk.messages for _, chunk in batch],
        },
    )
    database.execute(_INSERT_LOGS)
    database.execute(f"TRUNCATE TABLE {_JOINED_LOGS}")


def _write_plans(writing: Writing, tasks: Sequence[Task]) -> None:
    for table, columns, rows_of in (
        ("TaskPlanPackages", PLAN_PACKAGE_COLUMNS, plan_package_rows),
        ("TaskPlanPkgHash", PLAN_DIGEST_COLUMNS, plan_digest_rows),
    ):
        rows = [row for task in tasks for row in rows_of(task)]
        if rows:
            keys = {row[0] for row in rows}
            present = stored_plan_rows(writing.database, table, columns, keys)
            writing.insert(table, columns, [r for r in rows if comparable(r) not in present])


def _write_parts(writing: Writing, tasks: Sequence[Task], identities: dict[Path, int]) -> None:
    """Chroots, iterations and subtasks, as far as this version of the task lacks them."""
    rows = [row for task in tasks for row in iteration_rows(task, identities)]
    are_missing = _are_missing(writing, "TaskIterations", ITERATION_COLUMNS, rows, tasks)
    iterations = compress((i for task in tasks for i in task.iterations), are_missing)
    writing.insert("TaskChroots", CHROOT_COLUMNS, chroot_rows(iterations))
    writing.insert("TaskIterations", ITERATION_COLUMNS, compress(rows, are_missing))
    rows = [row for task in tasks for row in subtask_rows(task)]
    are_missing = _are_missing(writing, "Tasks", SUBTASK_COLUMNS, rows, tasks)
    writing.insert("Tasks", SUBTASK_COLUMNS, compress(rows, are_missing))


def _are_missing(
    writing: Writing,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    tasks: Sequence[Task],
) -> list[bool]:
    """Which rows the database lacks; warns of others that it has of these very versions."""
    present = stored_rows(writing.database, table, columns, tasks)
    other = present.difference(map(comparable, rows))
    if other and not writing.options.replace:
        logger.warning(
            "%s: %d rows of these versions differ from what is on disk; --replace deletes them",
            table,
            len(other),
        )
        writing.summary.warnings += 1
    return [comparable(row) not in present for row in rows]


_APPROVAL_COLUMNS = (
    "task_id", "subtask_id", "tapp_type", "tapp_date", "tapp_name", "tapp_message",
)  # fmt: skip
_TS_RESOLUTION_S = 1.0
"""Readers take the newest record by an insertion time of whole seconds."""


def _write_approvals(writing: Writing, tasks: Sequence[Task]) -> None:
    """Bring the newest records of decisions to what is on disk."""
    known = [task for task in tasks if task.approvals is not None]
    if not known:
        return
    stored = stored_approvals(writing.database, known)
    now = int(time.time())
    on_disk = [approval for task in known for approval in task.approvals or ()]
    changes = compare_approvals([(s.approval, s.is_revoked) for s in stored], on_disk, now)
    revoked, added = _voters(changes.revoked), _voters(changes.added)
    if _voters(s.approval for s in stored if s.is_fresh) & (revoked | added):
        time.sleep(_TS_RESOLUTION_S)
    columns = (*_APPROVAL_COLUMNS, "tapp_revoked")
    writing.insert("TaskApprovals", columns, [(*approval, 1) for approval in changes.revoked])
    if revoked & added:
        time.sleep(_TS_RESOLUTION_S)
    writing.insert("TaskApprovals", columns, [(*approval, 0) for approval in changes.added])


def _voters(approvals: Iterable[Approval]) -> set[tuple[int, int, str]]:
    """Whose newest record the readers look for."""
    return {(approval.task_id, approval.subtask_id, approval.name) for approval in approvals}
