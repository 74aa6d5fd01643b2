"""``bugzilla_loader``: changes of bugs, one message for each field that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import malformed_is_dropped, rest_of_key

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceSummary

__all__ = ["SERVICE"]


@dataclass(frozen=True, slots=True)
class BugzillaLoaderSettings:
    """``routing_key_pattern`` is what the keys of messages begin with."""

    routing_key_pattern: str


def read_settings(values: Mapping[str, Any]) -> BugzillaLoaderSettings:
    keys = JsonObject(values)
    settings = BugzillaLoaderSettings(keys.text("routing_key_pattern", "bugzilla."))
    keys.finish()
    return settings


def accept(message: Message, settings: BugzillaLoaderSettings) -> Work | None:
    from altrepodb.sources.bugzilla import bug_of_message

    key = rest_of_key(message, settings.routing_key_pattern)
    with malformed_is_dropped():
        bug = bug_of_message(key, message.body)
    return bug and Work(f"bug {bug.bz_id}", bug, exclusive=bug.bz_id)


def load(work: Work, settings: BugzillaLoaderSettings, database: Database) -> SourceSummary:
    from altrepodb.sources.bugzilla import store_bug

    return store_bug(work.arguments, database)


SERVICE = ServiceType(
    name="bugzilla_loader",
    keys=frozenset({"routing_key_pattern"}),
    read_settings=read_settings,
    accept=accept,
    load=load,
)
