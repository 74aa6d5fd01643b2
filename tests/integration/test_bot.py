"""The bot between a real broker and a stand-in for Telegram."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd import telegram
from altrepodb.uploaderd.bot import Bot, BotSettings, read_bot_settings
from altrepodb.uploaderd.notice import Notice
from altrepodb.uploaderd.notifier import notice_body
from altrepodb.uploaderd.settings import QueueSettings
from altrepodb.uploaderd.telegram import TelegramSettings
from tests.support.clickhouse import free_port
from tests.support.http_server import Answer, HttpSite, Request
from tests.support.rabbitmq import Broker

PROGRAM = Path(__file__).parents[2] / "bin" / "altrepobot"
TOKEN = "123:s3cret"
PATH = f"/bot{TOKEN}/sendMessage"
# Generous: only a failure waits for so long.
WAIT_S = 240.0


class Site(HttpSite):
    """It notes when requests come, and answers none of them while ``may_answer`` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def answer(self, request: Request) -> Answer:
        self.times.append(time.monotonic())
        answer = super().answer(request)
        self.may_answer.wait(WAIT_S)
        return answer


class Chat:
    """A bot of its own, the exchange it listens to, and the site that stands in for Telegram."""

    def __init__(self, broker: Broker, site: Site, directory: Path) -> None:
        name = uuid4().hex
        self.broker = broker
        self.site = site
        self.exchange, self.queue = f"bot-{name}-ex", f"bot-{name}-q"
        self.directory = directory
        self.declare_exchange()

    def declare_exchange(self) -> None:
        with self.broker.channel() as channel:
            channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
            channel.queue_declare(self.queue, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(self.queue, self.exchange, "#")

    def delete(self) -> None:
        with self.broker.channel() as channel:
            channel.queue_delete(self.queue)
            channel.exchange_delete(self.exchange)

    def settings(self, **amqp: Any) -> BotSettings:
        queue = QueueSettings(self.queue, "quorum")
        return BotSettings(
            self.broker.settings(exchange=self.exchange, queue=queue, **amqp),
            TelegramSettings(TOKEN, "-100", self.site.url(), pause_s=0.01),
        )

    def answers(self, *answers: Answer) -> None:
        self.site.add(PATH, *answers)

    def send(self, *messages: str) -> None:
        with self.broker.channel() as channel:
            for message in messages:
                notice = Notice("repo_loader", "CRITICAL", "SERVICE_WORKER_ERROR", message)
                channel.basic_publish(self.exchange, "a.b", notice_body(notice, 0.0))

    def posts(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.site.requests]

    def wait_for_posts(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.site.requests) >= count)
        return self.posts()

    def left(self) -> int:
        """The messages that are ready once no bot has any."""
        return self.broker.count(self.queue)


@pytest.fixture
def chat(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    # What a test holds up, or a busy machine, is not what these limits are for.
    monkeypatch.setattr(telegram, "_CONNECT_TIMEOUT_S", WAIT_S)
    monkeypatch.setattr(telegram, "_READ_TIMEOUT_S", WAIT_S)
    with Site() as site:
        made = Chat(broker, site, tmp_path)
        made.answers(Answer(b'{"ok": true}'))
        yield made
        made.delete()


@contextmanager
def running(settings: BotSettings) -> Iterator[Bot]:
    bot = Bot(settings)
    thread = threading.Thread(target=bot.run)
    thread.start()
    try:
        yield bot
    finally:
        bot.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status(code: int, **content: Any) -> Answer:
    return Answer(json.dumps({"ok": False, **content}).encode(), code)


def test_notices_are_forwarded_in_order_and_acknowledged(chat: Chat) -> None:
    chat.send("one <&>", "two")
    with running(chat.settings()) as bot:
        first, second = chat.wait_for_posts(2)
        wait_until(lambda: bot.summary.sent == 2)
    assert (first["chat_id"], first["parse_mode"]) == ("-100", "HTML")
    assert "in <b>repo_loader</b>\n\none &lt;&amp;&gt;" in first["text"]
    assert "two" in second["text"]
    assert chat.left() == 0


def test_too_many_messages_are_waited_for(chat: Chat) -> None:
    chat.answers(status(429, parameters={"retry_after": 1}), Answer(b"{}"))
    chat.send("one")
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    asked, asked_again = chat.site.times
    assert asked_again - asked >= 1
    assert len(chat.posts()) == 2
    assert chat.left() == 0


def test_a_refused_text_is_sent_plain_once_and_given_up(chat: Chat) -> None:
    chat.answers(status(400, description="can't parse entities"))
    chat.send("one <&>")
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.refused == 1)
    marked, plain = chat.posts()
    assert "&lt;" in marked["text"] and "<&>" in plain["text"]
    assert "parse_mode" not in plain
    assert chat.left() == 0


def test_a_text_that_is_taken_plain(chat: Chat) -> None:
    chat.answers(status(400), Answer(b"{}"))
    chat.send("one")
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    assert (bot.summary.refused, chat.left()) == (0, 0)


@pytest.mark.parametrize("trouble", [status(500), status(302), Answer(fault="reset")])
def test_a_notice_is_kept_while_telegram_is_away(chat: Chat, trouble: Answer) -> None:
    chat.answers(trouble)
    chat.send("one")
    with running(chat.settings()):
        chat.wait_for_posts(1)
        assert chat.left() == 0
    wait_until(lambda: chat.left() == 1)
    chat.answers(Answer(b"{}"))
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    assert chat.left() == 0


def test_retries_go_on_until_it_works(chat: Chat) -> None:
    chat.answers(status(500), Answer(b"{}"))
    chat.send("one")
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    assert len(chat.posts()) == 2


