"""``package_loader``: load a single package file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, dated_log_file, run_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.packages.load import PackageSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="package file, source or binary")
    parser.add_argument(
        "-F", "--force", action="store_true", help="insert the rows again if they are there"
    )
    parser.add_argument(
        "-f",
        "--flush-buffers",
        action="store_true",
        help="have the database write its buffer tables to disk",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="a header that does not match its SHA-1 is an error",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check, load nothing")


def log_file(arguments: argparse.Namespace) -> str:
    return dated_log_file("package-load")


def load(arguments: argparse.Namespace, settings: Settings) -> PackageSummary:
    """Load one package file."""
    from altrepodb.db import open_database
    from altrepodb.packages.load import PackageOptions, load_package

    options = PackageOptions(
        path=arguments.file,
        force=arguments.force,
        strict=arguments.strict,
        flush_buffers=arguments.flush_buffers,
        dry_run=arguments.dry_run,
    )
    with open_database(settings.database) as database:
        return load_package(options, database)


COMMAND = Command(
    name="package_loader",
    description="Load a single package file into the database.",
    add_arguments=add_arguments,
    log_file=log_file,
    run=load,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
