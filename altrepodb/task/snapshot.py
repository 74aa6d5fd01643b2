"""Noticing that a task changes while it is read.

The build system locks a task's directory while it works; we must not, since its users' commands
do not wait for a lock. We compare what the directory looked like before and after instead.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from altrepodb.errors import TemporaryError
from altrepodb.rpm.package_file import printable
from altrepodb.task.files import (
    exists,
    modified_ns,
    numbered_directories,
    raw,
    subdirectories,
    text,
)

__all__ = ["Snapshot", "TaskInFluxError", "read_info", "take_snapshot", "wait_for_info"]

_POLL_S = 0.25
INFO_WAIT_S = 5.0

Snapshot = tuple[Any, ...]


class TaskInFluxError(TemporaryError):
    """The task is being changed by the build system; a later load will find it at rest."""


def take_snapshot(root: Path) -> Snapshot:
    """Everything by which a change of the task shows; equal snapshots mean an unchanged task."""
    task = [
        (raw(root / "task" / n), modified_ns(root / "task" / n)) for n in ("state", "try", "iter")
    ]
    directories = [modified_ns(root / name) for name in ("info.json", "plan")]
    subtasks = [(n, modified_ns(path)) for n, path in numbered_directories(root / "gears")]
    approvals = [
        (kind, n, modified_ns(path))
        for kind in ("approved", "disapproved")
        for n, path in numbered_directories(root / "acl" / kind)
    ]
    builds = [
        (n, os.fspath(arch), raw(arch / "status"), modified_ns(arch / "status"))
        for n, path in numbered_directories(root / "build")
        for arch in subdirectories(path)
    ]
    return (task, directories, subtasks, approvals, builds)


def read_info(root: Path) -> dict[str, Any]:
    """The object in info.json; empty when there is none (it is written without escaping)."""
    try:
        info = json.loads(raw(root / "info.json"))
    except (ValueError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}


def wait_for_info(root: Path, wait_s: float, warnings: list[str]) -> None:
    """Wait until info.json, which is written later, tells the same state as the state file.

    Raises TaskInFluxError when the state file stays empty.
    """
    deadline = time.monotonic() + wait_s
    while True:
        state = text(root / "task" / "state")
        stated = read_info(root).get("state")
        if state and stated in (None, state):
            return
        if not exists(root / "task" / "state"):
            return
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    name = printable(os.fspath(root))
    if not state:
        raise TaskInFluxError(f"{name}: task/state is empty")
    warnings.append(f"{name}: info.json says {str(stated)[:40]!r}, task/state says {state!r}")
