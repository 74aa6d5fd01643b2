"""``spdx_loader``: the SPDX licence list, loaded when a message says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
    from altrepodb.sources.run import SourceSummary
    from altrepodb.sources.spdx import SpdxOptions

__all__ = ["SERVICE"]


def read_settings(values: Mapping[str, Any]) -> JobSettings[SpdxOptions]:
    from altrepodb.sources.spdx import GIT_TIMEOUT_S, SpdxOptions

    keys = JsonObject(values)
    options = SpdxOptions(
        **shared_options(keys),
        git_root=keys.path("git_root", Path()) if keys.has("git_root") else None,
        branch=keys.text("branch") or None,
        git_timeout_s=keys.number("git_timeout", GIT_TIMEOUT_S, low=1, high=86_400),
    )
    return finish_job(keys, "spdx.load", options)


def load(work: Work, settings: JobSettings[SpdxOptions], database: Database) -> SourceSummary:
    from altrepodb.sources.spdx import load_spdx

    return load_spdx(settings.options, database)


SERVICE = ServiceType(
    name="spdx_loader",
    keys=JOB_KEYS | {"url", "git_root", "branch", "git_timeout"},
    read_settings=read_settings,
    accept=accept_trigger,
    load=load,
)
