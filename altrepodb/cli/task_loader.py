"""``task_loader``: load build tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, add_workers_option, dated_log_file, run_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.task.load import TaskSummary

__all__ = ["COMMAND", "main"]

_DEFAULT_WORKERS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="*", help="directory of a task")
    parser.add_argument(
        "--batch",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="load every task below this directory",
    )
    parser.add_argument(
        "-F", "--force", action="store_true", help="write packages again that are there"
    )
    parser.add_argument(
        "-f",
        "--flush-buffers",
        action="store_true",
        help="have the database write its buffer tables to disk",
    )
    parser.add_argument(
        "-J", "--dumpjson", action="store_true", help="write what was parsed to ./JSON"
    )
    parser.add_argument(
        "--no-approvals", action="store_true", help="leave approvals to the build system's messages"
    )
    parser.add_argument(
        "--no-new-logs", action="store_true", help="no log lines of tasks in state NEW"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="delete rows of this version of the task that are not on disk any more",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check, load nothing")
    add_workers_option(parser, "4, or the number of processors if that is less")


def log_file(arguments: argparse.Namespace) -> str:
    name = arguments.paths[0].name if len(arguments.paths) == 1 else "batch"
    return dated_log_file(f"task-{name}")


def _task_paths(arguments: argparse.Namespace) -> Iterator[Path]:
    from altrepodb.errors import ConfigurationError, SourceError
    from altrepodb.task.files import numbered_directories

    yield from arguments.paths
    for directory in arguments.batch:
        if not directory.is_dir():
            raise SourceError(f"{directory}: no such directory")
        yield from (path for _, path in numbered_directories(directory))
    if not arguments.paths and not arguments.batch:
        raise ConfigurationError("no task is named: give a PATH or --batch DIR")


def load(arguments: argparse.Namespace, settings: Settings) -> TaskSummary:
    """Load tasks; workers are started before the database, which a dry run does not need."""
    from altrepodb.db import open_database
    from altrepodb.task.load import TaskOptions, load_tasks, read_tasks
    from altrepodb.workers import default_workers, worker_pool

    options = TaskOptions(
        paths=list(_task_paths(arguments)),
        force=arguments.force,
        replace=arguments.replace,
        with_approvals=not arguments.no_approvals,
        with_new_logs=not arguments.no_new_logs,
        flush_buffers=arguments.flush_buffers,
        dump_json=arguments.dumpjson,
        dry_run=arguments.dry_run,
    )
    if options.dry_run:
        return read_tasks(options)
    workers = arguments.workers or settings.workers or min(_DEFAULT_WORKERS, default_workers())
    with worker_pool(workers) as pool, open_database(settings.database) as database:
        return load_tasks(options, database, pool)


COMMAND = Command(
    name="task_loader",
    description="Load build tasks into the database.",
    add_arguments=add_arguments,
    log_file=log_file,
    run=load,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
