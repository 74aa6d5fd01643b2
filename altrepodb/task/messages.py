"""Messages of the build system -> what they ask for. No database and no task tree is needed here.

A message is a JSON object about one task. Its kind is the last word of its routing key, such as
``state`` or ``approve``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from altrepodb.errors import SourceError
from altrepodb.json_values import flag_under, moment_under, number_under, text_under
from altrepodb.task.approvals import Approval, parse_approval
from altrepodb.task.progress import Progress, progress_of_message

__all__ = ["DECISIONS", "KINDS", "Decision", "Deletion", "TaskEvent", "read_event", "read_record"]

DECISIONS = ("approve", "disapprove")
KINDS = frozenset(
    {"state", "abort", "create", "delete", "share", "deps", "progress", *DECISIONS}
)  # fmt: skip
"""All that the build system tells about tasks and subtasks."""

_LOADED_STATES = frozenset({"done", "failed", "new", "tested"})
_BUILT_STAGE = "build-task"
_BUILT_STATUSES = frozenset({"processed", "failed"})


@dataclass(frozen=True, slots=True)
class Deletion:
    """A task was deleted; ``time`` is in seconds since 1970 UTC, None when nobody told it."""

    time: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A user approved or disapproved of a subtask, or withdrew that."""

    approval: Approval
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """What one message tells of a task and asks for."""

    task_id: int
    is_load: bool = False
    deletion: Deletion | None = None
    decision: Decision | None = None
    progress: Progress | None = None

    @property
    def is_announced(self) -> bool:
        """Whether others wait to hear that it is done: what is under way is none of theirs."""
        return self.is_load or self.deletion is not None or self.decision is not None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.is_announced and self.progress is None


def read_event(kind: str, body: Mapping[str, Any], *, with_progress: bool) -> TaskEvent:
    """What a message asks for. Raises SourceError when it is malformed."""
    task_id = number_under(body, "taskid")
    is_deleted = kind == "state" and _word(body, "state") == "deleted"
    return TaskEvent(
        task_id,
        is_load=_is_load(kind, body),
        deletion=Deletion(_time(body)) if is_deleted else None,
        decision=_decision(kind, body, task_id) if kind in DECISIONS else None,
        progress=progress_of_message(kind, body) if with_progress else None,
    )


def read_record(kind: str, body: Mapping[str, Any]) -> TaskEvent:
    """The same of a message that is only to be stored."""
    return TaskEvent(number_under(body, "taskid"), progress=progress_of_message(kind, body))


def _is_load(kind: str, body: Mapping[str, Any]) -> bool:
    """Whether the task on disk is complete now.

    The build system announces EPERM before it writes the lists of hashes; the end of the stage
    is what tells of a task without access rights that it is built.
    """
    state = _word(body, "state")
    if kind == "progress":
        is_built = _word(body, "stage") == _BUILT_STAGE and state == "eperm"
        return is_built and _word(body, "stage_status") in _BUILT_STATUSES
    return kind == "state" and state in _LOADED_STATES


def _word(body: Mapping[str, Any], key: str) -> str:
    """A word in lower case; empty for what is none."""
    value = body.get(key)
    return value.lower() if isinstance(value, str) else ""


def _time(body: Mapping[str, Any]) -> int | None:
    return None if body.get("_timestamp") is None else moment_under(body, "_timestamp")


def _decision(kind: str, body: Mapping[str, Any], task_id: int) -> Decision:
    subtask_id = number_under(body, "subtaskid")
    kind = _stated_kind(body) or kind
    is_revoked = flag_under(body, "revoke") | flag_under(body, "revoked")
    if is_revoked:
        date, name, message = moment_under(body, "_timestamp"), text_under(body, "girar_user"), ""
    else:
        date, name, message = _approval_text(text_under(body, "base64_message"))
    return Decision(Approval(task_id, subtask_id, kind, date, name, message), is_revoked)


def _stated_kind(body: Mapping[str, Any]) -> str:
    """The kind by the key that the sender wrote into the message, which no broker has changed."""
    key = body.get("_routing_key")
    word = key.rpartition(".")[2] if isinstance(key, str) and "." in key else ""
    return word if word in DECISIONS else ""


def _approval_text(encoded: str) -> tuple[int, str, str]:
    """Date, name and message of the text of an approval."""
    try:
        # Encoders may break lines.
        content = base64.b64decode("".join(encoded.split()), validate=True)
        parsed = parse_approval(content.decode("utf-8", "surrogateescape"))
    except (binascii.Error, ValueError) as error:
        raise SourceError(f"base64_message: not an approval: {error}") from error
    if parsed is None:
        raise SourceError("base64_message: empty")
    return parsed
