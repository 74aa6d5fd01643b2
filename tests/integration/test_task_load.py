"""Loading tasks: the rows of the worked example, loads that follow, and tasks that change."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from altrepodb.db.database import Columns, Database, Parameters, Row
from altrepodb.errors import DatabaseError, SourceError
from altrepodb.task import load as loading
from altrepodb.task import write
from altrepodb.task.load import TaskOptions, TaskSummary, load_tasks, read_tasks
from altrepodb.task.snapshot import TaskInFluxError
from altrepodb.workers import WorkerPool
from tests.support import expected_rows
from tests.support import task_changes as change
from tests.support.identity import text_hash
from tests.support.loading import (
    FailingDatabase,
    Fault,
    WrappedDatabase,
    open_loader,
    stored_rows,
)
from tests.support.task_facts import log_rows
from tests.support.task_shapes import HOSTILE_SHAPES, SHAPES
from tests.support.task_tree import (
    SECOND,
    Approval,
    Build,
    ComposedTask,
    EventLog,
    LogPattern,
    SampleSize,
    Subtask,
    TaskPlan,
    TaskRpm,
    at,
    compose_task,
    compose_worked_example,
    loaded_packages,
    make_rpm,
    sample_plan,
    sample_plans,
    worked_example,
)

TASK = 500123
CHANGED = at("2021-10-05 10:20:31") // SECOND
TASK_TABLES = (
    "TaskStates", "Tasks", "TaskIterations", "TaskChroots", "TaskLogs", "TaskApprovals",
    "TaskPlanPackages", "TaskPlanPkgHash",
)  # fmt: skip
PACKAGE_TABLES = ("Packages", "PackageHash", "Changelog", "Depends", "Files", "Specfiles")
BASE_HASH, BR_HASH = 4412892365431498, 4271886977888739907


class Loader:
    """A database and workers, ready for one load of tasks after the other."""

    def __init__(self, database: Database, pool: WorkerPool) -> None:
        self.database = database
        self.pool = pool

    def load(self, *paths: Path, **options: Any) -> TaskSummary:
        return self.load_into(self.database, *paths, **options)

    def load_into(self, database: Database, *paths: Path, **options: Any) -> TaskSummary:
        """Load through another database object, such as one that fails."""
        return load_tasks(TaskOptions(paths, **options), database, self.pool)

    def rows(self, table: str, columns: str = "*", condition: str = "1") -> list[Row]:
        """Rows as they are stored, those that replace each other included."""
        return self.database.query(f"SELECT {columns} FROM {table} WHERE {condition}")

    def count(self, table: str, condition: str = "1") -> int:
        ((number,),) = self.rows(table, "count()", condition)
        return int(number)

    def counts(self) -> dict[str, int]:
        """Numbers of rows of all tables that have any, before anything is merged."""
        found = self.database.query(
            "SELECT name, toUInt64(total_rows) FROM system.tables"
            " WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND total_rows > 0"
            " AND name NOT IN ('SchemaMigrations', 'LoadIntents')"
        )
        return {str(name): int(rows) for name, rows in found}


@pytest.fixture(scope="module")
def shared(schema_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    with open_loader(schema_template, tmp_path_factory.mktemp("loads") / "database") as opened:
        opened.database.execute("SYSTEM STOP MERGES")
        yield Loader(opened.database, opened.pool)


@pytest.fixture
def merges(shared: Loader) -> Iterator[None]:
    """Deletions are done by merges, which otherwise do not run while rows are counted."""
    shared.database.execute("SYSTEM START MERGES")
    yield
    shared.database.execute("SYSTEM STOP MERGES")


@pytest.fixture
def loader(shared: Loader) -> Loader:
    """The one loader of the module, its database emptied."""
    for table in shared.counts():
        shared.database.execute(f"TRUNCATE TABLE {table}")
    return shared


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing tasks are looked at again at once."""
    monkeypatch.setattr(loading, "_RETRY_WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(loading, "INFO_WAIT_S", 0.1)


@pytest.fixture
def example(tmp_path: Path) -> ComposedTask:
    return compose_worked_example(tmp_path)


def moment(clock: str, day: str = "2021-10-05") -> int:
    return at(f"{day} {clock}") // SECOND


def unordered(rows: Sequence[Any]) -> list[str]:
    return sorted(map(repr, rows))


def assert_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """The same rows, in any order, each of them once."""
    assert unordered(found) == unordered(expected)


# The rows of the worked example


@pytest.fixture(scope="module")
def loaded(shared: Loader, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The worked example and the rows of all tables after one load."""
    for table in shared.counts():
        shared.database.execute(f"TRUNCATE TABLE {table}")
    task = compose_worked_example(tmp_path_factory.mktemp("example"))
    summary = shared.load(task.root)
    tables = (*TASK_TABLES, *PACKAGE_TABLES)
    return SimpleNamespace(
        task=task,
        summary=summary,
        counts=shared.counts(),
        packages=shared.rows("Packages", ", ".join(expected_rows.PACKAGE_COLUMNS)),
        links=dict(shared.rows("Packages", "pkg_filename, pkg_srcrpm_hash")),
        hashes=dict(shared.rows("Packages", "pkg_filename, pkg_hash")),
        names=shared.rows("FileNames", "fn_name, fn_hash"),
        chroots=dict(shared.rows("TaskChroots", "tch_hash, tch_chroot")),
        **{table: shared.rows(table) for table in tables if table != "Packages"},
    )


def test_state(loaded: SimpleNamespace) -> None:
    assert loaded.TaskStates == [
        (
            CHANGED, TASK, "TESTED", "alice", [500100, 500111], 2, 0, 1, 1,
            "rebuild with new libexample", "8309eff132884a47e73669636e10b6222b94190e", 500099,
            [14778251897179570011, 8847081203857294114],
        )
    ]  # fmt: skip
    assert (loaded.summary.loaded, loaded.summary.unchanged, loaded.summary.warnings) == (1, 0, 0)


def test_subtasks(loaded: SimpleNamespace) -> None:
    start = (TASK, "p10", "alice", CHANGED)

    def row(number: int, clock: str, *rest: Any) -> Row:
        return (TASK, number, *start[1:], moment(clock, "2021-10-04"), *rest)

    assert_same(
        loaded.Tasks,
        [
            row(100, "12:00:05", 0, "alice", "/people/alice/packages/libexample.git", "", "gear",
                "", "1" * 40, "Alice Example <alice@altlinux.org>", "1" * 40, "1.4-alt1", "", "",
                ""),
            row(200, "12:05:00", 0, "bob", "", "", "srpm", "", "2" * 40, "", "", "",
                "toolbox-3.2-alt1.src.rpm", "toolbox", "3.2-alt1"),
            row(300, "12:10:00", 0, "alice", "/gears/f/foo.git", "foo", "rebuild", "sisyphus",
                "3" * 40, "Carol Example <carol@altlinux.org>", "3" * 40, "2.0-alt3", "", "foo",
                "1:2.0-alt3"),
            row(400, "12:15:00", 0, "alice", "", "oldpkg", "delete", *[""] * 8),
            row(500, "18:30:00", 1, "bob", "", "", "unknown", *[""] * 8),
            row(600, "12:20:00", 0, "alice", "", "bar", "copy", "sisyphus", *[""] * 7),
        ],
    )  # fmt: skip


def test_iterations(loaded: SimpleNamespace) -> None:
    packages = loaded.hashes

    def source(subtask: int) -> int:
        return int(loaded.task.source(subtask, "x86_64").pkg_hash)

    def row(number: int, arch: str, clock: str, *rest: Any) -> Row:
        return (TASK, CHANGED, number, arch, moment(clock), rest[0], 2, 1, *rest[1:])

    doc = packages["libexample-doc-1.4-alt1.noarch.rpm"]
    assert_same(
        loaded.TaskIterations,
        [
            row(100, "x86_64", "09:10:00", "built", source(100),
                [packages["libexample-1.4-alt1.x86_64.rpm"], doc], BASE_HASH, BR_HASH,
                17054564336848718281, 18264889488784736221),
            row(100, "i586", "09:10:00", "built", source(100),
                [packages["libexample-1.4-alt1.i586.rpm"]], BASE_HASH, BR_HASH,
                3914988784403535155, 2377553403190108651),
            row(200, "x86_64", "09:10:00", "built", source(200),
                [packages["toolbox-3.2-alt1.x86_64.rpm"]], BASE_HASH, BR_HASH,
                10126917205897970487, 15177260350119421993),
            row(200, "i586", "09:12:00", "failed", source(200), [0], 0, 0,
                16485603286885650087, 0),
            row(300, "x86_64", "09:13:00", "excluded", 0, [0], 0, 0, 0, 1972087966807511484),
            row(400, "x86_64", "09:05:00", "deleted", 0, [0], 0, 0, 0, 0),
            row(600, "x86_64", "09:00:31", "built", source(600),
                [packages["bar-5-alt1.x86_64.rpm"]], 0, 0, 1918863099862239744, 0),
            row(600, "i586", "09:00:31", "built", source(600),
                [packages["bar-5-alt1.i586.rpm"]], 0, 0, 6495639894240702252, 0),
        ],
    )  # fmt: skip


def test_chroots(loaded: SimpleNamespace) -> None:
    """The engine's own hash is that of the iterations."""
    assert loaded.chroots == {
        BASE_HASH: [13155985489784542306, 5057892201506924115],
        BR_HASH: [282627650405541154],
    }
    assert loaded.counts["TaskChroots"] == 2


def test_approvals(loaded: SimpleNamespace) -> None:
    assert_same(
        loaded.TaskApprovals,
        [
            (TASK, 100, "approve", 0, moment("07:00:00"), "carol", "looks\nfine"),
            (TASK, 400, "approve", 0, moment("07:30:00"), "dave", "ok, drop it"),
            (TASK, 200, "disapprove", 0, moment("07:45:10"), "erin", "too early"),
        ],
    )


SRC, X86_64, NOARCH, AREPO = (
    17979921840237298785, 13284988821318775494, 12104879047057178565, 2027718986071714179,
)  # fmt: skip


def test_plan_packages(loaded: SimpleNamespace) -> None:
    new_source, old_source = "libexample-1.4-alt1.src.rpm", "libexample-1.3-alt1.src.rpm"
    gone_source = "oldpkg-0.1-alt1.src.rpm"
    assert_same(
        loaded.TaskPlanPackages,
        [
            (SRC, "add", "libexample", "1.4-alt1", new_source, new_source, "src", "", 100),
            (SRC, "delete", "libexample", "1.3-alt1", old_source, old_source, "src", "", 0),
            (SRC, "delete", "oldpkg", "0.1-alt1", gone_source, gone_source, "src", "", 0),
            (X86_64, "add", "libexample", "1.4-alt1", "libexample-1.4-alt1.x86_64.rpm",
             new_source, "x86_64", "classic", 100),
            (NOARCH, "add", "libexample-doc", "1.4-alt1", "libexample-doc-1.4-alt1.noarch.rpm",
             new_source, "noarch", "classic", 100),
            (X86_64, "delete", "libexample", "1.3-alt1", "libexample-1.3-alt1.x86_64.rpm",
             old_source, "x86_64", "classic", 0),
            (X86_64, "delete", "oldpkg-debuginfo", "0.1-alt1",
             "oldpkg-debuginfo-0.1-alt1.x86_64.rpm", gone_source, "x86_64", "debuginfo", 0),
        ],
    )  # fmt: skip


SHA256 = {
    "libexample-1.4-alt1.src.rpm": (
        "418ffe7a3cd34a2e9c38943b375cc1216693de830649db0af494448d6692abe5"
    ),
    "libexample-1.4-alt1.x86_64.rpm": (
        "1cc8ff5e6aa02f9fae19675155bbd0541480d2677abdadd1f248fc66daf9e9d2"
    ),
    "i586-libexample-1.4-alt1.i586.rpm": (
        "808e66ec55e19cf01a72e71cf57d39b5e3fee1070d30d9c97975d8d0fbfe99bd"
    ),
}


def test_plan_digests(loaded: SimpleNamespace) -> None:
    source, library, repackaged = map(bytes.fromhex, SHA256.values())
    old_source = "3c121c38de117bacfa83b7a7c05644bd7aefe09d91ee681fd93a6c702904d898"
    old_library = "76bdb563530c997e6fdf55cc894b3c8d454b14f052427b5e26487816f20643fb"
    assert_same(
        loaded.TaskPlanPkgHash,
        [
            (SRC, "add", source),
            (SRC, "delete", bytes.fromhex(old_source)),
            (X86_64, "add", library),
            (X86_64, "delete", bytes.fromhex(old_library)),
            (AREPO, "add", repackaged),
        ],
    )


def expected_log_rows(task: ComposedTask) -> list[Row]:
    """All lines of all logs, by the plain oracle."""
    rows: list[Row] = []
    for path, size in task.log_sizes.items():
        file = task.root / path
        name = file.name
        kind: Any = {"log": "build", "srpm.log": "srpm"}.get(name, "events")
        if kind == "events":
            _, task_try, task_iter, _ = name.split(".")
            key = task.events_hash(int(task_try), int(task_iter))
        elif size:
            key = task.log_hash(kind, int(file.parts[-3]), file.parts[-2])
        else:
            continue
        mtime = file.stat().st_mtime_ns // SECOND
        rows += [(key, *row) for row in log_rows(kind, file.read_bytes(), mtime)]
    return rows


def test_logs(loaded: SimpleNamespace) -> None:
    assert_same(loaded.TaskLogs, expected_log_rows(loaded.task))
    lines = {(key, line): (clock, text) for key, line, clock, text in loaded.TaskLogs}
    build, srpm, events = 17054564336848718281, 18264889488784736221, 14778251897179570011
    assert {key: lines[key] for key in lines if key[0] in (build, srpm, events)} == {
        (build, 1): (moment("09:05:01"), "Installing source package"),
        (build, 2): (moment("09:05:02"), "indented step"),
        (build, 3): (moment("09:05:02"), ""),
        (build, 4): (moment("09:10:00"), "finished"),
        (srpm, 1): (moment("09:02:00"), "Installing pkg.tar"),
        (srpm, 2): (moment("09:01:02"), "rpmi: libfoo-1-alt1 installed"),
        (srpm, 3): (moment("09:01:02"), "Building target platforms: x86_64"),
        (events, 1): (moment("06:00:00"), "task #500123 for p10 started by alice:"),
        (events, 2): (
            moment("06:00:00"), "#100 build 1.4-alt1 from /people/alice/packages/libexample.git",
        ),
        (events, 3): (moment("06:40:00"), "task #500123 for p10 FAILED"),
    }  # fmt: skip
    assert loaded.summary.log_lines == len(loaded.TaskLogs)


def described(rpm: TaskRpm) -> Any:
    """A package in the form that the oracle of package rows takes."""
    package = rpm.package
    if not package.source:
        package = replace(package, sourcerpm=rpm.source_file)
    return SimpleNamespace(
        package=package,
        pkg_hash=rpm.pkg_hash,
        header_sha1=rpm.rpm.header_sha1,
        buildtime=package.buildtime,
        size=len(rpm.data),
        file_name=rpm.file_name,
        blueprint=SimpleNamespace(oddity=""),
        md5=rpm.md5,
        sha256=SHA256.get(rpm.file_name, rpm.sha256),
        blake2b=rpm.blake2b,
    )


def test_packages(loaded: SimpleNamespace) -> None:
    items = [described(rpm) for rpm in loaded_packages(loaded.task)]
    assert sorted(item.file_name for item in items) == [
        "bar-5-alt1.i586.rpm", "bar-5-alt1.src.rpm", "bar-5-alt1.x86_64.rpm",
        "i586-libexample-1.4-alt1.i586.rpm", "libexample-1.4-alt1.i586.rpm",
        "libexample-1.4-alt1.src.rpm", "libexample-1.4-alt1.x86_64.rpm",
        "libexample-doc-1.4-alt1.noarch.rpm", "toolbox-3.2-alt1.src.rpm",
        "toolbox-3.2-alt1.x86_64.rpm",
    ]  # fmt: skip
    assert_same(loaded.packages, [expected_rows.package_row(item) for item in items])
    assert_same(loaded.PackageHash, [expected_rows.digest_row(item) for item in items])
    assert_same(loaded.Files, [row for item in items for row in expected_rows.file_rows(item)])
    assert_same(loaded.Depends, [row for item in items for row in expected_rows.depends_rows(item)])
    specs = [row for item in items if (row := expected_rows.specfile_row(item))]
    assert len(specs) == 3
    assert_same(loaded.Specfiles, specs)
    texts = {row for item in items for row in expected_rows.changelog_rows(item)}
    assert_same(loaded.Changelog, [*texts])
    names = {name for item in items for name in expected_rows.file_names(item)}
    assert {*loaded.names} == {(name, text_hash(name.encode())) for name in names}


def test_links_to_sources(loaded: SimpleNamespace) -> None:
    sources = {name: value for name, value in loaded.hashes.items() if name.endswith(".src.rpm")}
    expected = {
        **sources,
        "i586-libexample-1.4-alt1.i586.rpm": 0,
        "toolbox-3.2-alt1.x86_64.rpm": sources["toolbox-3.2-alt1.src.rpm"],
    }
    for name in ("bar-5-alt1.i586", "bar-5-alt1.x86_64"):
        expected[f"{name}.rpm"] = sources["bar-5-alt1.src.rpm"]
    for name in ("-1.4-alt1.i586", "-1.4-alt1.x86_64", "-doc-1.4-alt1.noarch"):
        expected[f"libexample{name}.rpm"] = sources["libexample-1.4-alt1.src.rpm"]
    assert loaded.links == expected


def test_nothing_else_is_written(loaded: SimpleNamespace) -> None:
    views = {"SrcPackagesLastChangelog", "PackagesSourceAndBinaries"}
    assert {*loaded.counts} == {*TASK_TABLES, *PACKAGE_TABLES, "FileNames", *views}
    assert loaded.summary.inserted == {
        name: loaded.counts[name] for name in loaded.summary.inserted
    }


def test_plan_hashes_are_those_of_the_view(loader: Loader, example: ComposedTask) -> None:
    change.set_state(example.root, "DONE", at("2021-10-05 10:20:30"))
    loader.load(example.root)
    in_view = {key for _, key in loader.rows("task_plan_hashes", "task_id, tplan_hash")}
    assert {key for (key,) in loader.rows("TaskPlanPkgHash", "tplan_hash")} <= in_view


def test_whole_samples(loader: Loader, tmp_path: Path) -> None:
    """Several tasks in one load, with packages in common."""
    plans = sample_plans(900, 9, SampleSize(packages=10, log_bytes=20_000), max_subtasks=4)
    tasks = [compose_task(tmp_path / str(plan.task_id), plan) for plan in plans]
    summary = loader.load(*[task.root for task in tasks])
    assert (summary.loaded, summary.exit_code, summary.failed) == (9, 0, {})
    expected = [row for task in tasks for row in expected_log_rows(task)]
    assert_same(loader.rows("TaskLogs"), expected)
    hashes = {rpm.pkg_hash for task in tasks for rpm in loaded_packages(task)}
    assert_same(loader.rows("Packages", "pkg_hash"), [(value,) for value in hashes])
    assert_same(loader.rows("PackageHash", "pkgh_mmh"), [(value,) for value in hashes])
    assert loader.count("TaskStates") == 9


# Loads that follow


class RecordingDatabase(WrappedDatabase):
    """Notes which tables rows are written to."""

    tables: list[str]

    @classmethod
    def of(cls, database: Database) -> RecordingDatabase:
        recording = cls(database)
        recording.tables = []
        return recording

    def insert(self, table: str, columns: Columns) -> int:
        if len(next(iter(columns.values()), ())):
            self.first.tables.append(table)  # type: ignore[attr-defined]
        return super().insert(table, columns)

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        words = statement.split()
        if words[:2] == ["INSERT", "INTO"]:
            self.first.tables.append(words[2])  # type: ignore[attr-defined]
        super().execute(statement, parameters)

    @property
    def stored_tables(self) -> list[str]:
        """In the order of writing, without what is there for a moment only."""
        return [name for name in self.tables if not name.startswith("altrepodb_")]


def test_order_of_writing(loader: Loader, example: ComposedTask) -> None:
    """Children before parents, and the state last of all."""
    recording = RecordingDatabase.of(loader.database)
    loader.load_into(recording, example.root)
    order = recording.stored_tables
    assert order[-1] == "TaskStates"
    assert order.count("TaskStates") == 1
    for first, second in (
        ("Changelog", "Packages"), ("Files", "PackageHash"), ("Packages", "PackageHash"),
        ("PackageHash", "TaskLogs"), ("TaskChroots", "TaskIterations"),
        ("TaskIterations", "Tasks"), ("Tasks", "TaskApprovals"),
    ):  # fmt: skip
        assert order.index(first) < order.index(second), (first, second)


@pytest.mark.parametrize("state", ["TESTED", "DONE", "NEW", "FAILED"])
def test_second_load_writes_nothing(state: str, loader: Loader, example: ComposedTask) -> None:
    change.set_state(example.root, state, at("2021-10-05 10:20:30"))
    loader.load(example.root)
    before = loader.counts()
    recording = RecordingDatabase.of(loader.database)
    summary = loader.load_into(recording, example.root)
    assert recording.stored_tables == []
    assert loader.counts() == before
    assert (summary.loaded, summary.unchanged, summary.inserted) == (0, 1, {})


def test_second_load_of_samples_writes_nothing(loader: Loader, tmp_path: Path) -> None:
    plans = sample_plans(900, 4, SampleSize(packages=12, log_bytes=9_000), max_subtasks=4)
    paths = [compose_task(tmp_path / str(plan.task_id), plan).root for plan in plans]
    loader.load(*paths)
    before = loader.counts()
    assert loader.load(*paths).inserted == {}
    assert loader.counts() == before


def test_odd_names_are_found_again(loader: Loader, example: ComposedTask) -> None:
    """An architecture of 32 characters, and one of bytes that are no text."""
    change.move(example.root, "build/600/i586", "build/600/" + "x" * 32)
    change.move(example.root, "build/600/x86_64", os.fsdecode(b"build/600/\xff\n"))
    loader.load(example.root)
    archs = {arch for (arch,) in loader.rows("TaskIterations", "subtask_arch", "subtask_id = 600")}
    assert archs == {"x" * 32, "\udcff\n"}
    before = loader.counts()
    loader.load(example.root)
    assert loader.counts() == before


def test_given_twice(loader: Loader, example: ComposedTask) -> None:
    summary = loader.load(example.root, example.root)
    assert (summary.loaded, summary.unchanged) == (1, 1)
    assert loader.count("TaskStates") == 1
    assert loader.count("TaskApprovals") == 3


def test_next_version_shares_what_is_the_same(loader: Loader, example: ComposedTask) -> None:
    """Another state, nothing built anew: packages, plans and logs are there already."""
    loader.load(example.root)
    change.set_state(example.root, "DONE", at("2021-10-06 10:00:00"))
    summary = loader.load(example.root)
    assert {*summary.inserted} == {"TaskStates", "Tasks", "TaskIterations", "TaskChroots"}
    assert loader.count("TaskStates") == 2


def test_log_that_grew_is_written_again(loader: Loader, example: ComposedTask) -> None:
    loader.load(example.root)
    change.append(
        example.root, "logs/events.2.1.log", b"2021-Oct-06 09:00:10 :: aborted\n",
        at("2021-10-06 09:00:10"),
    )  # fmt: skip
    summary = loader.load(example.root)
    assert summary.inserted == {"TaskLogs": 3}


def test_force_writes_packages_again(loader: Loader, example: ComposedTask) -> None:
    loader.load(example.root)
    before = stored_rows(loader.database)
    summary = loader.load(example.root, force=True)
    assert summary.inserted["Packages"] == summary.inserted["PackageHash"] == 10
    assert not {*summary.inserted} & {*TASK_TABLES}
    assert stored_rows(loader.database) == before


def test_logs_of_new_tasks_on_demand(loader: Loader, example: ComposedTask) -> None:
    """The keys are stored all the same; what was left out is written by a later version."""
    change.set_state(example.root, "NEW", at("2021-10-05 10:20:30"))
    loader.load(example.root, with_new_logs=False)
    assert loader.count("TaskLogs") == 0
    ((events,),) = loader.rows("TaskStates", "task_eventlog_hash")
    assert len(events) == 2
    assert loader.count("TaskIterations", "titer_buildlog_hash != 0") == 6
    change.set_state(example.root, "TESTED", at("2021-10-06 10:20:30"))
    loader.load(example.root, with_new_logs=False)
    assert_same(loader.rows("TaskLogs"), expected_log_rows(example))


def test_done_task_without_flush(loader: Loader, tmp_path: Path) -> None:
    """The history is written by a view when the state comes, and must be complete by then."""
    histories = []
    plan = sample_plan(700, SampleSize(6, packages=40, log_bytes=5_000, state="DONE"), seed=3)
    task = compose_task(tmp_path / "700", plan)
    for flush in (False, True):
        for table in loader.counts():
            loader.database.execute(f"TRUNCATE TABLE {table}")
        loader.load(task.root, flush_buffers=flush)
        histories.append(unordered(loader.rows("BranchPackageHistory")))
    assert histories[0] == histories[1]
    planned = {value for (value,) in loader.rows("TaskPlanPkgHash", "tplan_sha256",
                                                 "tplan_action = 'add'")}  # fmt: skip
    expected = {
        (rpm.pkg_hash, rpm.package.name, rpm.package.version, int(rpm.package.source))
        for rpm in loaded_packages(task)
        if bytes.fromhex(rpm.sha256) in planned
    }
    found = loader.rows(
        "BranchPackageHistory", "pkg_hash, pkg_name, pkg_version, pkg_sourcepackage"
    )
    assert {*found} == expected
    assert len(expected) > 30
    assert loader.count("BranchPackageHistory", "chlog_text = '' OR pkgset_name = ''") == 0


def test_history_that_a_killed_load_left_out(loader: Loader, example: ComposedTask) -> None:
    """The view runs after the state is there; what it did not come to is written later."""
    change.set_state(example.root, "DONE", at("2021-10-05 10:20:30"))
    loader.load(example.root)
    complete = stored_rows(loader.database)
    assert len(complete["BranchPackageHistory"]) == 3
    loader.database.execute("TRUNCATE TABLE BranchPackageHistory")
    assert loader.load(example.root).inserted == {"TaskStates": 1}
    assert stored_rows(loader.database) == complete
    assert loader.load(example.root).inserted == {}


def test_history_of_a_task_that_changed_nothing(loader: Loader, tmp_path: Path) -> None:
    """Even then the view has run, and nothing is written again."""
    plan = TaskPlan(task_id=9, state="DONE", plan_files="absent")
    root = compose_task(tmp_path / "9", plan).root
    loader.load(root)
    assert loader.load(root).inserted == {}


def test_history_of_a_removal(loader: Loader, tmp_path: Path) -> None:
    """The packages that a task removes are known by their digests from an earlier one."""
    sources = {evr: make_rpm("tool", evr, "src") for evr in ("1-alt1", "2-alt1")}
    for number, source in enumerate(sources.values()):
        lines = [f"+{source.sha256}  {source.file_name}\n"]
        if number:
            lines.append(f"-{sources['1-alt1'].sha256}  tool-1-alt1.src.rpm\n")
        plan = small_task(10 + number, (), source=source)
        plan = replace(plan, state="DONE", plan_files={"src.hash.diff": "".join(lines).encode()})
        loader.load(compose_task(tmp_path / str(10 + number), plan).root)
    assert_same(
        loader.rows("BranchPackageHistory", "task_id, tplan_action, pkg_version"),
        [(10, "add", "1"), (11, "add", "2"), (11, "delete", "1")],
    )


# Rows of one version that differ


@pytest.mark.usefixtures("merges")
def test_rows_of_the_same_second(
    loader: Loader, example: ComposedTask, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that differ are added with a warning; --replace deletes the stale ones."""
    loader.load(example.root)
    change.put(example.root, "build/300/x86_64/status", b"swept\n")
    change.put(
        example.root, "build/300/x86_64/chroot_base", b"x\t1\tnoarch\tx.src.rpm\t" + b"1" * 40
    )
    with caplog.at_level(logging.WARNING):
        summary = loader.load(example.root)
    assert summary.inserted == {"TaskIterations": 1, "TaskChroots": 1}
    assert (summary.warnings, "TaskIterations: 1 rows" in caplog.text) == (1, True)
    assert loader.count("TaskIterations", "subtask_id = 300") == 2
    ((chroot,),) = loader.rows("TaskIterations", "titer_chroot_base", "titer_status = 'swept'")
    assert loader.count("TaskChroots", f"tch_hash = {chroot}") == 1
    loader.load(example.root, replace=True)
    assert loader.rows("TaskIterations", "titer_status", "subtask_id = 300") == [("swept",)]
    assert loader.count("TaskIterations") == 8
    assert loader.load(example.root, replace=True).inserted == {}


@pytest.mark.usefixtures("merges")
def test_replace_of_a_whole_version(loader: Loader, example: ComposedTask) -> None:
    """Only this very version is tidied; earlier ones and other tasks are history."""
    loader.load(example.root)
    other = compose_task(example.root.parent / "77", replace(worked_example(), task_id=77))
    loader.load(other.root)
    change.set_state(example.root, "FAILED", at("2021-10-06 10:00:00"))
    loader.load(example.root)
    change.put(example.root, "task/state", b"EPERM\n")
    change.touch(example.root, "gears/500", at("2021-10-06 09:00:00"))
    change.remove(example.root, "build/600", "gears/600")
    loader.load(example.root)
    new = "task_id = 500123 AND task_changed > toDateTime(1633429231)"
    assert loader.count("TaskStates", new) == 2
    assert loader.count("Tasks", new) == 7
    assert loader.count("TaskIterations", new) == 8
    loader.load(example.root, replace=True)
    assert loader.rows("TaskStates", "task_state", new) == [("EPERM",)]
    assert loader.count("Tasks", new) == 5
    assert loader.count("TaskIterations", new) == 6
    for table, rows in (("TaskStates", 1), ("Tasks", 6), ("TaskIterations", 8)):
        assert loader.count(table, f"task_id = 500123 AND NOT ({new})") == rows
        assert loader.count(table, "task_id = 77") == rows


# Approvals

REVOKED = "tapp_name, tapp_type, tapp_revoked"
NEWEST = """
SELECT tapp_name, argMax(tapp_type, ts), argMax(tapp_revoked, ts) FROM TaskApprovals
GROUP BY tapp_name ORDER BY tapp_name
"""


def test_approval_withdrawn_and_given_again(loader: Loader, example: ComposedTask) -> None:
    loader.load(example.root)
    change.revoke(example.root, "approved", 100, "carol")
    before = int(time.time())
    assert loader.load(example.root).inserted == {"TaskApprovals": 1}
    ((*fields, date),) = loader.rows(
        "TaskApprovals", f"{REVOKED}, tapp_message, tapp_date", "tapp_revoked = 1"
    )
    assert fields == ["carol", "approve", 1, "looks\nfine"]
    assert before <= date <= time.time()
    assert loader.load(example.root).inserted == {}
    vote = Approval("approved", 100, "carol", at("2021-10-06 07:00:00"), "again")
    change.vote(example.root, vote)
    assert loader.load(example.root).inserted == {"TaskApprovals": 1}
    assert loader.database.query(NEWEST)[0] == ("carol", "approve", 0)
    assert loader.load(example.root).inserted == {}


def test_approval_turned_around(loader: Loader, example: ComposedTask) -> None:
    """Readers take the newest record by a time of whole seconds."""
    loader.load(example.root)
    change.vote(example.root, Approval("disapproved", 100, "carol", at("2021-10-06 07:00:00")))
    assert loader.load(example.root).inserted == {"TaskApprovals": 2}
    assert loader.database.query(NEWEST)[0] == ("carol", "disapprove", 0)
    ((times,),) = loader.database.query(
        "SELECT arraySort(groupUniqArray(toUnixTimestamp(ts))) FROM TaskApprovals"
        " WHERE tapp_name = 'carol'"
    )
    assert len(times) == 3
    assert loader.load(example.root).inserted == {}


@pytest.mark.parametrize("name", ["56 no disapprovals", "57 no votes at all"])
def test_approvals_of_an_archived_task(name: str, loader: Loader, example: ComposedTask) -> None:
    """What is not there because it was empty is no withdrawal; without any tree nothing is."""
    loader.load(example.root)
    SHAPES[name](example.root)
    inserted = loader.load(example.root).inserted
    revoked = [row[0] for row in loader.rows("TaskApprovals", "tapp_name", "tapp_revoked = 1")]
    assert (inserted, revoked) == (({"TaskApprovals": 1}, ["erin"]) if "56" in name else ({}, []))


def test_approvals_of_a_removed_subtask(loader: Loader, example: ComposedTask) -> None:
    loader.load(example.root)
    SHAPES["60 subtask removed"](example.root)
    loader.load(example.root)
    assert loader.rows("TaskApprovals", REVOKED, "tapp_revoked = 1") == [("carol", "approve", 1)]


def test_approvals_left_to_messages(loader: Loader, example: ComposedTask) -> None:
    loader.load(example.root, with_approvals=False)
    assert loader.count("TaskApprovals") == 0


def test_odd_votes_do_not_stop_a_load(loader: Loader, example: ComposedTask) -> None:
    SHAPES["58 odd votes"](example.root)
    summary = loader.load(example.root)
    assert (summary.inserted["TaskApprovals"], summary.warnings) == (5, 4)


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/Los_Angeles"])
def test_zone_of_a_session_changes_nothing(
    zone: str, loader: Loader, example: ComposedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the session's zone nor the process's own one reaches what is stored."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    loader.database.execute(f"SET session_timezone = '{zone}'")
    try:
        loader.load(example.root)
        again = loader.load(example.root).inserted
        loader.database.execute("SET session_timezone = 'UTC'")
        monkeypatch.undo()
        time.tzset()
        later = loader.load(example.root).inserted
    finally:
        loader.database.execute("SET session_timezone = 'UTC'")
        monkeypatch.undo()
        time.tzset()
    assert (again, later) == ({}, {})
    assert loader.rows("TaskStates", "toUnixTimestamp(task_changed)") == [(CHANGED,)]
    assert_same(loader.rows("TaskLogs"), expected_log_rows(example))


# Provides of files


def small_task(number: int, binaries: tuple[TaskRpm, ...], **values: Any) -> TaskPlan:
    """A task of one subtask; its source package can be given."""
    source = values.pop("source", None) or make_rpm(f"source{number}", "1-alt1", "src")
    build = Build("x86_64", source, binaries)
    subtask = Subtask(100, "gear", f"source{number}", "1-alt1", builds=(build,))
    return TaskPlan(task_id=number, subtasks=(subtask,), **values)


def load_packages(loader: Loader, directory: Path, number: int, *rpms: TaskRpm) -> TaskSummary:
    return loader.load(compose_task(directory / str(number), small_task(number, rpms)).root)


def path_provides(loader: Loader) -> list[Row]:
    """Names of the packages that provide paths, and the paths."""
    names = dict(loader.rows("Packages", "pkg_hash, pkg_name"))
    rows = loader.rows(
        "Depends", "pkg_hash, dp_name, dp_version, dp_flag", "dp_type = 'provide'"
        " AND startsWith(dp_name, '/')",
    )  # fmt: skip
    return sorted((names[pkg_hash], *rest) for pkg_hash, *rest in rows)


def test_required_file_becomes_a_provide(loader: Loader, tmp_path: Path) -> None:
    """Also when its owner comes later, and for every further owner."""
    load_packages(loader, tmp_path, 1, make_rpm("first", requires=("/bin/x",)))
    assert path_provides(loader) == []
    load_packages(loader, tmp_path, 2, make_rpm("second", paths=("/bin/x",)))
    assert path_provides(loader) == [("second", "/bin/x", "", 0)]
    load_packages(loader, tmp_path, 3, make_rpm("third", paths=("/bin/x", "/bin/y")))
    expected = [("second", "/bin/x", "", 0), ("third", "/bin/x", "", 0)]
    assert path_provides(loader) == expected
    load_packages(loader, tmp_path, 4, make_rpm("fourth", requires=("/bin/x", "/bin/y")))
    expected.append(("third", "/bin/y", "", 0))
    assert path_provides(loader) == expected
    for number in (1, 2, 3, 4):
        loader.load(tmp_path / str(number))
    assert path_provides(loader) == expected


def test_required_file_of_the_same_load(loader: Loader, tmp_path: Path) -> None:
    load_packages(
        loader, tmp_path, 1,
        make_rpm("first", requires=("/bin/x", "/bin/none")),
        make_rpm("second", paths=("/bin/x",)),
        make_rpm("both", requires=("/bin/z",), paths=("/bin/z",)),
    )  # fmt: skip
    assert path_provides(loader) == [("both", "/bin/z", "", 0), ("second", "/bin/x", "", 0)]


def test_required_directory(loader: Loader, tmp_path: Path) -> None:
    """Only one that is itself packaged, not one that merely holds files."""
    documents = "/usr/share/doc/owner-1.0"
    user = make_rpm("user", requires=("/usr/bin", documents))
    load_packages(loader, tmp_path, 1, user, make_rpm("owner"))
    assert path_provides(loader) == [("owner", documents, "", 0)]


def test_path_with_a_provider_is_left_alone(loader: Loader, tmp_path: Path) -> None:
    """Owners that were stored before anybody required it do not get more; new ones do."""
    load_packages(loader, tmp_path, 1, make_rpm("old", paths=("/bin/x",)))
    ((pkg_hash,),) = loader.rows("Packages", "pkg_hash", "pkg_name = 'source1'")
    columns = ("pkg_hash", "dp_name", "dp_version", "dp_flag", "dp_type")
    row = (pkg_hash, "/bin/x", "", 0, "provide")
    loader.database.insert("Depends", {c: [v] for c, v in zip(columns, row, strict=True)})
    load_packages(loader, tmp_path, 2, make_rpm("user", requires=("/bin/x",)))
    assert path_provides(loader) == [("source1", "/bin/x", "", 0)]
    load_packages(loader, tmp_path, 3, make_rpm("new", paths=("/bin/x",)))
    assert path_provides(loader) == [("new", "/bin/x", "", 0), ("source1", "/bin/x", "", 0)]


def test_force_does_not_repeat_provides(loader: Loader, tmp_path: Path) -> None:
    load_packages(loader, tmp_path, 1, make_rpm("both", requires=("/bin/z",), paths=("/bin/z",)))
    before = path_provides(loader)
    loader.load(tmp_path / "1", force=True)
    assert path_provides(loader) == before


# Packages


def test_noarch_package_of_two_architectures(loader: Loader, example: ComposedTask) -> None:
    SHAPES["35 noarch twice"](example.root)
    loader.load(example.root)
    assert loader.count("Packages", "pkg_arch = 'noarch'") == 1
    ((pkg_hash,),) = loader.rows("Packages", "pkg_hash", "pkg_arch = 'noarch'")
    assert loader.count("TaskIterations", f"has(titer_pkgs_hash, {pkg_hash})") == 2


def test_noarch_packages_of_one_name(loader: Loader, example: ComposedTask) -> None:
    """Each has the digests of its own file, whatever an index says of the name."""
    SHAPES["36 noarch built twice"](example.root)
    headers = [rpm.index_header() for rpm in example.binaries(100, "x86_64")]
    change.write_index(example.root, "x86_64", headers)
    loader.load(example.root)
    rpms = [
        make_rpm("libexample-doc", "1.4-alt1", "noarch", buildtime=1_633_424_901),
        example.binaries(100, "x86_64")[1],
    ]
    found = {
        pkg_hash: (md5, sha256)
        for pkg_hash, md5, sha256 in loader.rows("PackageHash", "pkgh_mmh, pkgh_md5, pkgh_sha256")
    }
    for rpm in rpms:
        assert found[rpm.pkg_hash] == (bytes.fromhex(rpm.md5), bytes.fromhex(rpm.sha256))


def test_digests_of_an_index_are_taken(loader: Loader, example: ComposedTask) -> None:
    """Those of the right size; what the index does not say comes from the file."""
    library, doc = example.binaries(100, "x86_64")
    stated = "ab" * 16
    headers = [library.index_header(md5=stated, blake2b=False), doc.index_header(md5=stated)]
    change.write_index(example.root, "x86_64", headers)
    small = example.binaries(100, "i586")[0]
    change.write_index(example.root, "i586", [small.index_header(md5=stated, size=1)])
    loader.load(example.root)
    found = dict(loader.rows("PackageHash", "pkgh_mmh, hex(pkgh_md5)"))
    assert found[library.pkg_hash] == stated.upper()
    assert found[doc.pkg_hash] == doc.md5.upper()
    assert found[small.pkg_hash] == small.md5.upper()
    blake2b = dict(loader.rows("PackageHash", "pkgh_mmh, hex(pkgh_blake2b)"))
    assert blake2b[library.pkg_hash] == library.blake2b.upper()


def test_broken_package(loader: Loader, example: ComposedTask) -> None:
    """Nothing of the task becomes visible; repaired, it is loaded as if nothing had been."""
    path = example.root / "build/100/x86_64/rpms/libexample-1.4-alt1.x86_64.rpm"
    sound = path.read_bytes()
    SHAPES["70 broken package"](example.root)
    with pytest.raises(SourceError, match=path.name):
        loader.load(example.root)
    assert loader.count("TaskStates") == loader.count("TaskApprovals") == 0
    change.put(example.root, "build/100/x86_64/rpms/" + path.name, sound)
    loader.load(example.root)
    rows = stored_rows(loader.database)
    for table in loader.counts():
        loader.database.execute(f"TRUNCATE TABLE {table}")
    loader.load(example.root)
    assert stored_rows(loader.database) == rows


def test_worker_error_stops_all(loader: Loader, tmp_path: Path) -> None:
    """More packages than one worker takes, and one broken in the middle."""
    plan = sample_plan(900, SampleSize(12, packages=150, log_bytes=1000))
    task = compose_task(tmp_path / "900", plan)
    path = sorted(path for path in task.packages if path.startswith("build"))[70]
    change.truncate(task.root, path, 300)
    recording = RecordingDatabase.of(loader.database)
    with pytest.raises(SourceError, match=Path(path).name):
        loader.load_into(recording, task.root)
    written = len(recording.tables)
    time.sleep(0.3)
    assert len(recording.tables) == written
    assert not {*recording.stored_tables} & {*TASK_TABLES}


def test_many_packages(loader: Loader, tmp_path: Path) -> None:
    """Enough for several workers."""
    plan = sample_plan(900, SampleSize(12, packages=150, log_bytes=1000))
    task = compose_task(tmp_path / "900", plan)
    loader.load(task.root)
    expected = [(rpm.pkg_hash,) for rpm in loaded_packages(task)]
    assert_same(loader.rows("Packages", "pkg_hash"), expected)


# Faults of the database


def test_failure_of_any_statement(loader: Loader, example: ComposedTask) -> None:
    """A load that fails anywhere leaves no state, and the next one leaves what a clean one does."""
    loader.load(example.root)
    clean = stored_rows(loader.database)
    number, states = 0, 0
    while True:
        for table in loader.counts():
            loader.database.execute(f"TRUNCATE TABLE {table}")
        number += 1
        fault = Fault(number, for_ever=True)
        try:
            loader.load_into(FailingDatabase.of(loader.database, fault), example.root)
        except DatabaseError:
            assert loader.count("TaskStates") == 0
        else:
            states = loader.count("TaskStates")
            break
        loader.load(example.root)
        assert stored_rows(loader.database) == clean, fault.happened_at
    assert states == 1
    assert number > 15


# Several tasks


def test_broken_task_among_sound_ones(loader: Loader, tmp_path: Path) -> None:
    plans = sample_plans(900, 4, SampleSize(packages=8, log_bytes=4_000), max_subtasks=2)
    tasks = [compose_task(tmp_path / str(plan.task_id), plan) for plan in plans]
    unreadable, broken = tasks[1].root, tasks[2]
    change.put(unreadable, "task/iter", b"x\n")
    package = next(path for path in broken.packages if "/rpms/" in path)
    change.truncate(broken.root, package, 700)
    missing = tmp_path / "1"
    paths = [tasks[0].root, missing, unreadable, broken.root, tasks[3].root]
    summary = loader.load(*paths)
    assert summary.exit_code == 1
    assert [*summary.failed] == [str(missing), str(unreadable), str(broken.root)]
    assert Path(package).name in summary.failed[str(broken.root)]
    assert "3 of 5" in summary.error
    assert (summary.tasks, summary.loaded) == (5, 2)
    assert_same(loader.rows("TaskStates", "task_id"), [(900,), (903,)])
    assert summary.packages == sum(len(task.packages) for task in (tasks[0], tasks[3])) - sum(
        1 for task in (tasks[0], tasks[3]) for path in task.packages if "i586/srpm" in path
    )


def test_lone_broken_task_is_an_error(loader: Loader, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such directory"):
        loader.load(tmp_path / "1")


# Tasks that change


class HookedDatabase(WrappedDatabase):
    """Does something when rows of a table come, before they are written."""

    table: str
    hook: Callable[[], None]

    @classmethod
    def of(cls, database: Database, table: str, hook: Callable[[], None]) -> HookedDatabase:
        hooked = cls(database)
        hooked.table, hooked.hook = table, hook  # type: ignore[method-assign]
        return hooked

    def insert(self, table: str, columns: Columns) -> int:
        if table == self.table and len(next(iter(columns.values()), ())):
            self.hook()
        return super().insert(table, columns)


def once(action: Callable[[], None]) -> Callable[[], None]:
    done: list[None] = []

    def run() -> None:
        if not done:
            done.append(None)
            action()

    return run


@pytest.mark.parametrize("table", ["Packages", "TaskPlanPackages", "TaskIterations", "Tasks"])
def test_change_while_it_is_written(table: str, loader: Loader, example: ComposedTask) -> None:
    """What was read before is discarded; only the later version becomes visible."""
    root = example.root

    def finish() -> None:
        change.set_state(root, "DONE", at("2021-10-05 11:00:00"))

    summary = loader.load_into(HookedDatabase.of(loader.database, table, once(finish)), root)
    assert (summary.loaded, summary.packages) == (1, 10)
    assert loader.rows("TaskStates", "task_state, task_changed") == [("DONE", moment("11:00:01"))]
    for name in ("Tasks", "TaskIterations"):
        assert loader.count(name, "task_changed = toDateTime(1633431601)") > 0
    assert loader.count("TaskApprovals") == 3


CHANGES: dict[str, Callable[[Path], None]] = {
    "run again": lambda root: change.run_again(root, 3, 1, at("2021-10-05 12:00:00")),
    "new approval": lambda root: change.vote(
        root, Approval("approved", 300, "zoe", at("2021-10-05 12:00:00"))
    ),
    "status": lambda root: change.put(
        root, "build/300/x86_64/status", b"built\n", at("2021-10-05 12:00:00")
    ),
    "plan": lambda root: change.touch(root, "plan", at("2021-10-05 12:00:00")),
    "subtask": lambda root: change.remove_subtask(root, 100, at("2021-10-05 12:00:00")),
    "new subtask": lambda root: change.put(root, "gears/700/package", b"x\n"),
    "info": lambda root: change.touch(root, "info.json", at("2021-10-05 12:00:00")),
    "architecture": lambda root: change.make_directory(root, "build/300/aarch64"),
    "vanished log": lambda root: change.remove(root, "build/600/x86_64/log"),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "vanished log"])
def test_changes_that_are_noticed(name: str, loader: Loader, example: ComposedTask) -> None:
    """After any change in between the rows are those of a load that came later."""
    action = once(lambda: CHANGES[name](example.root))
    loader.load_into(HookedDatabase.of(loader.database, "Tasks", action), example.root)
    assert loader.load(example.root).inserted == {}


def test_log_that_vanishes(loader: Loader, example: ComposedTask) -> None:
    action = once(lambda: CHANGES["vanished log"](example.root))
    loader.load_into(HookedDatabase.of(loader.database, "Packages", action), example.root)
    assert loader.rows("TaskIterations", "titer_buildlog_hash",
                       "subtask_id = 600 AND subtask_arch = 'x86_64'") == [(0,)]  # fmt: skip


def test_log_that_keeps_vanishing(
    loader: Loader, example: ComposedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(log: Any) -> Iterator[Any]:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(write, "iter_log_chunks", vanished)
    with pytest.raises(TaskInFluxError, match="500123"):
        loader.load(example.root)
    assert loader.count("TaskStates") == 0


def test_package_that_vanishes(
    loader: Loader, example: ComposedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that starts anew takes its packages away; that is no damage."""
    root = example.root

    def start_again() -> None:
        change.put(root, "build/600/i586/status", b"", at("2021-10-05 12:00:00"))
        change.remove(root, "build/600/i586/rpms")

    action = once(start_again)
    original = write.find_identities

    def find(*arguments: Any) -> Any:
        action()
        return original(*arguments)

    monkeypatch.setattr(write, "find_identities", find)
    loader.load(root)
    found = loader.rows(
        "TaskIterations", "titer_status, titer_pkgs_hash",
        "subtask_id = 600 AND subtask_arch = 'i586'",
    )  # fmt: skip
    assert found == [("failed", [0])]


def test_endless_changes(loader: Loader, example: ComposedTask) -> None:
    times = iter(range(100))

    def hook() -> None:
        change.set_state(example.root, "BUILDING", at("2021-10-05 12:00:00") + next(times) * SECOND)

    with pytest.raises(TaskInFluxError, match="keeps changing") as failure:
        loader.load_into(HookedDatabase.of(loader.database, "Tasks", hook), example.root)
    assert failure.value.exit_code == 75
    assert next(times) == 4
    assert loader.count("TaskStates") == loader.count("TaskApprovals") == 0


def test_changing_task_does_not_keep_others_waiting(loader: Loader, tmp_path: Path) -> None:
    plans = sample_plans(900, 3, SampleSize(packages=8, log_bytes=4_000), max_subtasks=2)
    roots = [compose_task(tmp_path / str(plan.task_id), plan).root for plan in plans]
    times = iter(range(100))

    def hook() -> None:
        change.set_state(roots[1], "BUILDING", at("2023-10-05 12:00:00") + next(times) * SECOND)

    summary = loader.load_into(HookedDatabase.of(loader.database, "Tasks", hook), *roots)
    assert (summary.exit_code, [*summary.failed]) == (75, [str(roots[1])])
    assert_same(loader.rows("TaskStates", "task_id"), [(900,), (902,)])


def test_empty_state_is_waited_for(loader: Loader, example: ComposedTask) -> None:
    SHAPES["3 empty state"](example.root)
    with pytest.raises(TaskInFluxError, match="task/state is empty"):
        loader.load(example.root)
    assert loader.counts() == {}


def test_info_that_comes_late(
    loader: Loader, example: ComposedTask, caplog: pytest.LogCaptureFixture
) -> None:
    """The state file decides after a while."""
    change.set_state(example.root, "DONE", at("2021-10-05 11:00:00"), with_info=False)
    with caplog.at_level(logging.WARNING):
        summary = loader.load(example.root)
    assert "info.json says 'TESTED'" in caplog.text
    assert summary.warnings == 1
    assert loader.rows("TaskStates", "task_state, task_changed") == [("DONE", moment("11:00:00"))]


def test_info_that_comes_meanwhile(
    loader: Loader, example: ComposedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One version, with the time of the later file, and no second reading."""
    from altrepodb.task import snapshot

    change.set_state(example.root, "DONE", at("2021-10-05 11:00:00"), with_info=False)
    monkeypatch.setattr(loading, "INFO_WAIT_S", 5.0)
    monkeypatch.setattr(loading, "_RETRY_WAITS_S", ())
    monkeypatch.setattr(
        snapshot.time, "sleep",
        lambda _: change.set_state(example.root, "DONE", at("2021-10-05 11:00:00")),
    )  # fmt: skip
    assert loader.load(example.root).warnings == 0
    assert loader.rows("TaskStates", "task_changed") == [(moment("11:00:01"),)]


def test_unsettled_state_is_loaded_with_a_warning(
    loader: Loader, example: ComposedTask, caplog: pytest.LogCaptureFixture
) -> None:
    change.set_state(example.root, "BUILDING", at("2021-10-05 11:00:00"))
    with caplog.at_level(logging.WARNING):
        loader.load(example.root)
    assert "state BUILDING is not a settled one" in caplog.text
    assert loader.count("TaskStates") == 1


# Logs of any size


class MeasuringDatabase(WrappedDatabase):
    """Notes how many lines and bytes of logs come at once."""

    sizes: list[tuple[int, int]]

    def insert(self, table: str, columns: Columns) -> int:
        if "messages" in columns:
            lines = sum(map(len, columns["times"]))
            self.sizes.append((lines, sum(map(len, columns["messages"]))))
        return super().insert(table, columns)


def test_large_log_comes_in_small_parts(loader: Loader, tmp_path: Path) -> None:
    """Of 30 MB of usual lines, and of 90 MB of very long ones, never more than a batch."""
    long_lines = b"".join(b"%d" % n + b"x" * 3_000_000 + b"\n" for n in range(30))
    build = Build("x86_64", log=LogPattern(30_000_000))
    plan = small_task(5, ())
    plan = replace(
        plan,
        subtasks=(replace(plan.subtasks[0], builds=(build,)),),
        events=(EventLog(1, 1, long_lines, at("2021-10-05 06:40:00")),),
    )
    root = compose_task(tmp_path / "5", plan).root
    measuring = MeasuringDatabase(loader.database)
    measuring.sizes = []
    summary = loader.load_into(measuring, root)
    assert sum(lines for lines, _ in measuring.sizes) == summary.log_lines > 400_000
    assert max(lines for lines, _ in measuring.sizes) < 2 * write._LOG_BATCH_LINES
    assert max(size for _, size in measuring.sizes) < 2 * write._LOG_BATCH_BYTES
    assert loader.count("TaskLogs") == summary.log_lines


@pytest.mark.parametrize("name", sorted(HOSTILE_SHAPES))
def test_hostile_shape(name: str, loader: Loader, example: ComposedTask) -> None:
    """Rows or one clear error, and no state without the rest."""
    HOSTILE_SHAPES[name](example.root)
    try:
        loader.load(example.root)
    except SourceError as error:
        assert "\n" not in str(error)
        assert loader.count("TaskStates") == 0
        return
    assert loader.count("TaskStates") == 1
    before = loader.counts()
    assert loader.load(example.root).inserted == {}
    assert loader.counts() == before


# Without a database


def test_dry_run_with_dump(
    example: ComposedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = read_tasks(TaskOptions([example.root], dry_run=True, dump_json=True))
    assert (summary.tasks, summary.packages, summary.loaded, summary.dry_run) == (1, 10, 0, True)
    (path,) = (tmp_path / "JSON").glob("dump-500123-*.json")
    dump = json.loads(path.read_bytes())
    assert [*dump] == sorted(
        ["id", "state", "subtasks", "approvals", "iterations", "logs", "arepo", "plan",
         "pkg_hashes"]
    )  # fmt: skip
    assert dump["state"]["changed"] == "2021-10-05 10:20:31+00:00"
    assert dump["approvals"][0]["date"] == "2021-10-05 07:00:00+00:00"
    assert {digest["sha256"][:8] for digest in dump["plan"]["digests"]} >= {"418ffe7a", "808e66ec"}
    hashes = {log["log_hash"] for log in dump["logs"]}
    assert {14778251897179570011, 17054564336848718281} <= hashes


@pytest.mark.parametrize("name", sorted({**SHAPES, **HOSTILE_SHAPES}))
def test_every_shape_can_be_dumped(
    name: str, example: ComposedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    {**SHAPES, **HOSTILE_SHAPES}[name](example.root)
    monkeypatch.chdir(tmp_path)
    try:
        read_tasks(TaskOptions([example.root], dry_run=True, dump_json=True))
    except (SourceError, TaskInFluxError):
        return
    (path,) = (tmp_path / "JSON").glob("dump-500123-*.json")
    assert json.loads(path.read_bytes())["id"] == TASK


def test_unreadable_subtask_is_no_smaller_task(loader: Loader, example: ComposedTask) -> None:
    change.make_loop(example.root, "gears/200")
    with pytest.raises(SourceError, match="gears/200"):
        loader.load(example.root)
    assert loader.counts() == {}
