"""``task_loader`` as a process: exit codes, what it prints, and what stands in the way."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support import task_changes as change
from tests.support.clickhouse import free_port
from tests.support.loading import CommandResult, open_database_in, run_command
from tests.support.task_shapes import SHAPES
from tests.support.task_tree import (
    ComposedTask,
    SampleSize,
    compose_task,
    compose_worked_example,
    sample_plans,
)

PASSWORD = "s3cret%'\"100"
SIZE = SampleSize(packages=8, log_bytes=5_000)


@pytest.fixture
def database(schema_template: Path, tmp_path: Path) -> Path:
    """The directory of a closed database without rows."""
    return Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))


@pytest.fixture
def example(tmp_path: Path) -> ComposedTask:
    return compose_worked_example(tmp_path / "tasks")


def task_loader(home: Path, *arguments: str | Path, **variables: str) -> CommandResult:
    return run_command("task_loader", *arguments, home=home, variables=variables)


def only_line(result: CommandResult) -> str:
    """The one line on standard error of a run that was told to be quiet."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("task_loader: error: ")
    assert result.stdout == ""
    return line


def stored_tasks(database: Path) -> list[int]:
    with open_database_in(database) as opened:
        rows = opened.query("SELECT task_id FROM TaskStates ORDER BY task_id")
    return [task_id for (task_id,) in rows]


def test_load_again_and_force(database: Path, example: ComposedTask, tmp_path: Path) -> None:
    """One JSON object on standard output, nothing but logs on standard error."""
    first = task_loader(tmp_path, "--json", "-e", database, example.root)
    assert (first.exit_code, first.stdout.count("\n")) == (0, 1)
    expected = {
        "program": "task_loader", "exit_code": 0, "tasks": 1, "loaded": 1, "unchanged": 0,
        "packages": 10, "failed": {}, "warnings": 0, "dry_run": False,
    }  # fmt: skip
    assert expected.items() <= first.summary.items()
    assert first.summary["inserted"]["TaskStates"] == 1
    assert first.summary["inserted"]["TaskLogs"] == first.summary["log_lines"]

    again = task_loader(tmp_path, "--json", "-e", database, "-w", "1", example.root)
    assert (again.exit_code, again.summary["inserted"]) == (0, {})
    assert (again.summary["loaded"], again.summary["unchanged"]) == (0, 1)

    forced = task_loader(tmp_path, "--json", "-F", "-f", "-e", database, example.root)
    assert forced.summary["inserted"]["Packages"] == 10
    quiet = task_loader(tmp_path, "--quiet", "-e", database, example.root)
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_new_database(example: ComposedTask, tmp_path: Path) -> None:
    """The default one, made with its schema, and logs that say so."""
    result = task_loader(tmp_path, example.root)
    assert (result.exit_code, result.stdout) == (0, "")
    assert str(tmp_path / ".local/share/altrepodb") in result.stderr
    assert "result=done" in result.stderr.splitlines()[-1]
    assert stored_tasks(tmp_path / ".local/share/altrepodb") == [500123]


@pytest.mark.parametrize("ending", ["///", "/../500123/."])
def test_path_with_an_odd_ending(
    ending: str, database: Path, example: ComposedTask, tmp_path: Path
) -> None:
    path = f"{example.root}{ending}"
    assert task_loader(tmp_path, "--quiet", "-e", database, path).exit_code == 0
    assert stored_tasks(database) == [500123]


def test_path_in_the_archive(database: Path, example: ComposedTask, tmp_path: Path) -> None:
    place = change.archive(example.root, tmp_path / "done")
    result = task_loader(tmp_path, "--quiet", "-e", database, f"{place}//")
    assert result.exit_code == 0
    assert stored_tasks(database) == [500123]


@pytest.mark.parametrize("path", [".", "500124", "/dev/null", "/"])
def test_path_that_is_no_task(path: str, database: Path, tmp_path: Path) -> None:
    result = task_loader(tmp_path, "--quiet", "-e", database, path)
    assert result.exit_code == 1
    only_line(result)
    assert stored_tasks(database) == []


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("2 no id", 1, "task/id"),
        ("3 no state", 1, "task/state"),
        ("4 other id", 1, "500124"),
        ("9 iter 256", 1, "task/iter"),
        ("70 broken package", 1, "libexample-1.4-alt1.x86_64.rpm"),
        ("3 empty state", 75, "task/state is empty"),
    ],
)
def test_one_clear_line(
    name: str, code: int, words: str, database: Path, example: ComposedTask, tmp_path: Path
) -> None:
    SHAPES[name](example.root)
    arguments = ("-e", database, example.root)
    if code == 1:
        result = task_loader(tmp_path, "--quiet", *arguments)
        assert words in only_line(result)
    else:
        result = task_loader(tmp_path, "--json", *arguments)
        assert words in result.summary["error"]
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    assert stored_tasks(database) == []


