"""A soak of the daemon: messages of two services while everything around them breaks.

    python -m tests.support.soak --messages 10000 --seed 1

Workers and services are killed, the broker is cut off, stopped, killed and started again, the
database is killed, the daemon is restarted, all in an order that follows from the seed. In the
end every message must have had its effect exactly once, as in a quiet run of the same messages,
the queues must be empty, and no process may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from altrepodb.db import open_database
from tests.support.clickhouse import ClickHouseServer
from tests.support.daemon import Daemon, body, wait_until
from tests.support.daemon_services import EFFECTS_TABLE
from tests.support.rabbitmq import Broker, running_broker

__all__ = ["SoakResult", "run_soak"]

_SERVICES: Mapping[str, Mapping[str, object]] = {
    "test_loader": {"workers_count": 2, "publish_on_done": True},
    "other_loader": {"workers_count": 1, "max_crash_count": 1000},
}
_KEYS = ("test.one", "test.other")
_SETTLE_S = 600.0
_PAUSE_S = 0.3
_TEMPORARY_SHARE = 0.02
_SLOW_SHARE = 0.05
_SLOW_S = 0.2


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What came of it."""

    messages: int
    faults: Mapping[str, int]
    seconds: float
    loads: int
    """Loads that ended; more than messages when one was repeated without effect."""
    memory_growth: float
    """Resident memory of main and services at the end, compared with that at the start."""


def run_soak(
    directory: Path, broker: Broker, server: ClickHouseServer, messages: int, seed: int, rounds: int
) -> SoakResult:
    """Run it; every kind of fault occurs once in each round. Raises AssertionError."""
    quiet = _run(directory / "quiet", broker, server, messages, seed, 0)
    rows = _rows(server)
    result = _run(directory / "soak", broker, server, messages, seed, rounds)
    assert _rows(server) == rows, "rows differ from those of a quiet run"
    assert len(rows) == quiet.messages
    return result


def _run(
    directory: Path, broker: Broker, server: ClickHouseServer, messages: int, seed: int, rounds: int
) -> SoakResult:
    directory.mkdir(parents=True)
    _empty(server)
    chance = random.Random(seed)
    started = time.monotonic()
    database = server.settings("default")
    with Daemon(directory, broker, database, services=_SERVICES) as daemon:
        for name, key in zip(_SERVICES, _KEYS, strict=True):
            binding = {"exchange": daemon.exchange, "routing_key": key}
            daemon.write_service(name, **_SERVICES[name], queue={"bind_at_startup": [binding]})
        daemon.start()
        faults = _faults(daemon, broker, server, chance)
        order = [name for _ in range(rounds) for name in chance.sample(sorted(faults), len(faults))]
        bodies = list(_messages(directory, messages, chance))
        memory = _memory(daemon)
        for chunk, fault in zip(_chunks(bodies, len(order) + 1), [*order, ""], strict=True):
            _publish(broker, daemon, chunk)
            if fault:
                time.sleep(_PAUSE_S * chance.random())
                faults[fault]()
        (directory / "gate").touch()
        daemon.wait_for_status("running", seconds=_SETTLE_S)
        wait_until(lambda: _has_all(daemon, server, messages), "all rows", _SETTLE_S)
        growth = _memory(daemon) / memory
        wait_until(lambda: _left(daemon, broker) == 0, "queues empty", _SETTLE_S)
        assert daemon.stop() == 0
        wait_until(daemon.is_gone, "no process left")
        assert [broker.count(queue) for queue in _queues(daemon)] == [0, 0]
        loads = len(daemon.loads())
        assert "given up" not in daemon.text()
    counted = {name: order.count(name) for name in faults}
    return SoakResult(messages, counted, time.monotonic() - started, loads, growth)


