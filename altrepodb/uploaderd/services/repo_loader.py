"""``repo_loader``: the repository of a branch, loaded for the day that a message names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.repository.messages import check_day, load_requested, read_request
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import check_key, malformed_is_dropped

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.repository.load import RepositorySummary

__all__ = ["SERVICE"]

_DEFAULT_WORKERS = 4
_MOST_WORKERS = 256


@dataclass(frozen=True, slots=True)
class RepoLoaderSettings:
    """Where each branch lies; ``validate_date`` lets only the present day pass."""

    routing_key: str
    repo_dirs: Mapping[str, Path]
    threads_count: int
    validate_date: bool


def read_settings(values: Mapping[str, Any]) -> RepoLoaderSettings:
    keys = JsonObject(values)
    directories = keys.text_map("repo_dirs", {}, is_required=True)
    if values.get("repo_dirs") == {}:
        keys.complain("repo_dirs", "at least one branch")
    settings = RepoLoaderSettings(
        routing_key=keys.text("routing_key", "repo.load", may_be_empty=False),
        repo_dirs={branch: Path(directory) for branch, directory in directories.items()},
        threads_count=keys.integer("threads_count", _DEFAULT_WORKERS, low=1, high=_MOST_WORKERS),
        validate_date=keys.boolean("validate_date", False),
    )
    keys.finish()
    return settings


def accept(message: Message, settings: RepoLoaderSettings) -> Work:
    check_key(message, settings.routing_key)
    with malformed_is_dropped():
        request = read_request(message.body, settings.repo_dirs)
        if settings.validate_date:
            check_day(request, message.received, is_redelivered=message.redelivered)
    return Work(
        f"{request.branch} of {request.day}",
        request,
        exclusive=(request.branch.lower(), request.day),
        published={"repo_path": str(settings.repo_dirs[request.branch])},
    )


def load(work: Work, settings: RepoLoaderSettings, database: Database) -> RepositorySummary:
    directory = settings.repo_dirs[work.arguments.branch]
    return load_requested(work.arguments, directory, settings.threads_count, database)


SERVICE = ServiceType(
    name="repo_loader",
    keys=frozenset({"routing_key", "repo_dirs", "threads_count", "validate_date"}),
    read_settings=read_settings,
    accept=accept,
    load=load,
)
