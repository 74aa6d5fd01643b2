"""The loader of ACLs: a real site, a real database, every case of the format."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from altrepodb.db.database import Columns, Database, Row
from altrepodb.errors import DatabaseError, SourceError, TemporaryError
from altrepodb.sources.acl import (
    AclOptions,
    AclRecord,
    AclSummary,
    load_acl,
    parse_event,
    store_event,
)
from tests.support.http_server import Answer, HttpSite, redirect
from tests.support.listing_pages import FLAVOURS, Item, render
from tests.support.loading import (
    FailingDatabase,
    Fault,
    WrappedDatabase,
    command_line,
    environment,
    open_database_in,
    run_command,
)

ZONE = "Europe/Moscow"
GROUPS = b"@gnome\tpetrova sidorov\n@kernel\tivanov\n"
PACKAGES = (
    b"nano\tsidorov\nmutter\t@gnome petrova @everybody\nkernel-image-test\tivanov @kernel\n"
    b"orphan-tool\t@nobody\nphp-lib\tsid_orov petrova\n"
)
EXAMPLE: list[tuple[str, datetime | None, bytes]] = [
    ("list.groups.sisyphus", datetime(2023, 3, 14, 21, 5), GROUPS),
    ("list.packages.c8.1", datetime(2023, 1, 9, 0, 15), b"nano\tpetrova\n"),
    ("list.packages.sisyphus", datetime(2023, 3, 15, 3, 40), PACKAGES),
]
# 2023-03-14 21:05, 2023-01-09 00:15 and 2023-03-15 03:40 in Moscow.
GROUPS_DATE, OLD_DATE, PACKAGES_DATE = 1_678_817_100, 1_673_212_500, 1_678_840_800
LONG_AGO = 1_600_000_000
EXAMPLE_ROWS = [
    (OLD_DATE, "nano", "c8.1", ["petrova"]),
    (GROUPS_DATE, "@gnome", "sisyphus", ["petrova", "sidorov"]),
    (PACKAGES_DATE, "kernel-image-test", "sisyphus", ["ivanov", "@kernel"]),
    (PACKAGES_DATE, "mutter", "sisyphus", ["@gnome", "petrova", "@everybody"]),
    (PACKAGES_DATE, "orphan-tool", "sisyphus", ["@nobody"]),
    (PACKAGES_DATE, "php-lib", "sisyphus", ["sid_orov", "petrova"]),
]
STORED_BEFORE = [
    (LONG_AGO, "nano", "sisyphus", ["sidorov"]),
    (LONG_AGO, "mutter", "sisyphus", ["@gnome", "petrova"]),
    (LONG_AGO, "@kernel", "sisyphus", ["ivanov"]),
]


def store(database: Database, *rows: tuple[int, str, str, list[str]]) -> None:
    dates, subjects, branches, lists = zip(*rows, strict=True)
    columns = {"acl_date": dates, "acl_for": subjects, "acl_branch": branches, "acl_list": lists}
    database.insert("Acl", columns)


def stored(database: Database) -> list[Row]:
    return database.query(
        "SELECT toUnixTimestamp(acl_date) AS date, acl_for, acl_branch, acl_list FROM Acl"
        " ORDER BY date, acl_branch, acl_for, acl_list"
    )


class AclSite:
    """A site with ACLs and a way to load them, always as the user whose state is in a directory."""

    def __init__(self, site: HttpSite, state_dir: Path) -> None:
        self.site = site
        self.url = site.url("/acl")
        self.state_dir = state_dir

    def publish(
        self,
        files: list[tuple[str, datetime | None, bytes]],
        flavour: str = "nginx",
        *,
        parent: bool = True,
    ) -> None:
        items: list[Item] = [(name, date, len(content)) for name, date, content in files]
        page = Answer(render(flavour, items, parent=parent), content_type="text/html")
        self.site.add("/acl", redirect("/acl/", 301))
        self.site.add("/acl/", page)
        for name, _, content in files:
            self.site.add(f"/acl/{name}", Answer(content, etag=f'"{hash(content)}"'))

    def publish_packages(self, content: bytes, day: int = 15) -> None:
        self.publish([("list.packages.p10", datetime(2023, 3, day, 3, 40), content)])

    def load(self, database: Database, **options: object) -> AclSummary:
        values = {"url": self.url, "state_dir": self.state_dir, "source_timezone": ZONE, **options}
        return load_acl(AclOptions(**values), database)  # type: ignore[arg-type]


@pytest.fixture
def acl(tmp_path: Path) -> Iterator[AclSite]:
    with HttpSite() as site:
        opened = AclSite(site, tmp_path / "state")
        opened.publish(EXAMPLE)
        yield opened


def test_worked_example_and_again(database: Database, acl: AclSite) -> None:
    store(database, *STORED_BEFORE)
    summary = acl.load(database)
    assert [row for row in stored(database) if row[0] != LONG_AGO] == EXAMPLE_ROWS
    assert (summary.result, summary.inserted, summary.files) == ("loaded", {"Acl": 6}, 3)
    assert (summary.fetched, summary.skipped, summary.warnings) == (8, 0, 0)
    for options in ({}, {"force": True}, {"state_dir": acl.state_dir / "another"}):
        again = acl.load(database, **options)
        assert (again.result, again.inserted) == ("uptodate", {})
    assert len(stored(database)) == 9
    # Every request is known by name, and none has an empty segment.
    assert set(acl.site.paths()) == {"/acl", "/acl/", *(f"/acl/{name}" for name, *_ in EXAMPLE)}


class _RecordingDatabase(WrappedDatabase):
    """A database that remembers the dates of the rows that were inserted."""

    dates: list[list[int]]

    def insert(self, table: str, columns: Columns) -> int:
        self.dates.append(list(columns["acl_date"]))
        return super().insert(table, columns)


def test_one_insert_with_the_newest_last(database: Database, acl: AclSite) -> None:
    recording = _RecordingDatabase(database)
    recording.dates = []
    acl.load(recording)  # type: ignore[arg-type]
    assert recording.dates == [[OLD_DATE, GROUPS_DATE, GROUPS_DATE, *[PACKAGES_DATE] * 5]]


def test_unchanged_files_are_not_sent_again(database: Database, acl: AclSite) -> None:
    acl.load(database)
    assert acl.load(database).files_unchanged == 3
    acl.publish_packages(b"nano\tivanov\n")
    assert acl.load(database).files_unchanged == 0


def test_database_is_the_authority(database: Database, acl: AclSite) -> None:
    """A table that was emptied is filled, whatever the state directory remembers."""
    acl.load(database)
    database.execute("TRUNCATE TABLE Acl")
    assert acl.load(database).inserted == {"Acl": 8}


def test_database_that_was_put_back(database: Database, acl: AclSite) -> None:
    """It knows all subjects, but not their newest lists."""
    acl.publish_packages(b"x\ta\ny\ta\n", day=14)
    acl.load(database)
    acl.publish_packages(b"x\tb\ny\ta\n", day=15)
    acl.load(database)
    assert acl.load(database).files_unchanged == 1
    database.execute("ALTER TABLE Acl DELETE WHERE acl_list = ['b'] SETTINGS mutations_sync = 1")
    assert acl.load(database).inserted == {"Acl": 1}
    assert acl.load(database).files_unchanged == 1


def test_empty_database(database: Database, acl: AclSite) -> None:
    acl.load(database)
    assert len(stored(database)) == 8


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [
        (["a", "b"], b"x\tb a\n", ["b", "a"]),
        (["ab", "c"], b"x\ta bc\n", ["a", "bc"]),
        (["a"], b"x\ta  b\n", ["a", "b"]),
        (["a"], b"x\t a b \r\n", ["a", "b"]),
        (["a"], b"\n \t \nx\ta b", ["a", "b"]),
        (["a"], "x\tпетрова\n".encode(), ["петрова"]),
        (["a"], b"x\tp\xe9trova\n", ["p\udce9trova"]),
        (["a"], b"x\tb\nx\tc\n", ["c"]),
        (["a"], b"x\tb\tmore\n", ["b"]),
        (["a"], b"x\ta\n", None),
        (["", "a"], b"x\ta\n", None),
        (["a"], b"x\t a\r\n", None),
    ],
)
def test_lines(
    before: list[str], line: bytes, after: list[str] | None, database: Database, acl: AclSite
) -> None:
    store(database, (LONG_AGO, "x", "p10", before))
    acl.publish_packages(line)
    summary = acl.load(database)
    expected = [] if after is None else [(PACKAGES_DATE, "x", "p10", after)]
    assert stored(database)[1:] == expected
    assert summary.warnings == (b"\tmore" in line) + (line.count(b"x") == 2)
    assert acl.load(database, force=True).inserted == {}


def test_one_malformed_line_in_a_thousand(
    database: Database, acl: AclSite, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [b"p%d\tivanov" % number for number in range(999)]
    acl.publish_packages(b"\n".join([*lines[:500], b"no \x1btab", *lines[500:]]))
    with caplog.at_level(logging.WARNING):
        summary = acl.load(database)
    assert (summary.inserted, summary.skipped) == ({"Acl": 999}, 1)
    assert "list.packages.p10:501: " in caplog.text
    assert "no \\x1btab" in caplog.text.replace("\\\\", "\\")


def test_too_many_malformed_lines(database: Database, acl: AclSite) -> None:
    acl.publish_packages(b"good\tivanov\n" + b"bad\n" * 11)
    with pytest.raises(SourceError, match=r"list.packages.p10: 11 of 12 records are malformed"):
        acl.load(database)
    assert stored(database) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=404), SourceError),
        (Answer(b"nano\tx\n", fault="cut", headers={"Retry-After": "0"}), SourceError),
        (Answer(b"<html>Sorry</html>"), SourceError),
        (Answer(status=503, headers={"Retry-After": "0"}), TemporaryError),
        (Answer(b"bad\n" * 11), SourceError),
    ],
)
def test_one_bad_file_stores_nothing(
    answer: Answer,
    error: type[Exception],
    database: Database,
    acl: AclSite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("altrepodb.http.HttpClient.__init__.__defaults__", (None, (0, 0, 0)))
    acl.load(database)
    state = {path.name: path.read_bytes() for path in acl.state_dir.iterdir()}
    acl.publish([(name, datetime(2023, 4, 1), b"nano\tnew\n") for name, *_ in EXAMPLE])
    acl.site.add("/acl/list.packages.sisyphus", answer)
    before = stored(database)
    with pytest.raises(error, match=r"list\.packages\.sisyphus"):
        acl.load(database, force=True)
    assert stored(database) == before
    assert {path.name: path.read_bytes() for path in acl.state_dir.iterdir()} == state


def test_failed_insert_is_an_error_and_loaded_again(database: Database, acl: AclSite) -> None:
    for after in (False, True):
        failing = FailingDatabase.of(database, Fault(1, after=after))
        with pytest.raises(DatabaseError, match="injected"):
            acl.load(failing)  # type: ignore[arg-type]
        assert len(stored(database)) == (8 if after else 0)
    summary = acl.load(database)
    assert (summary.inserted, summary.files_unchanged) == ({}, 0)
    assert len(stored(database)) == 8


@pytest.mark.parametrize("parent", [True, False])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_all_listings(flavour: str, parent: bool, database: Database, acl: AclSite) -> None:
    store(database, *STORED_BEFORE)
    acl.publish(EXAMPLE, flavour, parent=parent)
    acl.load(database)
    assert [row for row in stored(database) if row[0] != LONG_AGO] == EXAMPLE_ROWS


def test_other_files_are_left_alone(database: Database, acl: AclSite) -> None:
    others = ("list.packages", "list.packages.sisyphus.bz2", "list.packages.p10~", "README",
              "list.groups.", "list.packages.p10.", "list.packages.p11/")  # fmt: skip
    good = [
        (f"list.packages.{name}", EXAMPLE[0][1], b"a\tb\n") for name in ("5.1", "c8.1", "p_1-x")
    ]
    acl.publish([*((name, None, b"x") for name in others), *good])
    summary = acl.load(database)
    assert [row[2] for row in stored(database)] == ["5.1", "c8.1", "p_1-x"]
    assert (summary.warnings, summary.skipped) == (6, 0)
    assert len(acl.site.requests) == 5


def test_newer_row_is_not_replaced(database: Database, acl: AclSite) -> None:
    store(database, (PACKAGES_DATE + 1, "x", "p10", ["event"]))
    acl.publish_packages(b"x\tfile\n")
    assert acl.load(database).superseded == 1
    assert acl.load(database, force=True).superseded == 1
    assert len(stored(database)) == 1
    # Written anew with the same content, the file says what holds now.
    acl.publish([("list.packages.p10", datetime(2023, 3, 15, 3, 40, 1), b"x\tfile\n")], "lighttpd")
    assert acl.load(database).inserted == {"Acl": 1}


def test_two_rows_of_one_moment(database: Database, acl: AclSite) -> None:
    rows = [(PACKAGES_DATE, "x", "p10", ["a"]), (PACKAGES_DATE, "x", "p10", ["b"])]
    store(database, *rows)
    for content in (b"x\ta\n", b"x\tb\n"):
        acl.publish_packages(content)
        assert acl.load(database).inserted == {}


def test_vanished_subject_stays(database: Database, acl: AclSite) -> None:
    acl.publish_packages(b"x\ta\ny\ta\n", day=14)
    acl.load(database)
    acl.publish_packages(b"x\ta\n")
    assert acl.load(database).inserted == {}
    assert len(stored(database)) == 2


def test_only_the_difference_is_inserted_and_views_follow(database: Database, acl: AclSite) -> None:
    acl.load(database)
    later = datetime(2023, 3, 16, 3, 40)
    acl.publish(
        [
            ("list.groups.sisyphus", later, b"@gnome\tsidorov\n@kernel\tivanov\n"),
            ("list.packages.sisyphus", later, PACKAGES.replace(b"petrova @every", b"@every")),
        ]
    )
    assert acl.load(database).inserted == {"Acl": 2}
    last = dict(
        database.query("SELECT acl_for, acl_list FROM last_acl WHERE acl_branch = 'sisyphus'")
    )
    assert last["@gnome"] == ["sidorov"]
    assert last["mutter"] == ["@gnome", "@everybody"]
    assert last["php-lib"] == ["sid_orov", "petrova"]
    people = database.query(
        "SELECT acl_user, order_u, order_g FROM last_acl_with_groups"
        " WHERE acl_branch = 'sisyphus' AND pkgname = 'mutter' ORDER BY order_u, order_g"
    )
    assert [row for row in people if row[2]] == [("sidorov", 1, 1)]
    assert "petrova" not in {row[0] for row in people}


Lists = dict[str, list[str]]


def expected_people(lists: Lists) -> list[tuple[str, str, int, int]]:
    """The rows of last_acl_with_groups: groups that have members are replaced by them."""
    found = []
    for subject, members in lists.items():
        for order, member in enumerate(members, start=1):
            people = lists.get(member, []) if member.startswith("@") else []
            found += [(subject, person, order, n) for n, person in enumerate(people, start=1)]
            found += [] if people else [(subject, member, order, 0)]
    return sorted(found)


def check_views(database: Database, lists: Lists) -> None:
    assert dict(database.query("SELECT acl_for, acl_list FROM last_acl")) == lists
    people = database.query("SELECT pkgname, acl_user, order_u, order_g FROM last_acl_with_groups")
    assert sorted(people) == expected_people(lists)


def test_views_after_a_sequence_of_changes(database: Database, acl: AclSite) -> None:
    """People join, leave, change places; groups shrink, vanish, come back; events come between."""
    steps: list[Lists] = [
        {"@kernel": ["a", "b", "c"], "@empty": ["z"], "linux": ["@kernel", "lead"], "nano": ["a"]},
        {"@kernel": ["b"], "@empty": ["z"], "linux": ["@kernel", "lead", "@nobody"], "nano": ["a"]},
        {"@kernel": ["c", "b"], "linux": ["lead"], "nano": ["@kernel", "@new", "a"]},
        {"@kernel": ["c", "b"], "@new": ["x", "@kernel"], "linux": ["lead", "@new"], "nano": ["a"]},
        {"@kernel": ["b", "c"], "@new": ["x"], "linux": ["@new"], "nano": ["@kernel", "@kernel"]},
    ]
    current: Lists = {}
    for day, lists in enumerate(steps, start=1):
        date = datetime(2023, 3, day, 3, 40)
        parts: dict[str, list[bytes]] = {"groups": [], "packages": []}
        for subject, members in lists.items():
            kind = "groups" if subject.startswith("@") else "packages"
            parts[kind].append(f"{subject}\t{' '.join(members)}".encode())
        acl.publish([(f"list.{k}.p10", date, b"\n".join(lines)) for k, lines in parts.items()])
        acl.load(database)
        # What is not listed any more stays as it was.
        current.update(lists)
        check_views(database, current)
        event = AclRecord(int(date.timestamp()) + 40_000, "@empty", "p10", ("z",) * (day % 2))
        assert store_event(event, database).inserted == {"Acl": 1}
        # A message that was delayed says nothing any more.
        late = AclRecord(event.date - 1, "@empty", "p10", ("late",))
        assert store_event(late, database).inserted == {}
        current["@empty"] = list(event.members)
        check_views(database, current)
    database.execute("OPTIMIZE TABLE last_acl_stage1 FINAL")
    check_views(database, current)


def test_empty_file(database: Database, acl: AclSite) -> None:
    acl.publish([("list.packages.p10", EXAMPLE[0][1], b""), *EXAMPLE])
    summary = acl.load(database)
    assert (summary.inserted, summary.warnings) == ({"Acl": 8}, 1)
    acl.publish([("list.packages.sisyphus", datetime(2023, 4, 1), b"\n")])
    for state_dir in (acl.state_dir, acl.state_dir / "another"):
        with pytest.raises(SourceError, match="0 records, 5 before"):
            acl.load(database, state_dir=state_dir)
    assert acl.load(database, force=True).inserted == {}
    assert len(stored(database)) == 8


def test_shrunk_file(database: Database, acl: AclSite) -> None:
    acl.publish_packages(b"".join(b"p%d\ta\n" % number for number in range(10)), day=14)
    acl.load(database)
    acl.publish_packages(b"".join(b"p%d\tb\n" % number for number in range(4)))
    with pytest.raises(SourceError, match="4 records, 10 before"):
        acl.load(database)
    assert len(stored(database)) == 10
    # Without the count of the last load vanished subjects may explain it.
    assert acl.load(database, state_dir=acl.state_dir / "another").inserted == {"Acl": 4}


def test_dates(database: Database, acl: AclSite) -> None:
    acl.publish([("list.packages.p10", None, b"x\ta\n")])
    with pytest.raises(SourceError, match="has no date"):
        acl.load(database)
    modified = "Wed, 15 Mar 2023 00:40:00 GMT"
    acl.site.add("/acl/list.packages.p10", Answer(b"x\ta\n", last_modified=modified))
    acl.load(database)
    assert stored(database) == [(PACKAGES_DATE, "x", "p10", ["a"])]
    page = render("nginx", [("list.packages.p10", datetime(2023, 2, 28), 4)])
    acl.site.add("/acl/", Answer(page.replace(b"28-Feb", b"31-Feb")))
    assert acl.load(database).warnings == 1
    acl.publish([("list.packages.p10", datetime(1965, 1, 1), b"x\tb\n")])
    with pytest.raises(SourceError, match="out of range"):
        acl.load(database)


@pytest.mark.parametrize("page", [b"hello", b"<html><h1>Index of /acl</h1></html>"])
def test_no_listing(page: bytes, database: Database, acl: AclSite) -> None:
    acl.site.add("/acl", Answer(page))
    with pytest.raises(SourceError, match="not a directory listing"):
        acl.load(database)


def test_listing_without_lists(database: Database, acl: AclSite) -> None:
    acl.publish([("README", None, b"")])
    with pytest.raises(SourceError, match="no list of a branch"):
        acl.load(database)


def test_site_that_recovers(database: Database, acl: AclSite) -> None:
    passing = Answer(status=503, headers={"Retry-After": "0"})
    name, _, content = EXAMPLE[0]
    acl.site.add(f"/acl/{name}", passing, passing, Answer(content))
    assert acl.load(database).inserted == {"Acl": 8}
    assert acl.site.paths().count(f"/acl/{name}") == 3


def test_dry_run(database: Database, acl: AclSite) -> None:
    summary = acl.load(database, dry_run=True)
    assert (summary.would_insert, summary.inserted, summary.dry_run) == (8, {}, True)
    assert stored(database) == []
    assert acl.load(database).inserted == {"Acl": 8}


def test_event_of_a_message(database: Database, acl: AclSite) -> None:
    body = {
        "_timestamp": 1678904400.25, "repo": "sisyphus", "target": "mutter",
        "new_owners": ["petrova", "@gnome"], "girar_user": "petrova",
    }  # fmt: skip
    record = parse_event(body)
    assert record == AclRecord(1_678_904_400, "mutter", "sisyphus", ("petrova", "@gnome"))
    assert store_event(record, database).inserted == {"Acl": 1}
    assert store_event(record, database).inserted == {}
    assert parse_event({**body, "_timestamp": "1678904400"}) == record
    empty = parse_event({**body, "new_owners": []})
    assert store_event(empty, database).inserted == {"Acl": 1}
    # The file is older than the event.
    assert acl.load(database).superseded == 1
    for key, value in (
        ("new_owners", "petrova"), ("new_owners", [1]), ("target", ""), ("repo", None),
        ("_timestamp", None), ("_timestamp", "nan"), ("_timestamp", -1), ("_timestamp", True),
        ("_timestamp", 1e400), ("new_owners", ["\ud800"]), ("target", "\ud800"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=key):
            parse_event({**body, key: value})


# --- as a command


@pytest.fixture
def closed_database(schema_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))


def test_command(closed_database: Path, acl: AclSite, tmp_path: Path) -> None:
    common = ("-e", closed_database, "--source-timezone", ZONE, "--state-dir", tmp_path / "state")
    dry = run_command("acl_loader", "--json", "--dry-run", *common, acl.url, home=tmp_path)
    assert (dry.exit_code, dry.summary["would_insert"]) == (0, 8)
    result = run_command("acl_loader", "--quiet", *common, f"{acl.url}//", home=tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    again = run_command("acl_loader", *common, "--url", acl.url, home=tmp_path)
    assert again.exit_code == 0
    assert "result=uptodate" in again.stderr.splitlines()[-1]
    with open_database_in(closed_database) as database:
        assert len(stored(database)) == 8
    assert not [path for path in acl.site.paths() if "//" in path]

    acl.site.remove("/acl")
    gone = run_command("acl_loader", "--quiet", *common, acl.url, home=tmp_path)
    assert gone.exit_code == 1
    assert gone.stderr == f"acl_loader: error: {acl.url}: status 404 Not Found\n"
    for wrong in (["--url", "x"], ["--source-timezone", "Mars/X"], ["--timeout", "0"], ["a", "b"]):
        bad = run_command("acl_loader", *common, *wrong, home=tmp_path)
        assert (bad.exit_code, bad.stdout) == (2, "")


def test_settings_of_the_file_and_the_zone_of_the_host(
    closed_database: Path, acl: AclSite, tmp_path: Path
) -> None:
    config = tmp_path / "config.ini"
    config.write_text(
        f"[DATABASE]\nembedded = {closed_database}\npassword = s3cret\n[SOURCES]\n"
        f"acl_url = {acl.url.replace('//', '//me:t0psecret@')}\nstate_dir = {tmp_path / 's'}\n"
    )
    result = run_command("acl_loader", "-D", "-c", config, home=tmp_path, variables={"TZ": ZONE})
    assert result.exit_code == 0, result.stderr
    assert "s3cret" not in result.stderr
    assert "t0psecret" not in result.stderr
    assert [path.suffix for path in sorted((tmp_path / "s").iterdir())] == [".json", ".lock"]
    with open_database_in(closed_database) as database:
        assert [row for row in stored(database) if row[1] == "php-lib"] == EXAMPLE_ROWS[-1:]


def test_second_run_and_signal(closed_database: Path, acl: AclSite, tmp_path: Path) -> None:
    """One of two runs ends with 75 at once; a signal leaves no rows and no lock."""
    acl.site.add("/acl/list.packages.sisyphus", Answer(PACKAGES, delay_s=600))
    arguments = ("-e", closed_database, "--state-dir", tmp_path / "state", acl.url)
    process = subprocess.Popen(
        command_line("acl_loader", *arguments, "--timeout", "600"),
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 120
        while "/acl/list.packages.sisyphus" not in acl.site.paths():
            assert time.monotonic() < deadline, "nothing is asked for"
            time.sleep(0.05)
        loud = run_command("acl_loader", *arguments, home=tmp_path)
        assert loud.exit_code == 75
        assert f"in use by process {process.pid}" in loud.stderr.splitlines()[-1].replace(
            "another run of acl_loader: ", ""
        )
        quiet = run_command("acl_loader", "--quiet", *arguments, home=tmp_path)
        assert (quiet.exit_code, quiet.stderr) == (75, "")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
    with open_database_in(closed_database) as database:
        assert stored(database) == []
    acl.publish(EXAMPLE)
    assert run_command("acl_loader", *arguments, home=tmp_path).exit_code == 0
