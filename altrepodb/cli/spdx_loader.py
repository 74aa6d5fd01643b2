"""``spdx_loader``: load the licences and exceptions of the SPDX list, or licence aliases."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
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
        "-g", "--git-root", type=Path, metavar="DIR", help="where the copy of the list is (~/SPDX)"
    )
    parser.add_argument("--branch", metavar="NAME", help="branch of the list (the default one)")
    parser.add_argument(
        "--git-timeout",
        type=positive_integer,
        metavar="S",
        default=600,
        help="seconds that git may take in all (600)",
    )
    parser.add_argument(
        "--aliases",
        action="store_true",
        help="add the licence aliases that are missing, and do nothing else",
    )


def load(
    arguments: argparse.Namespace,
    settings: Settings,
    shared: Mapping[str, Any],
    database: Database,
) -> SourceSummary:
    """Load the entries that are new or have changed, or the aliases that are missing."""
    from altrepodb.sources.spdx import SpdxOptions, load_aliases, load_spdx

    options = SpdxOptions(
        **shared,
        git_root=arguments.git_root or settings.sources.spdx_git_root,
        branch=arguments.branch or settings.sources.spdx_branch,
        git_timeout_s=arguments.git_timeout,
    )
    return (load_aliases if arguments.aliases else load_spdx)(options, database)


COMMAND = source_command(
    "spdx_loader",
    "Load licences and exceptions of the SPDX list from its git repository.",
    load,
    url_setting="spdx_url",
    add_arguments=add_arguments,
    is_web=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
