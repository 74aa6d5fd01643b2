"""bugzilla_loader: reading the list in pages, what it stores of it, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from altrepodb.db.database import Database, Row
from altrepodb.errors import DatabaseError, SourceError, TemporaryError
from altrepodb.sources.bugzilla import BugzillaOptions, load_bug_message, load_bugzilla
from altrepodb.sources.run import SourceSummary
from tests.support.http_server import Answer, HttpSite, Request
from tests.support.loading import FailingDatabase, Fault, run_command

PATH = "/buglist.cgi"
HEADER = (
    'bug_id,"bug_status","resolution","bug_severity","priority","product","version",'
    '"rep_platform","component","assigned_to","reporter","short_desc","changeddate"'
)
TITLES = (
    '"Bug ID","Status","Resolution","Severity","Priority","Product","Version","Hardware",'
    '"Component","Assignee","Reporter","Summary","Changed"'
)
NANO = (
    '50101,"NEW"," ---","normal","P5","Sisyphus","unstable","x86_64","nano","sidorov","petrova",'
    '"Crash on start, see ""trace""","2023-03-15 10:20:30"'
)
MUTTER = (
    '50102,"CLOSED","FIXED","minor","P3","Branch p10",10.1,"all","mutter","petrova","ivanov",'
    '" -v prints nothing","2023-03-01 00:30:00"'
)
GIT = (
    '50103,"REOPENED"," ---","enhancement","P4","Infrastructure",,"all","git.altlinux.org",1234,'
    '"ivanov","Нужна поддержка IPv6, срочно","2023-02-28 23:59:59"'
)
SAMPLE = (NANO, MUTTER, GIT)


def bug(number: int, summary: str = "text", changed: str = "2023-03-15 10:20:30") -> str:
    return (
        f'{number},"NEW"," ---","normal","P5","Sisyphus","unstable","all","nano","sidorov",'
        f'"petrova","{summary}","{changed}"'
    )


