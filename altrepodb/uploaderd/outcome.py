"""How a load ended: what its return value or exception means for the message.

This is the one place that maps the exceptions of a service to the fate of its message.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from altrepodb.errors import (
    AlreadyLoadedError,
    AltrepodbError,
    DatabaseUnavailableError,
    TemporaryError,
)
from altrepodb.uploaderd.service_type import Drop

__all__ = ["Outcome", "OutcomeKind", "outcome_of_error", "outcome_of_summary"]

_TEMPORARY_EXIT_CODE = TemporaryError.exit_code
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
_MAX_REASON_LENGTH = 2000


class OutcomeKind(Enum):
    """What becomes of the message."""

    DONE = "done"
    MALFORMED = "malformed"
    TEMPORARY = "temporary failure"
    DATABASE_AWAY = "database away"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one load; ``reason`` is one line, empty for a load without a remark."""

    kind: OutcomeKind
    reason: str = ""
    seconds: float = 0.0


def outcome_of_summary(summary: object) -> Outcome:
    """A load that returned; its summary may tell of work done in part."""
    code = getattr(summary, "exit_code", 0)
    reason = _one_line(getattr(summary, "error", None) or "")
    if code in (0, AlreadyLoadedError.exit_code):
        return Outcome(OutcomeKind.DONE, reason)
    kind = OutcomeKind.TEMPORARY if code == _TEMPORARY_EXIT_CODE else OutcomeKind.FAILED
    return Outcome(kind, reason or f"exit code {code}")


def outcome_of_error(error: Exception) -> Outcome:
    """A load that raised. What is not of our family is a defect, or a full disk."""
    match error:
        case AlreadyLoadedError():
            return Outcome(OutcomeKind.DONE, _one_line(str(error)))
        case Drop():
            kind = OutcomeKind.MALFORMED
        case DatabaseUnavailableError():
            kind = OutcomeKind.DATABASE_AWAY
        case TemporaryError():
            kind = OutcomeKind.TEMPORARY
        case OSError() if error.errno in _FULL:
            kind = OutcomeKind.TEMPORARY
        case AltrepodbError():
            kind = OutcomeKind.FAILED
        case _:
            return Outcome(OutcomeKind.FAILED, _one_line(f"{type(error).__name__}: {error}"))
    return Outcome(kind, _one_line(str(error)) or type(error).__name__)


def _one_line(text: str) -> str:
    return " ".join(text[:_MAX_REASON_LENGTH].split())
