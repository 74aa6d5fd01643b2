"""What all services do with a message first: look at its key, and tell a bad body from a defect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from altrepodb.errors import SourceError
from altrepodb.logger import printable
from altrepodb.uploaderd.service_type import Drop, Message

__all__ = ["check_key", "malformed_is_dropped", "rest_of_key", "unexpected_key"]

_SHOWN_CHARACTERS = 80


def check_key(message: Message, routing_key: str) -> None:
    """Raise Drop for a message with another key."""
    if message.routing_key != routing_key:
        raise unexpected_key(message)


def rest_of_key(message: Message, prefix: str) -> str:
    """What stands behind the prefix of a key. Raises Drop for a key without it."""
    if not message.routing_key.startswith(prefix):
        raise unexpected_key(message)
    return message.routing_key[len(prefix) :]


def unexpected_key(message: Message) -> Drop:
    """The error for a message with a key that the service has no use for."""
    return Drop(f"{printable(message.routing_key[:_SHOWN_CHARACTERS])}: unexpected routing key")


@contextmanager
def malformed_is_dropped() -> Iterator[None]:
    """Around the reading of a body: the source that cannot be read is the message."""
    try:
        yield
    except SourceError as error:
        raise Drop(printable(str(error))) from error
