"""The bot: takes notices from a queue and sends each to one Telegram chat.

A notice is acknowledged after it was sent, or when Telegram will never take it. While Telegram is
away it is kept and tried again; sending runs in a thread, so that heartbeats go on. When the
broker is away the bot connects again, for ever.

The configuration is an INI file with the sections TELEGRAM (token, chatid, api_url, pause) and AMQP
(queue, queue_type, and the keys that the daemon's files have there too).
"""

from __future__ import annotations

import configparser
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from altrepodb.config import settings_text
from altrepodb.errors import AltrepodbError, ConfigurationError
from altrepodb.uploaderd.broker import BROKER_ERRORS, connect, explain, reconnect_delays
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.notice_text import NoticeText, format_notice
from altrepodb.uploaderd.service_manager import tell_service_manager
from altrepodb.uploaderd.settings import AmqpSettings, read_amqp
from altrepodb.uploaderd.telegram import TelegramSettings, Verdict, send_message

__all__ = ["Bot", "BotSettings", "BotSummary", "read_bot_settings"]

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "ALTREPOBOT_TOKEN"
_NUMBERS = ("port", "heartbeat", "pause")
_TURN_S = 0.25
_REPEAT_LOG_S = 600.0
_MAX_LOGGED_BYTES = 1 << 16
_MAX_PAUSE_S = 3600.0


# --- configuration


@dataclass(frozen=True, slots=True)
class BotSettings:
    """Where notices come from and where they go."""

    amqp: AmqpSettings
    telegram: TelegramSettings


def read_bot_settings(path: Path, environment: Mapping[str, str] = os.environ) -> BotSettings:
    """Read the INI file. An empty value is none. Raises ConfigurationError with all problems."""
    top = JsonObject(_sections(path), str(path))
    amqp, telegram = top.section("AMQP"), top.section("TELEGRAM")
    settings = BotSettings(_amqp(amqp), _telegram(telegram, environment.get(TOKEN_VARIABLE, "")))
    for section in (top, telegram):
        section.warn_about_unknown()
    for warning in top.problems.warnings:
        logger.warning("%s", warning)
    top.problems.raise_if_any()
    return settings


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(settings_text(path))
    except configparser.Error as error:
        # Not its words: they quote the line, which may hold the token.
        raise ConfigurationError(f"{path}: not an INI file: {type(error).__name__}") from None
    return {name: _given(parser[name]) for name in parser.sections()}


def _given(section: Mapping[str, str]) -> dict[str, Any]:
    """The values that are not empty, numbers as such."""
    values: dict[str, Any] = {key: value for key, value in section.items() if value}
    for key in _NUMBERS:
        text = values.get(key, "")
        if re.fullmatch("[0-9]{1,9}", text):
            values[key] = int(text)
        elif re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", text):
            values[key] = float(text)
    return values


def _amqp(section: JsonObject) -> AmqpSettings:
    """As the daemon reads it; only the queue is written in another way here."""
    queue = {
        "name": section.text("queue", "default"),
        "type": section.text("queue_type", "classic"),
    }
    rest = {k: v for k, v in section.values.items() if k not in ("queue", "queue_type")}
    whole = JsonObject({**rest, "queue": queue}, section.where, section.problems)
    return replace(
        read_amqp(whole, has_queue=True),
        product="ALTRepoDB",
        information="ALTRepo Notifier Telegram Bot",
    )


def _telegram(section: JsonObject, token: str) -> TelegramSettings:
    defaults = TelegramSettings("", "")
    return TelegramSettings(
        token=token or section.text("token", is_required=True),
        chat_id=section.text("chatid", is_required=True),
        api_url=section.text("api_url", defaults.api_url).rstrip("/"),
        pause_s=section.number("pause", defaults.pause_s, low=0, high=_MAX_PAUSE_S),
    )


# --- the work


@dataclass(slots=True)
class BotSummary:
    """What the bot did; ``refused`` notices stand in the log only."""

    sent: int = 0
    refused: int = 0
    reconnects: int = 0


class _Stopped(Exception):
    """The end has come in the middle of something."""