class Tracker(HttpSite):
    """A site that lists bugs in pages, as Bugzilla does.

    ``cap`` is the most that it lists at once; with ``ignores_offset`` it begins with the first
    bug always. ``answers`` come before any list, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bugs: tuple[str, ...] = SAMPLE
        self.header = HEADER
        self.cap = 10_000
        self.ignores_offset = False
        self.content_type: str | None = "text/csv"
        self.answers: list[Answer] = []

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answers:
            return self.answers.pop(0)
        query = {key: values[0] for key, values in parse_qs(request.query).items()}
        assert query["columnlist"].endswith(",changeddate")
        limit = min(int(query["limit"]) or self.cap, self.cap)
        offset = 0 if self.ignores_offset else int(query.get("offset", 0))
        lines = [self.header, *self.bugs[offset : offset + limit]]
        return Answer("".join(f"{line}\n" for line in lines).encode(),
                      content_type=self.content_type)  # fmt: skip


class Place:
    """A tracker and a way to load from it."""

    def __init__(self, tracker: Tracker, directory: Path) -> None:
        self.tracker = tracker
        self.options = BugzillaOptions(
            url=tracker.url(PATH), state_dir=directory / "state", source_timezone="Europe/Moscow"
        )

    def load(self, database: Database, **values: Any) -> SourceSummary:
        return load_bugzilla(replace(self.options, **values), database)

    def inserted(self, database: Database, **values: Any) -> int:
        return self.load(database, **values).inserted.get("Bugzilla", 0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Tracker() as tracker:
        yield Place(tracker, tmp_path)


def rows(database: Database) -> list[Row]:
    return database.query(
        "SELECT bz_id, bz_status, bz_resolution, bz_version, bz_component, bz_assignee,"
        " bz_summary, bz_last_changed FROM Bugzilla ORDER BY bz_id, ts"
    )


def message(**changes: Any) -> dict[str, Any]:
    """A message about the first bug of the sample, as it is there."""
    content = {
        "id": 50101, "status": {"label": "NEW"}, "resolution": "", "severity": "normal",
        "priority": "P5", "product": {"name": "Sisyphus"}, "component": {"name": "nano"},
        "version": "unstable", "platform": "x86_64",
        "assigned_to": {"login": "sidorov@example.org"},
        "reporter": {"login": "petrova@example.org"},
        "summary": 'Crash on start, see "trace"', **changes,
    }  # fmt: skip
    return {"_meta": {"time": "2023-03-15T07:20:30+00:00"}, "payload": {"bug": content}}


def receive(database: Database, **changes: Any) -> int:
    summary = load_bug_message("bug.changed.x", message(**changes), BugzillaOptions(), database)
    return summary.inserted.get("Bugzilla", 0)


# --- what is stored


def test_worked_example(place: Place, database: Database) -> None:
    summary = place.load(database)
    assert (summary.result, summary.fetched) == ("loaded", 3)
    assert rows(database) == [
        (50101, "NEW", "", "unstable", "nano", "sidorov", 'Crash on start, see "trace"',
         1_678_864_830),
        (50102, "CLOSED", "FIXED", "10.1", "mutter", "petrova", " -v prints nothing",
         1_677_619_800),
        (50103, "REOPENED", "", "", "git.altlinux.org", "1234", "Нужна поддержка IPv6, срочно",
         1_677_617_999),
    ]  # fmt: skip
    second = place.load(database)
    assert (second.result, second.inserted) == ("uptodate", {})


def test_only_what_changed_is_stored(place: Place, database: Database) -> None:
    place.load(database)
    place.tracker.bugs = (NANO.replace("Crash", "Hang"), MUTTER, GIT, bug(50104))
    assert place.inserted(database) == 2
    assert place.inserted(database) == 0


@pytest.mark.parametrize("header", [TITLES, TITLES.replace("Changed", "Updated")])
def test_titles_for_machine_names(place: Place, database: Database, header: str) -> None:
    place.tracker.header = header
    assert place.inserted(database) == 3


@pytest.mark.parametrize(("cap", "page_size"), [(2, 5000), (5, 2), (1, 1), (5, 5), (3, 4)])
def test_a_list_in_pages_is_read_completely(
    place: Place, database: Database, cap: int, page_size: int
) -> None:
    place.tracker.bugs = tuple(bug(number) for number in range(1, 6))
    place.tracker.cap = cap
    assert place.inserted(database, page_size=page_size) == 5


def test_server_that_ignores_the_offset(place: Place, database: Database) -> None:
    place.tracker.bugs = tuple(bug(number) for number in range(1, 6))
    place.tracker.ignores_offset = True
    assert place.inserted(database, page_size=2) == 5
    assert len(place.tracker.requests) == 3


def test_repeated_bug_is_stored_once(place: Place, database: Database) -> None:
    place.tracker.bugs = (bug(1, "first"), bug(2), bug(1, "last"))
    assert place.inserted(database) == 2
    assert [row[6] for row in rows(database)] == ["last", "text"]


def test_text_is_utf8_whatever_the_header_lacks(place: Place, database: Database) -> None:
    place.tracker.content_type = None
    assert place.inserted(database) == 3
    assert rows(database)[2][6] == "Нужна поддержка IPv6, срочно"
    assert place.inserted(database) == 0


def test_mark_of_byte_order_and_blank_lines(place: Place, database: Database) -> None:
    place.tracker.header = "\ufeff" + HEADER
    place.tracker.bugs = (NANO, "", MUTTER, " ")
    assert place.inserted(database) == 2


def test_zone_of_the_server_does_not_matter(place: Place, database: Database) -> None:
    place.load(database)
    database.execute("SET session_timezone = 'America/New_York'")
    assert place.inserted(database) == 0


def test_hour_that_comes_twice(place: Place, database: Database) -> None:
    place.tracker.bugs = (bug(1, changed="2023-10-29 02:30:00"),)
    place.load(database, source_timezone="Europe/Berlin")
    assert rows(database)[0][-1] == 1_698_539_400


def test_server_that_is_busy_for_a_second(place: Place, database: Database) -> None:
    place.tracker.answers = [Answer(status=503, headers={"Retry-After": "1"})]
    assert place.inserted(database) == 3


def test_dry_run_stores_nothing(place: Place, database: Database) -> None:
    assert place.load(database, dry_run=True).would_insert == 3
    assert rows(database) == []


# --- together with messages


def test_messages_are_stored_once(database: Database) -> None:
    assert receive(database) == 1
    assert receive(database) == 0
    assert receive(database, status="FIXED") == 1
    # The first one once more: each state has one row, whatever was delivered twice.
    assert receive(database) == 0


def test_message_that_comes_late(database: Database) -> None:
    """An older state would be taken for the latest, as it would be stored last."""
    later = {**message(status="CLOSED"), "_meta": {"time": "2023-03-15T07:20:31Z"}}
    for content, inserted in ((later, 1), (message(), 0), (later, 0)):
        summary = load_bug_message("comment.new", _comment(content), BugzillaOptions(), database)
        assert summary.inserted.get("Bugzilla", 0) == inserted
    assert [row[1] for row in rows(database)] == ["CLOSED"]


def _comment(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "payload": {"comment": content["payload"]}}


def test_other_messages_store_nothing(database: Database) -> None:
    summary = load_bug_message("bug.create", message(), BugzillaOptions(), database)
    assert (summary.result, rows(database)) == ("uptodate", [])
    with pytest.raises(SourceError):
        receive(database, summary=None, id="x")
    assert rows(database) == []


def test_full_names_survive_a_change(place: Place, database: Database) -> None:
    receive(database)
    place.tracker.bugs = (NANO.replace('"NEW"', '"ASSIGNED"'),)
    assert place.inserted(database) == 1
    found = database.query(
        "SELECT bz_status, bz_assignee_full, bz_reporter_full FROM Bugzilla ORDER BY ts"
    )
    full = ("sidorov@example.org", "petrova@example.org")
    assert found == [("NEW", *full), ("ASSIGNED", *full)]
    assert receive(database, status="ASSIGNED") == 0
    assert place.inserted(database) == 0


def test_full_name_of_somebody_else_is_dropped(place: Place, database: Database) -> None:
    receive(database)
    place.tracker.bugs = (NANO.replace('"sidorov"', '"ivanov"'),)
    place.load(database)
    found = database.query(
        "SELECT bz_assignee_full, bz_reporter_full FROM Bugzilla WHERE bz_assignee = 'ivanov'"
    )
    assert found == [("", "petrova@example.org")]


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 1), (2, 1), (3, 0), (300, 0)])
def test_tolerance_for_the_time_of_messages(
    place: Place, database: Database, tolerance: int, expected: int
) -> None:
    receive(database)
    place.tracker.bugs = (NANO.replace("10:20:30", "10:20:27"),)
    assert place.inserted(database, date_tolerance_s=tolerance) == expected


# --- what is refused


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Answer(b"<html><body>Log in first</body></html>"), "HTML"),
        (Answer(b"Sorry, no list today"), "expected a list of 13 columns"),
        (Answer(b""), "expected a list of 13 columns"),
        (Answer(f"{HEADER}\n".encode()), "no bugs in the list"),
        (Answer(HEADER.replace('"version",', "").encode()), "got 12"),
        (Answer(TITLES.replace("Status", "Состояние").encode()), "column bug_status"),
        (Answer(f"{HEADER}\n{NANO}\n1,2,3\n".encode()), "1 of 3 records"),
        (Answer(f"{HEADER}\n{NANO[:-30]}".encode()), "cut off"),
        (Answer(b"gone", 404), "404"),
    ],
)
def test_bad_answers_change_nothing(
    place: Place, database: Database, bad: Answer, words: str
) -> None:
    place.load(database)
    place.tracker.bugs = (NANO.replace("Crash", "Hang"), MUTTER, GIT)
    before = rows(database)
    place.tracker.answers = [bad]
    with pytest.raises(SourceError, match=words):
        place.load(database)
    assert rows(database) == before
    assert place.inserted(database) == 1


def test_a_bad_later_page_changes_nothing(place: Place, database: Database) -> None:
    page = Answer(f"{HEADER}\n{NANO}\n".encode())
    place.tracker.answers = [page, Answer(b"<html>")]
    with pytest.raises(SourceError, match="HTML"):
        place.load(database)
    assert rows(database) == []


def test_site_that_is_away(
    place: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("altrepodb.http.time.sleep", lambda seconds: None)
    with pytest.raises(TemporaryError):
        place.load(database, url="http://127.0.0.1:1/buglist.cgi")


@pytest.mark.parametrize(("left", "is_refused"), [(4, True), (5, False), (0, True)])
def test_half_of_the_bugs_may_be_missing(
    place: Place, database: Database, left: int, is_refused: bool
) -> None:
    bugs = place.tracker.bugs = tuple(bug(number) for number in range(1, 11))
    place.load(database)
    place.tracker.bugs = bugs[:left]
    if is_refused:
        with pytest.raises(SourceError):
            place.load(database)
    else:
        assert place.inserted(database) == 0


def test_another_zone_is_noticed(place: Place, database: Database) -> None:
    place.load(database)
    with pytest.raises(SourceError, match="10800 seconds"):
        place.load(database, source_timezone="UTC")
    assert len(rows(database)) == 3
    assert place.inserted(database, source_timezone="UTC", force=True) == 3


def test_a_failed_insert_is_made_good(place: Place, database: Database) -> None:
    with pytest.raises(DatabaseError):
        place.load(FailingDatabase.of(database, Fault(1)))
    assert place.inserted(database) == 3
    assert place.inserted(database) == 0


# --- the command


def test_command_and_its_other_name(place: Place, tmp_path: Path) -> None:
    assert place.options.url is not None
    arguments = ["-e", tmp_path / "db", "--state-dir", tmp_path / "s", "--url", place.options.url]
    zone = {"TZ": "Europe/Moscow"}
    done = run_command("bugzilla", *arguments, "--json", home=tmp_path, variables=zone)
    assert (done.exit_code, done.summary["inserted"]) == (0, {"Bugzilla": 3})
    zone["TZ"] = "America/New_York"
    arguments += ["--source-timezone", "Europe/Moscow"]
    again = run_command("bugzilla_loader", *arguments, "--quiet", home=tmp_path, variables=zone)
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    place.tracker.answers = [Answer(b"<html>")]
    failed = run_command("bugzilla_loader", *arguments, home=tmp_path, variables=zone)
    assert failed.exit_code == 1
    assert "HTML page instead of data" in failed.stderr.splitlines()[-1]
