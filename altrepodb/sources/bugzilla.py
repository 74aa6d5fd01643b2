"""Bugzilla -> rows of Bugzilla: bugs of the tracker's CSV list, and bugs of its messages.

The list is read in pages ordered by number until one is empty, so that no limit of the server
cuts it unnoticed. A bug is stored when it is new or differs from its latest stored state. The
list knows people by the part of their address before ``@``; the full addresses that messages
brought are kept as long as that part stays the same.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from altrepodb.db.database import Columns, Database
from altrepodb.errors import SourceError

__all__ = [
    "Bug",
    "BugzillaOptions",
    "Page",
    "bug_of_message",
    "changed_bugs",
    "load_bugzilla",
    "parse_page",
    "store_message",
]

logger = logging.getLogger(__name__)

DEFAULT_URL = "https://bugzilla.altlinux.org/buglist.cgi"
DEFAULT_PAGE_SIZE = 5000

_MAX_ID = 0xFFFFFFFF
_MAX_BUGS = 10_000_000
_MAX_MALFORMED_SHARE = 0.001
_NO_RESOLUTION = "---"
_UNKNOWN_VERSION = "all"
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")

# The machine name of each column, and the titles that it has been seen with.
_HEADERS = (
    ("bug_id", "id", "bug id"),
    ("bug_status", "status"),
    ("resolution",),
    ("bug_severity", "severity"),
    ("priority",),
    ("product",),
    ("version",),
    ("rep_platform", "hardware", "platform"),
    ("component",),
    ("assigned_to", "assignee"),
    ("reporter",),
    ("short_desc", "summary"),
    ("changeddate", "changed", "updated", "last changed"),
)
_COLUMN_LIST = (
    "id,bug_status,resolution,bug_severity,priority,product,version,rep_platform,component,"
    "assigned_to,reporter,short_desc,changeddate"
)

# Rows of one bug are told apart by when they were stored.
_LATEST_BUGS = """
SELECT
    bz_id, bz_status, bz_resolution, bz_severity, bz_priority, bz_product, bz_version,
    bz_platform, bz_component, bz_assignee, bz_reporter, bz_summary,
    toUnixTimestamp(bz_last_changed), bz_assignee_full, bz_reporter_full
FROM Bugzilla
ORDER BY bz_id, ts DESC
LIMIT 1 BY bz_id
"""
_LATEST_BUG = """
SELECT
    bz_id, bz_status, bz_resolution, bz_severity, bz_priority, bz_product, bz_version,
    bz_platform, bz_component, bz_assignee, bz_reporter, bz_summary,
    toUnixTimestamp(bz_last_changed), bz_assignee_full, bz_reporter_full
FROM Bugzilla
WHERE bz_id = {bz_id:UInt32}
ORDER BY ts DESC
LIMIT 1
"""


class Bug(NamedTuple):
    """One state of a bug: a row of Bugzilla, the time in seconds since 1970."""

    bz_id: int
    bz_status: str
    bz_resolution: str
    bz_severity: str
    bz_priority: str
    bz_product: str
    bz_version: str
    bz_platform: str
    bz_component: str
    bz_assignee: str
    bz_reporter: str
    bz_summary: str
    bz_last_changed: int
    bz_assignee_full: str = ""
    bz_reporter_full: str = ""

    @property
    def listed(self) -> tuple[int | str, ...]:
        """What the list tells of a bug: all but the full names."""
        return self[:13]

    @property
    def undated(self) -> tuple[int | str, ...]:
        """The listed values without the time."""
        return self[:12]


# --- parse


class Page(NamedTuple):
    """Bugs of one answer in its order, and how many records it had, sound or not."""

    bugs: list[Bug]
    records: int


def parse_page(text: str, name: str, zone: ZoneInfo, skips: Skips) -> Page:
    """The bugs of a list in CSV, in its order, repeated ones included.

    ``zone`` is that of the times, ``name`` that of the source in messages. Records that cannot
    be read are skipped and counted. Raises SourceError for an unknown header, and for a text
    that is cut off.
    """
    text = text.removeprefix("\ufeff")
    if text.count('"') % 2:
        raise SourceError(f"{name}: cut off or damaged: a quoted value does not end")
    records = _iter_records(text)
    _, header = next(records, (0, []))
    _check_header(header, name)
    bugs: list[Bug] = []
    count, is_sound = 0, True
    for count, (line, fields) in enumerate(records, start=1):
        try:
            bugs.append(_listed_bug(fields, zone))
            is_sound = True
        except ValueError as error:
            skips.add(f"line {line}", f"{error}: {','.join(fields)}")
            is_sound = False
    if not is_sound and not text.endswith(("\n", "\r")):
        raise SourceError(f"{name}: cut off: the last record is not complete")
    return Page(bugs, count)


def _iter_records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each record; none for what is not CSV. Blank lines are left out."""
    delimiter = ";" if ";" in text[: text.find("\n")] else ","
    # Only real line ends count: a summary may hold any other separator of lines.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield line, []
            continue
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield line, fields


def _check_header(header: Sequence[str], name: str) -> None:
    """Refuse columns that are not the ones asked for, in that order."""
    titles = [title.strip().lower() for title in header]
    if len(titles) != len(_HEADERS):
        raise SourceError(f"{name}: expected a list of {len(_HEADERS)} columns, got {len(titles)}")
    for title, known in zip(titles, _HEADERS, strict=True):
        if title not in known:
            raise SourceError(f"{name}: expected the column {known[0]}, got {printable(title)!r}")


