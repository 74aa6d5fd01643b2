"""The notifier with a real broker: what arrives, also after the broker was away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from altrepodb import __version__
from altrepodb.uploaderd.notifier import Notifier
from altrepodb.uploaderd.settings import AmqpSettings, NotifierSettings
from tests.support.clickhouse import free_port
from tests.support.rabbitmq import Broker

# Generous: only a failure waits for so long.
WAIT_S = 240.0


class Receiver:
    """A queue that gets all notices of an exchange of its own."""

    def __init__(self, channel: Any) -> None:
        self.exchange = f"notices-{uuid4().hex}"
        self._channel = channel
        channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
        self._queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(self._queue, self.exchange, "#")

    def get(self) -> tuple[str, Any, dict[str, Any]]:
        """The next notice: routing key, properties, body."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            method, properties, body = self._channel.basic_get(self._queue, auto_ack=True)
            if method is not None:
                return method.routing_key, properties, json.loads(body)
            self._channel.connection.sleep(0.05)
        raise AssertionError("no notice arrived")

    def rest(self) -> list[dict[str, Any]]:
        """What else is there."""
        found = []
        while (answer := self._channel.basic_get(self._queue, auto_ack=True))[0] is not None:
            found.append(json.loads(answer[2]))
        return found


@pytest.fixture
def receiver(broker: Broker) -> Iterator[Receiver]:
    with broker.channel() as channel:
        yield Receiver(channel)


@contextmanager
def started(notifier: Notifier, services: tuple[str, ...] = ()) -> Iterator[Notifier]:
    notifier.start(services)
    try:
        yield notifier
    finally:
        notifier.stop(flush_s=WAIT_S)


def settings(broker: Broker, exchange: str, announce: bool = False) -> NotifierSettings:
    return NotifierSettings(broker.settings(exchange=exchange), announce)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_notice_on_the_wire(broker: Broker, receiver: Receiver) -> None:
    payload = {"branch": "p9", "date": "2026-11-23", "repo_path": "/nonexist"}
    with started(Notifier(settings(broker, receiver.exchange))) as notifier:
        before = time.time()
        notifier.notify("repo_loader", "CRITICAL", "SERVICE_WORKER_ERROR", "Invalid", payload)
        key, properties, body = receiver.get()
    assert key == "service_worker_error.critical"
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert before <= body.pop("timestamp") <= time.time()
    assert body == {
        "subject": "repo_loader",
        "severity": "CRITICAL",
        "type": "SERVICE_WORKER_ERROR",
        "message": "Invalid",
        "payload": payload,
    }


def test_a_hundred_equal_failures_are_two_notices(broker: Broker, receiver: Receiver) -> None:
    with started(Notifier(settings(broker, receiver.exchange))) as notifier:
        for number in range(100):
            notifier.notify(
                "acl_loader", "WARNING", "SERVICE_ERROR", "dead workers", {"state": number}
            )
        assert receiver.get()[2]["payload"] == {"state": 0}
    assert [body["payload"] for body in receiver.rest()] == [{"state": 99, "repeated": 99}]


def test_repeated_notices_come_when_their_window_ends(broker: Broker, receiver: Receiver) -> None:
    with started(Notifier(settings(broker, receiver.exchange), merge_window_s=3)) as notifier:
        for _ in range(5):
            notifier.notify("acl_loader", "WARNING", "SERVICE_ERROR", "dead workers")
        assert receiver.get()[2]["payload"] is None
        assert receiver.get()[2]["payload"] == {"repeated": 4}


def test_start_is_announced_if_wanted(broker: Broker, receiver: Receiver) -> None:
    with started(Notifier(settings(broker, receiver.exchange)), ("acl_loader",)):
        pass
    assert receiver.rest() == []
    with started(Notifier(settings(broker, receiver.exchange, True)), ("acl_loader",)):
        key, _, body = receiver.get()
    assert (key, body["subject"]) == ("message.info", "uploaderd")
    assert body["payload"] == {"version": __version__, "services": ["acl_loader"]}


def test_the_exchange_is_made_by_the_first_notice(broker: Broker) -> None:
    exchange = f"notices-{uuid4().hex}"
    with started(Notifier(settings(broker, exchange))) as notifier:
        notifier.notify("acl_loader", "INFO", "MESSAGE", "over")
        wait_until(lambda: notifier.sent == 1)
    with broker.channel() as channel:
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        channel.exchange_delete(exchange)


def test_notices_wait_for_a_broker_that_is_away(broker: Broker) -> None:
    exchange, queue = f"notices-{uuid4().hex}", f"notices-{uuid4().hex}"
    with broker.channel() as channel:
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange, "#")
    with started(Notifier(settings(broker, exchange), max_waiting=2)) as notifier:
        notifier.notify("a", "INFO", "MESSAGE", "before")
        wait_until(lambda: notifier.sent == 1)
        with broker.away():
            for message in ("one", "two", "three", "four"):
                notifier.notify("a", "WARNING", "MESSAGE", message)
        wait_until(lambda: notifier.sent >= 3)
    with broker.channel() as channel:
        bodies = []
        while (answer := channel.basic_get(queue, auto_ack=True))[0] is not None:
            bodies.append(json.loads(answer[2]))
        channel.queue_delete(queue)
        channel.exchange_delete(exchange)
    dropped = [(body["payload"] or {}).get("dropped", 0) for body in bodies]
    assert bodies[0]["message"] == "before" and bodies[-1]["message"] == "four"
    assert len(bodies) + sum(dropped) == 5


def test_a_broker_that_never_was_delays_the_end_by_the_flush_only() -> None:
    nobody = AmqpSettings(host="127.0.0.1", port=free_port())
    notifier = Notifier(NotifierSettings(nobody))
    notifier.start()
    notifier.notify("a", "CRITICAL", "SERVICE_ERROR", "lost")
    before = time.monotonic()
    notifier.stop(flush_s=0.3)
    assert time.monotonic() - before < 20
    assert notifier.sent == 0
