"""What a consumer says about a broker that is away, and does about one that is silent."""

from __future__ import annotations

import asyncio
import logging
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.uploaderd import consuming, link
from altrepodb.uploaderd.consuming import Consumer
from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.settings import AmqpSettings, QueueSettings, ServiceSettings
from tests.support.silent_broker import silent_broker

KIND = ServiceType("test", frozenset(), lambda _: None, lambda *_: None, lambda *_: None)

QUEUE = QueueSettings("test-q", "quorum")


class Desk:
    """A consumer, what it told, and a clock that is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.notices: list[tuple[Any, ...]] = []
        self.changes = 0
        settings = _settings(AmqpSettings(queue=QUEUE))
        monkeypatch.setattr(consuming.time, "monotonic", lambda: self.now)
        self.consumer = Consumer(settings, lambda _: None, lambda: None, self.tell, self.notify)

    def tell(self) -> None:
        self.changes += 1

    def notify(self, *words: Any) -> None:
        self.notices.append(words)

    def fail_for(self, seconds: int) -> None:
        """An attempt every half minute."""
        for _ in range(0, seconds, 30):
            self.consumer._be_away(ConnectionRefusedError(111, "Connection refused"))
            self.now += 30


def _settings(amqp: AmqpSettings) -> ServiceSettings:
    return ServiceSettings(
        type=KIND, file=Path("test.json"), database=DatabaseSettings(host="x"), amqp=amqp
    )


def test_an_outage_is_logged_now_and_then_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(monkeypatch)
    with caplog.at_level(logging.INFO, "altrepodb.test"):
        desk.fail_for(290)
        assert desk.notices == []
        desk.fail_for(1500)
        assert [record.getMessage() for record in caplog.records] == [
            "broker localhost:5672: Connection refused"
        ] * 3
        reason = "broker localhost:5672: Connection refused"
        payload = {"state": "CONNECTING", "reason": reason}
        assert desk.notices == [("test", "WARNING", "SERVICE_ERROR", reason, payload)]
        assert (desk.consumer.state, desk.consumer.detail) == ("connecting", reason)
        assert desk.changes == 1
        desk.consumer._be_running()
        assert desk.notices[1:] == [("test", "INFO", "MESSAGE", "consumes again")]
        assert desk.consumer.state == "running"


def test_a_short_outage_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.fail_for(120)
    desk.consumer._be_running()
    desk.fail_for(120)
    desk.consumer._be_running()
    assert desk.notices == []


@pytest.mark.parametrize(
    ("silent_at", "times_answered", "what"),
    [("Basic.Consume", 0, "basic_consume"), ("Basic.Qos", 1, "basic_qos")],
)
def test_a_silent_broker_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, silent_at: str, times_answered: int, what: str
) -> None:
    """The queue cannot be consumed, or it is never said that acknowledgements were seen."""
    monkeypatch.setattr(link, "ANSWER_S", 0.3)
    monkeypatch.setattr(consuming, "reconnect_delays", lambda: repeat(0.05))
    details: list[str] = []

    async def main() -> None:
        async with silent_broker(silent_at, times_answered=times_answered) as broker:
            settings = _settings(AmqpSettings("127.0.0.1", broker.port, queue=QUEUE))

            def tell_and_ask() -> None:
                details.append(consumer.detail)
                if consumer.state == "running":
                    consumer.ask_whether_settled(lambda: None)

            consumer = Consumer(
                settings, lambda _: None, lambda: None, tell_and_ask, lambda *_: None
            )
            running = asyncio.ensure_future(consumer.run())
            reason = f"broker 127.0.0.1:{broker.port}: no answer to {what} in 0.3 s"
            # A busy machine may be late with another answer first.
            while broker.ended < 2 or reason not in details:
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 60))
