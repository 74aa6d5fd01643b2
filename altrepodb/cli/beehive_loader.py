"""``beehive_loader``: load the results of the latest Beehive rebuilds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from altrepodb.cli.command import run_command
from altrepodb.cli.source_command import source_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.beehive import BeehiveSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--branch",
        action="append",
        metavar="NAME",
        help="load this branch only, spelled as in URLs; can be given again",
    )
    parser.add_argument(
        "--arch",
        action="append",
        metavar="NAME",
        help="load this architecture only; can be given again",
    )


def load(
    arguments: argparse.Namespace,
    settings: Settings,
    shared: Mapping[str, Any],
    database: Database,
) -> BeehiveSummary:
    from altrepodb.sources.beehive import (
        DEFAULT_ARCHS,
        DEFAULT_BRANCHES,
        BeehiveOptions,
        load_beehive,
    )

    branches = arguments.branch or settings.sources.beehive_branches or DEFAULT_BRANCHES
    archs = arguments.arch or settings.sources.beehive_archs or DEFAULT_ARCHS
    options = BeehiveOptions(**shared, branches=tuple(branches), archs=tuple(archs))
    return load_beehive(options, database)


COMMAND = source_command(
    "beehive_loader",
    "Load the results of the latest Beehive rebuild of each branch and architecture.",
    load,
    url_setting="beehive_url",
    add_arguments=add_arguments,
    has_timezone=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