def test_traceback_on_demand(database: Path, example: ComposedTask, tmp_path: Path) -> None:
    SHAPES["4 other id"](example.root)
    result = task_loader(tmp_path, "-D", "-e", database, example.root)
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["-w", "-1"], ["-w", "0"], ["-w", "x"], ["--workers"], ["--unknown"], ["--forc"],
        ["-p", "x"], ["-s", "localhost", "-e", "x"],
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: list[str], example: ComposedTask, tmp_path: Path) -> None:
    result = task_loader(tmp_path, *arguments, example.root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("task_loader: error: ")


def test_no_task_is_named(tmp_path: Path) -> None:
    result = task_loader(tmp_path, "--quiet")
    assert result.exit_code == 2
    assert "PATH or --batch DIR" in only_line(result)
    assert not (tmp_path / ".local").exists()


def test_wrong_arguments_as_json(example: ComposedTask, tmp_path: Path) -> None:
    result = task_loader(tmp_path, "--json", "-w", "x", example.root)
    assert (result.exit_code, result.summary["exit_code"]) == (2, 2)


def test_configuration(database: Path, example: ComposedTask, tmp_path: Path) -> None:
    """The command line beats the file, also with a smaller number of workers."""
    config = tmp_path / "config.ini"
    config.write_text(f"[DEFAULT]\nworkers = 10\n[DATABASE]\nembedded = {database}\n")
    result = task_loader(tmp_path, "--quiet", "-c", config, "-w", "2", example.root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert stored_tasks(database) == [500123]


@pytest.mark.parametrize("content", [None, "[DATABASE\n", "[DATABASE]\nworkers = x\n", "\0"])
def test_configuration_that_cannot_be_used(
    content: str | None, example: ComposedTask, tmp_path: Path
) -> None:
    config = tmp_path / "config.ini"
    if content is not None:
        config.write_text(content)
    result = task_loader(tmp_path, "--quiet", "-c", config, example.root)
    assert result.exit_code == 2
    assert str(config) in only_line(result)


def test_server_that_is_away(example: ComposedTask, tmp_path: Path) -> None:
    arguments = ("-s", "127.0.0.1", "-p", str(free_port()), "-P", PASSWORD, example.root)
    result = task_loader(tmp_path, "--quiet", *arguments)
    assert result.exit_code == 75
    assert "127.0.0.1" in only_line(result)
    verbose = task_loader(tmp_path, "-v", "-D", *arguments)
    assert PASSWORD not in verbose.stderr


# Several tasks


@pytest.fixture
def batch(tmp_path: Path) -> list[ComposedTask]:
    plans = sample_plans(900, 4, SIZE, max_subtasks=2)
    return [compose_task(tmp_path / "batch" / str(plan.task_id), plan) for plan in plans]


def test_batch(
    database: Path, batch: list[ComposedTask], example: ComposedTask, tmp_path: Path
) -> None:
    """All tasks of a directory beside those named; what is no task is not looked at."""
    for name in ("_488", "901.old", "lost+found"):
        (tmp_path / "batch" / name).mkdir()
    arguments = ("-e", database, "--batch", tmp_path / "batch", example.root)
    result = task_loader(tmp_path, "--json", *arguments)
    assert (result.exit_code, result.summary["tasks"], result.summary["loaded"]) == (0, 5, 5)
    assert stored_tasks(database) == [900, 901, 902, 903, 500123]


def test_broken_task_in_a_batch(database: Path, batch: list[ComposedTask], tmp_path: Path) -> None:
    """The others are loaded; the line names the broken one."""
    change.put(batch[2].root, "task/iter", b"x\n")
    arguments = ("-e", database, "--batch", tmp_path / "batch")
    result = task_loader(tmp_path, "--json", *arguments)
    assert (result.exit_code, result.summary["loaded"]) == (1, 3)
    assert [*result.summary["failed"]] == [str(batch[2].root)]
    assert "1 of 4 tasks failed" in result.summary["error"]
    assert str(batch[2].root / "task/iter") in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert stored_tasks(database) == [900, 901, 903]


def test_batch_of_nothing(database: Path, tmp_path: Path) -> None:
    """A directory without tasks is done at once; one that is not there is an error."""
    (tmp_path / "empty").mkdir()
    done = task_loader(tmp_path, "--json", "-e", database, "--batch", tmp_path / "empty")
    assert (done.exit_code, done.summary["tasks"]) == (0, 0)
    missing = task_loader(tmp_path, "--quiet", "-e", database, "--batch", tmp_path / "none")
    assert missing.exit_code == 1
    assert str(tmp_path / "none") in only_line(missing)


# Without a database


def test_dry_run(example: ComposedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is asked, no database is made; the dump is written."""
    monkeypatch.chdir(tmp_path)
    arguments = ("--dry-run", "-J", "-s", "127.0.0.1", "-p", str(free_port()))
    result = task_loader(tmp_path, "--json", *arguments, example.root)
    assert result.exit_code == 0
    assert (result.summary["dry_run"], result.summary["packages"]) == (True, 10)
    (path,) = (tmp_path / "JSON").iterdir()
    assert json.loads(path.read_bytes())["id"] == 500123
    assert not (tmp_path / ".local").exists()


def test_dry_run_of_a_broken_task(example: ComposedTask, tmp_path: Path) -> None:
    SHAPES["4 other id"](example.root)
    result = task_loader(tmp_path, "--quiet", "--dry-run", example.root)
    assert result.exit_code == 1
    only_line(result)


def test_dump_that_cannot_be_written(
    database: Path, example: ComposedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/JSON").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "here")
    result = task_loader(tmp_path, "--quiet", "-J", "-e", database, example.root)
    assert result.exit_code == 1
    assert "JSON" in only_line(result)
    assert stored_tasks(database) == []


def test_help_and_version(tmp_path: Path) -> None:
    shown = task_loader(tmp_path, "-h")
    assert shown.exit_code == 0
    for option in (
        "--batch", "--workers", "--force", "--flush-buffers", "--dumpjson", "--no-approvals",
        "--no-new-logs", "--replace", "--dry-run",
    ):  # fmt: skip
        assert option in shown.stdout
    assert task_loader(tmp_path, "-V").stdout.startswith("task_loader ")


def test_log_file(database: Path, example: ComposedTask, tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    config.write_text(f"[LOGGING]\nlog_to_file = yes\n[DATABASE]\nembedded = {database}\n")
    task_loader(tmp_path, "--quiet", "-c", config, f"{example.root}/")
    names = os.listdir(tmp_path / "altrepodb")
    assert len(names) == 1
    assert names[0].startswith("task-500123-")
