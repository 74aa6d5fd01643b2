"""A parsed task as JSON, for people who look for what the loader saw."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from altrepodb.errors import SourceError
from altrepodb.task.approvals import Approval
from altrepodb.task.tree import Task

__all__ = ["write_dump"]

_DIRECTORY = Path("JSON")
_PARTS = ("subtasks", "approvals", "iterations", "plan")
_STATE_PARTS = (
    "state", "repo", "owner", "runby", "depends", "task_try", "task_iter", "is_testonly",
    "is_failearly", "is_shared", "message", "version", "previous",
)  # fmt: skip
_TIME_FIELDS = frozenset({"changed", "time", "date"})


def write_dump(task: Task) -> Path:
    """Write ``./JSON/dump-<id>-<date>.json``, over one that is there. Raises SourceError."""
    path = _DIRECTORY / f"dump-{task.id}-{date.today()}.json"
    content = {
        "id": task.id,
        "state": {
            "changed": _moment(task.changed),
            **{name: getattr(task, name) for name in _STATE_PARTS},
        },
        "logs": [_plain(log) for log in task.logs],
        "arepo": [str(path) for path in task.arepo],
        "pkg_hashes": {name: _plain(package._asdict()) for name, package in task.listed.items()},
        **{name: _plain(getattr(task, name)) for name in _PARTS},
    }
    try:
        _DIRECTORY.mkdir(exist_ok=True)
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        path.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    return path


def _moment(seconds: int) -> str:
    return str(datetime.fromtimestamp(seconds, timezone.utc))


def _plain(value: Any, name: str = "") -> Any:
    """A value in terms of JSON: digests in hexadecimal, times as text, paths as they are."""
    match value:
        case Approval():
            return _plain(value._asdict())
        case bytes():
            return value.hex() if name != "file_name" else os.fsdecode(value)
        case Path():
            return str(value)
        case dict():
            return {_key(key): _plain(item, str(key)) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case int() if name in _TIME_FIELDS:
            return _moment(value)
        case _ if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {field.name: _plain(getattr(value, field.name), field.name) for field in fields}
        case _:
            return value


def _key(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
