"""``task_loader``: what the build system tells of tasks: loads, deletions, approvals, progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.task.events import TaskTrees, apply_event
from altrepodb.task.messages import DECISIONS, KINDS, TaskEvent, read_event, read_record
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import malformed_is_dropped, unexpected_key

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.task.summary import TaskSummary

__all__ = ["SERVICE"]

_ROUTING_KEYS = {
    "TASK_STATE": ("state", "task.state"),
    "TASK_PROGRESS": ("progress", "task.progress"),
    "TASK_APPROVE": ("approve", "task.subtask.approve"),
    "TASK_DISAPPROVE": ("disapprove", "task.subtask.disapprove"),
}
_RECORDED_KEYS = {
    **{f"task.{kind}": kind for kind in KINDS.difference(DECISIONS, ("state", "progress"))},
    **{f"task.subtask.{kind}": kind for kind in KINDS.difference(DECISIONS)},
}
"""Events that are stored and ask for nothing."""


@dataclass(frozen=True, slots=True)
class TaskLoaderSettings:
    """Where tasks lie, and the kind of message by routing key.

    ``store_progress`` has every message of a task stored in TaskProgress or TaskSubtaskProgress.
    """

    trees: TaskTrees
    kinds: Mapping[str, str]
    store_progress: bool


@dataclass(frozen=True, slots=True)
class TaskWork:
    """What a message asks for, and when it came, in seconds since 1970."""

    event: TaskEvent
    received: float


def read_settings(values: Mapping[str, Any]) -> TaskLoaderSettings:
    keys = JsonObject(values)
    # The runner reads the first of these; the second was never used.
    keys.has("amqp_batch_size")
    keys.has("routing_key")
    trees = TaskTrees(
        live=keys.path("tasks_dir", Path("/tasks")),
        archive=keys.path("tasks_archive_dir", Path("/archive/tasks/done")),
    )
    settings = TaskLoaderSettings(trees, _read_kinds(keys), keys.boolean("store_progress", True))
    keys.finish()
    return settings


def _read_kinds(keys: JsonObject) -> dict[str, str]:
    """Routing key -> kind; keys that are not given are the usual ones."""
    section = keys.section("routing_keys_dict")
    kinds: dict[str, str] = {}
    for name, (kind, usual) in _ROUTING_KEYS.items():
        routing_key = section.text(name, usual, may_be_empty=False)
        if kinds.setdefault(routing_key, kind) != kind:
            keys.complain("routing_keys_dict", "another key for each kind of message")
    section.refuse_unknown()
    return kinds


def accept(message: Message, settings: TaskLoaderSettings) -> Work | None:
    kind = settings.kinds.get(message.routing_key, "")
    recorded = _RECORDED_KEYS.get(message.routing_key) if settings.store_progress else None
    if not kind and not recorded:
        raise unexpected_key(message)
    with malformed_is_dropped():
        if recorded and not kind:
            event = read_record(recorded, message.body)
        else:
            event = read_event(kind, message.body, with_progress=settings.store_progress)
    if event.is_empty:
        return None
    # What is stored of a message goes with those of the same kind that come after it only.
    together = (event.task_id, kind if settings.store_progress else "")
    return Work(
        f"task {event.task_id}",
        TaskWork(event, message.received),
        exclusive=event.task_id,
        merged=together if event.is_load else None,
        published={} if event.is_announced else None,
    )


def load(work: Work, settings: TaskLoaderSettings, database: Database) -> TaskSummary:
    task: TaskWork = work.arguments
    return apply_event(task.event, settings.trees, task.received, database)


SERVICE = ServiceType(
    name="task_loader",
    keys=frozenset(
        {
            "amqp_batch_size",
            "routing_key",
            "routing_keys_dict",
            "store_progress",
            "tasks_archive_dir",
            "tasks_dir",
        }
    ),
    read_settings=read_settings,
    accept=accept,
    load=load,
    default_max_redeliver_count=2,
)
