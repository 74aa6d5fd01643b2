"""``beehive_loader``: the latest rebuilds of all branches, loaded when a message says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from altrepodb.errors import TemporaryError
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
    from altrepodb.sources.beehive import BeehiveOptions, BeehiveSummary

__all__ = ["SERVICE"]


def read_settings(values: Mapping[str, Any]) -> JobSettings[BeehiveOptions]:
    from altrepodb.sources.beehive import (
        DEFAULT_ARCHS,
        DEFAULT_BRANCHES,
        BeehiveOptions,
    )

    keys = JsonObject(values)
    options = BeehiveOptions(
        **shared_options(keys, "base_url"),
        branches=keys.texts("branches", DEFAULT_BRANCHES),
        archs=keys.texts("archs", DEFAULT_ARCHS),
    )
    return finish_job(keys, "beehive.load", options)


def load(work: Work, settings: JobSettings[BeehiveOptions], database: Database) -> BeehiveSummary:
    """Load all pairs; when only the site stood in the way of some, a later run may cure that."""
    from altrepodb.sources.beehive import load_beehive

    summary = load_beehive(settings.options, database)
    if summary.is_curable:
        summary.exit_code = TemporaryError.exit_code
    return summary


SERVICE = ServiceType(
    name="beehive_loader",
    keys=JOB_KEYS | {"base_url", "archs", "branches"},
    read_settings=read_settings,
    accept=accept_trigger,
    load=load,
)
