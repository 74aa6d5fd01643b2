"""repocop_loader: what it stores of a file, when it does, and what it refuses."""

from __future__ import annotations

import bz2
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from altrepodb.db.database import Database, Row
from altrepodb.errors import DatabaseError, SourceError
from altrepodb.sources import repocop
from altrepodb.sources.repocop import load_repocop
from altrepodb.sources.run import SourceOptions, SourceSummary
from tests.support.http_server import Answer, HttpSite, redirect
from tests.support.loading import FailingDatabase, Fault, run_command

PATH = "/pub/packages.altlinux-sisyphus.json.bz2"
MODIFIED = "Thu, 16 Mar 2023 04:30:00 GMT"
MOMENT = 1_678_941_000
NANO = {
    "pkg_name": "nano", "pkg_version": "7.2", "pkg_release": "alt1", "pkg_arch": "x86_64",
    "pkgset_name": "sisyphus", "rc_srcpkg_name": "nano", "rc_srcpkg_version": "7.2",
    "rc_srcpkg_release": "alt1", "rc_test_name": "sisyphus_check", "rc_test_status": "ok",
    "rc_test_message": "",
}  # fmt: skip
MUTTER = {
    "pkg_name": "mutter-gnome", "pkg_version": "43.3", "pkg_release": "alt1",
    "pkg_arch": "x86_64", "pkgset_name": "sisyphus", "rc_srcpkg_name": "mutter",
    "rc_srcpkg_version": "43.3", "rc_srcpkg_release": "alt1",
    "rc_test_name": "init-but-no-native-systemd", "rc_test_status": "info",
    "rc_test_message": "SysV script without unit file",
}  # fmt: skip
SAMPLE = [NANO, MUTTER]


def packed(value: object) -> bytes:
    return bz2.compress(json.dumps(value, ensure_ascii=False).encode())


def answer(value: object, modified: str | None = MODIFIED, **values: Any) -> Answer:
    return Answer(packed(value), last_modified=modified, **values)


class Place:
    """A site with the file, and a way to load it from there."""

    def __init__(self, site: HttpSite, directory: Path) -> None:
        self.site = site
        self.options = SourceOptions(url=site.url(PATH), state_dir=directory / "state")
        self.serve(answer(SAMPLE))

    def serve(self, *answers: Answer) -> None:
        self.site.add(PATH, *answers)

    def load(self, database: Database, **values: Any) -> SourceSummary:
        return load_repocop(replace(self.options, **values), database)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with HttpSite() as site:
        yield Place(site, tmp_path)


def rows(database: Database) -> list[Row]:
    names = ", ".join([*NANO, "rc_test_date"])
    return database.query(f"SELECT {names} FROM PackagesRepocop ORDER BY pkg_name DESC")


def count(database: Database) -> int:
    ((found,),) = database.query("SELECT count() FROM PackagesRepocop FINAL")
    return int(found)


def store(database: Database, moment: int, number: int = 1) -> None:
    """Rows of an earlier load."""
    names = [f"stored-{index}" for index in range(number)]
    database.insert("PackagesRepocop", {"pkg_name": names, "rc_test_date": [moment] * number})


# --- what is stored


def test_worked_example(place: Place, database: Database) -> None:
    summary = place.load(database)
    assert (summary.result, summary.fetched, summary.inserted) == (
        "loaded", 2, {"PackagesRepocop": 2}
    )  # fmt: skip
    assert rows(database) == [(*NANO.values(), MOMENT), (*MUTTER.values(), MOMENT)]


def test_again_is_nothing_and_no_body(place: Place, database: Database) -> None:
    place.load(database)
    assert place.load(database).inserted == {}
    assert count(database) == 2
    assert [request.method for request in place.site.requests] == ["GET", "GET"]
    assert place.site.requests[1].headers["If-Modified-Since"] == MODIFIED


@pytest.mark.parametrize(("lead", "number"), [(0, 0), (-3600, 2), (-1, 2), (1, 0)])
def test_only_newer_files_are_stored(
    place: Place, database: Database, lead: int, number: int
) -> None:
    store(database, MOMENT + lead)
    assert sum(place.load(database).inserted.values()) == number


@pytest.mark.parametrize("zone", ["Etc/GMT-3", "Etc/GMT+5"])
def test_zone_of_the_server_does_not_matter(place: Place, database: Database, zone: str) -> None:
    store(database, MOMENT - 3600)
    database.execute(f"SET session_timezone = '{zone}'")
    assert place.load(database).inserted == {"PackagesRepocop": 2}
    assert place.load(database, state_dir=place.options.state_directory / "other").inserted == {}


def test_further_keys_and_an_own_date(place: Place, database: Database) -> None:
    place.serve(answer([{**NANO, "extra": {}, "rc_test_date": "2001-01-01 00:00:00"}]))
    place.load(database)
    assert rows(database) == [(*NANO.values(), MOMENT)]


def test_redirect_is_followed(place: Place, database: Database) -> None:
    place.site.add("/old", redirect(PATH, 301))
    assert place.load(database, url=place.site.url("/old")).inserted == {"PackagesRepocop": 2}


def test_date_belongs_to_the_content(place: Place, database: Database) -> None:
    """One request brings both, so a file that is replaced cannot come between."""
    later = formatdate(MOMENT + 60, usegmt=True)
    place.serve(answer(SAMPLE), answer([NANO, MUTTER, {**NANO, "pkg_arch": "i586"}], later))
    place.load(database)
    assert {row[-1] for row in rows(database)} == {MOMENT}
    assert place.load(database).inserted == {"PackagesRepocop": 3}


