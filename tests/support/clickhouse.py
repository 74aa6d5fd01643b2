"""Debian's ClickHouse server, run by tests, with as much of the schema as it can hold.

It is of 2018: it speaks the native protocol, and lacks many types and functions of today.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from altrepodb.config import DatabaseSettings
from altrepodb.db import open_database
from altrepodb.db.schema_files import read_migrations
from altrepodb.errors import DatabaseUnavailableError

PROGRAM = "clickhouse-server"
USER, PASSWORD = "loader", "%s3cret'\"100%"
DATABASE_NAME = "repodb"
TABLES = {
    "Changelog": "ReplacingMergeTree",
    "Depends": "ReplacingMergeTree",
    "FileNames": "ReplacingMergeTree",
    "Files": "ReplacingMergeTree",
    "PackageHash": "ReplacingMergeTree",
    "PackageSet": "ReplacingMergeTree",
    "PackageSetName": "MergeTree",
    "Packages": "ReplacingMergeTree",
    "Specfiles": "ReplacingMergeTree",
    "StaticLastPackages": "MergeTree",
    "last_packages_stage1": "MergeTree",
}
"""What the loaders of repositories and packages fill, with the engines."""

_OTHERS = {
    "LoadIntents",
    "PackageHash_buffer",
    "PackageSet_buffer",
    "Packages_buffer",
    "mv_last_packages_stage1",
}
_CREATION = re.compile(
    r"(CREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS|CREATE OR REPLACE TABLE|ALTER TABLE)"
    r" (\w+)"
)
_REPLACED = {
    "CREATE OR REPLACE TABLE": "CREATE TABLE",
    "ADD COLUMN IF NOT EXISTS": "ADD COLUMN",
    "currentDatabase()": DATABASE_NAME,
    "DateTime64(3)": "DateTime",
    "now64()": "now()",
    # It has this type, in a form that clients of today cannot read.
    "LowCardinality(String)": "String",
}
# Views do not fill materialized columns.
_UNWANTED_COLUMN = "ts           DateTime MATERIALIZED now(),"
# The view of today joins three tables at once. And what a view writes does not make the views
# of that table fire, so there is one for roots, one for what is inserted into the stage itself.
_COPYING_VIEW = """
CREATE MATERIALIZED VIEW {name} TO StaticLastPackages AS
SELECT {set_name}, pkgset_date, pkg_hash, pkg_name, pkg_version, pkg_release, pkg_sourcepackage
FROM {table}
ALL INNER JOIN
(
    SELECT pkgset_ruuid, pkg_hash, pkg_name, pkg_version, pkg_release, pkg_sourcepackage
    FROM
    (
        SELECT DISTINCT pkgset_ruuid, pkg_hash
        FROM (SELECT pkgset_uuid, pkgset_ruuid FROM PackageSetName)
        ALL INNER JOIN (SELECT pkgset_uuid, pkg_hash FROM PackageSet_buffer) USING pkgset_uuid
    )
    ALL INNER JOIN
    (
        SELECT DISTINCT pkg_hash, pkg_name, pkg_version, pkg_release, pkg_sourcepackage
        FROM Packages_buffer
    ) USING pkg_hash
) USING pkgset_ruuid
WHERE {condition}
"""
_COPYING_VIEWS = [
    {
        "name": "mv_last_packages_stage2",
        "set_name": "pkgset_name",
        "table": "last_packages_stage1",
        "condition": "1",
    },
    {
        "name": "mv_last_packages",
        "set_name": "pkgset_nodename AS pkgset_name",
        "table": "PackageSetName",
        "condition": "pkgset_depth = 0 AND has(pkgset_kv.v, 'repository')",
    },
]
_CONFIGURATION = """
<yandex>
  <logger><level>error</level><log>{directory}/log</log><errorlog>{directory}/log</errorlog></logger>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>{port}</tcp_port>
  <path>{directory}/data/</path>
  <tmp_path>{directory}/tmp/</tmp_path>
  <users_config>{directory}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>67108864</mark_cache_size>
  <timezone>{zone}</timezone>
</yandex>
"""
_USERS = """
<yandex>
  <profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
  <quotas><default></default></quotas>
  <users><loader>
    <password>%s3cret'"100%</password>
    <networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
  </loader></users>
</yandex>
"""
_START_S = 120.0
_FIRST_PORT, _LAST_PORT = 12_000, 32_000
_STOP_S = 120.0
_POLL_S = 0.05
_reservations: list[socket.socket] = []


def is_installed() -> bool:
    """Whether this machine has the server."""
    return shutil.which(PROGRAM) is not None


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, nor any other test will.

    Not one of those that the system gives to clients (ip_local_port_range, from 32768 on): a
    client of a server that was stopped could be given the server's own port.
    """
    while True:
        port = random.randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _reserve(port):
            return port


def _reserve(port: int) -> bool:
    """Take a port for the life of this process, unless another that runs tests has it.

    A name in the abstract space stands for it: it leaves no file behind, and the port itself
    stays free for the server, also while that is stopped.
    """
    reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        reservation.bind(f"\0altrepodb-tests-port-{port}")
    except OSError:
        reservation.close()
        return False
    _reservations.append(reservation)
    return True


class ClickHouseServer:
    """A server with its own directory and port; it can be stopped and started again."""

    def __init__(self, directory: Path, zone: str = "UTC") -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        configuration = _CONFIGURATION.format(directory=directory, port=self.port, zone=zone)
        (directory / "config.xml").write_text(configuration)
        (directory / "users.xml").write_text(_USERS)

    def settings(self, dbname: str = DATABASE_NAME) -> DatabaseSettings:
        """How to reach it."""
        return DatabaseSettings(
            dbname=dbname, host="127.0.0.1", port=self.port, user=USER, password=PASSWORD
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [PROGRAM, f"--config-file={self._directory / 'config.xml'}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
        )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            with open_database(self.settings("default")):
                return True
        except DatabaseUnavailableError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_STOP_S)
            self._process = None

    def kill(self) -> None:
        """End it at once; asked politely, it waits for its clients."""
        self.stop(signal.SIGKILL)

    def create_schema(self) -> None:
        """Make the database anew, with the tables that the loaders need, as far as it can.

        To truncate the tables would not do: a killed server finds the rows again.
        """
        with open_database(self.settings("default")) as database:
            database.execute(f"DROP DATABASE IF EXISTS {DATABASE_NAME}")
            database.execute(f"CREATE DATABASE {DATABASE_NAME}")
        with open_database(self.settings()) as database:
            for statement in _statements():
                database.execute(statement)
            for view in _COPYING_VIEWS:
                database.execute(_COPYING_VIEW.format(**view))


def _statements() -> Iterator[str]:
    """Statements of the schema files about the wanted tables, in older words."""
    # The later definition of this buffer is the one that counts.
    has_buffer_to_come = True
    for statement in [s.text for migration in read_migrations() for s in migration.statements]:
        found = _CREATION.match(statement)
        if found is None or found.group(2) not in {*TABLES, *_OTHERS} or "ADD INDEX" in statement:
            continue
        if found.group(2) == "Packages_buffer" and has_buffer_to_come:
            has_buffer_to_come = False
            continue
        for new, old in _REPLACED.items():
            statement = statement.replace(new, old)
        yield statement.replace(_UNWANTED_COLUMN, "")
