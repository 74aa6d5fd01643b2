"""The task cleaner: what it marks, what it reports, and when it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from altrepodb.db.database import Database, Row
from altrepodb.errors import AltrepodbError, DatabaseError, SourceError
from altrepodb.task.clean import REPORT_NAME, CleanOptions, CleanSummary, clean_tasks
from tests.support import task_changes as change
from tests.support.loading import (
    DATABASE_NAME,
    CommandResult,
    command_line,
    environment,
)
from tests.support.task_tree import SECOND, compose_task, compose_worked_example, worked_example

OPEN_STATES = ("NEW", "TESTED", "EPERM", "FAILED", "PENDING", "BUILDING", "SWEPT")
CHANGED = 1_633_429_231
MESSAGE = "task found as deleted by task_cleaner"


def store(database: Database, *states: tuple[int, str] | tuple[int, str, int]) -> None:
    """Store states of tasks: number, state, and when that was reached."""
    rows = [(task_id, state, *rest) if rest else (task_id, state, CHANGED)
            for task_id, state, *rest in states]  # fmt: skip
    database.insert(
        "TaskStates",
        {
            "task_id": [row[0] for row in rows],
            "task_state": [row[1] for row in rows],
            "task_changed": [row[2] for row in rows],
            "task_runby": ["alice"] * len(rows),
        },
    )


def deleted_tasks(database: Database) -> list[Row]:
    return database.query(
        "SELECT task_id, task_message FROM TaskStates WHERE task_state = 'DELETED' ORDER BY task_id"
    )


def row_count(database: Database) -> int:
    ((count,),) = database.query("SELECT count() FROM TaskStates")
    return int(count)


class Place:
    """A directory of tasks and a way to clean it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tasks"
        self.archive = directory / "archive"
        self.report = directory / REPORT_NAME
        self.path.mkdir()
        self.archive.mkdir()

    def add(self, task_id: int, state: bytes | None = b"TESTED\n") -> Path:
        """Make a task directory with nothing but a state."""
        task = self.path / str(task_id)
        (task / "task").mkdir(parents=True)
        if state is not None:
            (task / "task/state").write_bytes(state)
        return task

    def clean(self, database: Database, **values: object) -> CleanSummary:
        """Run the cleaner here."""
        options = CleanOptions(self.path, report=self.report)
        return clean_tasks(replace(options, **values), database)  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_gone_task_gets_one_row(database: Database, place: Place) -> None:
    place.add(2)
    store(database, (1, "TESTED"), (2, "TESTED"))
    before = int(time.time())
    summary = place.clean(database)
    assert (summary.candidates, summary.unchanged, summary.gone, summary.marked) == (2, 1, [1], 1)
    assert (summary.exit_code, summary.error, summary.report) == (0, None, None)
    assert database.query("SELECT * FROM TaskStates WHERE task_state = 'DELETED'") == [
        (
            pytest.approx(before, abs=300), 1, "DELETED", "", [], 0, 0, 0, 0, MESSAGE, "", 0, [],
        )
    ]  # fmt: skip
    again = place.clean(database)
    assert (again.candidates, again.gone, again.marked) == (1, [], 0)
    assert deleted_tasks(database) == [(1, MESSAGE)]


@pytest.mark.parametrize("state", OPEN_STATES)
def test_all_open_states_are_candidates(state: str, database: Database, place: Place) -> None:
    place.add(9)
    store(database, (1, state))
    assert place.clean(database).gone == [1]


def test_done_and_deleted_tasks_are_left_alone(database: Database, place: Place) -> None:
    place.add(9)
    store(database, (1, "DONE"), (2, "DELETED"), (3, "TESTED"), (3, "DONE", CHANGED + 1))
    assert place.clean(database).candidates == 0
    assert row_count(database) == 4


def test_newest_state_decides(database: Database, place: Place) -> None:
    place.add(9)
    # Deleted once, and made again with the same number; and one row stored out of order.
    store(database, (1, "DELETED"), (1, "NEW", CHANGED + 1))
    store(database, (2, "DONE", CHANGED + 5))
    store(database, (2, "NEW", CHANGED + 1))
    assert place.clean(database).gone == [1]


