"""``repodb_amqpfire`` with a real broker: what arrives, and how each failure ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from altrepodb.cli.repodb_amqpfire import main
from tests.support.clickhouse import free_port
from tests.support.rabbitmq import Broker, is_installed, running_broker

PROGRAM = Path(__file__).parents[2] / "bin" / "repodb_amqpfire"
REPOSITORY = ("-s", "repo", "-p", "p10", "2022-06-22")


class Target:
    """An exchange of its own, a queue bound to it, and configuration files that name it."""

    def __init__(self, broker: Broker, channel: Any, directory: Path) -> None:
        self.broker = broker
        self.channel = channel
        self.exchange = f"fire-{uuid4().hex}"
        self._directory = directory
        channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)

    def bind(self, routing_key: str = "#", **arguments: Any) -> str:
        queue = self.channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
        self.channel.queue_bind(queue, self.exchange, routing_key)
        return str(queue)

    def configuration(self, **changes: Any) -> str:
        values = {
            "host": "127.0.0.1",
            "port": self.broker.port,
            "exchange": self.exchange,
            "username": "guest",
            "password": "guest",
            # For a busy machine.
            "timeout": 60,
            **changes,
        }
        path = self._directory / "fire.json"
        path.write_text(json.dumps(values, default=str))
        return str(path)

    def fire(self, *words: str, **changes: Any) -> int:
        return main(["-c", self.configuration(**changes), *words])


@pytest.fixture
def target(broker: Broker, tmp_path: Path) -> Iterator[Target]:
    with broker.channel() as channel:
        made = Target(broker, channel, tmp_path)
        yield made
    with broker.channel() as channel:
        channel.exchange_delete(made.exchange)


@pytest.mark.parametrize(
    ("words", "key", "body"),
    [
        (REPOSITORY, "repo.load", b'{"branch": "p10", "date": "2022-06-22"}'),
        (("-s", "watch"), "watch.load", b"{}"),
        (("-s", "repocop"), "repocop.load", b"{}"),
        (("-s", "beehive"), "beehive.load", b"{}"),
    ],
)
def test_a_message_arrives(
    target: Target, words: tuple[str, ...], key: str, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    queue = target.bind()
    assert target.fire(*words) == 0
    assert capfd.readouterr().out == "OK\n"
    method, properties, found = target.channel.basic_get(queue, auto_ack=True)
    assert (method.routing_key, found) == (key, body)
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)


def test_json_stands_in_for_ok(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.bind()
    assert target.fire("--json", "-s", "watch") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["exchange"], summary["routing_key"]) == (target.exchange, "watch.load")


def refused(target: Target, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    """The line of a shot that the broker does not take."""
    assert target.fire("-s", "watch", **changes) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


def test_no_queue_wants_it(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.bind("repo.#")
    assert "no queue takes the message" in refused(target, capsys)


def test_the_queue_is_full(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.bind(**{"x-max-length": 0, "x-overflow": "reject-publish"})
    assert "a queue does not take the message" in refused(target, capsys)


def test_no_such_exchange(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.bind()
    assert "no exchange 'elsewhere'" in refused(target, capsys, exchange="elsewhere")


def test_wrong_password(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(target, capsys, password="wr0ng-secret")
    assert "login refused" in line and "wr0ng" not in line


def test_tls(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    certificates = target.broker.certificates
    tls = {"port": target.broker.tls_port, "cacert": certificates.ca}
    queue = target.bind()
    assert target.fire("-s", "watch", **tls) == 0
    client = {"key": certificates.client_key, "cert": certificates.client}
    assert target.fire("-s", "watch", **tls, **client) == 0
    assert target.channel.queue_declare(queue, passive=True).method.message_count == 2
    capsys.readouterr()
    assert "certificate" in refused(target, capsys, **{**tls, "cacert": certificates.other_ca})
    assert "Hostname mismatch" in refused(target, capsys, **{**tls, "host": "127.1"})
    assert "TLS" in refused(target, capsys, **{**tls, "port": target.broker.port})
    assert "without TLS" in refused(target, capsys, port=target.broker.tls_port)


@pytest.mark.slow
def test_a_client_certificate_that_the_broker_demands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with running_broker(tmp_path / "broker", "ssl_options.fail_if_no_peer_cert = true\n") as broker:
        certificates = broker.certificates
        tls = {"port": broker.tls_port, "cacert": certificates.ca}
        client = {"key": certificates.client_key, "cert": certificates.client}
        with broker.channel() as channel:
            target = Target(broker, channel, tmp_path)
            target.bind()
            assert target.fire("-s", "watch", **tls, **client) == 0
            capsys.readouterr()
            assert "it may want a client certificate" in refused(target, capsys, **tls)


def test_a_broker_that_is_away_is_worth_another_try(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    assert target.fire("-s", "watch", port=free_port()) == 75
    assert "Connection refused" in capsys.readouterr().err.splitlines()[-1]


def test_a_broker_that_stands_still_is_given_up(target: Target) -> None:
    target.bind()
    configuration = target.configuration(timeout=0.5)
    target.broker.freeze()
    try:
        done = run("-c", configuration, "-s", "watch")
    finally:
        target.broker.thaw()
    assert done.returncode == 75
    assert "127.0.0.1" in done.stderr.splitlines()[-1]


def test_the_password_is_nowhere(target: Target) -> None:
    """Neither in the command line, which holds none to begin with, nor in the debug log.

    The user has no more rights than needed.
    """
    target.bind()
    target.broker.control("add_user", "shooter", "s3cret-w0rd")
    target.broker.control("set_permissions", "shooter", "^$", "^fire-", "^$")
    who = {"username": "shooter", "password": "s3cret-w0rd"}
    done = run("-D", "-c", target.configuration(**who), "-s", "watch")
    assert (done.returncode, done.stdout) == (0, "OK\n")
    assert "s3cret" not in done.stderr
    done = run("-D", "-c", target.configuration(**who, port=free_port()), "-s", "watch")
    assert done.returncode == 75
    assert "s3cret" not in done.stderr


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=300, check=False
    )
