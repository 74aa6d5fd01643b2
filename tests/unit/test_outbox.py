"""What waits for the broker: bounded, merged, nothing lost uncounted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altrepodb.uploaderd.notice import Notice, Severity
from altrepodb.uploaderd.notifier import notice_body, notice_routing_key
from altrepodb.uploaderd.outbox import DatedNotice, Outbox


def notice(message: str = "failed", severity: Severity = "CRITICAL", payload: Any = None) -> Notice:
    return Notice("repo_loader", severity, "SERVICE_WORKER_ERROR", message, payload)


def taken(outbox: Outbox) -> list[Notice]:
    found = []
    while (dated := outbox.take()) is not None:
        found.append(dated.notice)
    return found


def test_equal_notices_within_the_window_are_told_twice() -> None:
    outbox = Outbox(1000, 300)
    for second in range(100):
        outbox.add(DatedNotice(notice(payload={"number": second}), second), second)
    assert [one.payload for one in taken(outbox)] == [{"number": 0}]
    outbox.close_windows(299)
    assert taken(outbox) == []
    outbox.close_windows(300)
    assert [one.payload for one in taken(outbox)] == [{"number": 99, "repeated": 99}]


def test_a_lasting_trouble_is_told_once_a_window() -> None:
    outbox = Outbox(1000, 300)
    for second in range(3000):
        outbox.add(DatedNotice(notice(), second), second)
    assert len(taken(outbox)) == 10


def test_quiet_windows_are_forgotten() -> None:
    outbox = Outbox(1000, 300)
    outbox.add(DatedNotice(notice(), 0), 0)
    outbox.add(DatedNotice(notice(), 400), 400)
    assert [one.payload for one in taken(outbox)] == [None, None]
    outbox.close_windows(800)
    assert outbox.next_end_s() is None


def test_notices_that_differ_are_not_merged() -> None:
    outbox = Outbox(1000, 300)
    for one in (notice("a"), notice("b"), notice("a", "WARNING")):
        outbox.add(DatedNotice(one, 0), 0)
    assert len(taken(outbox)) == 3


def test_the_oldest_of_severity_info_goes_first() -> None:
    outbox = Outbox(3, 300)
    for message, severity in (("a", "CRITICAL"), ("b", "INFO"), ("c", "INFO"), ("d", "WARNING")):
        outbox.add(DatedNotice(notice(message, severity), 0), 0)  # type: ignore[arg-type]
    outbox.add(DatedNotice(notice("e"), 0), 0)
    outbox.add(DatedNotice(notice("f"), 0), 0)
    assert [one.message for one in taken(outbox)] == ["d", "e", "f"]
    assert outbox.dropped == 3


def test_at_the_end_all_windows_are_closed() -> None:
    outbox = Outbox(1000, 300)
    for second in range(3):
        outbox.add(DatedNotice(notice(payload="b'old'"), second), second)
    outbox.close_windows()
    assert [one.payload for one in taken(outbox)] == [
        "b'old'",
        {"payload": "b'old'", "repeated": 2},
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 200))), st.integers(1, 8))
def test_every_notice_is_told_counted_or_dropped(
    events: list[tuple[int, float]], limit: int
) -> None:
    outbox, now_s = Outbox(limit, 300), 0.0
    for number, pause_s in events:
        now_s += pause_s
        outbox.add(DatedNotice(notice(str(number)), now_s), now_s)
        assert len(outbox) <= limit
    outbox.close_windows()
    repeated = sum((one.payload or {}).get("repeated", 1) for one in taken(outbox))
    assert repeated == len(events) if not outbox.dropped else repeated < len(events)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"branch": "p9"}, {"branch": "p9"}),
        (None, None),
        ("Ё" * 70_000, "Ё" * 65_536),
        ({"key": "x" * 70_000}, f'{{"key": "{"x" * 65_527}'),
        ({("a", "b"): 1}, "dict that JSON cannot hold"),
        (float("nan"), "float that JSON cannot hold"),
        ("\udce4", "\udce4"),
    ],
)
def test_body_of_a_notice(payload: Any, expected: Any) -> None:
    body = json.loads(notice_body(notice("Invalid path", payload=payload), 1795437103.58))
    assert body == {
        "subject": "repo_loader",
        "severity": "CRITICAL",
        "type": "SERVICE_WORKER_ERROR",
        "message": "Invalid path",
        "timestamp": 1795437103.58,
        "payload": expected,
    }


def test_a_payload_that_holds_itself_or_is_too_deep() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = {}
    for _ in range(100_000):
        deep = {"deeper": deep}
    for payload in (circle, deep, 10**5000):
        json.loads(notice_body(notice(payload=payload), 0))


def test_routing_key() -> None:
    assert notice_routing_key(notice()) == "service_worker_error.critical"
