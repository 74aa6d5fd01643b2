"""``repocop_loader``: the file of Repocop, loaded when a message says so and it is news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altrepodb.uploaderd.services.jobs import file_service

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceOptions, SourceSummary

__all__ = ["SERVICE"]


def load(options: SourceOptions, database: Database) -> SourceSummary:
    from altrepodb.sources.repocop import load_repocop

    return load_repocop(options, database)


SERVICE = file_service("repocop_loader", "repocop.load", load)