def _listed_bug(fields: Sequence[str], zone: ZoneInfo) -> Bug:
    """A bug of the list. Raises ValueError that says what is wrong with it."""
    if len(fields) != len(_HEADERS):
        raise ValueError(f"{len(fields)} fields")
    number, status, resolution, *texts, changed = fields
    moment = instant_in_zone(changed, zone)
    return Bug(_bug_id(number), status, _resolution(resolution), *texts, moment)  # type: ignore[arg-type]


def _bug_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID):
        raise ValueError("not the number of a bug")
    return int(text)


def _resolution(text: str) -> str:
    return "" if text.strip() == _NO_RESOLUTION else text


# --- fetch


def read_bugs(ask: Callable[[int, int], str], options: BugzillaOptions, ...) -> dict[int, Bug]:
    """All bugs by number; ``ask`` gives the list for a limit and an offset.

    Of a bug that is there twice the last one counts.
    """


# --- rows


def changed_bugs(
    listed: Iterable[Bug], stored: Mapping[int, Bug], date_tolerance_s: int = 0
) -> list[Bug]:
    """The bugs that are new or differ from their stored state, with the full names known.

    A bug that differs by nothing but a stored time that is later by at most the tolerance is
    as stored.
    """
    changed = []
    for bug in listed:
        known = stored.get(bug.bz_id)
        if known is None:
            changed.append(bug)
        elif not _is_as_stored(bug, known, date_tolerance_s):
            changed.append(_with_full_names(bug, known))
    return changed


def _is_as_stored(bug: Bug, known: Bug, date_tolerance_s: int) -> bool:
    lead = known.bz_last_changed - bug.bz_last_changed
    return bug.undated == known.undated and 0 <= lead <= date_tolerance_s


def _with_full_names(bug: Bug, known: Bug) -> Bug:
    return bug._replace(
        bz_assignee_full=_same_person(known.bz_assignee_full, bug.bz_assignee),
        bz_reporter_full=_same_person(known.bz_reporter_full, bug.bz_reporter),
    )


def _same_person(full: str, short: str) -> str:
    """A full name if the short one belongs to it, else nothing."""
    return full if _short_name(full) == short else ""


def _short_name(login: str) -> str:
    return login.partition("@")[0]


def zone_shift(listed: Iterable[Bug], stored: Mapping[int, Bug]) -> int | None:
    """The seconds by which most known bugs differ, if they differ in time only.

    Then the zone of the times has changed, not the bugs. Zones differ by quarters of an hour.
    """
    known = [(bug, stored[bug.bz_id]) for bug in listed if bug.bz_id in stored]
    shifts = Counter(
        bug.bz_last_changed - before.bz_last_changed
        for bug, before in known
        if bug.bz_last_changed != before.bz_last_changed and bug.undated == before.undated
    )
    for shift, count in shifts.most_common(1):
        if count * 2 > len(known) and shift % _ZONE_STEP_S == 0:
            return shift
    return None


def bug_columns(bugs: Sequence[Bug]) -> Columns:
    """Rows of Bugzilla."""
    return dict(zip(Bug._fields, map(list, zip(*bugs, strict=True)), strict=True))


# --- messages


def bug_of_message(key: str, message: Mapping[str, Any]) -> Bug | None:
    """The bug of a message, None for messages that tell of no change.

    ``key`` is the routing key behind its prefix. Raises SourceError for a message that is not
    as it should be.
    """
    if key == "comment.new":
        path = ["payload", "comment", "bug"]
    elif key.startswith("bug.changed."):
        path = ["payload", "bug"]
    else:
        return None
    try:
        return _message_bug(_member(message, *path), _text(message, "_meta", "time"))
    except ValueError as error:
        raise SourceError(f"message {printable(key)}: {error}") from error


def _message_bug(bug: Any, moment: str) -> Bug:
    assignee = _text(bug, "assigned_to", "login")
    reporter = _text(bug, "reporter", "login")
    return Bug(
        bz_id=_bug_id(str(_member(bug, "id"))),
        bz_status=_label(bug, "status"),
        bz_resolution=_resolution(_label(bug, "resolution")),
        bz_severity=_label(bug, "severity"),
        bz_priority=_label(bug, "priority"),
        bz_product=_label(bug, "product"),
        bz_version=_label(bug, "version") if "version" in bug else _UNKNOWN_VERSION,
        bz_platform=_label(bug, "platform"),
        bz_component=_label(bug, "component"),
        bz_assignee=_short_name(assignee),
        bz_reporter=_short_name(reporter),
        bz_summary=_text(bug, "summary"),
        bz_last_changed=_instant(moment),
        bz_assignee_full=assignee,
        bz_reporter_full=reporter,
    )


def _member(value: Any, *path: str) -> Any:
    """A member of nested objects. Raises ValueError that names it when there is none."""
    for depth, key in enumerate(path, start=1):
        if not isinstance(value, Mapping) or key not in value:
            raise ValueError(f"{'.'.join(path[:depth])}: missing")
        value = value[key]
    return value


def _text(value: Any, *path: str) -> str:
    text = _member(value, *path)
    if not is_text(text):
        raise ValueError(f"{'.'.join(path)}: not a text")
    return str(text)


def _label(bug: Any, key: str) -> str:
    """A text, or the name or label of an object: senders differ in that."""
    value = _member(bug, key)
    if isinstance(value, Mapping):
        return _text(bug, key, "label" if "label" in value else "name")
    return _text(bug, key)


def _instant(moment: str) -> int:
    """Seconds of a time in ISO 8601; it is UTC when it names no zone."""
    parsed = datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", moment))
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    return checked_instant(int(aware.timestamp()))
