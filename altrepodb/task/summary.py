"""What a load of tasks is asked to do, and what it tells that it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["TaskOptions", "TaskSummary"]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Which tasks to load and how; those in other ``states`` are skipped, unless it is None."""

    paths: Sequence[Path]
    force: bool = False
    replace: bool = False
    with_approvals: bool = True
    with_new_logs: bool = True
    flush_buffers: bool = False
    dump_json: bool = False
    dry_run: bool = False
    states: Collection[str] | None = None


@dataclass(slots=True)
class TaskSummary:
    """What a load did; also the object that ``--json`` prints."""

    tasks: int = 0
    loaded: int = 0
    unchanged: int = 0
    skipped: int = 0
    packages: int = 0
    log_lines: int = 0
    inserted: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: int = 0
    dry_run: bool = False
    exit_code: int = 0
    error: str = ""
