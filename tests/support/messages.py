"""Messages as senders write them, and a service asked about them without a broker."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from altrepodb.db.database import Database
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services import SERVICE_TYPES

TASK_ID = 307_321
APPROVAL_TIME = 1_660_212_062
"""2022-08-11 10:01:02 UTC"""
APPROVAL_TEXT = "2022-Aug-11 10:01:02 :: approved by petrova\nlooks good\n"


@dataclass(frozen=True)
class Service:
    """A service with its settings, which takes messages and does their work at once."""

    name: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> ServiceType:
        return SERVICE_TYPES[self.name]

    @property
    def settings(self) -> Any:
        return self.type.read_settings(self.keys)

    def accept(
        self,
        key: str,
        body: Mapping[str, Any],
        received: float | None = None,
        *,
        redelivered: bool = False,
    ) -> Work | None:
        """What the service makes of a message, received just now unless told otherwise."""
        received = time.time() if received is None else received
        return self.type.accept(Message(key, body, redelivered, received), self.settings)

    def receive(
        self, database: Database, key: str, body: Mapping[str, Any], received: float | None = None
    ) -> Any:
        """The summary of the work that a message causes; None when it is ignored."""
        work = self.accept(key, body, received)
        return None if work is None else self.type.load(work, self.settings, database)


def task_state(state: object = "DONE", **changes: Any) -> dict[str, Any]:
    """The body of ``task.state``."""
    return {
        "taskid": TASK_ID, "state": state, "try": 2, "iter": 1, "repo": "sisyphus",
        "owner": "petrova", "girar_user": "petrova", "_timestamp": "1660211234.5678",
        "_routing_key": "task.state", **changes,
    }  # fmt: skip


def task_progress(status: object = "processed", **changes: Any) -> dict[str, Any]:
    """The body of ``task.progress`` at the end of a build without access rights."""
    return {
        "taskid": TASK_ID, "state": "EPERM", "stage": "build-task", "stage_status": status,
        "try": 1, "iter": 1, "repo": "p10", "owner": "sidorov", "_timestamp": "1660212001.01",
        "_routing_key": "task.progress", **changes,
    }  # fmt: skip


def approval(kind: str = "approve", text: str = APPROVAL_TEXT, **changes: Any) -> dict[str, Any]:
    """The body of ``task.subtask.<kind>``."""
    return {
        "taskid": TASK_ID, "subtaskid": 200, "state": "EPERM", "repo": "p10", "owner": "sidorov",
        "girar_user": "petrova", "base64_message": base64.b64encode(text.encode()).decode(),
        "_timestamp": "1660212062.2", "_routing_key": f"task.subtask.{kind}", **changes,
    }  # fmt: skip


def withdrawal(kind: str = "approve", **changes: Any) -> dict[str, Any]:
    """The body of ``task.subtask.<kind>`` that takes it back."""
    body = approval(kind, revoke=True, _timestamp="1660212100.9")
    del body["base64_message"]
    return {**body, **changes}


def acl_change(**changes: Any) -> dict[str, Any]:
    """The body of ``acl.change``."""
    return {
        "_timestamp": "1660212345.25", "target": "mutter", "repo": "sisyphus",
        "new_owners": ["petrova", "@gnome", "@everybody"], "girar_user": "petrova",
        "_routing_key": "acl.change", **changes,
    }  # fmt: skip


def bug_change(moment: str = "2022-06-27T10:15:30", **changes: Any) -> dict[str, Any]:
    """The body of ``bugzilla.bug.changed.status``."""
    bug = {
        "id": 43_210, "summary": "crash on start", "resolution": "", "severity": "normal",
        "priority": "P5", "platform": "x86_64", "operating_system": "Linux", "dupe_of": None,
        "keywords": [], "flags": [],
        "status": {"id": 3, "label": "ASSIGNED", "is_open": True, "is_active": True},
        "product": {"id": 5, "name": "Sisyphus"}, "component": {"id": 4711, "name": "nano"},
        "assigned_to": {"id": "17", "login": "sidorov@example.org", "real_name": "S. Sidorov"},
        "reporter": {"id": "18", "login": "petrova@example.org", "real_name": "P. Petrova"},
        "creation_time": "2022-06-26T08:00:00", "last_change_time": "2022-06-27T10:15:30",
        **changes,
    }  # fmt: skip
    meta = {"routing_key": "bugzilla.bug.changed.status", "time": moment}
    return {"_meta": meta, "payload": {"change": ["NEW", "ASSIGNED"], "bug": bug}}


def image_request(**changes: Any) -> dict[str, Any]:
    """The body of ``iso.load``."""
    return {
        "path": "p10/images/alt-server.iso", "edition": "alt-server", "version": "10.1",
        "release": "release", "platform": "", "variant": "install", "flavor": "",
        "arch": "x86_64", "branch": "p10", "date": "2022-08-11",
        "url": "https://example.org/alt-server.iso", **changes,
    }  # fmt: skip
