"""``repo_loader`` as a process: exit codes, what it prints, signals, and who holds the database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from altrepodb.db.lock import DirectoryLock
from tests.support.clickhouse import free_port
from tests.support.loading import (
    DAY,
    ROOT,
    CommandResult,
    command_line,
    environment,
    faults_of_visible_sets,
    living_processes,
    open_database_in,
    run_command,
    stored_rows,
    wait_for_line,
)
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository

PASSWORD = "%s3cret'\"100%"
PLAN = RepositoryPlan(sources=5, binaries=12, files=80, dependencies=60, seed=21)
BIG_PLAN = RepositoryPlan(sources=60, binaries=200, files=9000, dependencies=2000, seed=22)
ATTEMPTS = 5
# The command waits half a minute for a database; the test need not.
IMPATIENT_COMMAND = """
import sys
import altrepodb.db
altrepodb.db.open_database.__defaults__ = (0.5,)
from altrepodb.cli.repo_loader import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    return compose_repository(tmp_path_factory.mktemp("command") / "tree", PLAN)


@pytest.fixture
def database(schema_template: Path, tmp_path: Path) -> Path:
    """The directory of a closed database without rows."""
    return Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))


def repo_loader(home: Path, *arguments: str | Path, **variables: str) -> CommandResult:
    return run_command("repo_loader", *arguments, home=home, variables=variables)


