"""Bugzilla: its CSV list, its messages, and what counts as a change."""

from __future__ import annotations

import csv
import io
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.sources.bugzilla import (
    Bug,
    bug_of_message,
    changed_bugs,
    parse_page,
    zone_shift,
)
from altrepodb.sources.run import Findings, SourceSummary

NAME = "http://127.0.0.1/buglist.cgi"
MOSCOW = ZoneInfo("Europe/Moscow")
MACHINE_NAMES = (
    'bug_id,"bug_status","resolution","bug_severity","priority","product","version",'
    '"rep_platform","component","assigned_to","reporter","short_desc","changeddate"'
)
TITLES = (
    '"Bug ID","Status","Resolution","Severity","Priority","Product","Version","Hardware",'
    '"Component","Assignee","Reporter","Summary","Changed"'
)
FIELDS = {
    "bug_id": "50101", "bug_status": "NEW", "resolution": " ---", "bug_severity": "normal",
    "priority": "P5", "product": "Sisyphus", "version": "unstable", "rep_platform": "x86_64",
    "component": "nano", "assigned_to": "sidorov", "reporter": "petrova",
    "short_desc": "Crash on start", "changeddate": "2023-03-15 10:20:30",
}  # fmt: skip
BUG = Bug(
    50101, "NEW", "", "normal", "P5", "Sisyphus", "unstable", "x86_64", "nano", "sidorov",
    "petrova", "Crash on start", 1_678_864_830,
)  # fmt: skip


def quoted(value: str) -> str:
    """A value as Bugzilla writes it."""
    if not value or (value.isascii() and value.isdigit()):
        return value
    return '"' + value.replace('"', '""') + '"'


def record(**changes: str) -> str:
    return ",".join(map(quoted, {**FIELDS, **changes}.values()))


def page(*records: str, header: str = MACHINE_NAMES, end: str = "\n") -> str:
    return "".join(f"{line}\n" for line in (header, *records)).removesuffix("\n") + end


def parse(text: str, zone: ZoneInfo | None = MOSCOW) -> tuple[list[Bug], int]:
    """The bugs of a list and how many of its records were skipped."""
    summary = SourceSummary()
    found = parse_page(text, NAME, zone, Findings(summary))
    assert found.records == len(found.bugs) + summary.skipped
    return found.bugs, summary.skipped


# --- the list

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), texts, texts), max_size=6), st.booleans())
def test_reads_what_bugzilla_wrote(written: list[tuple[int, str, str]], is_ended: bool) -> None:
    records = [record(bug_id=str(i), short_desc=a, component=b) for i, a, b in written]
    bugs, skipped = parse(page(*records, end="\n" if is_ended else ""))
    assert [(bug.bz_id, bug.bz_summary, bug.bz_component) for bug in bugs] == written
    assert skipped == 0


@settings(deadline=None)
@given(st.lists(st.lists(texts, min_size=13, max_size=13), max_size=4))
def test_any_fields_are_bugs_or_skipped(rows: list[list[str]]) -> None:
    output = io.StringIO()
    csv.writer(output).writerows(rows)
    parse(page(output.getvalue()))


@settings(deadline=None)
@given(texts | st.text(alphabet='",;\n\r a1', max_size=40))
def test_any_text_is_bugs_or_a_clear_error(text: str) -> None:
    for content in (text, f"{MACHINE_NAMES}\n{record()}\n{text}"):
        try:
            parse(content)
        except SourceError as error:
            assert str(error).startswith(NAME)


@settings(deadline=None)
@given(st.integers(0, len(page(record(), record(bug_id="2")))))
def test_no_cut_gives_a_wrong_bug(length: int) -> None:
    whole = page(record(), record(bug_id="2"))
    try:
        bugs, skipped = parse(whole[:length])
    except SourceError:
        return
    assert (bugs, skipped) == (parse(whole)[0][: len(bugs)], 0)


@pytest.mark.parametrize(
    "header", [MACHINE_NAMES, TITLES, TITLES.replace("Changed", "Updated"), "\ufeff" + TITLES]
)
def test_known_headers(header: str) -> None:
    assert parse(page(record(), header=header)) == ([BUG], 0)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (TITLES.replace("Status", "Состояние"), "expected the column bug_status"),
        (TITLES.replace('"Version",', ""), "expected a list of 13 columns, got 12"),
        (TITLES + ',"Votes"', "got 14"),
        ("", "got 13"),
        ("<html><body>Sorry</body></html>", "got 1"),
    ],
)
def test_other_headers_are_refused(header: str, words: str) -> None:
    with pytest.raises(SourceError, match=words if header else "expected the column"):
        parse(page(record(), header=header))


