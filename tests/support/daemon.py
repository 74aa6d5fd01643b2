"""A daemon that tests start, watch, signal and end, with its files in a directory of the test."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import pika

from altrepodb.config import DatabaseSettings
from tests.support.rabbitmq import HOST, Broker

__all__ = ["Daemon", "body", "freeze", "wait_until"]

_POLL_S = 0.02
# Generous, since only a failure waits for so long: on a busy machine with cold caches it may take
# minutes until processes have imported what they need.
_WAIT_S = 240.0
_ROOT = Path(__file__).resolve().parent.parent.parent


def wait_until(
    condition: Callable[[], object],
    what: str,
    seconds: float = _WAIT_S,
    instead: Callable[[], str] = str,
) -> None:
    """Return when the condition holds; fail when it does not in time, with what is there then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what} {instead()}"
        time.sleep(_POLL_S)


def body(number: int, **order: Any) -> bytes:
    """The body of a message for a service of ``daemon_services``."""
    return json.dumps({"id": number, **order}).encode()


def freeze(process_id: int) -> None:
    """Let a process stand still; it does when this returns."""
    os.kill(process_id, signal.SIGSTOP)
    wait_until(lambda: _state(Path("/proc") / str(process_id)) == "T", "standing still")


class _Notified:
    """The service manager's end of the socket, emptied all the time.

    The kernel may keep no more than ten datagrams (net.unix.max_dgram_qlen), and the daemon does
    not wait for room: one that finds none is lost.
    """

    def __init__(self, path: Path) -> None:
        self._datagrams: list[str] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._receive, name="notified", daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """Every assignment so far, also those that nobody has taken from the socket yet."""
        with self._lock:
            self._take()
            return "\n".join(self._datagrams).splitlines()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._take()
            self._datagrams.clear()

    def close(self) -> None:
        """Listen no more."""
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._socket], [], [], 0.1)[0]:
                with self._lock:
                    self._take()

    def _take(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._datagrams.append(self._socket.recv(1 << 16).decode())


class Daemon:
    """One daemon; a context manager that kills what is left at its end.

    ``name`` makes its queue and exchanges unique. The queue is bound to ``<name>-ex`` with
    ``test.#``.
    """

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        database: DatabaseSettings,
        *,
        services: Mapping[str, Mapping[str, Any]] | None = None,
        notify: bool = False,
        config: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        self.name = f"t{uuid4().hex[:10]}"
        self.queue = f"{self.name}-q"
        self.exchange = f"{self.name}-ex"
        self.uploaded = f"{self.name}-uploaded-ex"
        self.notices = f"{self.name}-notices-ex"
        self.journal = directory / "journal"
        self.log = directory / "log"
        self.directory = directory.resolve()
        self.broker = broker
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_path = directory / "notify"
        (directory / "services.d").mkdir(exist_ok=True)
        self.write_services(services or {"test_loader": changes})
        top = {"log": {"file": str(self.log), "syslog": False}, **(config or {})}
        if notify:
            top["notifier"] = {"amqp": {**self._amqp(), "exchange": self.notices}}
        self._top = top
        self.write_config()

    # --- files

    def write_services(self, services: Mapping[str, Mapping[str, Any]]) -> None:
        """Write one file for each service: the usual settings with these changes."""
        self._services = list(services)
        for name, changes in services.items():
            self.write_service(name, **changes)

    def write_service(self, name: str, **changes: Any) -> None:
        """Write the file of one service."""
        queue = {
            "name": self.queue if name == "test_loader" else f"{self.queue}-{name}",
            "type": "quorum",
            "bind_at_startup": [{"exchange": self.exchange, "routing_key": "test.#"}],
        }
        amqp = self._amqp() | {"exchange": self.uploaded} | changes.pop("amqp", {})
        amqp["queue"] = queue | changes.pop("queue", {})
        settings = {
            "journal": str(self.journal),
            "idle_loop_sleep": 1.0,
            "retry_delays": [0.2],
            "database": self._database_section(),
            "amqp": amqp,
            **changes,
        }
        (self.directory / "services.d" / f"{name}.json").write_text(json.dumps(settings))

    def write_config(self) -> None:
        """Write the main file."""
        services = [{"name": name, "config": f"{name}.json"} for name in self._services]
        (self.directory / "config.json").write_text(json.dumps({"services": services, **self._top}))

    def _amqp(self) -> dict[str, Any]:
        return {"host": HOST, "port": self.broker.port, "connection_timeout": 10}

    def _database_section(self) -> dict[str, Any]:
        settings = self._database
        if settings.embedded is not None:
            return {"embedded": str(settings.embedded)}
        return {
            "host": settings.host,
            "port": settings.port,
            "dbname": settings.dbname,
            "user": settings.user,
            "password": settings.password,
        }

    # --- its life

    def __enter__(self) -> Daemon:
        with self.broker.channel() as channel:
            channel.exchange_declare(self.exchange, "topic", durable=True)
        self._notified = _Notified(self._socket_path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process_id in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)
                os.kill(process_id, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._notified.close()
        if kind is not None:
            print(self.text())
        with suppress(Exception), self.broker.channel() as channel:
            for name in self._services:
                other = self.queue if name == "test_loader" else f"{self.queue}-{name}"
                channel.queue_delete(other)
            for exchange in (self.exchange, self.uploaded, self.notices):
                channel.exchange_delete(exchange)

    def start(self, *options: str, wait: bool = True) -> None:
        """Start it; return when it says that it is ready and consumes."""
        self.forget_told()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._socket_path),
            "PYTHONPATH": str(_ROOT),
        }
        with (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                self.command(*options),
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        if wait:
            self.wait_for_status("running")

    def command(self, *options: str) -> list[str]:
        """The words that start it."""
        return [
            sys.executable,
            *("-m", "tests.support.daemon_services"),
            *("-c", str(self.directory / "config.json")),
            *("-s", str(self.directory / "services.d")),
            *options,
        ]

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = _WAIT_S) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Ask it to stop and wait; the exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def processes(self, title: str = "") -> list[int]:
        """All processes that descend from it, also orphans, whose title begins like this."""
        found = []
        for directory in Path("/proc").iterdir():
            if directory.name.isdecimal() and _runs_in(directory, self.directory):
                with suppress(OSError):
                    line = (directory / "cmdline").read_bytes().decode(errors="replace")
                    if line.startswith(title):
                        found.append(int(directory.name))
        return sorted(found)

    def is_gone(self) -> bool:
        """Whether no process is left."""
        return not self.processes()

    # --- messages

    def publish(self, *bodies: bytes, key: str = "test.load", persistent: bool = True) -> None:
        """Publish to the exchange that the queue is bound to, confirmed."""
        with self.broker.channel() as channel:
            self.publish_on(channel, *bodies, key=key, persistent=persistent)

    def publish_on(
        self, channel: Any, *bodies: bytes, key: str = "test.load", persistent: bool = True
    ) -> None:
        """The same on a channel that is open already."""
        properties = pika.BasicProperties(delivery_mode=2 if persistent else 1)
        for one in bodies:
            channel.basic_publish(self.exchange, key, one, properties, mandatory=True)

    @contextmanager
    def listening(self, exchange: str) -> Iterator[Callable[..., list[tuple[Any, Any, bytes]]]]:
        """A queue on a topic exchange; yields a function that returns all that has come so far.

        With a number it waits until so many are there.
        """
        queue = f"{exchange}-listener"
        messages: list[tuple[Any, Any, bytes]] = []
        with self.broker.channel() as channel:
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, exchange, "#")

        def take(at_least: int = 0) -> list[tuple[Any, Any, bytes]]:
            with self.broker.channel() as channel:

                def take_all() -> bool:
                    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
                        messages.append(message)
                    return len(messages) >= at_least

                wait_until(
                    take_all, f"{at_least} messages in {queue}", instead=lambda: str(messages)
                )
            return list(messages)

        try:
            yield take
        finally:
            with suppress(Exception), self.broker.channel() as channel:
                channel.queue_delete(queue)

    def left(self) -> int:
        """Messages in the queue, ready and unacknowledged."""
        return self.broker.held(self.queue)

    def wait_until_empty(self, seconds: float = _WAIT_S) -> None:
        """Wait until the broker has nothing left, not even unacknowledged."""
        wait_until(lambda: self.left() == 0, f"{self.queue} empty", seconds)

    # --- what can be seen of it

    def lines(self, word: str = "", number: int | None = None) -> list[str]:
        """Lines of the journal that begin with a word, about a message."""
        if not self.journal.exists():
            return []
        # A line that is just being written may be there in part.
        lines = self.journal.read_text().rpartition("\n")[0].splitlines()
        start = word if number is None else f"{word} {number} "
        return [line for line in lines if f"{line} ".startswith(start)]

    def wait_for_line(self, word: str, number: int, times: int = 1) -> None:
        """Wait until the journal has a line."""
        wait_until(lambda: len(self.lines(word, number)) >= times, f"{word} {number}")

    def loads(self) -> list[int]:
        """The ids of all loads that ended, in this order."""
        return [int(line.split()[1]) for line in self.lines("end")]

    def text(self) -> str:
        """The log and what went to standard error."""
        parts = [self.log, self.directory / "stderr"]
        return "".join(part.read_text(errors="replace") for part in parts if part.exists())

    def wait_for_text(self, text: str, seconds: float = _WAIT_S) -> None:
        """Wait until the log has this."""
        wait_until(lambda: text in self.text(), f"log: {text}", seconds)

    def told(self) -> list[str]:
        """Every assignment that the service manager was told so far."""
        return self._notified.lines()

    def forget_told(self) -> None:
        """Forget what the service manager was told so far."""
        self._notified.forget()

    def status(self) -> str:
        """The last status that the service manager was told."""
        found = [line for line in self.told() if line.startswith("STATUS=")]
        return found[-1] if found else ""

    def wait_for_status(self, state: str, service: str = "", seconds: float = _WAIT_S) -> None:
        """Wait until a service (or, for ``running``, all of them) has a state."""
        count = len(self._services)
        expected = f"{service}: {state}" if service else f"{count} services, {count} running"
        if state != "running" and not service:
            expected = f": {state}"

        def is_there() -> bool:
            assert self._process is None or self._process.poll() is None, self.text()
            return expected in self.status()

        wait_until(is_there, f"status {expected}", seconds, instead=self.status)


def _runs_in(process: Path, directory: Path) -> bool:
    """Whether a process of /proc is alive and has this working directory.

    What it has in its environment is no mark: a process with a title has overwritten that.
    """
    try:
        if (process / "cwd").readlink() != directory:
            return False
    except OSError:
        return False
    return _state(process) not in ("", "Z")


def _state(process: Path) -> str:
    """The letter of /proc for what a process does; empty when it is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