def only_line(result: CommandResult) -> str:
    """The one line on standard error of a run that was told to be quiet."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("repo_loader: error: ")
    return line


def test_load_again_and_force(
    database: Path, repository: ComposedRepository, tmp_path: Path
) -> None:
    """0, 3, and 0 again; one JSON object on standard output, and one line when it is refused."""
    arguments = ("-A", DAY, "-t", "a tag", "-e", database, "P10", repository.root)
    first = repo_loader(tmp_path, "--json", *arguments)
    assert (first.exit_code, first.stdout.count("\n")) == (0, 1)
    summary = first.summary
    total = len(repository.packages)
    expected = {
        "program": "repo_loader", "exit_code": 0, "name": "p10", "date": DAY, "packages": total,
        "read": total, "known": 0, "sources": PLAN.sources, "replaced": [], "missing_sources": 0,
    }  # fmt: skip
    assert expected.items() <= summary.items()
    assert summary["inserted"]["Files"] == PLAN.files
    assert summary["inserted"]["Packages"] == summary["inserted"]["PackageHash"] == total
    assert summary["sets"]["srpm"] == PLAN.sources

    again = repo_loader(tmp_path, "--quiet", *arguments)
    assert (again.exit_code, again.stdout) == (3, "")
    assert f"p10 of {DAY}" in only_line(again)

    forced = repo_loader(tmp_path, "--json", "--force", "-w", "1", *arguments)
    assert forced.exit_code == 0
    assert forced.summary["replaced"] == [summary["root"]]
    assert forced.summary["read"] == 0
    with open_database_in(database) as opened:
        rows = opened.query("SELECT pkgset_nodename FROM PackageSetName WHERE pkgset_depth = 0")
        assert rows == [("p10",)]


def test_refusal_as_json(database: Path, repository: ComposedRepository, tmp_path: Path) -> None:
    arguments = ("--json", "-A", DAY, "-e", database, "p10", repository.root)
    assert repo_loader(tmp_path, *arguments).exit_code == 0
    refused = repo_loader(tmp_path, *arguments)
    assert refused.exit_code == refused.summary["exit_code"] == 3
    assert "already loaded" in refused.summary["error"]


def test_new_database(repository: ComposedRepository, tmp_path: Path) -> None:
    """A dry run leaves nothing; the default place gets the schema with the first load."""
    where = {"XDG_DATA_HOME": str(tmp_path / "share")}
    dry = repo_loader(tmp_path, "--json", "--dry-run", "p10", repository.root, **where)
    assert (dry.exit_code, dry.summary["read"]) == (0, len(repository.packages))
    assert dry.summary["inserted"] == {}
    loaded = repo_loader(tmp_path, "-A", DAY, "p10", repository.root, **where)
    assert loaded.exit_code == 0
    assert str(tmp_path / "share/altrepodb") in loaded.stderr
    with open_database_in(tmp_path / "share/altrepodb") as opened:
        assert opened.query("SELECT count() FROM Packages") == [(len(repository.packages),)]
        assert opened.query("SELECT count() FROM PackageSetName WHERE pkgset_depth = 0") == [(1,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("p10",),
        ("-A", "2022-02-30", "p10", "{tree}"),
        ("-w", "0", "p10", "{tree}"),
        ("--no-such-option", "p10", "{tree}"),
        ("-c", "{home}/missing.ini", "p10", "{tree}"),
        ("-A", "1969-12-31", "-e", "{home}/database", "p10", "{tree}"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...], database: Path, repository: ComposedRepository, tmp_path: Path
) -> None:
    places = {"tree": repository.root, "home": tmp_path}
    result = repo_loader(tmp_path, *(word.format(**places) for word in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("repo_loader: error: ")
    assert "Traceback" not in result.stderr


def test_no_directory_and_no_repository(database: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        result = repo_loader(tmp_path, "--quiet", "-e", database, "p10", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{path}: not a package repository" in only_line(result)


def test_broken_package_is_named(
    database: Path, repository: ComposedRepository, tmp_path: Path
) -> None:
    tree = shutil.copytree(repository.root, tmp_path / "tree", symlinks=True)
    item = repository.packages[0]
    (tree / item.path).write_bytes(b"x" * item.size)
    result = repo_loader(tmp_path, "--quiet", "-e", database, "p10", tree)
    assert (result.exit_code, result.stdout) == (1, "")
    assert only_line(result) == f"repo_loader: error: {tree / item.path}: not an rpm package"


def test_database_in_use(database: Path, repository: ComposedRepository, tmp_path: Path) -> None:
    """The message says who holds it, and how long was waited."""
    arguments = ["--quiet", "-e", str(database), "p10", str(repository.root)]
    with DirectoryLock(database, 0):
        result = subprocess.run(
            [sys.executable, "-c", IMPATIENT_COMMAND, *arguments],
            env=environment(tmp_path, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (result.returncode, result.stdout) == (75, "")
        # A held lock is nothing to write home about in a quiet run.
        assert result.stderr == ""
        result = subprocess.run(
            [sys.executable, "-c", IMPATIENT_COMMAND, *arguments[1:]],
            env=environment(tmp_path, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert result.returncode == 75
    last = result.stderr.splitlines()[-1]
    assert f"{database}: in use by process {os.getpid()} (waited 0.5 s)" in last


def test_server_away_and_password_kept(repository: ComposedRepository, tmp_path: Path) -> None:
    """75, a line that names the server, and the password neither there nor in any log."""
    config = tmp_path / "config.ini"
    config.write_text("[LOGGING]\nlog_to_file = yes\n")
    port = str(free_port())
    server = ("-c", config, "-s", "127.0.0.1", "-p", port, "-u", "loader", "-P", PASSWORD)
    result = repo_loader(tmp_path, "-D", *server, "p10", repository.root)
    assert result.exit_code == 75
    assert f"127.0.0.1:{port}: Connection refused" in result.stderr.splitlines()[-1]
    logs = "".join(path.read_text() for path in (tmp_path / "altrepodb").glob("repo-p10-*.log"))
    assert "repo_loader" in logs
    assert "Connection refused" in logs
    for text in (result.stderr, logs):
        assert PASSWORD not in text
        assert "3cret" not in text
    quiet = repo_loader(tmp_path, "--quiet", *server, "p10", repository.root)
    assert f"127.0.0.1:{port}: Connection refused" in only_line(quiet)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_in_the_middle(
    number: signal.Signals, database: Path, tmp_path: Path, big: ComposedRepository
) -> None:
    """Not 0, nothing visible, no process left, and the next run does it all."""
    hashes = {item.pkg_hash for item in big.packages}
    nodes = 2 + 3 + sum(map(len, big.components.values()))
    for attempt in range(ATTEMPTS):
        copy = Path(shutil.copytree(database, tmp_path / f"copy{attempt}", symlinks=True))
        arguments = ("-A", DAY, "-e", copy, "p10", big.root)
        with subprocess.Popen(
            command_line("repo_loader", *arguments),
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            wait_for_line(process.stderr, " to load")
            process.send_signal(number)
            said = process.stderr.read()
        with open_database_in(copy) as opened:
            # On a busy machine the set may stand before this process gets to send its signal.
            if opened.query("SELECT count() FROM PackageSetName WHERE pkgset_depth = 0") == [(0,)]:
                break
            assert faults_of_visible_sets(opened, "p10", nodes, hashes) == []
    last = said.splitlines()[-1]
    assert process.returncode == 128 + number
    assert "interrupted" in last or number.name in last
    assert "Traceback" not in last
    assert living_processes(process.pid) == []
    with open_database_in(copy) as opened:
        assert opened.query("SELECT count() FROM PackageSetName") == [(0,)]
        assert opened.query("SELECT count() FROM PackageSet") == [(0,)]
        assert opened.query("SELECT count() FROM StaticLastPackages") == [(0,)]
    assert repo_loader(tmp_path, *arguments).exit_code == 0
    with open_database_in(copy) as opened:
        assert faults_of_visible_sets(opened, "p10", nodes, hashes) == []
        assert len(stored_rows(opened)["Packages"]) == len(hashes)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    """Large enough for a signal to arrive while packages are read."""
    return compose_repository(tmp_path_factory.mktemp("big") / "tree", BIG_PLAN)
