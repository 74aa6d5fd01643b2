"""What the daemon tells its people: a notice, and who takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["Notice", "NoticeType", "Notify", "Severity"]

Severity = Literal["INFO", "WARNING", "CRITICAL"]
NoticeType = Literal["MESSAGE", "SERVICE_ERROR", "SERVICE_WORKER_ERROR"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice; ``payload`` is what JSON can hold.

    ``subject`` is a service's name. It travels from a service to main by pickle.
    """

    subject: str
    severity: Severity
    type: NoticeType
    message: str
    payload: Any = None


class Notify(Protocol):
    """Takes a notice and returns at once, whatever the state of the broker. Never raises."""

    def __call__(
        self,
        subject: str,
        severity: Severity,
        type: NoticeType,
        message: str,
        payload: Any = None,
    ) -> None:
        """Pass a notice on."""
