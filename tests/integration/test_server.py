"""A real server over the native protocol: the same rows as embedded, and lost connections."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from altrepodb.db import Database, open_database
from altrepodb.db.database import Columns
from altrepodb.db.ledger import LoaderRun, record_run
from altrepodb.db.mutations import delete_rows
from altrepodb.errors import AlreadyLoadedError, DatabaseError, DatabaseUnavailableError
from altrepodb.packages.load import PackageOptions, load_package
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.clickhouse import (
    PASSWORD,
    TABLES,
    USER,
    ClickHouseServer,
    is_installed,
)
from tests.support.loading import (
    DAY,
    ROOT,
    Loader,
    WrappedDatabase,
    differences,
    environment,
    open_loader,
    run_command,
    stored_rows,
    wait_for_line,
)
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not is_installed(), reason="the package clickhouse-server is missing"),
]

NAME = "sisy'phus\\"
ZONE = "Asia/Tokyo"
MOMENTS = [0, 1, 1_729_989_000, 1_729_992_600, 1_711_846_800, 4_294_967_295]
"""Among them both half past two of a night in which clocks were set back."""
# The command, but where it is about to read packages it waits for the end of its standard input:
# a test that is slow to kill the server must not find the load done.
COMMAND_WITH_A_PAUSE = """
import logging, sys
from altrepodb.cli.repo_loader import main

def handle_and_wait(logger, record, handle=logging.Logger.handle):
    handle(logger, record)
    if " to load" in record.getMessage():
        print("paused", file=sys.stderr, flush=True)
        sys.stdin.read()

logging.Logger.handle = handle_and_wait
sys.exit(main())
"""
BYTES = bytes(range(256))
TEXTS = [
    "",
    "a'b\"c\\d`e\n\t\0%s{name:String}",
    "Ёж — 'ёлка'",
    BYTES.decode("utf-8", "surrogateescape"),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with worker_pool(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    started = ClickHouseServer(tmp_path_factory.mktemp("server"), ZONE)
    started.start()
    try:
        started.create_schema()
        yield started
    finally:
        started.stop()


@pytest.fixture
def database(server: ClickHouseServer) -> Iterator[Database]:
    """The server's database, without rows."""
    server.create_schema()
    with open_database(server.settings()) as opened:
        yield opened


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    plan = RepositoryPlan(
        sources=25, binaries=80, files=2000, dependencies=800, odd_share=0.7, seed=41
    )
    return compose_repository(tmp_path_factory.mktemp("odd") / "tree", plan)


