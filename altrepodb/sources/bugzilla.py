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
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from altrepodb.db.database import Columns, Database
from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.http import HttpLimits, decode_text, shown_url
from altrepodb.json_values import is_text
from altrepodb.logger import printable
from altrepodb.sources.run import (
    Findings,
    SourceOptions,
    SourceRun,
    SourceSummary,
    check_malformed,
)
from altrepodb.sources.state import check_not_shrunk
from altrepodb.sources.zones import to_epoch

__all__ = [
    "PROGRAM",
    "Bug",
    "BugzillaOptions",
    "Page",
    "bug_of_message",
    "changed_bugs",
    "load_bug_message",
    "load_bugzilla",
    "parse_page",
    "store_bug",
    "zone_shift",
]

logger = logging.getLogger(__name__)

PROGRAM = "bugzilla_loader"
DEFAULT_URL = "https://bugzilla.altlinux.org/buglist.cgi"
DEFAULT_PAGE_SIZE = 5000

_LIMITS = HttpLimits(
    read_timeout_s=300, deadline_s=900, wire_bytes=256 << 20, decoded_bytes=512 << 20
)
_MAX_ID = 0xFFFFFFFF
_BUGS_AT_ONCE = 20_000
_MAX_BUGS = 10_000_000
_MAX_MALFORMED_SHARE = 0.001
_NO_RESOLUTION = "---"
_UNKNOWN_VERSION = "all"
_ZONE_STEP_S = 900
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")

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

