"""``task_cleaner``: mark stored tasks that are gone from the disk as deleted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, dated_log_file, run_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.task.clean import CleanSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="directory of the live tasks")
    parser.add_argument("-t", "--task-id", type=int, metavar="N", help="look at this task only")
    parser.add_argument(
        "-a",
        "--archive-dir",
        type=Path,
        metavar="DIR",
        help="tasks found in DIR/_<N div 1024>/<N> are reported instead of marked",
    )
    parser.add_argument(
        "--max-deleted",
        type=_whole_number,
        default=100,
        metavar="N",
        help="mark nothing when more than N tasks are gone; 0 is no limit (100)",
    )
    parser.add_argument(
        "-x", "--dry-run", action="store_true", help="write the report, but not to the database"
    )


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def log_file(arguments: argparse.Namespace) -> str:
    return dated_log_file("task_cleaner-clean")


def clean(arguments: argparse.Namespace, settings: Settings) -> CleanSummary:
    """Reconcile the stored states with the disk; the arguments are checked first."""
    from altrepodb.db import open_database
    from altrepodb.task.clean import CleanOptions, clean_tasks

    options = CleanOptions(
        path=arguments.path,
        task_id=arguments.task_id,
        archive_dir=arguments.archive_dir,
        max_deleted=arguments.max_deleted,
        dry_run=arguments.dry_run,
    )
    options.check()
    with open_database(settings.database) as database:
        return clean_tasks(options, database)


COMMAND = Command(
    name="task_cleaner",
    description=(
        "Mark stored tasks that are gone from the disk as deleted. Deletes nothing. Tasks whose\n"
        "state on disk differs from the stored one are listed in ./unclear_state_tasks.log."
    ),
    add_arguments=add_arguments,
    log_file=log_file,
    run=clean,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