def _messages(directory: Path, count: int, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Routing key and body: most are quick, some slow, some fail until the soak ends."""
    for number in range(count):
        order: dict[str, object] = {"insert": True}
        draw = chance.random()
        if draw < _TEMPORARY_SHARE / 10:
            order |= {"raise": "temporary", "until": str(directory / "gate")}
        elif draw < _TEMPORARY_SHARE:
            order |= {"exclusive": "a"}
        elif draw < _TEMPORARY_SHARE + _SLOW_SHARE:
            order |= {"sleep": _SLOW_S * chance.random()}
        yield chance.choice(_KEYS), body(number, **order)


def _chunks(
    items: Sequence[tuple[str, bytes]], count: int
) -> Iterator[Sequence[tuple[str, bytes]]]:
    size = -(-len(items) // count)
    for index in range(count):
        yield items[index * size : (index + 1) * size]


def _publish(broker: Broker, daemon: Daemon, messages: Sequence[tuple[str, bytes]]) -> None:
    with broker.channel() as channel:
        for key, text in messages:
            daemon.publish_on(channel, text, key=key)


# --- faults


def _faults(
    daemon: Daemon, broker: Broker, server: ClickHouseServer, chance: random.Random
) -> Mapping[str, Callable[[], None]]:
    def kill(title: str) -> None:
        found = [
            p for p in daemon.processes(title) if title.endswith("worker") or not _is_worker(p)
        ]
        if found:
            # It may have ended by itself meanwhile.
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)

    def stop_application() -> None:
        with broker.away():
            time.sleep(_PAUSE_S)

    def kill_broker() -> None:
        broker.wait_until_kept()
        broker.kill()
        time.sleep(_PAUSE_S)
        broker.start()

    def kill_database() -> None:
        server.kill()
        time.sleep(_PAUSE_S)
        server.start()

    def restart_daemon() -> None:
        assert daemon.stop() == 0
        daemon.start(wait=False)

    return {
        "worker killed": lambda: kill("test_loader_worker"),
        "other worker killed": lambda: kill("other_loader_worker"),
        "service killed": lambda: kill(chance.choice(list(_SERVICES))),
        "connections cut": broker.close_connections,
        "broker stopped": stop_application,
        "broker killed": kill_broker,
        "database killed": kill_database,
        "daemon restarted": restart_daemon,
    }


def _title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")[0]
    except OSError:
        return ""


def _resident_pages(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def _is_worker(process: int) -> bool:
    return "_worker" in _title(process)


# --- what is left


def _empty(server: ClickHouseServer) -> None:
    with open_database(server.settings("default")) as database:
        database.execute("DROP TABLE IF EXISTS Effects")
        database.execute(EFFECTS_TABLE)


def _rows(server: ClickHouseServer) -> list[tuple[int, ...]]:
    with open_database(server.settings("default")) as database:
        return database.query("SELECT id FROM Effects ORDER BY id")


def _has_all(daemon: Daemon, server: ClickHouseServer, messages: int) -> bool:
    assert "given up" not in daemon.text()
    return len(_rows(server)) >= messages


def _queues(daemon: Daemon) -> list[str]:
    return [daemon.queue, f"{daemon.queue}-other_loader"]


def _left(daemon: Daemon, broker: Broker) -> int:
    return sum(broker.held(queue) for queue in _queues(daemon))


def _memory(daemon: Daemon) -> float:
    """Resident memory of main and services, in pages."""
    found: list[int] = []

    def are_all_there() -> bool:
        # A process that has just been started may have no title yet, or that of its parent.
        titled = [
            (p, t) for p in daemon.processes() if (t := _title(p)) in ("uploaderd", *_SERVICES)
        ]
        found[:] = [pages for p, _ in titled if (pages := _resident_pages(p))]
        titles = sorted(title for _, title in titled)
        return titles == sorted(["uploaderd", *_SERVICES]) and len(found) == len(titles)

    wait_until(are_all_there, "main and services", _SETTLE_S)
    return sum(found)


# --- as a program


@contextmanager
def _surroundings(directory: Path) -> Iterator[tuple[Broker, ClickHouseServer]]:
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(directory / "broker"))
        server = ClickHouseServer(directory / "clickhouse")
        stack.callback(server.kill)
        server.start()
        yield broker, server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6, help="how often each fault occurs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _surroundings(Path(name)) as (broker, server):
        result = run_soak(
            Path(name), broker, server, options.messages, options.seed, options.rounds
        )
    print(json.dumps({name: getattr(result, name) for name in SoakResult.__dataclass_fields__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