_TABLE = "Bugzilla"
_COUNT = "SELECT least(count(), {expected:UInt64}) FROM Bugzilla"
# Rows of one bug are told apart by when they were stored.
_LATEST_BUGS = """
SELECT
    bz_id, bz_status, bz_resolution, bz_severity, bz_priority, bz_product, bz_version,
    bz_platform, bz_component, bz_assignee, bz_reporter, bz_summary,
    toUnixTimestamp(bz_last_changed), bz_assignee_full, bz_reporter_full
FROM Bugzilla
WHERE bz_id > {after:Int64}
ORDER BY bz_id, ts DESC
LIMIT 1 BY bz_id
LIMIT {count:UInt32}
"""
_STATES_SINCE = """
SELECT
    bz_id, bz_status, bz_resolution, bz_severity, bz_priority, bz_product, bz_version,
    bz_platform, bz_component, bz_assignee, bz_reporter, bz_summary,
    toUnixTimestamp(bz_last_changed), bz_assignee_full, bz_reporter_full
FROM Bugzilla
WHERE bz_id = {bz_id:UInt32} AND bz_last_changed >= toDateTime({moment:UInt32})
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
    def undated(self) -> tuple[int | str, ...]:
        """What the list tells of a bug, without the time."""
        return self[:12]


@dataclass(frozen=True, kw_only=True)
class BugzillaOptions(SourceOptions):
    """What Bugzilla can be told beside the common options.

    ``page_size`` is how many bugs to ask for at once. A bug whose stored time is later than the
    listed one by at most ``date_tolerance_s``, and that is equal otherwise, counts as stored.
    """

    page_size: int = DEFAULT_PAGE_SIZE
    date_tolerance_s: int = 0

    def check(self) -> None:
        super().check()
        if self.page_size < 1:
            raise ConfigurationError(f"page size: expected 1 or more, got {self.page_size}")
        if self.date_tolerance_s < 0:
            raise ConfigurationError("date tolerance: expected 0 or more seconds")


def load_bugzilla(options: BugzillaOptions, database: Database) -> SourceSummary:
    """Store the bugs that are new or have changed.

    Raises SourceError, TemporaryError, DatabaseError and LockHeldError; nothing is stored then.
    """
    url = options.url or DEFAULT_URL
    summary = SourceSummary(url=shown_url(url))
    with SourceRun(PROGRAM, options, database, summary) as run:
        changed = _find_changes(run, url, options)
        ((before,),) = database.query("SELECT count() FROM Bugzilla")
        # Messages may add rows meanwhile, so there may be more than expected.
        expected = before + len(changed)
        columns = bug_columns(changed)
        # The rows are in the columns now.
        changed.clear()
        run.insert(_TABLE, _TABLE, columns, _COUNT, {"expected": expected}, expected)
    return summary


def _find_changes(run: SourceRun, url: str, options: BugzillaOptions) -> list[Bug]:
    """The listed bugs that are to be stored."""
    listed = _read_list(run, url, options.page_size)
    stored = _stored_bugs(run.database)
    check_not_shrunk(url, len(listed), len(stored), force=options.force)
    _check_zone(listed.values(), stored, options)
    changed = changed_bugs(listed.values(), stored, options.date_tolerance_s)
    logger.info("bugs: %d, of them %d new or changed", len(listed), len(changed))
    return changed


def load_bug_message(
    key: str, message: Mapping[str, Any], options: BugzillaOptions, database: Database
) -> SourceSummary:
    """Store the bug of a message, if it has one; see ``bug_of_message`` and ``store_bug``."""
    bug = bug_of_message(key, message)
    if bug is None:
        return SourceSummary(url=key, dry_run=options.dry_run)
    return store_bug(bug, database, dry_run=options.dry_run)


def store_bug(bug: Bug, database: Database, *, dry_run: bool = False) -> SourceSummary:
    """Store a state of a bug, unless this one or a later one is there. Raises DatabaseError.

    Readers take what was stored last for the latest state, so an older one must not follow.
    """
    summary = SourceSummary(url=f"bug {bug.bz_id}", fetched=1, dry_run=dry_run)
    moment = bug.bz_last_changed
    known = database.query(_STATES_SINCE, {"bz_id": bug.bz_id, "moment": moment})
    if any(state == tuple(bug) or Bug(*state).bz_last_changed > moment for state in known):
        return summary
    summary.would_insert = int(dry_run)
    if not dry_run:
        summary.inserted[_TABLE] = database.insert(_TABLE, bug_columns([bug]))
        summary.result = "loaded"
    return summary


def _stored_bugs(database: Database) -> dict[int, Bug]:
    """The latest state of all stored bugs, by number; read in parts to bound the memory."""
    stored: dict[int, Bug] = {}
    parameters = {"after": -1, "count": _BUGS_AT_ONCE}
    while rows := database.query(_LATEST_BUGS, parameters):
        for number, *texts, summary, moment, assignee, reporter in rows:
            # Most texts but summaries are those of other bugs too.
            common = map(sys.intern, texts)
            stored[number] = Bug._make((number, *common, summary, moment, assignee, reporter))
        parameters["after"] = rows[-1][0]
    return stored


def _check_zone(listed: Iterable[Bug], stored: Mapping[int, Bug], options: BugzillaOptions) -> None:
    shift = zone_shift(listed, stored)
    if shift is None or options.force:
        return
    raise SourceError(
        f"most bugs differ by {shift} seconds from what is stored, and in nothing else: has the "
        f"source time zone changed? --force loads them nevertheless"
    )


# --- parse


class Page(NamedTuple):
    """Bugs of one answer in its order, and how many records it had, sound or not."""

    bugs: list[Bug]
    records: int


def parse_page(text: str, name: str, zone: ZoneInfo | None, findings: Findings) -> Page:
    """The bugs of a list in CSV, in its order, repeated ones included.

    ``zone`` is that of the times, ``name`` that of the source in messages. Records that cannot
    be read are skipped and counted. Raises SourceError for an unknown header, and for a text
    that is cut off.
    """
    text = text.removeprefix("\ufeff")
    if text.count('"') % 2:
        raise SourceError(f"{name}: cut off or damaged: a quoted value does not end")
    lines = _iter_records(text)
    _, header = next(lines, (0, []))
    _check_header(header, name)
    bugs: list[Bug] = []
    records, is_sound = 0, True
    for line, fields in lines:
        records += 1
        try:
            bugs.append(_listed_bug(fields, zone))
            is_sound = True
        except ValueError as error:
            findings.skip(name, line, str(error), ",".join(fields))
            is_sound = False
    if not is_sound and not text.endswith(("\n", "\r")):
        raise SourceError(f"{name}: cut off: the last record is not complete")
    return Page(bugs, records)


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


def _listed_bug(fields: Sequence[str], zone: ZoneInfo | None) -> Bug:
    """A bug of the list. Raises ValueError that says what is wrong with it."""
    if len(fields) != len(_HEADERS):
        raise ValueError(f"{len(fields)} fields")
    number, status, resolution, *texts, changed = fields
    if not _DATE.fullmatch(changed):
        raise ValueError("not a time")
    moment = to_epoch(datetime.fromisoformat(changed), zone)
    texts[:-1] = map(sys.intern, texts[:-1])
    return Bug._make(
        (_bug_id(number), sys.intern(status), _resolution(resolution), *texts, moment, "", "")
    )


def _bug_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID):
        raise ValueError("not the number of a bug")
    return int(text)


def _resolution(text: str) -> str:
    return "" if text.strip() == _NO_RESOLUTION else sys.intern(text)


# --- fetch


def _read_list(run: SourceRun, url: str, page_size: int) -> dict[int, Bug]:
    """All bugs that the tracker lists, by number; of a repeated one the last counts."""
    name, records = run.summary.url, 0

    def ask(limit: int, offset: int) -> Page:
        nonlocal records
        text = _fetch(run, url, _query(limit, offset))
        page = parse_page(text, name, run.zone, run.findings)
        records += page.records
        return page

    bugs = read_pages(ask, page_size)
    if not records:
        raise SourceError(f"{name}: no bugs in the list")
    check_malformed(name, run.summary.skipped, records, share=_MAX_MALFORMED_SHARE, few=0)
    run.summary.fetched = len(bugs)
    return bugs


def _fetch(run: SourceRun, url: str, query: str) -> str:
    response = run.http.get(f"{url}{'&' if '?' in url else '?'}{query}", _LIMITS)
    text, _ = decode_text(response.content, url)
    return text


def _query(limit: int, offset: int) -> str:
    """The parameters of a page; without ``human`` the columns have names that stay the same."""
    parameters: dict[str, str | int] = {
        "query_format": "advanced",
        "ctype": "csv",
        "columnlist": _COLUMN_LIST,
        "order": "bug_id",
        "limit": limit,
    }
    return urlencode({**parameters, "offset": offset} if limit else parameters)


def read_pages(ask: Callable[[int, int], Page], page_size: int) -> dict[int, Bug]:
    """All bugs by number; ``ask`` gives the page for a limit and an offset.

    Pages may be shorter than asked for; an empty one is the end. A server that answers every
    offset with the same page is asked for everything at once instead.
    """
    bugs: dict[int, Bug] = {}
    offset = 0
    while offset <= _MAX_BUGS:
        page = ask(page_size, offset)
        if not page.records:
            return bugs
        found = {bug.bz_id: bug for bug in page.bugs}
        if offset and found and found.keys() <= bugs.keys():
            logger.warning("the server ignores the offset of a page, asking for all at once")
            return {bug.bz_id: bug for bug in ask(0, 0).bugs}
        bugs.update(found)
        offset += page.records
    raise SourceError(f"more than {_MAX_BUGS} bugs")


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
    if not bugs:
        return {}
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
        bz_last_changed=to_epoch(_moment(moment), None),
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
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return _text(bug, key, "label" if "label" in value else "name")
    return _text(bug, key)


def _moment(text: str) -> datetime:
    """A time in ISO 8601; it is UTC when it names no zone."""
    moment = datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", text))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
