"""What a consumer says about a broker that is away."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.uploaderd import consuming
from altrepodb.uploaderd.consuming import Consumer
from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.settings import AmqpSettings, QueueSettings, ServiceSettings

KIND = ServiceType("test", frozenset(), lambda _: None, lambda *_: None, lambda *_: None)


class Desk:
    """A consumer, what it told, and a clock that is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.notices: list[tuple[Any, ...]] = []
        self.changes = 0
        settings = ServiceSettings(
            type=KIND,
            file=Path("test.json"),
            database=DatabaseSettings(host="x"),
            amqp=AmqpSettings(queue=QueueSettings("test-q", "quorum")),
        )
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
