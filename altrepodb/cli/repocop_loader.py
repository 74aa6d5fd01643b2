"""``repocop_loader``: load the results of package tests."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from altrepodb.cli.command import run_command
from altrepodb.cli.source_command import source_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceSummary

__all__ = ["COMMAND", "main"]


def load(
    arguments: argparse.Namespace,
    settings: Settings,
    shared: Mapping[str, Any],
    database: Database,
) -> SourceSummary:
    """Load the file, if it is newer than what is stored."""
    from altrepodb.sources.repocop import load_repocop
    from altrepodb.sources.run import SourceOptions

    return load_repocop(SourceOptions(**shared), database)


COMMAND = source_command(
    "repocop_loader",
    "Load the results of the package tests that Repocop runs on Sisyphus.",
    load,
    url_setting="repocop_url",
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
