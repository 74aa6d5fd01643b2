"""How quickly the daemon hands messages on, and what it costs while there are none.

    messages_per_s    light messages of a full queue, from the first load to the last one's end
    dispatch_p95_ms   from publishing a message to the end of its load, at 100 messages/s
    idle_cpu_pct      of one processor, seven services with their workers and nothing to do

Broker, database and daemon run on this machine and share its processors with the measurement.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from altrepodb.config import DatabaseSettings
from tests.support.clickhouse import ClickHouseServer
from tests.support.daemon import Daemon, wait_until
from tests.support.rabbitmq import Broker, running_broker

__all__ = ["measure_daemon"]

_MESSAGES = 5000
_RATE = 100
_PACED_MESSAGES = 800
_IDLE_S = 10.0
_SETTLING_S = 3.0
_WORKERS = 2
_SERVICES = {
    "task_loader": {},
    "acl_loader": {},
    "beehive_loader": {},
    "bugzilla_loader": {},
    "repocop_loader": {},
    "watch_loader": {},
    "repo_loader": {"repo_dirs": {"sisyphus": "/nonexistent"}},
}


def measure_daemon(directory: Path) -> dict[str, float]:
    """The three figures, with files in a directory of their own."""
    directory = (directory / "daemon").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with running_broker(directory / "broker") as broker, _server(directory) as database:
        return {
            "messages_per_s": _messages_per_s(_made(directory / "rate"), broker, database),
            "dispatch_p95_ms": _dispatch_p95_ms(_made(directory / "paced"), broker, database),
            "idle_cpu_pct": _idle_cpu_pct(_made(directory / "idle"), broker, database),
        }


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@contextmanager
def _server(directory: Path) -> Iterator[DatabaseSettings]:
    server = ClickHouseServer(directory / "clickhouse")
    server.start()
    try:
        yield server.settings("default")
    finally:
        server.kill()


def _messages_per_s(directory: Path, broker: Broker, database: DatabaseSettings) -> float:
    with Daemon(directory, broker, database, workers_count=_WORKERS) as daemon:
        daemon.start()
        assert daemon.stop() == 0
        with broker.channel() as channel:
            for number in range(_MESSAGES):
                channel.basic_publish(daemon.exchange, "test.load", _body(number))
        daemon.start()
        wait_until(lambda: len(daemon.lines("end")) == _MESSAGES, "all loaded")
        started = min(_seconds(line) for line in daemon.lines("start"))
        ended = max(_seconds(line) for line in daemon.lines("end"))
    return _MESSAGES / (ended - started)


def _dispatch_p95_ms(directory: Path, broker: Broker, database: DatabaseSettings) -> float:
    sent: dict[str, float] = {}
    with Daemon(directory, broker, database, workers_count=_WORKERS) as daemon:
        daemon.start()
        with broker.channel() as channel:
            started = time.monotonic()
            for number in range(_PACED_MESSAGES):
                time.sleep(max(0.0, started + number / _RATE - time.monotonic()))
                sent[str(number)] = time.monotonic()
                channel.basic_publish(daemon.exchange, "test.load", _body(number))
        wait_until(lambda: len(daemon.lines("end")) == _PACED_MESSAGES, "all loaded")
        delays = [_seconds(line) - sent[line.split()[1]] for line in daemon.lines("end")]
    return 1000 * statistics.quantiles(delays, n=20)[-1]


def _idle_cpu_pct(directory: Path, broker: Broker, database: DatabaseSettings) -> float:
    with Daemon(directory, broker, database, services=_SERVICES) as daemon:
        daemon.start()
        time.sleep(_SETTLING_S)
        processes = daemon.processes()
        before, started = _processor_s(processes), time.monotonic()
        time.sleep(_IDLE_S)
        used, passed = _processor_s(processes) - before, time.monotonic() - started
        assert daemon.processes() == processes
    return 100 * used / passed


def _body(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


def _seconds(line: str) -> float:
    return float(line.split()[3])


def _processor_s(processes: list[int]) -> float:
    """What all threads have used, to the nanosecond (proc(5), schedstat)."""
    return sum(
        int(path.read_text().split()[0]) / 1e9
        for process in processes
        for path in Path(f"/proc/{process}/task").glob("*/schedstat")
    )