class Bot:
    """One run of the bot; ``stop`` may be called from a signal handler or another thread."""

    def __init__(self, settings: BotSettings) -> None:
        self.summary = BotSummary()
        assert settings.amqp.queue is not None
        self._settings = settings
        self._queue = settings.amqp.queue.name
        self._stopping = threading.Event()
        self._last: tuple[bytes, Future[Verdict]] | None = None
        self._is_ready = False

    def stop(self) -> None:
        """End the run: what is not sent stays in the queue."""
        self._stopping.set()

    def run(self) -> BotSummary:
        """Take and send notices until ``stop``; a broker that is away is waited for."""
        logged_at_s = None
        delays = reconnect_delays()
        while not self._stopping.is_set():
            try:
                with self._channel() as channel:
                    logged_at_s, delays = None, reconnect_delays()
                    self._consume(channel)
                logger.warning("%s: the queue is gone, it is made again", self._queue)
            except _Stopped:
                break
            except AltrepodbError as error:
                self._tell(f"waiting for the broker: {error}")
                if logged_at_s is None or time.monotonic() - logged_at_s >= _REPEAT_LOG_S:
                    logger.warning("%s", error)
                    logged_at_s = time.monotonic()
                self.summary.reconnects += 1
                self._stopping.wait(next(delays))
        tell_service_manager("STOPPING=1")
        return self.summary

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        """A channel whose queue is there and bound; what breaks it is one of our errors."""
        amqp = self._settings.amqp
        connection = connect(amqp, "altrepobot")
        try:
            channel = connection.channel()
            _declare(channel, amqp)
            yield channel
        except BROKER_ERRORS as error:
            raise explain(error, amqp) from error
        finally:
            with suppress(*BROKER_ERRORS):
                connection.close()

    def _consume(self, channel: BlockingChannel) -> None:
        """Handle deliveries one at a time; return when the queue is gone."""
        channel.basic_qos(prefetch_count=1)
        self._tell("forwarding notices")
        for method, _, body in channel.consume(self._queue, inactivity_timeout=_TURN_S):
            if self._stopping.is_set():
                raise _Stopped
            if method is None or body is None or method.delivery_tag is None:
                continue
            self._forward(channel, body, bool(method.redelivered))
            channel.basic_ack(method.delivery_tag)
            self._pause(channel, self._settings.telegram.pause_s)

    def _forward(self, channel: BlockingChannel, body: bytes, redelivered: bool) -> None:
        """Send one notice, however often it takes. Returns when it may be acknowledged."""
        text = format_notice(body)
        is_html = True
        delays = reconnect_delays()
        verdict = self._earlier_verdict(channel, body) if redelivered else None
        while True:
            if verdict is None:
                verdict = self._attempt(channel, body, text, is_html)
            if verdict.kind == "sent":
                self.summary.sent += 1
                return
            if verdict.kind == "refused" and not is_html:
                self.summary.refused += 1
                logger.error("%s: given up: %s", verdict.reason, _logged(body))
                return
            logger.warning("%s", verdict.reason)
            if verdict.kind == "refused":
                is_html = False
            else:
                self._pause(channel, verdict.wait_s or next(delays))
            verdict = None

    def _attempt(
        self, channel: BlockingChannel, body: bytes, text: NoticeText, is_html: bool
    ) -> Verdict:
        future: Future[Verdict] = Future()
        self._last = (hashlib.sha256(body).digest(), future)
        arguments = (future, self._settings.telegram, text.html if is_html else text.plain, is_html)
        threading.Thread(target=_send, args=arguments, daemon=True).start()
        return self._wait_for(channel, future)

    def _earlier_verdict(self, channel: BlockingChannel, body: bytes) -> Verdict | None:
        """What became of a notice that was being sent when the connection broke."""
        if self._last is None or self._last[0] != hashlib.sha256(body).digest():
            return None
        verdict = self._wait_for(channel, self._last[1])
        return verdict if verdict.kind == "sent" else None

    def _wait_for(self, channel: BlockingChannel, future: Future[Verdict]) -> Verdict:
        while not future.done():
            # The first turns are short, since an answer takes a few milliseconds only.
            channel.connection.process_data_events(_TURN_S / 10)
        return future.result()

    def _pause(self, channel: BlockingChannel, seconds: float) -> None:
        """Wait with heartbeats. Raises _Stopped when the end comes."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self._stopping.is_set():
                raise _Stopped
            channel.connection.process_data_events(min(left_s, _TURN_S))

    def _tell(self, status: str) -> None:
        """A status for systemd; the first one also ends the start, whatever it says."""
        ready = () if self._is_ready else ("READY=1",)
        self._is_ready = True
        tell_service_manager(*ready, f"STATUS={status}")


def _declare(channel: BlockingChannel, amqp: AmqpSettings) -> None:
    queue = amqp.queue
    assert queue is not None
    channel.queue_declare(queue.name, durable=True, arguments={"x-queue-type": queue.type})
    channel.queue_bind(queue.name, amqp.exchange, "#")


def _send(future: Future[Verdict], telegram: TelegramSettings, text: str, is_html: bool) -> None:
    try:
        future.set_result(send_message(telegram, text, is_html=is_html))
    except BaseException as error:
        # For the thread that waits.
        future.set_exception(error)


def _logged(body: bytes) -> str:
    return body[:_MAX_LOGGED_BYTES].decode("utf-8", "backslashreplace")
