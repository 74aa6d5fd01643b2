"""``watch_loader``: the file of Watch, loaded when a message says so and it is news."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import ServiceType, Work
from altrepodb.uploaderd.services.jobs import (
    JOB_KEYS,
    JobSettings,
    accept_trigger,
    finish_job,
    shared_options,
)

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceOptions, SourceSummary

__all__ = ["SERVICE"]


def read_settings(values: Mapping[str, Any]) -> JobSettings[SourceOptions]:
    from altrepodb.sources.run import SourceOptions
    from altrepodb.sources.watch import DEFAULT_URL

    keys = JsonObject(values)
    options = SourceOptions(**shared_options(keys, "url", DEFAULT_URL))
    return finish_job(keys, "watch.load", options)


def load(work: Work, settings: JobSettings[SourceOptions], database: Database) -> SourceSummary:
    from altrepodb.sources.watch import load_watch

    return load_watch(settings.options, database)


SERVICE = ServiceType(
    name="watch_loader",
    keys=JOB_KEYS | {"url"},
    read_settings=read_settings,
    accept=accept_trigger,
    load=load,
)