def test_upstream_list() -> None:
    """A real list, which was asked for with fewer columns: its form is known, its shape refused."""
    given = os.environ.get("ALTREPODB_FIXTURES")
    folder = Path(given) if given else Path(__file__).parents[3] / "shared/fixtures"
    path = folder / "alt/bugzilla/bugs.csv"
    if not path.is_file():
        pytest.skip(f"{path}: no upstream sample there")
    text = path.read_text()
    names = MACHINE_NAMES.split(",")
    assert [name for name in text.splitlines()[0].split(",") if name not in names] == []
    with pytest.raises(SourceError, match="expected a list of 13 columns, got 9"):
        parse(text)


def test_empty_text_is_refused() -> None:
    with pytest.raises(SourceError, match="got 0"):
        parse("")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"resolution": " ---"}, "bz_resolution", ""),
        ({"resolution": "---"}, "bz_resolution", ""),
        ({"resolution": "FIXED"}, "bz_resolution", "FIXED"),
        ({"assigned_to": "1234"}, "bz_assignee", "1234"),
        ({"version": "10.1"}, "bz_version", "10.1"),
        ({"version": ""}, "bz_version", ""),
        ({"short_desc": " -v prints nothing"}, "bz_summary", " -v prints nothing"),
        ({"short_desc": 'a, "b"\r\nc'}, "bz_summary", 'a, "b"\r\nc'),
        ({"short_desc": "a\u2028b\x85c\x0bd\x0c"}, "bz_summary", "a\u2028b\x85c\x0bd\x0c"),
        ({"short_desc": "Нужна поддержка"}, "bz_summary", "Нужна поддержка"),
    ],
)
def test_values(changes: dict[str, str], field: str, value: str) -> None:
    (bug,), _ = parse(page(record(**changes)))
    assert getattr(bug, field) == value


@pytest.mark.parametrize(
    "broken",
    [
        "1,2,3",
        record() + ",more",
        record(bug_id="x"),
        record(bug_id="-1"),
        record(bug_id="4294967296"),
        record(changeddate="yesterday"),
        record(changeddate="2023-02-31 00:00:00"),
        record(changeddate="1969-12-31 00:00:00"),
        record(changeddate="2107-01-01 00:00:00"),
        '"a"b,"c"d',
    ],
)
def test_broken_records_are_skipped(broken: str) -> None:
    assert parse(page(broken, record())) == ([BUG], 1)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n \n", "\r\n"])
def test_blank_lines_are_nothing(end: str) -> None:
    assert parse(page(record(), end=end)) == ([BUG], 0)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_list_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(SourceError, match="cut off"):
        parse(page(record(), end="")[:-cut])


def test_semicolons_may_separate() -> None:
    text = page(record(), header=TITLES).replace('","', '";"').replace(',"', ';"')
    assert parse(text) == ([BUG], 0)


@pytest.mark.parametrize(
    ("local", "zone", "utc"),
    [
        ("2023-03-15 10:20:30", "Europe/Moscow", "2023-03-15 07:20:30"),
        ("2023-10-29 02:30:00", "Europe/Berlin", "2023-10-29 00:30:00"),  # comes twice
        ("2023-03-26 02:30:00", "Europe/Berlin", "2023-03-26 01:30:00"),  # does not come
        ("1970-01-01 00:00:00", "UTC", "1970-01-01 00:00:00"),
    ],
)
def test_times_are_those_of_the_zone(local: str, zone: str, utc: str) -> None:
    (bug,), _ = parse(page(record(changeddate=local)), ZoneInfo(zone))
    moment = datetime.fromisoformat(utc).replace(tzinfo=timezone.utc)
    assert bug.bz_last_changed == moment.timestamp()


# --- what is a change


def test_new_bug_is_a_change() -> None:
    assert changed_bugs([BUG], {}) == [BUG]


def test_full_names_are_no_change() -> None:
    stored = BUG._replace(bz_assignee_full="sidorov@example.org")
    assert changed_bugs([BUG], {BUG.bz_id: stored}) == []


@pytest.mark.parametrize("field", Bug._fields[1:13])
def test_every_listed_value_counts(field: str) -> None:
    changed = BUG._replace(**{field: 1 if field == "bz_last_changed" else "other"})
    assert changed_bugs([changed], {BUG.bz_id: BUG}) == [changed]


def test_full_names_stay_with_their_short_ones() -> None:
    stored = BUG._replace(
        bz_assignee_full="sidorov@example.org", bz_reporter_full="petrova@example.org"
    )
    (changed,) = changed_bugs(
        [BUG._replace(bz_status="FIXED", bz_assignee="ivanov")], {BUG.bz_id: stored}
    )
    assert (changed.bz_assignee_full, changed.bz_reporter_full) == ("", "petrova@example.org")


