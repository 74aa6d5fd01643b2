"""watch_loader: what it stores of a file, when it does, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from altrepodb.db.database import Database, Row
from altrepodb.errors import DatabaseError, SourceError
from altrepodb.sources.run import SourceOptions, SourceSummary
from altrepodb.sources.watch import load_watch
from tests.support.http_server import Answer, HttpSite, redirect
from tests.support.loading import (
    FailingDatabase,
    Fault,
    command_line,
    environment,
    open_database_in,
    run_command,
)

PATH = "/pub/watch/watch-total.txt"
MODIFIED = "Thu, 16 Mar 2023 04:30:00 GMT"
MOMENT = 1_678_941_000
SAMPLE = b"""\
petrova\tmutter\t43.3\t44.0\thttps://download.example.org/mutter/44/mutter-44.0.tar.xz
@gnome\tgjs\t1.74.1\t1.76.0\thttps://download.example.org/gjs-1.76.0.tar.xz
ivanov\tlibfoo\t0.9\t1.0~rc1\thttps://github.example.org/foo/libfoo/v1.0-rc1.tar.gz
@nobody\torphan-tool\t2.1\t\twatch_file_error: no matching hrefs
sidorov\tnano\t7.2\t7.2.1\t
"""


class Place:
    """A site with the file, and a way to load it from there."""

    def __init__(self, site: HttpSite, directory: Path) -> None:
        self.site = site
        self.options = SourceOptions(url=site.url(PATH), state_dir=directory / "state")
        self.serve(SAMPLE)

    def serve(self, body: bytes, modified: str | None = MODIFIED, **values: Any) -> None:
        self.site.add(PATH, Answer(body, last_modified=modified, **values))

    def load(self, database: Database, **values: Any) -> SourceSummary:
        return load_watch(replace(self.options, **values), database)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with HttpSite() as site:
        yield Place(site, tmp_path)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions of requests without waiting."""
    monkeypatch.setattr("altrepodb.http.time.sleep", lambda seconds: None)


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host west of Greenwich."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def rows(database: Database) -> list[Row]:
    return database.query(
        "SELECT acl, pkg_name, old_version, new_version, url, date_update"
        " FROM PackagesWatch ORDER BY pkg_name"
    )


def store(database: Database, moment: int, count: int = 1) -> None:
    """Rows of an earlier load."""
    names = [f"stored-{number}" for number in range(count)]
    database.insert("PackagesWatch", {"pkg_name": names, "date_update": [moment] * count})


def stamp(moment: float) -> str:
    return formatdate(moment, usegmt=True)


# --- what is stored


def test_worked_example(place: Place, database: Database) -> None:
    summary = place.load(database)
    assert (summary.result, summary.fetched, summary.inserted) == (
        "loaded", 5, {"PackagesWatch": 5}
    )  # fmt: skip
    expected = [(*line.split("\t"), MOMENT) for line in SAMPLE.decode().splitlines()]
    assert rows(database) == sorted(expected, key=lambda row: row[1])


def test_again_is_nothing_and_no_body(place: Place, database: Database) -> None:
    place.load(database)
    summary = place.load(database)
    assert (summary.result, summary.inserted) == ("uptodate", {})
    assert place.site.requests[1].headers["If-Modified-Since"] == MODIFIED
    assert len(rows(database)) == 5


def test_validators_are_not_believed_when_rows_are_gone(place: Place, database: Database) -> None:
    place.load(database)
    database.execute("TRUNCATE TABLE PackagesWatch")
    assert place.load(database).inserted == {"PackagesWatch": 5}


def test_without_state_the_table_decides(place: Place, database: Database, tmp_path: Path) -> None:
    place.load(database)
    assert place.load(database, state_dir=tmp_path / "other").inserted == {}


@pytest.mark.parametrize(("lead", "count"), [(0, 0), (-1, 5), (1, 0), (-3600, 5)])
def test_only_newer_files_are_stored(
    place: Place, database: Database, lead: int, count: int
) -> None:
    store(database, MOMENT + lead)
    assert sum(place.load(database).inserted.values()) == count


def test_newer_file_is_added(place: Place, database: Database) -> None:
    place.load(database)
    place.serve(SAMPLE, stamp(MOMENT + 60))
    assert place.load(database).inserted == {"PackagesWatch": 5}
    assert len(rows(database)) == 10


def test_dry_run_stores_nothing(place: Place, database: Database) -> None:
    summary = place.load(database, dry_run=True)
    assert (summary.would_insert, rows(database)) == (5, [])
    assert place.load(database).inserted == {"PackagesWatch": 5}


def test_force_loads_again(place: Place, database: Database) -> None:
    place.load(database)
    assert place.load(database, force=True).inserted == {"PackagesWatch": 5}
    assert database.query("SELECT count() FROM PackagesWatch FINAL") == [(5,)]


def test_one_bad_line_of_a_thousand_is_skipped(place: Place, database: Database) -> None:
    lines = [f"ivanov\tpkg{number}\t1\t2\thttp://x/" for number in range(999)]
    place.serve("\n".join([*lines[:500], "a\tb\tc", *lines[500:]]).encode())
    summary = place.load(database)
    assert (summary.skipped, summary.warnings) == (1, 1)
    assert summary.inserted == {"PackagesWatch": 999}


