"""Databases for tests, embedded and fresh for every test, and one broker for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.db import open_database
from altrepodb.db.database import Database
from altrepodb.db.embedded import open_embedded
from tests.support.alt_images import load_branches
from tests.support.clickhouse import PROGRAM, ClickHouseServer
from tests.support.clickhouse import is_installed as is_server_installed
from tests.support.daemon_services import EFFECTS_TABLE
from tests.support.rabbitmq import Broker, is_installed, running_broker

_NAME = "repodb"
_WAIT_S = 10.0


@pytest.fixture(scope="session")
def schema_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with the full schema: copying it is four times as fast as creating it."""
    directory = tmp_path_factory.mktemp("schema")
    with open_embedded(directory, _NAME, _WAIT_S) as opened:
        opened.query("SELECT 1")
    return directory


@pytest.fixture
def database(schema_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A database with the full schema and no rows."""
    directory = tmp_path / "database"
    shutil.copytree(schema_template, directory, symlinks=True)
    with open_embedded(directory, _NAME, _WAIT_S) as opened:
        yield opened


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    with open_embedded(tmp_path / "empty", _NAME, with_schema=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this test process, with and without TLS. Names of queues must be unique."""
    if not is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="session")
def effects_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A server with the table that the services of ``daemon_services`` fill."""
    if not is_server_installed():
        pytest.skip(f"{PROGRAM} is not installed")
    running = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))
    running.start()
    try:
        with open_database(running.settings("default")) as database:
            database.execute(EFFECTS_TABLE)
        yield running
    finally:
        running.kill()


@pytest.fixture
def effects_database(effects_server: ClickHouseServer) -> DatabaseSettings:
    """How to reach it."""
    return effects_server.settings("default")


@pytest.fixture(scope="session")
def branches_template(schema_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with the branches that the images of tests are made of."""
    work = tmp_path_factory.mktemp("branches")
    load_branches(schema_template, work / "database", work)
    return work / "database"
