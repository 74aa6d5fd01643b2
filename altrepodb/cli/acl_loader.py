"""``acl_loader``: load the maintainers' ACLs of all branches."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from altrepodb.cli.command import run_command
from altrepodb.cli.source_command import source_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.acl import AclSummary

__all__ = ["COMMAND", "main"]


def load(
    arguments: argparse.Namespace,
    settings: Settings,
    shared: Mapping[str, Any],
    database: Database,
) -> AclSummary:
    from altrepodb.sources.acl import AclOptions, load_acl

    return load_acl(AclOptions(**shared), database)


COMMAND = source_command(
    "acl_loader",
    "Load the maintainers' ACLs of all branches (http://git.altlinux.org/acl).",
    load,
    url_setting="acl_url",
    has_timezone=True,
    takes_url=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