def test_equal_lines_are_written_once(place: Place, database: Database) -> None:
    place.serve(SAMPLE + SAMPLE)
    assert place.load(database).inserted == {"PackagesWatch": 5}


def test_text_is_utf8_whatever_the_header_lacks(place: Place, database: Database) -> None:
    place.serve("i\tnano\t1\t2\thttp://x/é".encode(), content_type=None)
    place.load(database)
    assert rows(database)[0][4] == "http://x/é"


def test_redirect_is_followed(place: Place, database: Database) -> None:
    place.site.add("/old", redirect(PATH, 301))
    summary = place.load(database, url=place.site.url("/old"))
    assert summary.inserted == {"PackagesWatch": 5}


def test_zone_of_minus_zero_is_utc(place: Place, database: Database, new_york: None) -> None:
    place.serve(SAMPLE, "Thu, 16 Mar 2023 04:30:00 -0000")
    place.load(database)
    assert {row[5] for row in rows(database)} == {MOMENT}
    assert place.load(database).inserted == {}


# --- what is refused


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"<html>gone</html>", 404, last_modified=MODIFIED), "404"),
        (Answer(b"<!DOCTYPE html><html>", last_modified=MODIFIED), "HTML"),
        (Answer(b"", last_modified=MODIFIED), "0 records"),
        (Answer(b"\n\n", last_modified=MODIFIED), "0 records"),
        (Answer(b"a\tb\tc\n" + SAMPLE, last_modified=MODIFIED), "1 of 6 records"),
        (Answer(SAMPLE), "no usable Last-Modified"),
        (Answer(SAMPLE, last_modified="yesterday"), "no usable Last-Modified"),
        (Answer(SAMPLE, last_modified=stamp(time.time() + 3 * 86400)), "in the future"),
        (Answer(SAMPLE, last_modified=MODIFIED, fault="cut"), "ends early"),
    ],
)
def test_bad_answers_change_nothing(
    place: Place, database: Database, no_pauses: None, answer: Answer, words: str
) -> None:
    store(database, 1000)
    before = rows(database)
    place.site.add(PATH, answer)
    with pytest.raises(SourceError, match=words):
        place.load(database)
    assert rows(database) == before
    place.serve(SAMPLE)
    assert place.load(database).inserted == {"PackagesWatch": 5}


def test_cut_body_is_asked_for_again(place: Place, database: Database, no_pauses: None) -> None:
    cut = Answer(SAMPLE, last_modified=MODIFIED, fault="cut")
    place.site.add(PATH, cut, cut, Answer(SAMPLE, last_modified=MODIFIED))
    assert place.load(database).inserted == {"PackagesWatch": 5}
    assert len(place.site.requests) == 3


@pytest.mark.parametrize(("stored", "is_refused"), [(10, False), (11, True), (50, True)])
def test_a_file_that_shrank(
    place: Place, database: Database, stored: int, is_refused: bool
) -> None:
    store(database, 1000, stored)
    if is_refused:
        with pytest.raises(SourceError, match=f"5 records, {stored} before"):
            place.load(database)
        assert len(rows(database)) == stored
    assert place.load(database, force=is_refused).inserted == {"PackagesWatch": 5}


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_insert_is_made_good(place: Place, database: Database, after: bool) -> None:
    failing = FailingDatabase.of(database, Fault(1, after=after))
    with pytest.raises(DatabaseError):
        place.load(failing)
    assert place.load(database).inserted == {"PackagesWatch": 5}
    assert database.query("SELECT count() FROM PackagesWatch FINAL") == [(5,)]
    assert place.load(database).inserted == {}


# --- the command


def test_command(place: Place, tmp_path: Path) -> None:
    assert place.options.url is not None
    arguments = ["-e", tmp_path / "db", "--state-dir", tmp_path / "s", "--url", place.options.url]
    first = run_command("watch_loader", *arguments, "--json", home=tmp_path)
    assert first.exit_code == 0
    assert first.summary["inserted"] == {"PackagesWatch": 5}
    quiet = run_command("watch_loader", *arguments, "--quiet", home=tmp_path)
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    place.site.add(PATH, Answer(b"", 404))
    failed = run_command("watch_loader", *arguments, "--force", home=tmp_path)
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-1].startswith("watch_loader: error: http://127.0.0.1")


def test_second_run_ends_at_once_and_a_signal_leaves_nothing(place: Place, tmp_path: Path) -> None:
    place.serve(SAMPLE, delay_s=600)
    assert place.options.url is not None
    arguments = ["-e", tmp_path / "db", "--state-dir", tmp_path / "s", "--url", place.options.url]
    command = command_line("watch_loader", *arguments, "--timeout", "600")
    running = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not place.site.requests:
            assert time.monotonic() < deadline, "nothing is asked for"
            time.sleep(0.05)
        second = run_command("watch_loader", *arguments, "--quiet", home=tmp_path)
        assert (second.exit_code, second.stdout, second.stderr) == (75, "", "")
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM
    finally:
        running.kill()
        running.wait()
    with open_database_in(tmp_path / "db") as database:
        assert rows(database) == []


def test_nothing_may_be_forced_too(place: Place, database: Database) -> None:
    place.serve(b"")
    assert place.load(database, force=True).inserted == {}
