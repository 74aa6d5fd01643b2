"""Maintainers' ACLs: who may build which package of which branch.

A directory holds the files ``list.packages.<branch>`` and ``list.groups.<branch>`` with one
subject and its members on each line. Words are stored as they are; readers expand the groups.
A row is stored only when the list of its subject changed; nothing is ever removed.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from altrepodb.db.database import Columns, Database
from altrepodb.errors import SourceError
from altrepodb.http import HttpLimits, Validators, check_url, decode_text, shown_url
from altrepodb.json_values import is_text, moment_under, text_under
from altrepodb.sources.listing import Listing, parse_listing
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
    "DEFAULT_URL",
    "AclOptions",
    "AclRecord",
    "AclSummary",
    "load_acl",
    "parse_acl",
    "parse_event",
    "store_event",
]

logger = logging.getLogger("altrepodb.acl")

DEFAULT_URL = "http://git.altlinux.org/acl"
PROGRAM = "acl_loader"

_LISTING_LIMITS = HttpLimits(30, 120, 4 << 20, 8 << 20)
_FILE_LIMITS = HttpLimits(30, 120, 32 << 20, 64 << 20)
_FILE_NAME = re.compile(r"list\.(groups|packages)\.([A-Za-z0-9_-]+(?:\.[0-9]+)*)", re.ASCII)
_NEARLY_FILE_NAMES = ("list.groups", "list.packages")
_BLANKS = " \t\r\f\v"
_UNREMEMBERED_THRESHOLD = 0.2
"""Subjects that vanish stay in the table, so that it may know many more than a file holds."""

_TABLE = "Acl"
_NEWEST_LISTS = """
SELECT DISTINCT acl_branch, acl_for, toUnixTimestamp(acl_date), acl_list
FROM Acl
WHERE (acl_branch, acl_for, acl_date) IN
(
    SELECT acl_branch, acl_for, max(acl_date)
    FROM Acl
    WHERE acl_branch IN {branches:Array(String)}
    GROUP BY acl_branch, acl_for
)
"""
_COUNT = """
SELECT count() FROM Acl
WHERE acl_branch IN {branches:Array(String)}
    AND toUnixTimestamp(acl_date) IN {dates:Array(UInt32)}
"""
_LISTS_SINCE = """
SELECT toUnixTimestamp(acl_date), acl_list FROM Acl
WHERE acl_branch = {branch:String} AND acl_for = {subject:String}
    AND toUnixTimestamp(acl_date) >= {date:UInt32}
