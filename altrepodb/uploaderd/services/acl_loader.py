"""``acl_loader``: changes of maintainers' ACLs, one message for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altrepodb.logger import printable
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import malformed_is_dropped, rest_of_key

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.acl import AclSummary

__all__ = ["SERVICE"]

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class AclLoaderSettings:
    """``routing_key_pattern`` is what the keys of messages begin with."""

    routing_key_pattern: str


def read_settings(values: Mapping[str, Any]) -> AclLoaderSettings:
    keys = JsonObject(values)
    settings = AclLoaderSettings(keys.text("routing_key_pattern", "acl."))
    keys.finish()
    return settings


def accept(message: Message, settings: AclLoaderSettings) -> Work:
    from altrepodb.sources.acl import parse_event

    rest_of_key(message, settings.routing_key_pattern)
    with malformed_is_dropped():
        record = parse_event(message.body)
    subject = printable(f"{record.subject} of {record.branch}"[:_SHOWN_CHARACTERS])
    return Work(subject, record, exclusive=(record.branch, record.subject))


def load(work: Work, settings: AclLoaderSettings, database: Database) -> AclSummary:
    from altrepodb.sources.acl import store_event

    return store_event(work.arguments, database)


SERVICE = ServiceType(
    name="acl_loader",
    keys=frozenset({"routing_key_pattern"}),
    read_settings=read_settings,
    accept=accept,
    load=load,
)
