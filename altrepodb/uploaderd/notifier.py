"""The notifier: a thread of the main process that publishes notices.

    notifier = Notifier(settings)
    notifier.start(service_names)
    notifier.notify("repo_loader", "CRITICAL", "SERVICE_WORKER_ERROR", "no such directory", {...})
    notifier.stop()

``notify`` returns at once and never raises. While the broker is away the notices wait; of too many
the oldest go, those of severity INFO first, and the next notice says how many (``dropped``).

On the wire: exchange of the settings (durable topic), routing key ``<type>.<severity>`` in lower
case, body one JSON object with subject, severity, type, message, timestamp (seconds since 1970
UTC, with fraction) and payload.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pika

from altrepodb import __version__
from altrepodb.errors import AltrepodbError
from altrepodb.logger import printable
from altrepodb.uploaderd.broker import Publisher, reconnect_delays
from altrepodb.uploaderd.notice import Notice, NoticeType, Severity
from altrepodb.uploaderd.outbox import DatedNotice, Outbox, with_payload
from altrepodb.uploaderd.settings import NotifierSettings

__all__ = ["Notifier", "log_notice", "notice_body", "notice_routing_key"]

logger = logging.getLogger("altrepodb.notifier")

_MAX_WAITING = 1000
_MERGE_WINDOW_S = 300.0
_FLUSH_S = 5.0
_KEEP_ALIVE_S = 5.0
_RESTART_S = 60.0
_REPEAT_LOG_S = 600.0
_MAX_PAYLOAD_CHARACTERS = 1 << 16
_MAX_MESSAGE_CHARACTERS = 1 << 13
_LEVELS = {"INFO": logging.INFO, "WARNING": logging.WARNING, "CRITICAL": logging.ERROR}


class Notifier:
    """Collects notices from any thread and publishes them from its own."""

    def __init__(
        self,
        settings: NotifierSettings,
        *,
        merge_window_s: float = _MERGE_WINDOW_S,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self.sent = 0
        self._settings = settings
        self._outbox = Outbox(max_waiting, merge_window_s)
        self._untold = 0
        self._changed = threading.Condition()
        self._stop_at_s: float | None = None
        self._thread = threading.Thread(target=self._supervise, name="notifier", daemon=True)

    @property
    def dropped(self) -> int:
        """How many notices had to give way to others so far."""
        return self._outbox.dropped

    def start(self, services: Sequence[str] = ()) -> None:
        """Start the thread; tell which services start, if the settings want it."""
        self._thread.start()
        if self._settings.announce:
            message = f"uploaderd {__version__} started: {', '.join(services)}"
            payload = {"version": __version__, "services": list(services)}
            self.notify("uploaderd", "INFO", "MESSAGE", message, payload)

    def notify(
        self,
        subject: str,
        severity: Severity,
        type: NoticeType,
        message: str,
        payload: Any = None,
    ) -> None:
        """Pass a notice on, see ``notice.Notify``."""
        log_notice(subject, severity, type, message, payload)
        dated = DatedNotice(Notice(subject, severity, type, message, payload), time.time())
        with self._changed:
            self._outbox.add(dated, time.monotonic())
            self._changed.notify_all()

    def stop(self, flush_s: float = _FLUSH_S) -> None:
        """Publish what waits, for ``flush_s`` seconds at most, and end the thread."""
        with self._changed:
            self._stop_at_s = time.monotonic() + flush_s
            self._outbox.close_windows()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(flush_s + 0.5)
        left = len(self._outbox)
        if left or self._thread.is_alive():
            logger.warning("notices that were not sent: %d", left)

    # --- the thread

    def _supervise(self) -> None:
        """Whatever goes wrong here must neither harm the services nor be the end of notices."""
        while True:
            try:
                with Publisher(self._settings.amqp, "notifier") as publisher:
                    self._work(publisher)
                return
            except Exception:
                logger.exception("the notifier failed and starts again")
                if not self._pause(_RESTART_S):
                    return

    def _work(self, publisher: Publisher) -> None:
        """Publish notices until the end has come."""
        while (dated := self._next(publisher)) is not None:
            if not self._deliver(publisher, dated):
                return

    def _next(self, publisher: Publisher) -> DatedNotice | None:
        """Wait for a notice; None when there is none and the end has come."""
        while True:
            with self._changed:
                self._outbox.close_windows(time.monotonic())
                dated = self._outbox.take()
                if dated is not None or self._stop_at_s is not None:
                    return dated
                self._changed.wait(self._rest_s())
            publisher.keep_alive()

    def _rest_s(self) -> float:
        end_s = self._outbox.next_end_s()
        until_end_s = _KEEP_ALIVE_S if end_s is None else end_s - time.monotonic()
        return max(0.0, min(_KEEP_ALIVE_S, until_end_s))

    def _deliver(self, publisher: Publisher, dated: DatedNotice) -> bool:
        """Publish one notice, however long it takes; give up only when the end has come."""
        logged_at_s = None
        for delay_s in reconnect_delays():
            try:
                self._publish(publisher, dated)
                return True
            except AltrepodbError as error:
                now_s = time.monotonic()
                if logged_at_s is None or now_s - logged_at_s >= _REPEAT_LOG_S:
                    logger.warning("notices wait: %s", error)
                    logged_at_s = now_s
            if not self._pause(delay_s):
                break
        logger.warning("notice not sent: %s", notice_routing_key(dated.notice))
        return False

    def _publish(self, publisher: Publisher, dated: DatedNotice) -> None:
        dropped = self._outbox.dropped
        notice = dated.notice
        if dropped > self._untold:
            notice = with_payload(notice, "dropped", dropped - self._untold)
        publisher.publish(
            self._settings.amqp.exchange,
            notice_routing_key(notice),
            notice_body(notice, dated.timestamp),
            pika.BasicProperties(
                content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
            ),
            is_declared=True,
        )
        self._untold = dropped
        self.sent += 1

    def _pause(self, seconds: float) -> bool:
        """Wait, less when the end comes near; whether there is time for another try."""
        until_s = time.monotonic() + seconds
        with self._changed:
            while (now_s := time.monotonic()) < until_s:
                end_s = until_s if self._stop_at_s is None else min(until_s, self._stop_at_s)
                if end_s <= now_s:
                    return False
                self._changed.wait(end_s - now_s)
        return True


def log_notice(
    subject: str, severity: Severity, type: NoticeType, message: str, payload: Any = None
) -> None:
    """Write a notice to the log only, see ``notice.Notify``."""
    logger.log(_LEVELS[severity], "%s: %s: %s", subject, type, printable(message))


def notice_routing_key(notice: Notice) -> str:
    """``<type>.<severity>`` in lower case."""
    return f"{notice.type}.{notice.severity}".lower()


def notice_body(notice: Notice, timestamp: float) -> bytes:
    """The JSON object of a notice. A payload that is too long, or that JSON does not know,
    becomes a text."""
    content = {
        "subject": notice.subject,
        "severity": notice.severity,
        "type": notice.type,
        "message": notice.message[:_MAX_MESSAGE_CHARACTERS],
        "timestamp": timestamp,
        "payload": _payload(notice.payload),
    }
    return json.dumps(content).encode()


def _payload(payload: Any) -> Any:
    if isinstance(payload, str):
        return payload[:_MAX_PAYLOAD_CHARACTERS]
    try:
        text = json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return f"{type(payload).__name__} that JSON cannot hold"
    return payload if len(text) <= _MAX_PAYLOAD_CHARACTERS else text[:_MAX_PAYLOAD_CHARACTERS]
