"""``bugzilla_loader``, also called ``bugzilla``: load the bugs of the bug tracker."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from altrepodb.cli.command import positive_integer, run_command
from altrepodb.cli.source_command import source_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--page-size",
        type=positive_integer,
        metavar="N",
        default=5000,
        help="ask for N bugs at once (5000)",
    )
    parser.add_argument(
        "--date-tolerance",
        type=_whole_seconds,
        metavar="S",
        default=0,
        help="a bug whose stored time is up to S seconds later, and nothing else, is as stored (0)",
    )


def _whole_seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"expected a whole number of seconds, got {text!r}")
    return int(text)


def load(
    arguments: argparse.Namespace,
    settings: Settings,
    shared: Mapping[str, Any],
    database: Database,
) -> SourceSummary:
    """Load the bugs that are new or have changed."""
    from altrepodb.sources.bugzilla import BugzillaOptions, load_bugzilla

    options = BugzillaOptions(
        **shared, page_size=arguments.page_size, date_tolerance_s=arguments.date_tolerance
    )
    return load_bugzilla(options, database)


COMMAND = source_command(
    "bugzilla_loader",
    "Load the bugs that are new or have changed since they were loaded last.",
    load,
    url_setting="bugzilla_url",
    add_arguments=add_arguments,
    has_timezone=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
