"""From a shot of amqpfire through the daemon to rows, an event and the ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from altrepodb.cli.repodb_amqpfire import main as fire
from tests.support.loading import ROOT, open_database_in
from tests.support.rabbitmq import Broker
from tests.support.repository import RepositoryPlan, compose_repository

# Generous: a busy machine with cold caches needs minutes to import what opens the database.
WAIT_S = 400.0
LEDGER = """
SELECT run_program, run_subject, run_result, run_routing_key, run_attempt, run_rows, run_error
FROM LoaderRuns ORDER BY run_started
"""


@contextmanager
def uploaderd(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program from bin/, ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(directory / "notify"))
        listener.settimeout(WAIT_S)
        process = subprocess.Popen(
            [
                sys.executable,
                *(ROOT / "bin/uploaderd", "-c", directory / "config.json"),
                *("-s", directory / "services.d"),
            ],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            while b"1 running" not in listener.recv(4096):
                pass
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_shot_becomes_rows_an_event_and_a_line_in_the_ledger(
    broker: Broker, schema_template: Path, tmp_path: Path
) -> None:
    name = uuid4().hex
    plan = RepositoryPlan(sources=4, binaries=8, files=60, dependencies=40, seed=7)
    tree = compose_repository(tmp_path / "tree", plan)
    database = Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))
    write_files(tmp_path, broker, name, tree.root, database)
    # Not "today", which may be over before the second shot.
    day = date.today().isoformat()
    words = ["-c", str(tmp_path / "fire.json"), "-s", "repo", "-p", "p10", day]
    with broker.channel() as channel:
        for exchange in (f"{name}-ex", f"{name}-uploaded-ex"):
            channel.exchange_declare(exchange, "topic", durable=True)
        events = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(events, f"{name}-uploaded-ex", "#")

        def take() -> Any:
            method, _, body = channel.basic_get(events, auto_ack=True)
            return method and (method.routing_key, json.loads(body))

        with uploaderd(tmp_path) as process:
            for _ in range(2):
                assert fire(words) == 0
                key, event = wait_for(take)
                assert key == "repo.load"
                assert event == {"branch": "p10", "date": day, "repo_path": str(tree.root)}
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        channel.queue_delete(f"{name}-q")
    with open_database_in(database) as opened:
        assert opened.query("SELECT uniqExact(pkg_hash) FROM Packages") == [(12,)]
        roots = "SELECT pkgset_nodename FROM PackageSetName WHERE pkgset_depth = 0"
        assert opened.query(roots) == [("p10",)]
        first, second = opened.query(LEDGER)
    subject = f"p10 of {day}"
    assert first[:5] == ("repo_loader", subject, "done", "repo.load", 1)
    assert first[5] > 12
    assert second[:6] == ("repo_loader", subject, "already loaded", "repo.load", 1, 0)
    assert "already loaded" in second[6]


def write_files(directory: Path, broker: Broker, name: str, tree: Path, database: Path) -> None:
    """The files of the daemon and of amqpfire."""
    address = {"host": "127.0.0.1", "port": broker.port}
    binding = {"exchange": f"{name}-ex", "routing_key": "repo.#"}
    queue = {"name": f"{name}-q", "type": "quorum", "bind_at_startup": [binding]}
    service = {
        "publish_on_done": True,
        "repo_dirs": {"p10": str(tree)},
        "threads_count": 1,
        "database": {"embedded": str(database)},
        "amqp": {**address, "exchange": f"{name}-uploaded-ex", "queue": queue},
    }
    config = {
        "services": [{"name": "repo_loader", "config": "repo_loader.json"}],
        "log": {"file": str(directory / "log"), "syslog": False},
    }
    shot = {**address, "exchange": f"{name}-ex", "username": "guest", "password": "guest"}
    (directory / "services.d").mkdir()
    (directory / "services.d/repo_loader.json").write_text(json.dumps(service))
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "fire.json").write_text(json.dumps(shot))