@pytest.fixture(scope="module")
def embedded_rows(
    odd: ComposedRepository,
    pool: WorkerPool,
    schema_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """What the embedded engine stores of the repository.

    Its midnight is that of UTC, so the load is told the moment that is midnight at the server.
    """
    directory = tmp_path_factory.mktemp("embedded") / "database"
    with open_loader(schema_template, directory) as loader:
        loader.database.execute(f"SET session_timezone = '{ZONE}'")
        loader.load(odd.root, NAME)
        return stored_rows(loader.database, TABLES)


# Rows


def test_same_rows_as_embedded(
    database: Database,
    odd: ComposedRepository,
    pool: WorkerPool,
    embedded_rows: dict[str, list[str]],
) -> None:
    Loader(database, pool).load(odd.root, NAME)
    assert embedded_rows.keys() == TABLES.keys()
    assert differences(stored_rows(database, TABLES), embedded_rows) == {}


def test_days_refusal_and_force(
    database: Database,
    odd: ComposedRepository,
    pool: WorkerPool,
    embedded_rows: dict[str, list[str]],
) -> None:
    loader = Loader(database, pool)
    first = loader.load(odd.root, NAME)
    with pytest.raises(AlreadyLoadedError):
        loader.load(odd.root, NAME)
    forced = loader.load(odd.root, NAME, force=True)
    assert (forced.replaced, forced.read) == ([first.root], 0)
    assert differences(stored_rows(database, TABLES), embedded_rows) == {}
    second = loader.load(odd.root, NAME, date="2022-08-19")
    assert second.read == 0
    assert database.query("SELECT count() FROM PackageSetName WHERE pkgset_depth = 0") == [(2,)]


def test_midnight_is_the_servers(
    database: Database, odd: ComposedRepository, pool: WorkerPool
) -> None:
    Loader(database, pool).load(odd.root, NAME)
    rows = database.query("SELECT DISTINCT pkgset_date, toString(pkgset_date) FROM PackageSetName")
    assert rows == [(1_660_780_800 - 9 * 3600, f"{DAY} 00:00:00")]


def test_single_package(
    database: Database, odd: ComposedRepository, server: ClickHouseServer
) -> None:
    """Flushing buffers leaves out those that the database does not have."""
    item = next(iter(odd.sources.values()))
    options = PackageOptions(str(odd.root / item.path), flush_buffers=True)
    assert load_package(options, database).inserted["Packages"] == 1
    assert load_package(options, database).skipped
    assert database.query("SELECT pkg_hash FROM Packages") == [(item.pkg_hash,)]


# Values


@contextmanager
def table_of(database: Database, **columns: str) -> Iterator[str]:
    described = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    database.execute(f"CREATE TABLE sample ({described}) ENGINE = Memory")
    try:
        yield "sample"
    finally:
        database.execute("DROP TABLE sample")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", ZONE])
def test_times_do_not_depend_on_zones(
    zone: str, server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with (
            open_database(server.settings()) as database,
            table_of(database, moment="DateTime", moments="Array(DateTime)") as table,
        ):
            lists = [MOMENTS] * len(MOMENTS)
            database.insert(table, {"moment": MOMENTS, "moments": lists})
            rows = database.query("SELECT moment, moments, toUnixTimestamp(moment) FROM sample")
            assert rows == [(moment, MOMENTS, moment) for moment in MOMENTS]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_values_survive(database: Database) -> None:
    """Any byte, as a value of a column and as a parameter."""
    node = UUID("12345678-9abc-def0-1234-56789abcdef0")
    with table_of(
        database, number="UInt8", text="String", short="FixedString(4)", node="UUID",
        texts="Array(String)", kind="Enum8('require' = 1, 'provide' = 4)",
    ) as table:  # fmt: skip
        count = len(TEXTS)
        database.insert(
            table,
            {
                "number": list(range(count)),
                "text": TEXTS,
                "short": [b"\0\xff"] * count,
                "node": [node] * count,
                "texts": [TEXTS] * count,
                "kind": ["provide"] * count,
            },
        )
        rows = database.query("SELECT * FROM sample ORDER BY number")
        assert rows == [
            (number, text, b"\0\xff\0\0", node, TEXTS, "provide")
            for number, text in enumerate(TEXTS)
        ]
        for number, text in enumerate(TEXTS):
            found = database.query(
                "SELECT number FROM sample WHERE text = {text:String} AND node = {node:UUID}"
                " AND has({texts:Array(String)}, text) AND node IN"
                " (SELECT arrayJoin({nodes:Array(UUID)})) AND number = {number:UInt8}",
                {
                    "text": text, "node": node, "texts": TEXTS, "nodes": [uuid4(), node],
                    "number": number,
                },
            )  # fmt: skip
            assert found == [(number,)], text
        assert database.query("SELECT {text:String} AS t", {"text": BYTES})[0][0] == TEXTS[3]


def test_deleted_rows_are_gone(database: Database) -> None:
    hashes = list(range(1000))
    database.insert("Changelog", {"chlog_hash": hashes, "chlog_text": [""] * 1000})
    gone = {"gone": hashes[:900]}
    assert delete_rows(database, "Changelog", "has({gone:Array(UInt64)}, chlog_hash)", gone) == 900
    assert database.query("SELECT count() FROM Changelog") == [(100,)]


# What goes wrong


def test_refused_statement(database: Database) -> None:
    """One line in the server's words; the connection is good for the next statement."""
    with pytest.raises(DatabaseError, match=r"^SELECT nothing FROM nowhere: .*nowhere") as caught:
        database.query("SELECT nothing FROM nowhere")
    assert "Stack trace" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DatabaseError, match=r"INSERT INTO Nowhere|DESCRIBE"):
        database.insert("Nowhere", {"a": [1]})
    assert database.query("SELECT 1 AS one") == [(1,)]


def test_truncated_answer_of_the_server_is_no_lost_connection(database: Database) -> None:
    """The server numbers some of its own complaints as the driver does lost connections."""
    with pytest.raises(DatabaseError):
        database.query("SELECT toUInt8('')")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": "nobody"}, "nobody"),
        ({"password": "wrong"}, "password"),
        ({"dbname": "nowhere"}, "nowhere"),
    ],
)
def test_refused_connection(
    change: dict[str, str], words: str, server: ClickHouseServer, tmp_path: Path
) -> None:
    """An operator has to do something: exit code 1, and the line says what is wrong."""
    sound = server.settings()
    values = {"dbname": sound.dbname, "user": sound.user, "password": sound.password, **change}
    settings = replace(sound, **values)  # type: ignore[arg-type]
    with (
        pytest.raises(DatabaseError, match=f"127.0.0.1:{server.port}: .*{words}"),
        open_database(settings),
    ):
        pass
    result = run_command(
        "package_loader", "--quiet", "-s", "127.0.0.1", "-p", str(server.port), "-u",
        values["user"], "-P", values["password"], "-d", values["dbname"], __file__, home=tmp_path,
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert words in line
    assert values["password"] not in line


def test_lost_connection_is_not_replaced_in_silence(server: ClickHouseServer) -> None:
    """A temporary table would be lost with it. After the error there is a new connection."""
    with open_database(server.settings()) as database:
        with (
            pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{server.port}"),
            database.temporary_table("kept", {"a": "UInt8"}) as table,
        ):
            database.insert(table, {"a": [1]})
            server.kill()
            server.start()
            database.query("SELECT a FROM kept")
        assert database.query("SELECT 1 AS one") == [(1,)]
        server.kill()
        with pytest.raises(DatabaseUnavailableError):
            database.query("SELECT 1")
        with pytest.raises(DatabaseUnavailableError):
            database.insert("Changelog", {"chlog_hash": [1]})
        server.start()
        assert database.query("SELECT 1 AS one") == [(1,)]


def test_interrupted_statement_leaves_a_usable_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler raises while the answer is awaited; what cleans up needs statements."""

    class Stop(BaseException):
        pass

    def handle(*_: object) -> None:
        raise Stop

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        with pytest.raises(Stop):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            database.query("SELECT sleep(3)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert database.query("SELECT 1 AS one") == [(1,)]


class EventDatabase(WrappedDatabase):
    """A database where something happens before the insert of a given number into set tables."""

    left = 0
    happen: Callable[[], None]

    def insert(self, table: str, columns: Columns) -> int:
        if table in ("PackageSet", "PackageSetName", "LoadIntents"):
            self.left -= 1
            if self.left == 0:
                self.happen()
        return super().insert(table, columns)


def test_server_dies_while_the_set_is_written(
    server: ClickHouseServer,
    odd: ComposedRepository,
    pool: WorkerPool,
    embedded_rows: dict[str, list[str]],
) -> None:
    server.create_schema()
    for insert in range(1, 6):
        with open_database(server.settings()) as database:
            failing = EventDatabase(database)
            failing.left = insert
            failing.happen = server.kill
            with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{server.port}"):
                Loader(database, pool).load_into(failing, odd.root, NAME, force=True)
        server.start()
        with open_database(server.settings()) as database:
            roots = database.query("SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_depth = 0")
            assert len(roots) <= 1
            Loader(database, pool).load(odd.root, NAME, force=True)
            assert differences(stored_rows(database, TABLES), embedded_rows) == {}


def test_server_dies_while_the_command_reads(
    server: ClickHouseServer,
    odd: ComposedRepository,
    embedded_rows: dict[str, list[str]],
    tmp_path: Path,
) -> None:
    """75; with the server back, the command ends like a clean run. The password stays secret."""
    server.create_schema()
    where = ("-s", "127.0.0.1", "-p", str(server.port), "-u", USER, "-d", "repodb")
    arguments = (*where, "-P", PASSWORD, "-A", DAY, "--json", NAME, odd.root)
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND_WITH_A_PAUSE, *map(str, arguments)],
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        wait_for_line(process.stderr, "paused")
        server.kill()
        _, errors = process.communicate(timeout=300)
    server.start()
    assert process.returncode == 75
    assert f"127.0.0.1:{server.port}: " in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert PASSWORD not in errors
    again = run_command("repo_loader", *arguments, home=tmp_path)
    assert again.exit_code == 0
    with open_database(server.settings()) as database:
        assert differences(stored_rows(database, TABLES), embedded_rows) == {}


def test_the_ledger_over_the_native_protocol(database: Database) -> None:
    """The type of the first column is one that this old server has; its values fit both."""
    texts = "program version host result subject routing_key error".split()
    numbers = "started exit_code attempt rows warnings".split()
    described = [f"run_{name} String" for name in texts]
    described += [f"run_{name} UInt64" for name in numbers]
    described += ["run_seconds Float64", "run_tables Array(String)", "run_table_rows Array(UInt64)"]
    run = LoaderRun("repo_loader", 1.5, 2.5, "done", subject="Ж", inserted={"Files": 2, "Ж": 3})
    assert not record_run(database, run)
    database.execute(f"CREATE TABLE LoaderRuns ({', '.join(described)}) ENGINE = Memory")
    try:
        assert record_run(database, run)
        assert database.query(
            "SELECT run_started, run_subject, run_tables, run_table_rows, run_rows FROM LoaderRuns"
        ) == [(1500, "Ж", ["Files", "Ж"], [2, 3], 5)]
    finally:
        database.execute("DROP TABLE LoaderRuns")