@pytest.mark.slow
def test_heartbeats_are_kept_while_sending(chat: Chat) -> None:
    """The broker would cut a silent connection after two heartbeats, or three at most."""
    chat.answers(Answer(b"{}", delay_s=14))
    chat.send("one")
    with running(chat.settings(heartbeat=4)) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    assert bot.summary.reconnects == 0
    assert len(chat.posts()) == 1


def test_a_notice_is_sent_once_when_the_connection_breaks_meanwhile(chat: Chat) -> None:
    chat.answers(Answer(b"{}"))
    chat.site.may_answer.clear()
    chat.send("one")
    with running(chat.settings()) as bot:
        chat.wait_for_posts(1)
        chat.broker.close_connections()
        chat.site.may_answer.set()
        wait_until(lambda: bot.summary.sent == 1)
        chat.send("two")
        wait_until(lambda: bot.summary.sent == 2)
    assert bot.summary.reconnects >= 1
    assert len(chat.posts()) == 2
    assert chat.left() == 0


def test_a_deleted_queue_is_made_again(chat: Chat) -> None:
    with running(chat.settings()) as bot:
        chat.send("one")
        wait_until(lambda: bot.summary.sent == 1)
        with chat.broker.channel() as channel:
            channel.queue_delete(chat.queue)

        def send_until_taken() -> bool:
            chat.send("two")
            return bot.summary.sent > 1

        wait_until(send_until_taken)


def test_rights_that_are_enough(chat: Chat) -> None:
    chat.broker.control("add_user", "bot", "bot")
    own = f"^{chat.queue}$"
    chat.broker.control("set_permissions", "bot", own, own, f"^({chat.queue}|{chat.exchange})$")
    chat.send("one")
    with running(chat.settings(username="bot", password="bot")) as bot:
        wait_until(lambda: bot.summary.sent == 1)
    assert bot.summary.reconnects == 0


def test_an_exchange_that_comes_later(chat: Chat) -> None:
    with chat.broker.channel() as channel:
        channel.exchange_delete(chat.exchange)
    with running(chat.settings()) as bot:
        wait_until(lambda: bot.summary.reconnects >= 1)
        chat.declare_exchange()
        chat.send("one")
        wait_until(lambda: bot.summary.sent == 1)


# --- the command


def configuration(chat: Chat, **changes: Any) -> Path:
    path = chat.directory / "altrepobot.conf"
    amqp = {"host": "127.0.0.1", "port": chat.broker.port, "exchange": chat.exchange}
    amqp |= {"queue": chat.queue, "queue_type": "quorum", "username": "", "password": ""}
    telegram = {"token": TOKEN, "chatid": "-100", "api_url": chat.site.url(), "pause": "0.01"}
    lines = ["[TELEGRAM]", *(f"{k} = {changes.get(k, v)}" for k, v in telegram.items())]
    lines += ["[AMQP]", *(f"{k} = {changes.get(k, v)}" for k, v in amqp.items())]
    path.write_text("\n".join(lines))
    return path


def test_the_command_tells_systemd_and_ends_cleanly(chat: Chat, tmp_path: Path) -> None:
    chat.send("one")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(WAIT_S)
        with subprocess.Popen(
            [sys.executable, PROGRAM, "-D", "-c", configuration(chat, token="")],
            env={**os.environ, "NOTIFY_SOCKET": address, "ALTREPOBOT_TOKEN": TOKEN},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert listener.recv(4096) == b"READY=1\nSTATUS=forwarding notices"
                chat.wait_for_posts(1)
                process.send_signal(signal.SIGTERM)
                assert listener.recv(4096) == b"STOPPING=1"
                _, log = process.communicate(timeout=WAIT_S)
            finally:
                process.kill()
    assert process.returncode == 0
    assert "s3cret" not in log


def test_start_does_not_wait_for_the_broker(chat: Chat, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(WAIT_S)
        with subprocess.Popen(
            [sys.executable, PROGRAM, "-c", configuration(chat, port=free_port())],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                told = listener.recv(4096)
                process.send_signal(signal.SIGINT)
                process.wait(WAIT_S)
            finally:
                process.kill()
    assert told.startswith(b"READY=1\nSTATUS=waiting for the broker: ")
    assert process.returncode == 0


def test_a_missing_file_is_not_tried_again_by_systemd(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "-c", tmp_path / "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("none: cannot be read: No such file or directory")


def test_configuration(chat: Chat) -> None:
    settings = read_bot_settings(configuration(chat, port="", pause=""), {})
    assert (settings.amqp.port, settings.amqp.username) == (5672, "guest")
    assert settings.telegram == TelegramSettings(TOKEN, "-100", chat.site.url(), 3.0)
    token = read_bot_settings(configuration(chat), {"ALTREPOBOT_TOKEN": "other"}).telegram.token
    assert token == "other"
    assert TOKEN not in repr(settings)
    assert settings.amqp.queue == QueueSettings(chat.queue, "quorum")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": ""}, "TELEGRAM: token: expected a text, got nothing"),
        ({"chatid": ""}, "TELEGRAM: chatid: expected a text, got nothing"),
        ({"port": "many"}, "AMQP: port: expected a whole number"),
        ({"queue_type": "stream"}, "AMQP: queue: type: expected one of classic, quorum"),
        ({"exchange": "\n[AMQP]"}, "not an INI file"),
    ],
)
def test_wrong_configuration(chat: Chat, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_bot_settings(configuration(chat, **changes), {})
    assert TOKEN not in str(caught.value)