def test_row_is_newer_than_one_from_the_future(database: Database, place: Place) -> None:
    place.add(9)
    future = int(time.time()) + 86_400
    store(database, (1, "NEW", future))
    place.clean(database)
    rows = database.query("SELECT toUnixTimestamp(task_changed), task_state FROM TaskStates")
    assert sorted(rows) == [(future, "NEW"), (future + 1, "DELETED")]
    assert place.clean(database).candidates == 0


def test_other_state_on_disk_is_reported(database: Database, place: Place) -> None:
    place.add(1, b"DONE\n")
    place.add(2, None)
    place.add(3, b" TESTED \n")
    place.add(4, b"")
    store(database, *((task_id, "TESTED") for task_id in (1, 2, 3)), (4, ""))
    summary = place.clean(database)
    assert (summary.unclear, summary.unchanged, summary.marked) == (2, 2, 0)
    assert summary.report == str(place.report)
    assert place.report.read_bytes() == b"1\t@DB\tTESTED\t@FS\tDONE\n2\t@DB\tTESTED\t@FS\t\n"
    assert row_count(database) == 4


def test_odd_states_keep_to_their_line(database: Database, place: Place) -> None:
    place.add(1, b"\xffDONE\xfe\nTESTED\tx\n")
    place.add(2, b"caf\xe9\n")
    place.add(3, b"x" * 100_000)
    store(database, (1, "NEW"), (2, "café"), (3, "A\tB\udcff"))
    assert place.clean(database).unchanged == 1
    assert place.report.read_bytes().splitlines() == [
        b"1\t@DB\tNEW\t@FS\t\xffDONE\xfe\\nTESTED\\tx",
        b"3\t@DB\tA\\tB\xff\t@FS\t" + b"x" * 4096,
    ]


