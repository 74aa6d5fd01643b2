"""A message that a service holds: what it is, where it stands, what it has behind it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from altrepodb.uploaderd.actions import Delivery, Tag, Verdict
from altrepodb.uploaderd.receipt import read_body
from altrepodb.uploaderd.service_type import Drop, Work

__all__ = ["Held", "Phase", "digest_of", "payload_of", "text_of"]

_MAX_PAYLOAD_BYTES = 64 << 10


class Phase(Enum):
    """Where a message stands."""

    WAITING = "waiting"
    WORKING = "working"
    RETRYING = "retrying"
    SETTLING = "settling"
    SETTLED = "settled"


@dataclass(slots=True, eq=False)
class Held:
    """One message; ``tag`` is None while the channel that brought it is gone."""

    number: int
    key: bytes
    tag: Tag | None
    routing_key: str
    body: bytes
    properties: Any
    redelivered: bool
    received: float
    since: float
    """Monotonic time of the receipt, or of the loss of the channel."""
    phase: Phase = Phase.WAITING
    work: Work | None = None
    due: float = 0.0
    failures: int = 0
    crashes: int = 0
    hindrances: int = 0
    """Temporary failures, which count towards nothing."""
    verdict: Verdict = "ack"
    settled: int = 0
    """How many messages had been settled with this one."""
    waits_for_database: bool = False
    delay: float = 0.0
    """Until the next attempt, while a copy is on its way to a retry queue."""
    given_up: str = ""

    @property
    def attempt(self) -> int:
        """The number of the attempt that is at work, or was last."""
        return 1 + self.failures + self.crashes + self.hindrances


def digest_of(delivery: Delivery) -> bytes:
    digest = hashlib.sha256(delivery.routing_key.encode("utf-8", "surrogateescape"))
    digest.update(b"\0")
    digest.update(delivery.body)
    return digest.digest()


def text_of(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def payload_of(body: bytes) -> Any:
    """The body as a notice carries it: the object, or the beginning of the text."""
    if len(body) <= _MAX_PAYLOAD_BYTES:
        try:
            return read_body(body)
        except Drop:
            pass
    return body[:_MAX_PAYLOAD_BYTES].decode("utf-8", "replace")
