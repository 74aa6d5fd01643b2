"""Connecting and publishing with a real broker, plain and with TLS."""

from __future__ import annotations

from typing import Any

import pytest

from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd.broker import (
    BrokerRefusedError,
    BrokerUnavailableError,
    Publisher,
    UnroutableError,
    connect,
    reconnect_delays,
)
from tests.support.clickhouse import free_port
from tests.support.rabbitmq import Broker


def test_connecting_by_tls_with_and_without_a_client_certificate(broker: Broker) -> None:
    client = {"cert": broker.certificates.client, "key": broker.certificates.client_key}
    for further in ({}, {key: str(path) for key, path in client.items()}):
        connect(broker.tls_settings(**further), "test").close()
    connect(broker.tls_settings(host="localhost"), "test").close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cacert": "other_ca"}, "certificate: self-signed certificate"),
        ({"server_hostname": "elsewhere.example"}, "Hostname mismatch"),
        ({"port": "port"}, "TLS: WRONG_VERSION_NUMBER"),
        ({"cacert": "", "port": "tls_port"}, "does not speak AMQP without TLS"),
        ({"cacert": "", "port": "port", "password": "wr0ng"}, "user guest: login refused"),
        ({"cacert": "", "port": "port", "vhost": "none"}, "vhost none: no access"),
    ],
)
def test_what_only_a_person_can_cure(broker: Broker, changes: dict[str, Any], reason: str) -> None:
    places = {
        "other_ca": str(broker.certificates.other_ca),
        "port": broker.port,
        "tls_port": broker.tls_port,
    }
    settings = broker.tls_settings(**{key: places.get(v, v) for key, v in changes.items()})
    with pytest.raises(BrokerRefusedError, match=reason) as caught:
        connect(settings, "test")
    assert "wr0ng" not in str(caught.value)


def test_a_closed_port_is_temporary(broker: Broker) -> None:
    with pytest.raises(BrokerUnavailableError, match="Connection refused"):
        connect(broker.settings(port=free_port()), "test")


def test_a_file_that_is_no_certificate(broker: Broker) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used for TLS"):
        connect(broker.tls_settings(cacert=__file__), "test")


def test_publishing_is_confirmed_and_survives_a_cut(broker: Broker) -> None:
    with Publisher(broker.settings(), "test") as publisher:
        publisher.publish("publish-ex", "a.b", b"lost", is_declared=True)
        with broker.channel() as channel:
            channel.queue_declare("publish-q", durable=True)
            channel.queue_bind("publish-q", "publish-ex", "a.#")
        publisher.publish("publish-ex", "a.b", b"one", is_mandatory=True)
        with pytest.raises(UnroutableError):
            publisher.publish("publish-ex", "b", b"nowhere", is_mandatory=True)
        broker.close_connections()
        publisher.publish("publish-ex", "a.c", b"two", is_mandatory=True)
        publisher.keep_alive()
    with broker.channel() as channel:
        found = [channel.basic_get("publish-q", auto_ack=True) for _ in range(3)]
        assert [(m and m.routing_key, body) for m, _, body in found] == [
            ("a.b", b"one"),
            ("a.c", b"two"),
            (None, None),
        ]
        channel.queue_delete("publish-q")
        channel.exchange_delete("publish-ex")


def test_a_missing_exchange_is_named(broker: Broker) -> None:
    with (
        Publisher(broker.settings(), "test") as publisher,
        pytest.raises(BrokerRefusedError, match="no exchange 'absent-ex'"),
    ):
        publisher.publish("absent-ex", "a", b"")


def test_delays_grow_to_a_minute() -> None:
    delays = [delay for delay, _ in zip(reconnect_delays(), range(9), strict=False)]
    for delay, expected in zip(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert 0.9 * expected <= delay <= 1.1 * expected
