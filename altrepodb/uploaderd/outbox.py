"""The notices that wait for the broker: bounded, and equal ones merged.

Of equal notices (subject, type, severity, message) the first is passed on at once. Those of the
next minutes are counted, and one notice with ``payload.repeated`` stands for them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from altrepodb.uploaderd.notice import Notice

__all__ = ["DatedNotice", "Outbox", "with_payload"]

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class DatedNotice:
    """A notice and when it arose, in seconds since 1970 UTC."""

    notice: Notice
    timestamp: float


@dataclass(slots=True)
class _Window:
    """The time in which notices like the last one are counted; ``end_s`` is of a steady clock."""

    end_s: float
    last: DatedNotice
    repeated: int = 0


class Outbox:
    """Used under the lock of its owner. ``now_s`` is of a steady clock, the same in all calls."""

    def __init__(self, limit: int, window_s: float) -> None:
        self.dropped = 0
        self._limit = limit
        self._window_s = window_s
        self._waiting: deque[DatedNotice] = deque()
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, dated: DatedNotice, now_s: float) -> None:
        """Queue a notice, or count it with one like it."""
        self.close_windows(now_s)
        key = _key(dated.notice)
        if key in self._windows:
            window = self._windows[key]
            window.last = dated
            window.repeated += 1
            return
        if len(self._windows) >= self._limit:
            self._close(next(iter(self._windows)))
        self._windows[key] = _Window(now_s + self._window_s, dated)
        self._queue(dated)

    def take(self) -> DatedNotice | None:
        """Take out the oldest notice."""
        return self._waiting.popleft() if self._waiting else None

    def close_windows(self, now_s: float | None = None) -> None:
        """Queue what was counted in windows that have ended, or in all without ``now_s``.

        A window that counted something is followed by the next one, so that a lasting trouble
        is told once in each.
        """
        for key, window in list(self._windows.items()):
            if now_s is not None and window.end_s > now_s:
                return
            last = window.last
            if self._close(key) and now_s is not None:
                self._windows[key] = _Window(now_s + self._window_s, last)

    def next_end_s(self) -> float | None:
        """When the next window ends, by the same clock."""
        return next((window.end_s for window in self._windows.values()), None)

    def _close(self, key: _Key) -> bool:
        """Forget a window; whether a notice had to be queued for it."""
        window = self._windows.pop(key)
        if window.repeated:
            told = with_payload(window.last.notice, "repeated", window.repeated)
            self._queue(replace(window.last, notice=told))
        return window.repeated > 0

    def _queue(self, dated: DatedNotice) -> None:
        """The oldest INFO gives way when there is no room, or the oldest of all."""
        if len(self._waiting) >= self._limit:
            severities = [waiting.notice.severity for waiting in self._waiting]
            del self._waiting[severities.index("INFO") if "INFO" in severities else 0]
            self.dropped += 1
        self._waiting.append(dated)


def with_payload(notice: Notice, key: str, value: Any) -> Notice:
    """The notice with one more key in its payload, which becomes an object if it is none."""
    payload = notice.payload
    if not isinstance(payload, Mapping):
        payload = {} if payload is None else {"payload": payload}
    return replace(notice, payload={**payload, key: value})


def _key(notice: Notice) -> _Key:
    return (notice.subject, notice.type, notice.severity, notice.message)
