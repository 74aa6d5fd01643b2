"""The loader of Beehive results: a real site, a real database, every case of the format."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.db.database import Columns, Database, Row
from altrepodb.errors import ConfigurationError, DatabaseError
from altrepodb.sources.beehive import (
    BeehiveOptions,
    BeehiveSummary,
    Build,
    load_beehive,
    parse_build_times,
    split_stem,
)
from altrepodb.sources.run import Findings, SourceSummary
from tests.support.http_server import Answer, HttpSite
from tests.support.listing_pages import FLAVOURS, render
from tests.support.loading import (
    FailingDatabase,
    Fault,
    WrappedDatabase,
    open_database_in,
    run_command,
)

ZONE = "Europe/Moscow"
RUN = datetime(2023, 3, 16, 5, 12)
NOON = 1_678_957_200
MIDNIGHT = 1_678_914_000
DAY_S = 86_400
FAILING = 1_677_628_800
NANO, LIBFOO = ("nano", "7.2", "alt1"), ("libfoo", "0.9", "alt0.M80P.1")
ACES, BROKEN = ("aces-tool", "1.0.2", "alt1_8"), ("broken-new", "0.1", "alt1")
SNAPSHOT = {NANO: 101, LIBFOO: 102, ACES: 103, BROKEN: 104, ("unrelated", "1", "alt1"): 105}
EXAMPLE_ROWS = [
    (101, *NANO, "sisyphus", "x86_64", "success", 41.7, NOON, NOON),
    (102, *LIBFOO, "sisyphus", "x86_64", "error", 305.25, NOON, FAILING),
    (103, *ACES, "sisyphus", "x86_64", "success", 12.0, NOON, NOON),
    (104, *BROKEN, "sisyphus", "x86_64", "error", 3.5, NOON, NOON),
]


@dataclass(frozen=True)
class Results:
    """What a pair publishes."""

    times: str = (
        "nano-7.2-alt1\t41.7\nlibfoo-1:0.9-alt0.M80P.1\t305.25\tmore\n"
        "aces-tool-1.0.2-alt1_8.src.rpm\t12\nbroken-new-0.1-alt1\t3.5\n"
    )
    success: Sequence[str] = ("nano-7.2-alt1", "aces-tool-1.0.2-alt1_8")
    error: Sequence[str] = ("libfoo-1:0.9-alt0.M80P.1", "broken-new-0.1-alt1")
    since: str = "libfoo\t1677628800\ngone-pkg\t1600000000\n"
    latest: str = "latest"
    run: datetime = field(default=RUN)


def store_snapshot(
    database: Database,
    packages: dict[tuple[str, str, str], int] | None = None,
    branch: str = "sisyphus",
    date: int = MIDNIGHT,
    number: int = 1,
    epochs: dict[int, int] | None = None,
) -> None:
    packages = SNAPSHOT if packages is None else packages
    root, node = UUID(int=number * 10), UUID(int=number * 10 + 1)
    database.insert(
        "PackageSetName",
        {
            "pkgset_uuid": [node, root],
            "pkgset_puuid": [root, UUID(int=0)],
            "pkgset_ruuid": [root, root],
            "pkgset_depth": [1, 0],
            "pkgset_nodename": ["srpm", branch],
            "pkgset_date": [date, date],
        },
    )
    hashes = list(packages.values())
    database.insert("PackageSet", {"pkgset_uuid": [node] * len(hashes), "pkg_hash": hashes})
    store_packages(database, packages, epochs)


def store_packages(
    database: Database,
    packages: dict[tuple[str, str, str], int],
    epochs: dict[int, int] | None = None,
) -> None:
    names, versions, releases = zip(*packages, strict=True)
    hashes = list(packages.values())
    database.insert(
        "Packages",
        {
            "pkg_hash": hashes,
            "pkg_name": names,
            "pkg_version": versions,
            "pkg_release": releases,
            "pkg_epoch": [(epochs or {}).get(pkg_hash, 0) for pkg_hash in hashes],
            "pkg_sourcepackage": [1] * len(hashes),
        },
    )


def store_task(database: Database, task_id: int, branch: str, pkg_hash: int) -> None:
    database.insert("Tasks", {"task_id": [task_id], "task_repo": [branch]})
    database.insert("TaskIterations", {"task_id": [task_id], "titer_srcrpm_hash": [pkg_hash]})


def stored(database: Database) -> list[Row]:
    return database.query(
        "SELECT pkg_hash, pkg_name, pkg_version, pkg_release, pkgset_name, bh_arch,"
        " toString(bh_status), round(toFloat64(bh_build_time), 3), toUnixTimestamp(bh_updated),"
        " toUnixTimestamp(bh_ftbfs_since) FROM BeehiveStatus"
        " ORDER BY pkgset_name, bh_arch, bh_updated, pkg_hash"
    )


class BeehiveSite:
    """A site with Beehive results and a way to load them."""

    def __init__(self, site: HttpSite, state_dir: Path) -> None:
        self.site = site
        self.url = site.url("/beehive")
        self.state_dir = state_dir

    def publish(
        self,
        results: Results | None = None,
        branch: str = "Sisyphus",
        arch: str = "x86_64",
        flavour: str = "gitweb",
    ) -> None:
        results = results or Results()
        logs = f"/beehive/logs/{branch}/{arch}"
        self.site.add(f"{logs}/", self.latest(results.run, results.latest, flavour))
        self.site.add(f"{logs}/latest/time.list", Answer(results.times.encode()))
        for name, stems in (("success", results.success), ("error", results.error)):
            page = render(flavour, [(stem, None, None) for stem in stems])
            self.site.add(f"{logs}/latest/{name}", Answer(page, content_type="text/html"))
        self.site.add(f"/beehive/stats/{branch}/{arch}/ftbfs-since", Answer(results.since.encode()))

    def latest(self, run: datetime, name: str = "latest", flavour: str = "gitweb") -> Answer:
        items = [("2023-0316", run, None), (name, run, None)]
        return Answer(render(flavour, items), content_type="text/html")

    def load(self, database: Database, **options: object) -> BeehiveSummary:
        values = {
            "url": self.url, "state_dir": self.state_dir, "source_timezone": ZONE,
            "branches": ("Sisyphus",), "archs": ("x86_64",), "restart_pause_s": 0.0, **options,
        }  # fmt: skip
        return load_beehive(BeehiveOptions(**values), database)  # type: ignore[arg-type]


@pytest.fixture
def beehive(tmp_path: Path) -> Iterator[BeehiveSite]:
    with HttpSite() as site:
        opened = BeehiveSite(site, tmp_path / "state")
        opened.publish()
        yield opened


def test_worked_example_and_again(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    summary = beehive.load(database)
    assert stored(database) == EXAMPLE_ROWS
    assert (summary.result, summary.inserted) == ("loaded", {"BeehiveStatus": 4})
    assert (summary.pairs, summary.exit_code) == ({"sisyphus/x86_64": "loaded"}, 0)
    beehive.site.requests.clear()
    again = beehive.load(database)
    assert (again.result, again.inserted, again.exit_code) == ("uptodate", {}, 0)
    assert beehive.site.paths() == ["/beehive/logs/Sisyphus/x86_64/"]
    assert beehive.load(database, force=True).inserted == {}
    assert stored(database) == EXAMPLE_ROWS


@pytest.mark.parametrize("latest", ["latest", "latest/"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_all_listings(flavour: str, latest: str, database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.publish(Results(latest=latest), flavour=flavour)
    beehive.load(database)
    assert stored(database) == EXAMPLE_ROWS


def test_package_of_a_task(database: Database, beehive: BeehiveSite) -> None:
    without = {build: pkg_hash for build, pkg_hash in SNAPSHOT.items() if build != NANO}
    store_snapshot(database, without)
    for number, (task_id, branch) in enumerate([(5, "sisyphus"), (9, "sisyphus"), (11, "p10")]):
        store_packages(database, {NANO: 900 + number})
        store_task(database, task_id, branch, 900 + number)
    beehive.load(database)
    assert stored(database)[-1][:2] == (901, "nano")


def test_unknown_package_fails_its_pair_only(database: Database, beehive: BeehiveSite) -> None:
    without = {build: pkg_hash for build, pkg_hash in SNAPSHOT.items() if build != NANO}
    store_snapshot(database, without)
    store_packages(database, {NANO: 900})
    store_task(database, 5, "p10", 900)
    store_snapshot(database, SNAPSHOT, "p10", number=2)
    beehive.publish(branch="p10")
    summary = beehive.load(database, branches=("Sisyphus", "p10"))
    assert (summary.exit_code, summary.result) == (1, "failed")
    assert "nano-7.2-alt1" in (summary.error or "")
    assert summary.pairs["p10/x86_64"] == "loaded"
    assert {row[4] for row in stored(database)} == {"p10"}


def test_both_outcomes(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.publish(Results(error=(*Results.error, "nano-7.2-alt1")))
    assert beehive.load(database).warnings == 1
    assert stored(database) == EXAMPLE_ROWS


@pytest.mark.parametrize(
    "results",
    [
        Results(success=Results.success[1:]),
        Results(error=(*Results.error, "unrelated-1-alt1")),
        Results(times=Results.times + "broken-line\tabc\n" + "unrelated-1-alt1\tabc\n",
                success=(*Results.success, "unrelated-1-alt1")),
    ],
)  # fmt: skip
def test_inconsistent_pair_is_tried_twice(
    results: Results, database: Database, beehive: BeehiveSite
) -> None:
    store_snapshot(database)
    beehive.publish(results)
    summary = beehive.load(database)
    assert (summary.exit_code, stored(database)) == (1, [])
    assert "do not fit" in (summary.error or "")
    assert beehive.site.paths().count("/beehive/logs/Sisyphus/x86_64/latest/time.list") == 2


def test_no_failures(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.publish(Results(success=(*Results.success, *Results.error), error=(), since=""))
    beehive.load(database)
    assert {row[6] for row in stored(database)} == {"success"}


def test_bare_names_of_failing_packages(database: Database, beehive: BeehiveSite) -> None:
    build = ("python3-module-altair", "5.0", "alt1")
    store_snapshot(database, {build: 7})
    stem = "python3-module-altair-5.0-alt1"
    results = Results(f"{stem}\t1\n", (), (stem,), "python3-module-altair\t1660000000\n")
    beehive.publish(results)
    beehive.load(database)
    assert [row[-1] for row in stored(database)] == [1_660_000_000]


def test_other_spelling_of_the_statistics(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.site.remove("/beehive/stats/Sisyphus/x86_64/ftbfs-since")
    assert beehive.load(database).exit_code == 1
    beehive.site.add("/beehive/stats/Sisyphus-x86_64/ftbfs-since", Answer(Results.since.encode()))
    assert beehive.load(database).exit_code == 0
    assert stored(database) == EXAMPLE_ROWS


def test_older_run_that_is_stored(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.load(database)
    beehive.publish(Results(run=RUN + timedelta(days=1)))
    assert beehive.load(database).result == "loaded"
    assert len(stored(database)) == 8
    beehive.publish()
    assert beehive.load(database).result == "uptodate"
    assert len(stored(database)) == 8


def test_no_snapshot(database: Database, beehive: BeehiveSite) -> None:
    summary = beehive.load(database)
    assert (summary.pairs, summary.warnings) == ({"sisyphus/x86_64": "skipped"}, 1)
    assert (summary.exit_code, summary.result) == (1, "failed")
    store_snapshot(database, branch="p10")
    beehive.publish(branch="p10")
    summary = beehive.load(database, branches=("Sisyphus", "p10"))
    assert (summary.exit_code, summary.result) == (0, "loaded")


@pytest.mark.parametrize(
    ("date", "is_used"),
    [(NOON, True), (MIDNIGHT - 2 * DAY_S, True), (NOON + 1, False), (946_684_800, False)],
)
def test_which_snapshot_is_used(
    date: int, is_used: bool, database: Database, beehive: BeehiveSite
) -> None:
    store_snapshot(database, date=date)
    beehive.load(database)
    assert stored(database) == (EXAMPLE_ROWS if is_used else [])


def test_union_of_two_snapshots_and_higher_epoch(database: Database, beehive: BeehiveSite) -> None:
    first = {NANO: 101, LIBFOO: 99}
    store_snapshot(database, first, epochs={99: 0})
    second = {LIBFOO: 102, ACES: 103, BROKEN: 104}
    store_snapshot(database, second, number=2, epochs={102: 1})
    # A node deeper in a tree that is named like the branch is no snapshot.
    database.insert(
        "PackageSetName",
        {"pkgset_nodename": ["sisyphus"], "pkgset_date": [NOON - 1], "pkgset_depth": [2]},
    )
    assert beehive.load(database).warnings == 1
    assert stored(database) == EXAMPLE_ROWS


def test_run_that_changes_meanwhile(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    later = beehive.latest(RUN + timedelta(days=1))
    beehive.site.add("/beehive/logs/Sisyphus/x86_64/", beehive.latest(RUN), later)
    beehive.load(database)
    assert {row[8] for row in stored(database)} == {NOON + DAY_S}
    assert len(stored(database)) == 4


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (Answer(status=404), "logs/p10/i586/latest/time.list"),
        (Answer(b"<html>Sorry</html>"), "logs/p10/i586/latest/time.list"),
        (Answer(b"\n"), "logs/p10/i586/latest/time.list"),
        (Answer(b"x\n" * 11), "logs/p10/i586/latest/time.list"),
        (Answer(b"hello"), "logs/p10/i586/latest/error"),
        (Answer(status=404), "logs/p10/i586/latest/success"),
        (Answer(b""), "stats/p10/i586/ftbfs-since"),
        (Answer(b"hello"), "logs/p10/i586/"),
        (Answer(render("gitweb", [("latest", None, None)])), "logs/p10/i586/"),
        (Answer(render("gitweb", [("newest", RUN, None)])), "logs/p10/i586/"),
        (Answer(status=503, headers={"Retry-After": "0"}), "logs/p10/i586/"),
    ],
)
def test_one_bad_pair(answer: Answer, path: str, database: Database, beehive: BeehiveSite) -> None:
    for number, branch in enumerate(("Sisyphus", "p10", "p9"), start=1):
        store_snapshot(database, SNAPSHOT, branch.lower(), number=number)
        beehive.publish(branch=branch, arch="i586")
    beehive.site.add(f"/beehive/{path}", answer)
    summary = beehive.load(database, branches=("Sisyphus", "p10", "p9"), archs=("i586",))
    assert (summary.exit_code, summary.inserted) == (1, {"BeehiveStatus": 8})
    assert summary.pairs["p10/i586"].startswith(f"failed: {beehive.url}/{path}")
    assert {row[4] for row in stored(database)} == {"sisyphus", "p9"}


def test_nothing_there_and_nobody_there(database: Database, beehive: BeehiveSite) -> None:
    gone = beehive.load(database, url=beehive.site.url("/elsewhere"))
    assert (gone.exit_code, gone.result) == (1, "failed")
    beehive.site.add(
        "/beehive/logs/Sisyphus/x86_64/", Answer(status=503, headers={"Retry-After": "0"})
    )
    assert beehive.load(database).exit_code == 75


@pytest.mark.parametrize(("hour", "minute"), [(23, 59), (0, 1)])
def test_day_of_the_run(hour: int, minute: int, database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.publish(Results(run=RUN.replace(hour=hour, minute=minute)))
    beehive.load(database)
    assert {row[8] for row in stored(database)} == {NOON}


def test_shrunk_run(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    beehive.load(database)
    one = Results("nano-7.2-alt1\t1\n", ("nano-7.2-alt1",), (), "", run=RUN + timedelta(days=1))
    beehive.publish(one)
    summary = beehive.load(database)
    assert (summary.exit_code, len(stored(database))) == (1, 4)
    assert "1 records, 4 before" in (summary.error or "")
    assert beehive.load(database, force=True).inserted == {"BeehiveStatus": 1}


def test_failed_insert_is_completed_by_the_next_run(
    database: Database, beehive: BeehiveSite
) -> None:
    store_snapshot(database)
    for after in (False, True):
        with pytest.raises(DatabaseError, match="injected"):
            beehive.load(FailingDatabase.of(database, Fault(1, after=after)))  # type: ignore[arg-type]
    # A server that kept a part only.
    database.execute("ALTER TABLE BeehiveStatus DELETE WHERE pkg_hash = 102")
    deadline = time.monotonic() + 120
    while len(stored(database)) != 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert beehive.load(database).inserted == {"BeehiveStatus": 1}
    assert stored(database) == EXAMPLE_ROWS
    assert beehive.load(database).result == "uptodate"


class _LossyDatabase(WrappedDatabase):
    """A database that loses rows without a word."""

    def insert(self, table: str, columns: Columns) -> int:
        return super().insert(table, {name: values[1:] for name, values in columns.items()})


def test_lost_rows_are_noticed(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    with pytest.raises(DatabaseError, match="3 rows of sisyphus/x86_64 stored, expected 4"):
        beehive.load(_LossyDatabase(database))  # type: ignore[arg-type]
    assert beehive.load(database).inserted == {"BeehiveStatus": 1}
    assert stored(database) == EXAMPLE_ROWS


def test_dry_run(database: Database, beehive: BeehiveSite) -> None:
    store_snapshot(database)
    summary = beehive.load(database, dry_run=True)
    assert (summary.would_insert, stored(database)) == (4, [])
    assert beehive.load(database).result == "loaded"


def test_names_for_urls() -> None:
    for wrong in ("..", "a/b", "", "a b", "?"):
        with pytest.raises(ConfigurationError, match="not a name"):
            replace(BeehiveOptions(), branches=(wrong,)).check()


# --- parsers


@pytest.mark.parametrize(
    ("stem", "build"),
    [
        ("a-b-c-1.0-alt1", ("a-b-c", "1.0", "alt1")),
        ("x-1:2-alt1", ("x", "2", "alt1")),
        ("y-1.0-eter3", ("y", "1.0", "eter3")),
        ("z-1.0-alt1.src.rpm", ("z", "1.0", "alt1")),
        ("z-1.0-alt1.src.rpm/", ("z", "1.0", "alt1")),
        ("z--1.0-alt1", ("z-", "1.0", "alt1")),
        ("one-two", None),
        ("-1-2", None),
        ("a-1:-2", None),
        ("", None),
    ],
)
def test_stems(stem: str, build: tuple[str, str, str] | None) -> None:
    assert split_stem(stem) == build


WORD = st.text(st.sampled_from("abz09._+~"), min_size=1).filter(
    lambda word: not word.endswith(".src.rpm")
)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab-9._+"), min_size=1), WORD, WORD, st.none() | st.integers(0, 99))
def test_stems_come_back(name: str, version: str, release: str, epoch: int | None) -> None:
    stem = f"{name}-{version if epoch is None else f'{epoch}:{version}'}-{release}"
    assert split_stem(stem) == split_stem(f"{stem}.src.rpm") == Build(name, version, release)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab-1.:e\t\n\r inf_"), max_size=40))
def test_any_times_are_read_or_skipped(text: str) -> None:
    summary = SourceSummary()
    times = parse_build_times(text, "u", Findings(summary))
    lines = sum(bool(line.strip()) for line in text.split("\n"))
    assert len(times) + summary.skipped <= lines
    assert all(seconds >= 0 for seconds in times.values())


def test_last_time_counts_at_the_first_place() -> None:
    text = "a-1-1\t5\nb-1-1\t6\na-1-1\t7\n"
    times = parse_build_times(text, "u", Findings(SourceSummary()))
    assert list(times.items()) == [(Build("a", "1", "1"), 7.0), (Build("b", "1", "1"), 6.0)]


# --- as a command


def test_command(schema_template: Path, beehive: BeehiveSite, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))
    with open_database_in(directory) as database:
        store_snapshot(database)
    common = ("-e", directory, "--url", beehive.url, "--branch", "Sisyphus", "--arch", "x86_64",
              "--state-dir", tmp_path / "state")  # fmt: skip
    moscow, utc = {"TZ": ZONE}, {"TZ": "UTC"}
    quiet = run_command("beehive_loader", "--quiet", *common, home=tmp_path, variables=moscow)
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    again = run_command(
        "beehive_loader", "--json", *common, "--source-timezone", ZONE,
        home=tmp_path, variables=utc,
    )  # fmt: skip
    assert (again.exit_code, again.summary["inserted"]) == (0, {})
    assert "result=uptodate" in again.stderr.splitlines()[-1]
    with open_database_in(directory) as database:
        assert stored(database) == EXAMPLE_ROWS
    failed = run_command("beehive_loader", "--quiet", *common, "--arch", "i586", home=tmp_path)
    assert (failed.exit_code, failed.stdout) == (1, "")
    (line,) = failed.stderr.splitlines()
    assert line.startswith("beehive_loader: error: ")
    assert "i586/: status 404" in line
    wrong = run_command("beehive_loader", *common, "--branch", "a/b", home=tmp_path)
    assert wrong.exit_code == 2
