"""What the service tells its deliveries, and what they ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from altrepodb.uploaderd.notice import Notice
from altrepodb.uploaderd.service_type import Work

__all__ = ["Action", "Delivery", "Job", "Publish", "Purpose", "Settle", "Tag", "Verdict"]

Verdict = Literal["ack", "reject", "requeue"]
Purpose = Literal["event", "dead letter", "retry"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A delivery tag and the number of the channel, counted by us, that it is valid on."""

    channel: int
    number: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the broker hands it out; ``count`` is how often it did so in vain before."""

    tag: Tag
    routing_key: str
    body: bytes
    redelivered: bool = False
    count: int = 0
    properties: Any = None


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell the broker that it may forget a message, or must give it to somebody again."""

    tag: Tag
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish with confirmation and report the end as ``published(number, ...)``.

    ``added`` goes into the body, ``headers`` are added to those of ``properties``. A retry comes
    back to the service's queue after ``delay_s``. What is not an event must reach a queue.
    """

    number: int
    exchange: str
    routing_key: str
    body: bytes
    properties: Any
    purpose: Purpose
    added: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    delay_s: float = 0.0

    @property
    def is_mandatory(self) -> bool:
        """Whether it must reach a queue."""
        return self.purpose != "event"


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one worker, and the numbers of the messages that it does.

    ``routing_key`` and ``attempt`` are those of the newest message, for the ledger.
    """

    work: Work
    numbers: tuple[int, ...]
    routing_key: str = ""
    attempt: int = 1


Action = Settle | Publish | Notice