UNREADABLE: dict[str, Callable[[Path], None]] = {
    "pipe": lambda root: change.make_fifo(root, "task/state"),
    "loop": lambda root: change.make_loop(root, "task/state"),
    "directory": lambda root: change.make_directory(root, "task/state"),
    "device": lambda root: change.link(root, "task/state", "/dev/zero"),
    "no task directory": lambda root: change.remove(root, "task"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_state_counts_as_none(name: str, database: Database, place: Place) -> None:
    UNREADABLE[name](place.add(1))
    store(database, (1, "TESTED"))
    assert place.clean(database).unclear == 1
    assert place.report.read_bytes() == b"1\t@DB\tTESTED\t@FS\t\n"


def test_file_in_place_of_a_task_is_no_directory(database: Database, place: Place) -> None:
    place.add(2)
    (place.path / "1").write_bytes(b"")
    store(database, (1, "TESTED"))
    assert place.clean(database).gone == [1]


def test_directory_that_cannot_be_looked_at_is_an_error(database: Database, place: Place) -> None:
    place.add(2)
    (place.path / "1").symlink_to("1")
    store(database, (1, "TESTED"))
    with pytest.raises(SourceError, match=r"tasks/1: "):
        place.clean(database)
    assert row_count(database) == 1


def test_archived_task_is_unclear(database: Database, place: Place) -> None:
    root = compose_task(place.path / "500123", worked_example()).root
    time_done = worked_example().times.state + 60 * SECOND
    change.set_state(root, "DONE", time_done)
    change.archive(root, place.archive)
    place.add(1)
    store(database, (500123, "PENDING"))
    summary = place.clean(database, archive_dir=place.archive)
    assert (summary.unclear, summary.archived, summary.marked) == (1, 1, 0)
    assert place.report.read_bytes() == b"500123\t@DB\tPENDING\t@FS\tDONE\n"
    assert place.clean(database).marked == 1
    assert deleted_tasks(database) == [(500123, MESSAGE)]


def test_live_task_wins_over_the_archive(database: Database, place: Place) -> None:
    place.add(1)
    change.archive(place.add(2), place.archive)
    place.add(2, b"NEW\n")
    store(database, (2, "NEW"))
    summary = place.clean(database, archive_dir=place.archive)
    assert (summary.unchanged, summary.unclear) == (1, 0)


def test_nothing_is_marked_when_no_task_is_on_disk(database: Database, place: Place) -> None:
    (place.path / "lost+found").mkdir()
    (place.path / "77").write_bytes(b"not a directory")
    store(database, (1, "TESTED"))
    summary = place.clean(database)
    assert (summary.exit_code, summary.gone, summary.marked) == (1, [1], 0)
    assert "is it mounted" in str(summary.error)
    assert row_count(database) == 1


def test_nothing_is_marked_when_the_archive_is_empty(database: Database, place: Place) -> None:
    place.add(2)
    store(database, (1, "TESTED"))
    summary = place.clean(database, archive_dir=place.archive)
    assert (summary.exit_code, summary.marked) == (1, 0)
    assert str(place.archive) in str(summary.error)


@pytest.mark.parametrize(("limit", "marked"), [(2, 0), (3, 3), (0, 3)])
def test_limit_of_marked_tasks(limit: int, marked: int, database: Database, place: Place) -> None:
    place.add(9, b"DONE\n")
    store(database, *((task_id, "NEW") for task_id in (1, 2, 3, 9)))
    summary = place.clean(database, max_deleted=limit)
    assert (summary.marked, summary.exit_code) == (marked, int(not marked))
    assert len(deleted_tasks(database)) == marked
    # A person needs the report in any case.
    assert place.report.read_bytes() == b"9\t@DB\tNEW\t@FS\tDONE\n"


def test_dry_run_writes_the_report_only(database: Database, place: Place) -> None:
    place.add(2, b"DONE\n")
    store(database, (1, "TESTED"), (2, "TESTED"))
    summary = place.clean(database, dry_run=True)
    assert (summary.gone, summary.marked, summary.dry_run) == ([1], 0, True)
    assert row_count(database) == 2
    assert place.report.exists()


def test_one_task(database: Database, place: Place) -> None:
    place.add(9)
    store(database, (1, "TESTED"), (2, "TESTED"), (3, "DONE"))
    assert place.clean(database, task_id=2).gone == [2]
    assert deleted_tasks(database) == [(2, MESSAGE)]
    for task_id in (2, 3, 4):
        summary = place.clean(database, task_id=task_id)
        assert (summary.candidates, summary.exit_code) == (0, 0)
    assert len(deleted_tasks(database)) == 1


@pytest.mark.parametrize("task_id", [0, -1, 1 << 32])
def test_bad_task_number(task_id: int, database: Database, place: Place) -> None:
    with pytest.raises(AltrepodbError, match="not a task number") as caught:
        place.clean(database, task_id=task_id)
    assert caught.value.exit_code == 1


def test_no_unclear_task_leaves_an_old_report(database: Database, place: Place) -> None:
    place.add(1)
    store(database, (1, "TESTED"))
    place.report.write_bytes(b"old\n")
    assert place.clean(database).report is None
    assert place.report.read_bytes() == b"old\n"


def test_state_in_the_buffer_is_seen(database: Database, place: Place) -> None:
    place.add(9)
    store(database, (1, "TESTED"))
    columns = {"task_id": [1], "task_state": ["DONE"], "task_changed": [CHANGED + 1]}
    database.insert("TaskStates_buffer", columns)
    assert place.clean(database).candidates == 0
    assert row_count(database) == 2


class LateDatabase:
    """A database in which a task is finished while its directory is looked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    def query(self, statement: str, parameters: dict[str, object] | None = None) -> list[Row]:
        rows = self._database.query(statement, parameters)
        if "LIMIT 1 BY task_id" in statement:
            self._queries += 1
            if self._queries == 1:
                store(self._database, (1, "DONE", CHANGED + 60))
        return rows


def test_task_that_is_finished_meanwhile_is_not_marked(database: Database, place: Place) -> None:
    place.add(9)
    store(database, (1, "PENDING"), (2, "NEW"))
    late: Database = LateDatabase(database)  # type: ignore[assignment]
    summary = place.clean(late)
    assert (summary.gone, summary.marked) == ([1, 2], 1)
    assert deleted_tasks(database) == [(2, MESSAGE)]


class ReadOnlyDatabase:
    """A database that refuses to insert."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    def insert(self, table: str, columns: object) -> int:
        raise DatabaseError(f"{table}: not allowed")


def test_failed_insert_marks_nothing(database: Database, place: Place) -> None:
    place.add(9)
    store(database, *((task_id, "NEW") for task_id in range(1, 5)))
    failing: Database = ReadOnlyDatabase(database)  # type: ignore[assignment]
    with pytest.raises(DatabaseError):
        place.clean(failing)
    assert deleted_tasks(database) == []
    assert place.clean(database).marked == 4


def test_many_tasks_take_few_statements(database: Database, place: Place) -> None:
    count = 5000
    place.add(count + 1)
    store(database, *((task_id, "NEW") for task_id in range(1, count + 1)))
    assert place.clean(database, max_deleted=0).marked == count
    assert place.clean(database).candidates == 0


# As a command


@pytest.fixture
def run(schema_template: Path, tmp_path: Path, place: Place) -> Callable[..., CommandResult]:
    """Runs the command in a directory of its own, with a database that was filled before."""
    shutil.copytree(schema_template, tmp_path / "database", symlinks=True, dirs_exist_ok=True)

    def run_command(*arguments: str | Path) -> CommandResult:
        done = subprocess.run(
            command_line("task_cleaner", "-e", tmp_path / "database", *arguments),
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            timeout=300,
            check=False,
        )
        output = done.stdout.decode(), done.stderr.decode("utf-8", "replace")
        return CommandResult(done.returncode, *output)

    return run_command


def fill(tmp_path: Path, *states: tuple[int, str]) -> None:
    from altrepodb.db.embedded import open_embedded

    with open_embedded(tmp_path / "database", DATABASE_NAME, 10) as database:
        store(database, *states)


def test_command(run: Callable[..., CommandResult], place: Place, tmp_path: Path) -> None:
    place.add(2, b"DONE\n")
    fill(tmp_path, (1, "TESTED"), (2, "PENDING"))
    dry = run("-x", "--json", place.path)
    assert dry.exit_code == 0, dry.stderr
    assert (dry.summary["gone"], dry.summary["marked"], dry.summary["unclear"]) == ([1], 0, 1)
    done = run("--json", place.path)
    assert done.exit_code == 0, done.stderr
    assert (done.summary["candidates"], done.summary["marked"]) == (2, 1)
    assert done.summary["report"] == REPORT_NAME
    assert (tmp_path / REPORT_NAME).read_bytes() == b"2\t@DB\tPENDING\t@FS\tDONE\n"
    assert run("-t", "1", place.path).exit_code == 0
    refused = run("--json", "--max-deleted", "0", "-a", place.archive, tmp_path / "archive")
    assert refused.exit_code == 1
    assert "mounted" in refused.summary["error"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["-t", "0", "."], 1, "not a task number"),
        (["-t", "-4", "."], 1, "not a task number"),
        (["missing"], 1, "missing: not a directory"),
        (["-a", "missing", "."], 1, "missing: not a directory"),
        (["-t", "x", "."], 2, "--task-id"),
        (["--max-deleted", "-1", "."], 2, "--max-deleted"),
        ([], 2, "PATH"),
    ],
)
def test_command_refuses_bad_arguments(
    arguments: list[str], exit_code: int, words: str, run: Callable[..., CommandResult]
) -> None:
    result = run(*arguments)
    assert result.exit_code == exit_code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_worked_example_is_what_the_cleaner_reads(database: Database, place: Place) -> None:
    compose_worked_example(place.path)
    store(database, (500123, "TESTED"))
    assert place.clean(database).unchanged == 1
    assert not os.path.exists(place.report)
