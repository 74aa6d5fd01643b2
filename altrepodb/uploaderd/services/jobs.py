"""Services that a bare message sets going: it runs the whole job of a command.

The body says nothing. Triggers that wait together are one run, and one that comes during a run
causes another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import check_key

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceOptions, SourceSummary

__all__ = [
    "JOB_KEYS",
    "JobSettings",
    "accept_trigger",
    "file_service",
    "finish_job",
    "shared_options",
]

JOB_KEYS = frozenset({"routing_key", "timeout", "state_dir", "source_timezone"})
"""What every job can be told; the last two are as in the loaders' own configuration."""

_DEFAULT_TIMEOUT_S = 30.0
_LONGEST_TIMEOUT_S = 86_400.0
_NOWHERE = Path()


Options = TypeVar("Options", bound="SourceOptions")


@dataclass(frozen=True, slots=True)
class JobSettings(Generic[Options]):
    """The key that sets a job going, and what the job is told."""

    routing_key: str
    options: Options


def shared_options(keys: JsonObject, url_key: str = "url") -> Mapping[str, Any]:
    """The values of SourceOptions by name; without a URL the loader takes its own."""
    return {
        "url": keys.text(url_key, may_be_empty=False) or None,
        "timeout_s": keys.number("timeout", _DEFAULT_TIMEOUT_S, low=0.1, high=_LONGEST_TIMEOUT_S),
        "state_dir": keys.path("state_dir", _NOWHERE) if keys.has("state_dir") else None,
        "source_timezone": keys.text("source_timezone") or None,
    }


def finish_job(keys: JsonObject, default_key: str, options: Options) -> JobSettings[Options]:
    """The settings of a job when all that was read is sound. Raises ConfigurationError."""
    routing_key = keys.text("routing_key", default_key, may_be_empty=False)
    keys.finish()
    options.check()
    return JobSettings(routing_key, options)


def accept_trigger(message: Message, settings: JobSettings[Any]) -> Work:
    """One run of the job. Raises Drop for a message with another key."""
    check_key(message, settings.routing_key)
    return Work("whole job", exclusive="job", merged="job")


def file_service(
    name: str, routing_key: str, load_file: Callable[[SourceOptions, Database], SourceSummary]
) -> ServiceType:
    """The service of a source that is one file, of which only the ``url`` can be told."""
    return ServiceType(
        name,
        JOB_KEYS | {"url"},
        partial(_read_file_settings, routing_key=routing_key),
        accept_trigger,
        partial(_load_file, load_file=load_file),
    )


def _read_file_settings(
    values: Mapping[str, Any], *, routing_key: str
) -> JobSettings[SourceOptions]:
    from altrepodb.sources.run import SourceOptions

    keys = JsonObject(values)
    return finish_job(keys, routing_key, SourceOptions(**shared_options(keys)))


def _load_file(
    work: Work,
    settings: JobSettings[SourceOptions],
    database: Database,
    *,
    load_file: Callable[[SourceOptions, Database], SourceSummary],
) -> SourceSummary:
    return load_file(settings.options, database)
