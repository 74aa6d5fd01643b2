"""Kinds of services that do what their messages say, and the daemon with them.

A message is an object with an ``id`` and any of

    sleep       seconds that the load takes
    wait_for    a file that the load waits for
    raise       malformed, temporary, database, failed, defect
    until       a file: as long as it is missing the load raises, exits or dies; after that not
    exit        exit status that the worker leaves with
    kill        true: the worker kills itself
    insert      true: the id goes into the table Effects, unless it is there
    exclusive, merged    keys of the work

and the journal, a file, gets the lines ``start ID PID SECONDS`` and ``end ID PID SECONDS`` for
every load; the seconds are those of the machine's monotonic clock.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altrepodb.cli.command import run_command
from altrepodb.cli.uploaderd import daemon_command
from altrepodb.db.database import Database
from altrepodb.errors import DatabaseUnavailableError, SourceError, TemporaryError
from altrepodb.uploaderd import consuming
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Drop, Message, ServiceType, Work
from altrepodb.uploaderd.services import SERVICE_TYPES

__all__ = ["EFFECTS_TABLE", "TYPES"]

EFFECTS_TABLE = "CREATE TABLE Effects (id UInt64) ENGINE = MergeTree ORDER BY id"
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Where the journal is."""

    journal: Path


def read_settings(values: Mapping[str, Any]) -> JournalSettings:
    settings = JsonObject(values)
    journal = settings.path("journal", Path(), is_required=True)
    settings.finish()
    return JournalSettings(journal)


def accept(message: Message, settings: JournalSettings) -> Work | None:
    if not message.routing_key.startswith("test."):
        raise Drop(f"unexpected routing key {message.routing_key}")
    if message.routing_key == "test.ignored":
        return None
    if message.routing_key == "test.defect":
        raise ValueError("accept fails")
    body = message.body
    return Work(
        subject=str(body["id"]),
        arguments=dict(body),
        exclusive=body.get("exclusive"),
        merged=body.get("merged"),
        published=body.get("published", {}),
    )


def load(work: Work, settings: JournalSettings, database: Database) -> None:
    order = work.arguments
    _write(settings.journal, "start", order["id"])
    time.sleep(order.get("sleep", 0))
    if "wait_for" in order:
        _wait_for(Path(order["wait_for"]))
    if "until" not in order or not Path(order["until"]).exists():
        _fail(order)
    if order.get("insert"):
        _insert(int(order["id"]), database)
    _write(settings.journal, "end", order["id"])


def _fail(order: Mapping[str, Any]) -> None:
    if "exit" in order:
        os._exit(order["exit"])
    if order.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    errors: Mapping[str, type[Exception]] = {
        "malformed": Drop,
        "temporary": TemporaryError,
        "database": DatabaseUnavailableError,
        "failed": SourceError,
        "defect": ZeroDivisionError,
    }
    if "raise" in order:
        raise errors[order["raise"]](f"load {order['id']} raises")


def _insert(number: int, database: Database) -> None:
    """As loaders do: a second time has no effect."""
    found = database.query("SELECT count() FROM Effects WHERE id = {id:UInt64}", {"id": number})
    if found == [(0,)]:
        database.insert("Effects", {"id": [number]})


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(_POLL_S)


def _write(journal: Path, word: str, number: object) -> None:
    line = f"{word} {number} {os.getpid()} {time.monotonic():.6f}\n".encode()
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


_TEST = ServiceType("test_loader", frozenset({"journal"}), read_settings, accept, load)
_OTHER = ServiceType("other_loader", frozenset({"journal"}), read_settings, accept, load)
# Processes of the daemon import this module first, so that these hold in all of them.
consuming.BINDING_RETRY_S = consuming.REFUSED_RETRY_S = 0.5

TYPES: Mapping[str, ServiceType] = {**SERVICE_TYPES, _TEST.name: _TEST, _OTHER.name: _OTHER}


if __name__ == "__main__":
    sys.exit(run_command(daemon_command(TYPES)))