def test_concatenated_streams(place: Place, database: Database) -> None:
    content = json.dumps(SAMPLE).encode()
    body = bz2.compress(content[:100]) + bz2.compress(content[100:])
    place.serve(Answer(body, last_modified=MODIFIED))
    assert place.load(database).inserted == {"PackagesRepocop": 2}


def test_null_and_numbers(place: Place, database: Database) -> None:
    place.serve(answer([{**NANO, "rc_test_message": None, "pkg_version": 7}]))
    place.load(database)
    ((_, version, *_, message, _),) = rows(database)
    assert (version, message) == ("7", "")


def test_messages_are_stored_as_they_are(place: Place, database: Database) -> None:
    message = "a\tb \"c\" 'd' \\ \n Пакет"
    place.serve(answer([{**NANO, "rc_test_message": message}]))
    place.load(database)
    assert rows(database)[0][-2] == message


def test_unknown_status_is_stored_with_a_warning(place: Place, database: Database) -> None:
    place.serve(answer([{**NANO, "rc_test_status": "odd"}, {**MUTTER, "rc_test_status": "odd"}]))
    summary = place.load(database)
    assert (summary.warnings, summary.inserted) == (1, {"PackagesRepocop": 2})


def test_of_equal_keys_the_last_one_is_stored(place: Place, database: Database) -> None:
    place.serve(answer([{**NANO, "rc_test_status": "fail"}, NANO]))
    assert place.load(database).inserted == {"PackagesRepocop": 1}
    assert rows(database) == [(*NANO.values(), MOMENT)]


def test_one_bad_object_of_a_thousand_is_skipped(place: Place, database: Database) -> None:
    objects: list[dict[str, str]] = [{**NANO, "pkg_version": str(n)} for n in range(999)]
    place.serve(answer([*objects, {"pkg_name": "nano"}]))
    summary = place.load(database)
    assert (summary.skipped, summary.inserted) == (1, {"PackagesRepocop": 999})


# --- what is refused


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Answer(packed(SAMPLE)[:-5], last_modified=MODIFIED), "damaged bzip2"),
        (Answer(b"garbage", last_modified=MODIFIED), "damaged bzip2"),
        (Answer(packed(SAMPLE) + b"garbage", last_modified=MODIFIED), "damaged bzip2"),
        (Answer(b"", last_modified=MODIFIED), "damaged bzip2"),
        (Answer(b"<html>", last_modified=MODIFIED), "HTML"),
        (Answer(b"nothing", 404, last_modified=MODIFIED), "404"),
        (answer(NANO), "not an array of objects"),
        (answer(["a", "b"]), "not an array of objects"),
        (answer([]), "0 records"),
        (answer([{**NANO, "rc_test_name": [1]}]), "1 of 1 records"),
        (answer([{"pkg_name": "nano"}, NANO]), "1 of 2 records"),
        (answer(SAMPLE, None), "no usable Last-Modified"),
        (answer(SAMPLE, "16 March"), "no usable Last-Modified"),
        (answer(SAMPLE, formatdate(time.time() + 3 * 86400, usegmt=True)), "in the future"),
    ],
)
def test_bad_answers_change_nothing(
    place: Place, database: Database, bad: Answer, words: str
) -> None:
    store(database, 1000)
    place.serve(bad)
    with pytest.raises(SourceError, match=words):
        place.load(database)
    assert count(database) == 1
    place.serve(answer(SAMPLE))
    assert place.load(database).inserted == {"PackagesRepocop": 2}


def test_a_bomb_is_refused(
    place: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repocop, "_MAX_DECODED_BYTES", 1 << 20)
    bomb = bz2.compress(b"[" + b" " * (1 << 26))
    assert len(bomb) < 10_000
    place.serve(Answer(bomb, last_modified=MODIFIED))
    with pytest.raises(SourceError, match="more than 1048576 bytes"):
        place.load(database)


def test_a_file_that_shrank(place: Place, database: Database) -> None:
    store(database, 1000, 20)
    with pytest.raises(SourceError, match="2 records, 20 before"):
        place.load(database)
    assert count(database) == 20
    assert place.load(database, force=True).inserted == {"PackagesRepocop": 2}


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_insert_is_made_good(place: Place, database: Database, after: bool) -> None:
    failing = FailingDatabase.of(database, Fault(1, after=after))
    with pytest.raises(DatabaseError):
        place.load(failing)
    assert place.load(database).inserted == {"PackagesRepocop": 2}
    assert count(database) == 2
    assert place.load(database).inserted == {}


# --- the command


def test_command(place: Place, tmp_path: Path) -> None:
    assert place.options.url is not None
    arguments = ["-e", tmp_path / "db", "--state-dir", tmp_path / "s", "--url", place.options.url]
    done = run_command("repocop_loader", *arguments, "--json", home=tmp_path)
    assert (done.exit_code, done.summary["inserted"]) == (0, {"PackagesRepocop": 2})
    place.serve(answer([{"pkg_name": "nano"}]))
    failed = run_command("repocop_loader", *arguments, "--force", home=tmp_path)
    assert failed.exit_code == 1
    assert "1 of 1 records are malformed" in failed.stderr.splitlines()[-1]
