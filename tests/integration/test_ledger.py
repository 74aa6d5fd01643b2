"""The ledger of runs: what a command leaves there, and that it never harms the run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from altrepodb import __version__
from altrepodb.cli.command import Command, run_command
from altrepodb.config import DatabaseSettings
from altrepodb.db import Database, kept_open, open_database
from altrepodb.db.ledger import LoaderRun, record_run
from altrepodb.errors import AlreadyLoadedError, DatabaseUnavailableError, SourceError
from tests.support.loading import open_database_in

ROWS = """
SELECT run_program, run_version, run_result, run_exit_code, run_subject, run_routing_key,
    run_attempt, run_tables, run_table_rows, run_rows, run_warnings, run_error
FROM LoaderRuns ORDER BY run_started
"""


@dataclass(frozen=True)
class Summary:
    inserted: dict[str, int] = field(default_factory=dict)
    warnings: int = 0


@pytest.fixture
def directory(schema_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))


def run(directory: Path, work: Callable[[Database], Any], *further: str, **options: Any) -> int:
    """Run a command that does its work with the database in a directory."""

    def load(arguments: Any, settings: Any) -> Any:
        with open_database(settings.database) as database:
            return work(database)

    def add_arguments(parser: Any) -> None:
        parser.add_argument("name")
        parser.add_argument("--dry-run", action="store_true")
        parser.add_argument("--url")

    command = Command("some_loader", "Loads.", load, add_arguments, **options)
    return run_command(command, ["-e", str(directory), "sisyphus", *further])


def rows(directory: Path) -> list[Any]:
    with open_database_in(directory) as database:
        return database.query(ROWS)


def fail(error: Exception) -> Callable[[Database], Any]:
    def work(database: Database) -> Any:
        raise error

    return work


def test_a_run_is_recorded_where_it_loaded(directory: Path) -> None:
    summary = Summary({"Packages": 3, "Files": 40, "Specfiles": 0}, warnings=2)
    assert run(directory, lambda _: summary, "--url", "https://me:secret@site/") == 0
    expected = (
        *("some_loader", __version__, "done", 0, "name=sisyphus, url=https://me:***@site/"),
        *("", 0, ["Packages", "Files"], [3, 40], 43, 2, ""),
    )
    assert rows(directory) == [expected]
    with open_database_in(directory) as database:
        ((age, host),) = database.query(
            "SELECT toUnixTimestamp(now()) - toUnixTimestamp(run_started), run_host FROM LoaderRuns"
        )
    assert -5 < age < 600 and host


@pytest.mark.parametrize(
    ("error", "result", "code"),
    [
        (SourceError("file: broken"), "failed", 1),
        (AlreadyLoadedError("file: broken"), "already loaded", 3),
        (OSError("file: broken"), "failed", 1),
    ],
)
def test_a_failed_run_is_recorded(
    directory: Path, error: Exception, result: str, code: int
) -> None:
    assert run(directory, fail(error)) == code
    ((*_, found, found_code, _, _, _, _, _, _, _, text),) = rows(directory)
    assert (found, found_code) == (result, code)
    assert text.endswith("file: broken")


def test_an_interrupted_run_is_recorded(directory: Path) -> None:
    def be_stopped(_: Database) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(directory, be_stopped) == 143
    ((*_, result, code, _, _, _, _, _, _, _, text),) = rows(directory)
    assert (result, code, text) == ("interrupted", 143, "ended by SIGTERM")


def test_long_texts_are_cut(directory: Path) -> None:
    run(directory, fail(SourceError("x" * 100_000)))
    assert len(rows(directory)[0][-1]) == 2000


@pytest.mark.parametrize(
    ("work", "further", "options"),
    [
        (lambda _: Summary(), ["--dry-run"], {}),
        (lambda _: Summary(), [], {"has_ledger": False}),
        (fail(DatabaseUnavailableError("server: gone")), [], {}),
    ],
)
def test_what_leaves_no_row(
    directory: Path, work: Callable[[Database], Any], further: list[str], options: Any
) -> None:
    run(directory, work, *further, **options)
    assert rows(directory) == []


def test_a_missing_ledger_is_a_warning(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(database: Database) -> Summary:
        database.execute("DROP TABLE LoaderRuns")
        return Summary()

    assert run(directory, work) == 0
    assert "LoaderRuns: this run is not recorded" in capsys.readouterr().err


def test_a_message_is_recorded_with_its_key_and_attempt(database: Database) -> None:
    done = LoaderRun(
        program="task_loader",
        started=1_660_211_234.567,
        seconds=1.5,
        result="done",
        subject="307321",
        routing_key="task.state",
        attempt=2,
        inserted={"Tasks": 6},
    )
    assert record_run(database, done)
    columns = "toUnixTimestamp64Milli(run_started), run_seconds, run_routing_key, run_attempt"
    assert database.query(f"SELECT {columns} FROM LoaderRuns") == [
        (1_660_211_234_567, 1.5, "task.state", 2)
    ]


def test_databases_are_kept_open_once_for_all_that_open_them(directory: Path) -> None:
    settings = DatabaseSettings(embedded=directory)
    with kept_open() as database_of:
        assert database_of(settings) is None
        with open_database(settings) as first:
            pass
        with open_database(settings) as second:
            assert second is first is database_of(settings)
        assert first.query("SELECT 1") == [(1,)]
    with open_database(settings) as later:
        assert later is not first
