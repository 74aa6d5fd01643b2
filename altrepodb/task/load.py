"""Build tasks -> the database: the entry that command line and daemon share.

Several small tasks are written together, since a statement costs more than a small task's rows.
The state rows come last: a reader sees a version of a task with all its parts or not at all.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from altrepodb.db.buffers import flush_buffers
from altrepodb.db.database import Database
from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.rpm.package_file import printable
from altrepodb.task.dump import write_dump
from altrepodb.task.identify import package_paths
from altrepodb.task.snapshot import INFO_WAIT_S, TaskInFluxError, take_snapshot, wait_for_info
from altrepodb.task.summary import TaskOptions, TaskSummary
from altrepodb.task.tree import Task, read_task, task_number
from altrepodb.task.write import ReadTask, Writing, write_group
from altrepodb.workers import WorkerPool

__all__ = ["TaskOptions", "TaskSummary", "load_tasks", "read_settled", "read_tasks"]

logger = logging.getLogger("altrepodb.task")

_GROUP_TASKS = 200
_GROUP_PACKAGES = 2_000
_RETRY_WAITS_S = (1.0, 2.0, 4.0)
_FLUSHED_BUFFERS = (
    "FileNames_buffer", "Files_buffer", "Depends_buffer", "Changelog_buffer",
    "PackageHash_buffer", "Packages_buffer", "Specfiles_buffer", "TaskChroots_buffer",
    "TaskLogs_buffer", "TaskIterations_buffer", "Tasks_buffer", "TaskStates_buffer",
)  # fmt: skip
_UNSETTLED_STATES = frozenset(
    {"POSTPONED", "AWAITING", "BUILDING", "FAILING", "PENDING", "COMMITTING"}
)


def load_tasks(options: TaskOptions, database: Database, pool: WorkerPool) -> TaskSummary:
    """Load tasks; what is wrong with one does not keep the others from being loaded.

    Raises SourceError, TaskInFluxError or DatabaseError when there is only one task; with
    several the summary names those that failed and carries the exit code.
    """
    summary = TaskSummary(tasks=len(options.paths))
    inserted: Counter[str] = Counter()
    writing = Writing(options, database, pool, summary, inserted)
    for group in _groups(options, summary):
        _load_group(writing, group)
    if options.flush_buffers:
        flush_buffers(database, _FLUSHED_BUFFERS)
    summary.inserted = {table: rows for table, rows in inserted.items() if rows}
    return summary


def read_tasks(options: TaskOptions) -> TaskSummary:
    """Read and check tasks, dump them if that is wanted, and write nothing to a database.

    Raises as ``load_tasks``.
    """
    summary = TaskSummary(tasks=len(options.paths), dry_run=True)
    for group in _groups(options, summary):
        for read in group:
            summary.packages += len(package_paths([read.task]))
    return summary


def read_settled(root: Path) -> ReadTask:
    """Read a task, and again while it changes under our eyes.

    Raises TaskInFluxError after a few tries, SourceError when the tree is malformed.
    """
    root = Path(os.path.normpath(root))
    task_number(root)
    for wait_s in (*_RETRY_WAITS_S, None):
        if read := _read_at_rest(root):
            return read
        if wait_s is not None:
            time.sleep(wait_s)
    raise TaskInFluxError(f"{printable(os.fspath(root))}: keeps changing while it is read")


def _read_at_rest(root: Path) -> ReadTask | None:
    """Read a task once; None when it changed meanwhile, which may also look like damage."""
    warnings: list[str] = []
    wait_for_info(root, INFO_WAIT_S, warnings)
    before = take_snapshot(root)
    try:
        task = read_task(root)
    except SourceError:
        if take_snapshot(root) == before:
            raise
        return None
    if take_snapshot(root) != before:
        return None
    task.warnings[:0] = warnings
    return ReadTask(task, before)


def _groups(options: TaskOptions, summary: TaskSummary) -> Iterator[list[ReadTask]]:
    """Read tasks, as many together as make a good insert."""
    group: list[ReadTask] = []
    packages = 0
    for path in options.paths:
        try:
            read = read_settled(path)
            if options.dump_json:
                write_dump(read.task)
        except AltrepodbError as error:
            _fail(options, summary, path, error)
            continue
        if options.states is not None and read.task.state not in options.states:
            summary.skipped += 1
            continue
        _warn(summary, read.task)
        # Given twice, the second one has to find what the first one wrote.
        if any(other.task.id == read.task.id for other in group):
            yield group
            group, packages = [], 0
        packages += sum(1 + len(iteration.binaries) for iteration in read.task.iterations)
        group.append(read)
        if len(group) >= _GROUP_TASKS or packages >= _GROUP_PACKAGES:
            yield group
            group, packages = [], 0
    if group:
        yield group


def _fail(options: TaskOptions, summary: TaskSummary, path: Path, error: AltrepodbError) -> None:
    """Note the failure of one task of several; a lone task's error is the command's own."""
    if len(options.paths) == 1:
        raise error
    logger.error("%s", error)
    summary.failed[str(path)] = str(error)
    summary.exit_code = 1 if summary.exit_code == 1 else error.exit_code
    summary.error = f"{len(summary.failed)} of {summary.tasks} tasks failed: {error}"


def _warn(summary: TaskSummary, task: Task) -> None:
    if task.state in _UNSETTLED_STATES:
        name = printable(os.fspath(task.root))
        logger.warning("%s: state %s is not a settled one", name, task.state)
    for message in task.warnings:
        logger.warning("%s", message)
    summary.warnings += len(task.warnings)


def _load_group(writing: Writing, group: Sequence[ReadTask]) -> None:
    """Load tasks together; if that fails, one by one, so that the sound ones get in."""
    try:
        changed = _write(writing, group)
    except (SourceError, TaskInFluxError) as error:
        if len(group) == 1:
            _fail(writing.options, writing.summary, group[0].task.root, error)
            return
        for read in group:
            _load_group(writing, [read])
        return
    for read in changed:
        _load_again(writing, read.task.root)


def _write(writing: Writing, group: Sequence[ReadTask]) -> Sequence[ReadTask]:
    """Write tasks and return those that changed meanwhile, which may also look like damage."""
    try:
        return write_group(writing, group)
    except TaskInFluxError:
        if len(group) > 1:
            raise
    except SourceError:
        if len(group) > 1 or take_snapshot(group[0].task.root) == group[0].snapshot:
            raise
    return group


def _load_again(writing: Writing, root: Path) -> None:
    """Load a task that changed while it was written, until it stays as it is."""
    try:
        for wait_s in _RETRY_WAITS_S:
            time.sleep(wait_s)
            if not _write(writing, [read_settled(root)]):
                return
        raise TaskInFluxError(f"{printable(os.fspath(root))}: keeps changing while it is loaded")
    except AltrepodbError as error:
        _fail(writing.options, writing.summary, root, error)
