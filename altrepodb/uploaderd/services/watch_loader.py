"""``watch_loader``: the file of Watch, loaded when a message says so and it is news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altrepodb.uploaderd.services.jobs import file_service

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceOptions, SourceSummary

__all__ = ["SERVICE"]


def load(options: SourceOptions, database: Database) -> SourceSummary:
    from altrepodb.sources.watch import load_watch

    return load_watch(options, database)


SERVICE = file_service("watch_loader", "watch.load", load)