@pytest.mark.parametrize(
    ("lead", "tolerance", "is_changed"),
    [(3, 0, True), (3, 2, True), (3, 3, False), (3, 300, False), (-3, 300, True), (0, 0, False)],
)
def test_tolerance_is_for_stored_times_that_are_later(
    lead: int, tolerance: int, is_changed: bool
) -> None:
    stored = {BUG.bz_id: BUG._replace(bz_last_changed=BUG.bz_last_changed + lead)}
    assert bool(changed_bugs([BUG], stored, tolerance)) is is_changed
    assert changed_bugs([BUG._replace(bz_status="OTHER")], stored, tolerance)


@pytest.mark.parametrize(
    ("shifts", "found"),
    [
        ([10800, 10800, 0], 10800),
        ([-3600, -3600], -3600),
        ([10800, 0], None),
        ([10800, 3600, 0], None),
        ([3], None),
        ([], None),
    ],
)
def test_shift_of_most_bugs(shifts: list[int], found: int | None) -> None:
    stored = {number: BUG._replace(bz_id=number) for number in range(len(shifts))}
    listed = [
        stored[number]._replace(bz_last_changed=BUG.bz_last_changed + shift)
        for number, shift in enumerate(shifts)
    ]
    assert zone_shift(listed, stored) == found
    other = [bug._replace(bz_status="OTHER") for bug in listed]
    assert zone_shift(other, stored) is None


# --- messages


def message(**changes: Any) -> dict[str, Any]:
    bug = {
        "id": 50101, "status": {"label": "ASSIGNED"}, "resolution": "", "severity": "normal",
        "priority": "P5", "product": {"name": "Sisyphus"}, "component": {"name": "nano"},
        "version": "unstable", "platform": "x86_64",
        "assigned_to": {"login": "sidorov@example.org"},
        "reporter": {"login": "petrova@example.org"}, "summary": "Crash on start", **changes,
    }  # fmt: skip
    return {"_meta": {"time": "2023-03-15T07:20:31+00:00"}, "payload": {"bug": bug}}


KEY = "bug.changed.bug_status"


def test_bug_of_a_message() -> None:
    assert bug_of_message(KEY, message()) == BUG._replace(
        bz_status="ASSIGNED", bz_last_changed=1_678_864_831,
        bz_assignee_full="sidorov@example.org", bz_reporter_full="petrova@example.org",
    )  # fmt: skip


def test_bug_of_a_comment() -> None:
    content = message()
    content["payload"] = {"comment": content["payload"]}
    assert bug_of_message("comment.new", content) == bug_of_message(KEY, message())


@pytest.mark.parametrize("key", ["bug.create", "bug.changed", "comment.changed", ""])
def test_other_messages_tell_nothing(key: str) -> None:
    assert bug_of_message(key, message()) is None


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"status": "NEW"}, "bz_status", "NEW"),
        ({"status": {"name": "NEW"}}, "bz_status", "NEW"),
        ({"version": {"name": "10.1"}}, "bz_version", "10.1"),
        ({"resolution": "---"}, "bz_resolution", ""),
        ({"resolution": None}, "bz_resolution", ""),
        ({"reporter": {"login": "root"}}, "bz_reporter_full", "root"),
    ],
)
def test_forms_of_values(changes: dict[str, Any], field: str, value: str) -> None:
    bug = bug_of_message(KEY, message(**changes))
    assert getattr(bug, field) == value


def test_version_may_be_missing() -> None:
    content = message()
    del content["payload"]["bug"]["version"]
    bug = bug_of_message(KEY, content)
    assert bug is not None and bug.bz_version == "all"


@pytest.mark.parametrize(
    "moment", ["2023-03-15T07:20:31Z", "2023-03-15T10:20:31+03:00", "2023-03-15T07:20:31.999000"]
)
def test_offsets_are_honoured(moment: str) -> None:
    content = {**message(), "_meta": {"time": moment}}
    bug = bug_of_message(KEY, content)
    assert bug is not None and bug.bz_last_changed == 1_678_864_831


@pytest.mark.parametrize(
    "changes",
    [{"id": "x"}, {"id": -1}, {"id": None}, {"summary": 1}, {"assigned_to": "x"}, {"status": []}],
)
def test_broken_messages_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"message bug\.changed"):
        bug_of_message(KEY, message(**changes))


@pytest.mark.parametrize("content", [{}, {"payload": 1}, {"payload": {}}, {"payload": {"bug": 1}}])
def test_incomplete_messages_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="missing"):
        bug_of_message(KEY, content)
