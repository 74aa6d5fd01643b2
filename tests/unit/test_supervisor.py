"""When a service that ended is started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.uploaderd import supervisor
from altrepodb.uploaderd.log import LogSink
from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.settings import AmqpSettings, ServiceSettings
from altrepodb.uploaderd.supervisor import Supervised

KIND = ServiceType("test", frozenset(), lambda _: None, lambda *_: None, lambda *_: None)


def nobody(*_: Any) -> None:
    """Hears nothing."""


def test_delays_grow_and_start_anew_after_ten_quiet_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    settings = ServiceSettings(KIND, Path("test.json"), DatabaseSettings(host="x"), AmqpSettings())
    service = Supervised(settings, LogSink(None, False, "INFO"), 60.0, nobody, nobody)
    service._started = now
    assert [service._delay() for _ in range(8)] == [1, 2, 5, 10, 30, 60, 60, 60]
    now += 601
    assert service._delay() == 1
    service._started = now
    assert service._delay() == 2


def test_a_process_that_cannot_be_made_leaves_nothing_to_kill() -> None:
    settings = ServiceSettings(KIND, Path("test.json"), DatabaseSettings(host="x"), AmqpSettings())
    service = Supervised(settings, LogSink(None, False, "INFO"), 60.0, nobody, nobody)
    with pytest.raises(Exception, match=r"pickle"):
        service.start()
    service.give_up()
    assert service.is_over
    assert not service.has_abandoned
