"""``repo_loader``: load a package repository."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import (
    Command,
    add_workers_option,
    calendar_date,
    dated_log_file,
    run_command,
)
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.repository.load import RepositorySummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="repository name; stored in lower case")
    parser.add_argument("path", metavar="PATH", type=Path, help="root directory of the repository")
    parser.add_argument("-t", "--tag", default="", help="tag to store with the package set")
    parser.add_argument(
        "-A", "--date", type=calendar_date, metavar="YYYY-MM-DD", help="day of the state (today)"
    )
    parser.add_argument(
        "-F", "--force", action="store_true", help="replace the set of this name and day"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="missing source packages and headers that do not match their SHA-1 are errors",
    )
    parser.add_argument(
        "--verify", action="store_true", help="compute and compare all digests of the files read"
    )
    parser.add_argument(
        "--accept-bad-checksums",
        action="store_true",
        help="warn when a list does not match its release file, for damaged old snapshots",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and check all lists, load nothing"
    )
    add_workers_option(parser, "one per processor, ten at most")


def log_file(arguments: argparse.Namespace) -> str:
    return dated_log_file(f"repo-{arguments.name.lower()}", arguments.date)


def load(arguments: argparse.Namespace, settings: Settings) -> RepositorySummary:
    """Load one repository; workers are started before the database."""
    from altrepodb.db import open_database
    from altrepodb.repository.load import RepositoryOptions, load_repository, scan
    from altrepodb.workers import default_workers, worker_pool

    options = RepositoryOptions(
        name=arguments.name.lower(),
        path=arguments.path,
        date=arguments.date.isoformat() if arguments.date else None,
        tag=arguments.tag,
        force=arguments.force,
        strict=arguments.strict,
        verify=arguments.verify,
        dry_run=arguments.dry_run,
        accept_bad_checksums=arguments.accept_bad_checksums,
    )
    workers = arguments.workers or settings.workers or default_workers()
    with worker_pool(workers) as pool:
        scanned = scan(options, pool)
        with open_database(settings.database) as database:
            return load_repository(options, scanned, database, pool)


COMMAND = Command(
    name="repo_loader",
    description="Load a package repository into the database.",
    add_arguments=add_arguments,
    log_file=log_file,
    run=load,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
