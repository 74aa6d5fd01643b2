"""Queues of the broker that hold messages until their next attempt.

    <queue>.retry.<milliseconds>    fanout exchange, and the quorum queue that it fills; what has
                                    waited there goes on to
    <queue>.return                  fanout exchange, bound to the service's queue

Routing key and body stay as they were. A queue serves one delay, since messages expire at its
head only. How often a message was tried travels with it, in headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Attempts", "read_attempts", "retry_arguments", "retry_exchange", "return_exchange"]

ATTEMPT = "x-altrepo-attempt"
_FAILURES = "x-altrepo-failures"
_CRASHES = "x-altrepo-crashes"
_RECEIVED = "x-altrepo-received"
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Attempts:
    """What a message has behind it; ``received`` is in seconds since 1970 UTC."""

    failures: int
    crashes: int
    hindrances: int
    received: float

    @property
    def total(self) -> int:
        """All attempts."""
        return self.failures + self.crashes + self.hindrances

    def headers(self) -> Mapping[str, int]:
        """As headers of the copy."""
        return {
            ATTEMPT: self.total,
            _FAILURES: self.failures,
            _CRASHES: self.crashes,
            _RECEIVED: int(self.received),
        }


def read_attempts(properties: Any, now: float) -> Attempts:
    """What the headers of a message tell; anybody may have written them."""
    headers = getattr(properties, "headers", None) or {}
    total, failures, crashes = (_count(headers.get(k)) for k in (ATTEMPT, _FAILURES, _CRASHES))
    if not total or failures + crashes > total:
        return Attempts(0, 0, 0, now)
    received = headers.get(_RECEIVED)
    if not isinstance(received, int) or not 0 < received <= now:
        received = now
    return Attempts(failures, crashes, total - failures - crashes, received)


def retry_exchange(queue: str, delay_s: float) -> str:
    """The name of the exchange, and of the queue behind it, for a delay."""
    return f"{queue}.retry.{round(delay_s * 1000)}"


def return_exchange(queue: str) -> str:
    """The name of the exchange that brings messages back."""
    return f"{queue}.return"


def retry_arguments(queue: str, delay_s: float) -> Mapping[str, Any]:
    """The arguments of the queue for a delay."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": round(delay_s * 1000),
        "x-dead-letter-exchange": return_exchange(queue),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    return 0
