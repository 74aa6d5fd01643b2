"""Approvals and disapprovals of subtasks, on disk and in the database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from altrepodb.rpm.package_file import printable
from altrepodb.task.files import numbered_directories, raw, regular_files

__all__ = ["Approval", "Changes", "compare_approvals", "parse_approval", "read_approvals"]

_STAMP = re.compile(r"(\d{4})-([A-Z][a-z]{2})-(\d{1,2}) (\d{1,2}):(\d{1,2}):(\d{1,2})", re.ASCII)
_LARGEST_TIME = 0xFFFFFFFF
_KINDS = {"approved": "approve", "disapproved": "disapprove"}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}


class Approval(NamedTuple):
    """A decision of a user about a subtask; ``date`` is seconds since 1970 UTC."""

    task_id: int
    subtask_id: int
    kind: str
    date: int
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What to write: decisions that were withdrawn, and new ones."""

    revoked: list[Approval]
    added: list[Approval]


def _parse_stamp(stamp: str) -> int:
    """Seconds of ``YYYY-Mon-DD HH:MM:SS``. Raises ValueError when it is no date."""
    found = _STAMP.fullmatch(stamp)
    if found is None or found[2] not in _MONTHS:
        raise ValueError(f"no date {stamp[:40]!r}")
    year, day, hour, minute, second = map(int, found.group(1, 3, 4, 5, 6))
    moment = datetime(
        year, _MONTHS[found[2]], day, hour, minute, second, tzinfo=timezone.utc
    )  # fmt: skip
    time = int(moment.timestamp())
    if not 0 <= time <= _LARGEST_TIME:
        raise ValueError(f"no date of our times {stamp!r}")
    return time


def parse_approval(text: str) -> tuple[int, str, str] | None:
    """Date, name and message of an approval's text; None when it is empty.

    Raises ValueError when its first line is not ``<date> :: approved by <name>``.
    """
    lines = [line for line in text.split("\n") if line]
    if not lines:
        return None
    parts = [part for part in lines[0].split("::") if part]
    if len(parts) != 2 or lines[0].count("::") != 1:
        raise ValueError("not a date and a name")
    name = parts[1].strip().split(" ")[-1]
    if not name:
        raise ValueError("no name")
    return _parse_stamp(parts[0].strip()), name, "\n".join(lines[1:])


def read_approvals(root: Path, task_id: int, warnings: list[str]) -> list[Approval] | None:
    """All approvals of a task; None when it has no ``acl`` tree, as archives may not.

    A file that cannot be understood is left out with a warning.
    """
    if not (root / "acl").is_dir():
        return None
    found = []
    for directory, kind in _KINDS.items():
        for subtask_id, path in numbered_directories(root / "acl" / directory):
            for file in regular_files(path):
                try:
                    parsed = parse_approval(raw(file))
                except ValueError as error:
                    name = printable(os.fspath(file))
                    warnings.append(f"{name}: not an approval: {error}")
                    continue
                if parsed is not None:
                    found.append(Approval(task_id, subtask_id, kind, *parsed))
    return found


def compare_approvals(
    stored: Iterable[tuple[Approval, bool]], on_disk: Iterable[Approval], now: int
) -> Changes:
    """What has to be written so that the newest records tell what is on disk.

    ``stored`` is the newest record of each (subtask, name) with whether it is a revocation;
    ``now`` is the date of new revocations.
    """
    active = {approval for approval, is_revoked in stored if not is_revoked}
    present = set(on_disk)
    revoked = [approval._replace(date=now) for approval in sorted(active - present)]
    return Changes(revoked, sorted(present - active))