"""


@dataclass(frozen=True, kw_only=True)
class AclOptions(SourceOptions):
    """Nothing but the shared options."""


@dataclass(slots=True)
class AclSummary(SourceSummary):
    """``fetched`` are lines; ``superseded`` those with a newer row in the database."""

    files: int = 0
    files_unchanged: int = 0
    superseded: int = 0


@dataclass(frozen=True, slots=True)
class AclRecord:
    """One subject of a branch, a package or ``@group``, and its members, leader first."""

    date: int
    subject: str
    branch: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _AclFile:
    """A file as the listing shows it."""

    name: str
    kind: str
    branch: str
    modified: datetime | None

    @property
    def unit(self) -> str:
        return f"{self.kind}.{self.branch}"


@dataclass(slots=True)
class _Known:
    """For each branch and subject the newest date in the database and the lists of that date."""

    dates: dict[tuple[str, str], int] = field(default_factory=dict)
    lists: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict)
    subjects: Counter[str] = field(default_factory=Counter)
    """Number of subjects by unit."""
    newest: dict[str, int] = field(default_factory=dict)
    """Date of the newest row by unit."""


@dataclass(slots=True)
class _Load:
    """A load under way: what it knows, and what to remember when its rows are stored."""

    run: SourceRun
    summary: AclSummary
    base: str
    known: _Known = field(default_factory=_Known)
    documents: dict[str, Validators] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def load_acl(options: AclOptions, database: Database) -> AclSummary:
    """Store the lists that changed since the last load, all of them or none.

    Raises SourceError, TemporaryError, DatabaseError, LockHeldError, ConfigurationError.
    """
    url = check_url(options.url or DEFAULT_URL, "url")
    summary = AclSummary(url=shown_url(url))
    with SourceRun(PROGRAM, options, database, summary) as run:
        load = _Load(run, summary, url)
        files = _fetch_listing(load)
        load.known = _read_known(database, sorted({file.branch for file in files}))
        records = [record for file in files for record in _fetch_file(load, file)]
        changed = list(_changed(records, load.known, summary))
        _store(run, changed)
        run.state.remember(load.documents, {**load.counts, **_newest_dates(load, changed)})
    return summary


def _newest_dates(load: _Load, stored: Iterable[AclRecord]) -> dict[str, int]:
    """What ``_is_remembered`` wants to see again: the newest date of each unit."""
    newest = dict(load.known.newest)
    for record in stored:
        unit = _unit_of(record.branch, record.subject)
        newest[unit] = max(newest.get(unit, 0), record.date)
    return {f"{unit} newest": date for unit, date in newest.items()}


# --- fetch


def _fetch_listing(load: _Load) -> list[_AclFile]:
    response = load.run.http.get(load.base, _LISTING_LIMITS, expects_markup=True)
    listing = parse_listing(response.content, response.url)
    return _find_files(listing, load.base, load.run.findings)


def _find_files(listing: Listing, url: str, findings: Findings) -> list[_AclFile]:
    """The files of the listing that hold ACLs, in its order."""
    for date in listing.impossible_dates:
        findings.repair(shown_url(url), None, "no such date, taken as none", date)
    files: dict[str, _AclFile] = {}
    for entry in listing.entries:
        found = _FILE_NAME.fullmatch(entry.name)
        if found and not entry.is_directory:
            file = _AclFile(entry.name, found[1], found[2], entry.modified)
            files.setdefault(entry.name, file)
        elif entry.name.startswith(_NEARLY_FILE_NAMES):
            findings.repair(shown_url(url), None, "not a list of a branch, ignored", entry.name)
    if not files:
        raise SourceError(f"{shown_url(url)}: no list of a branch in the directory")
    return list(files.values())


def _fetch_file(load: _Load, file: _AclFile) -> list[AclRecord]:
    """The records of a file; none when it is what was loaded last time."""
    run, url = load.run, f"{load.base}/{quote(file.name)}"
    validators = run.validators(url, PROGRAM) if _is_remembered(load, file) else None
    response = run.http.get(url, _FILE_LIMITS, validators)
    load.summary.files += 1
    if response.is_unchanged:
        load.summary.files_unchanged += 1
        return []
    date = _file_date(file, response.last_modified, run, url)
    text, _ = decode_text(response.content, url)
    records = parse_acl(text, file.branch, date, shown_url(url), run.findings)
    _check_size(load, file, url, len(records))
    load.summary.fetched += len(records)
    load.documents[url] = response.validators
    load.counts.update({file.unit: len(records), f"{file.unit} date": date})
    return records


def _is_remembered(load: _Load, file: _AclFile) -> bool:
    """Whether the file of this date was loaded and its rows are still in the database.

    A file that was written again without a change may still overrule a row of a message. A
    database that was put back to an earlier state lacks the newest rows.
    """
    state, known, unit = load.run.state, load.known, file.unit
    count, date = state.count(unit), state.count(f"{unit} date")
    newest = state.count(f"{unit} newest")
    if count is None or date is None or newest is None:
        return False
    is_of_date = date == _listed_date(file, load.run, file.name)
    return is_of_date and known.subjects[unit] >= count and known.newest.get(unit, 0) >= newest


def _file_date(file: _AclFile, last_modified: int | None, run: SourceRun, url: str) -> int:
    """The date of the listing, else that of the file."""
    date = _listed_date(file, run, url)
    if date is None:
        date = last_modified
    if date is None:
        raise SourceError(f"{shown_url(url)}: has no date, neither in the listing nor of its own")
    return date


def _listed_date(file: _AclFile, run: SourceRun, url: str) -> int | None:
    try:
        return None if file.modified is None else to_epoch(file.modified, run.zone)
    except ValueError as error:
        raise SourceError(f"{shown_url(url)}: {error}") from error


def _check_size(load: _Load, file: _AclFile, url: str, count: int) -> None:
    """Refuse a file that lost most of its subjects."""
    before, threshold = load.run.state.count(file.unit), 0.5
    if before is None:
        before, threshold = load.known.subjects[file.unit], _UNREMEMBERED_THRESHOLD
    if count or before or load.known.subjects[file.unit]:
        force = load.run.options.force
        check_not_shrunk(url, count, before, threshold=threshold, force=force)
    else:
        load.run.findings.repair(shown_url(url), None, "no records in it")


# --- parse


def parse_acl(text: str, branch: str, date: int, where: str, findings: Findings) -> list[AclRecord]:
    """The records of a file, in the order of its lines.

    Malformed lines go to ``findings``. Raises SourceError when there are too many of them.
    """
    records: dict[str, AclRecord] = {}
    lines = malformed = 0
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(_BLANKS)
        if not line:
            continue
        lines += 1
        subject, _, rest = line.partition("\t")
        subject = subject.strip(_BLANKS)
        words, _, further = rest.partition("\t")
        members = tuple(word for word in words.strip(_BLANKS).split(" ") if word)
        if not subject or not members:
            malformed += 1
            findings.skip(where, number, "no subject with members", line)
            continue
        if further:
            findings.repair(where, number, "more than two fields", line)
        if subject in records:
            findings.repair(where, number, "subject stands there twice, the last counts", line)
        records[subject] = AclRecord(date, subject, branch, members)
    check_malformed(where, malformed, lines)
    return list(records.values())


# --- rows


def _read_known(database: Database, branches: Sequence[str]) -> _Known:
    known = _Known()
    for branch, subject, date, members in database.query(_NEWEST_LISTS, {"branches": branches}):
        key, unit = (branch, subject), _unit_of(branch, subject)
        if key not in known.dates:
            known.subjects[unit] += 1
        known.dates[key] = date
        known.newest[unit] = max(known.newest.get(unit, 0), date)
        known.lists.setdefault(key, set()).add(tuple(word for word in members if word))
    return known


def _unit_of(branch: str, subject: str) -> str:
    return f"{'groups' if subject.startswith('@') else 'packages'}.{branch}"


def _changed(
    records: Iterable[AclRecord], known: _Known, summary: AclSummary
) -> Iterator[AclRecord]:
    """The records that say something new, and are not older than what is known."""
    for record in records:
        key = (record.branch, record.subject)
        if key in known.dates:
            if record.members in known.lists[key]:
                continue
            if record.date < known.dates[key]:
                summary.superseded += 1
                logger.debug("%s %s: superseded by a newer row", *key)
                continue
        yield record


def _store(run: SourceRun, changed: Iterable[AclRecord]) -> None:
    # The running list of mv_last_acl keeps what was written last, so the newest comes last.
    records = sorted(changed, key=lambda record: record.date)
    parameters = {
        "branches": sorted({record.branch for record in records}),
        "dates": sorted({record.date for record in records}),
    }
    before = run.database.query(_COUNT, parameters)[0][0] if records else 0
    run.insert(PROGRAM, _TABLE, _columns(records), _COUNT, parameters, before + len(records))


def _columns(records: Sequence[AclRecord]) -> Columns:
    return {
        "acl_date": [record.date for record in records],
        "acl_for": [record.subject for record in records],
        "acl_branch": [record.branch for record in records],
        "acl_list": [list(record.members) for record in records],
    }


# --- messages


def parse_event(body: Mapping[str, Any]) -> AclRecord:
    """The list that a message announces; without members its subject is gone.

    Raises SourceError, naming the key of the message.
    """
    members = body.get("new_owners")
    if not isinstance(members, list) or not all(map(is_text, members)):
        raise SourceError("new_owners: expected an array of texts")
    return AclRecord(
        date=moment_under(body, "_timestamp"),
        subject=text_under(body, "target"),
        branch=text_under(body, "repo"),
        members=tuple(members),
    )


def store_event(record: AclRecord, database: Database) -> AclSummary:
    """Store one list unless the very row is there, as it is when a message comes again.

    Nor is it stored when a newer one is: the running list of mv_last_acl would take the older
    for the newest.
    """
    summary = AclSummary(fetched=1)
    parameters = {"branch": record.branch, "subject": record.subject, "date": record.date}
    stored = database.query(_LISTS_SINCE, parameters)
    if any(date > record.date for date, _ in stored):
        logger.info("%s %s: superseded by a newer row", record.branch, record.subject)
        summary.superseded = 1
    elif not any(tuple(members) == record.members for _, members in stored):
        summary.inserted[_TABLE] = database.insert(_TABLE, _columns([record]))
        summary.result = "loaded"
    return summary
