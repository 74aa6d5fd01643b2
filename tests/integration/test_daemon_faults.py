"""The daemon while the broker and the database stop, freeze, cut, refuse and come back."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.db import open_database
from tests.support.clickhouse import ClickHouseServer
from tests.support.daemon import Daemon, body, freeze, wait_until
from tests.support.rabbitmq import Broker

pytestmark = pytest.mark.server


class TestBroker:
    def test_a_load_outlives_a_broker_that_is_away(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            daemon.start()
            with daemon.listening(daemon.uploaded) as events:
                daemon.publish(body(1, wait_for=str(gate)), body(2), body(3, sleep=0.1))
                daemon.wait_for_line("start", 1)
                before = daemon.processes()
                with broker.away():
                    daemon.wait_for_status("connecting")
                    # It ends while there is nobody to tell.
                    gate.touch()
                    daemon.wait_for_line("end", 1)
                daemon.wait_until_empty()
                assert daemon.loads() == [1, 2, 3]
                assert sorted(text for _, _, text in events()) == [
                    body(1, wait_for=str(gate)),
                    body(2),
                    body(3, sleep=0.1),
                ]
            assert daemon.processes() == before

    def test_a_killed_broker_comes_back_with_all_messages(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start("-D")
            daemon.publish(body(1, wait_for=str(gate)))
            daemon.publish(body(2), persistent=False)
            daemon.wait_for_line("start", 1)
            broker.wait_until_kept()
            broker.kill()
            daemon.wait_for_status("connecting")
            broker.start()
            daemon.wait_for_status("running")
            gate.touch()
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 2]
            assert len(daemon.lines("start", 1)) == 1

    def test_a_start_does_not_wait_for_the_broker(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            broker.stop()
            try:
                daemon.start(wait=False)
                wait_until(lambda: "READY=1" in daemon.told(), "ready", 60)
                daemon.wait_for_status("connecting (broker 127.0.0.1:", "test_loader")
            finally:
                broker.start()
            daemon.wait_for_status("running")
            assert daemon.text().count("uploaderd 3") == 2

    @pytest.mark.slow
    def test_a_frozen_broker_is_noticed(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "500000")
        with Daemon(tmp_path, broker, effects_database, amqp={"heartbeat": 1}) as daemon:
            daemon.start()
            broker.freeze()
            try:
                daemon.wait_for_status("connecting")
                fed = daemon.told().count("WATCHDOG=1")
                wait_until(lambda: daemon.told().count("WATCHDOG=1") > fed + 2, "watchdog")
            finally:
                broker.thaw()
            daemon.wait_for_status("running")
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)

    def test_a_frozen_broker_does_not_hold_up_a_stop(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            broker.freeze()
            try:
                daemon.send(signal.SIGTERM)
                # Less than an answer of the broker is waited for.
                assert daemon.wait(50) == 0
            finally:
                broker.thaw()

    def test_what_ended_before_the_acknowledgement_is_adopted(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start("-D")
            daemon.publish(body(1, wait_for=str(gate)), body(2))
            daemon.wait_for_line("start", 1)
            broker.close_connections()
            gate.touch()
            daemon.wait_for_line("end", 2)
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 2]
            assert "adopted" in daemon.text()

    def test_an_old_tag_settles_nobody_else(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        with Daemon(tmp_path, broker, effects_database, workers_count=2) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(first)))
            daemon.wait_for_line("start", 1)
            workers = set(daemon.processes("test_loader_worker"))
            (service,) = set(daemon.processes("test_loader")) - workers
            # Otherwise it might come back and have the message before that is purged.
            freeze(service)
            try:
                broker.close_connections()
                wait_until(lambda: broker.count(daemon.queue) == 1, "the first is given back")
                # Another message takes number 1 on the new channel.
                with broker.channel() as channel:
                    channel.queue_purge(daemon.queue)
            finally:
                os.kill(service, signal.SIGCONT)
            daemon.publish(body(2, wait_for=str(second)))
            daemon.wait_for_line("start", 2)
            first.touch()
            daemon.wait_for_line("end", 1)
            daemon.publish(body(3))
            daemon.wait_for_line("end", 3)
            wait_until(lambda: daemon.left() == 1, "only the second is left")
            second.touch()
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 3, 2]

    def test_a_consumer_timeout_costs_neither_load_nor_message(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        broker.control("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
        try:
            with Daemon(tmp_path, broker, effects_database, notify=True) as daemon:
                daemon.start("-D")
                with daemon.listening(daemon.notices) as told:
                    daemon.publish(body(1, wait_for=str(gate)))
                    wait_until(lambda: daemon.text().count("adopted, working") >= 2, "adopted")
                    gate.touch()
                    daemon.wait_until_empty()
                    assert daemon.lines("start", 1) == daemon.lines("start")
                    assert len(daemon.lines("start", 1)) == 1
                    assert daemon.stop() == 0
                    assert told() == []
        finally:
            broker.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")

    def test_a_memory_alarm_holds_events_up_and_loses_none(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            daemon.start()
            with daemon.listening(daemon.uploaded) as events:
                daemon.publish(body(1))
                daemon.wait_until_empty()
                daemon.publish(body(2, wait_for=str(gate)))
                daemon.wait_for_line("start", 2)
                with broker.memory_alarm():
                    gate.touch()
                    daemon.wait_for_status("degraded (the broker takes no messages)")
                    assert daemon.left() == 1
                daemon.wait_until_empty()
                assert [text for _, _, text in events()] == [
                    body(1),
                    body(2, wait_for=str(gate)),
                ]
            assert daemon.loads() == [1, 2]
            daemon.wait_for_status("running")

    def test_an_exchange_for_events_that_vanished_is_made_anew(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            daemon.start()
            daemon.publish(body(1))
            daemon.wait_until_empty()
            with broker.channel() as channel:
                channel.exchange_delete(daemon.uploaded)
            daemon.publish(body(2))
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 2]
            with broker.channel() as channel:
                channel.exchange_declare(daemon.uploaded, passive=True)

    def test_an_event_that_is_refused_is_published_later(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            full = f"{daemon.name}-full"
            with broker.channel() as channel:
                channel.exchange_declare(daemon.uploaded, "topic", durable=True)
                limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
                channel.queue_declare(full, arguments=limits)
                channel.queue_bind(full, daemon.uploaded, "#")
            daemon.start()
            daemon.publish(body(1), body(2))
            daemon.wait_for_status("degraded (the broker refuses messages)")
            wait_until(lambda: daemon.left() == 1, "the second is left")
            with broker.channel() as channel:
                assert channel.basic_get(full, auto_ack=True)[2] == body(1)
                daemon.wait_until_empty()
                assert channel.basic_get(full, auto_ack=True)[2] == body(2)
                channel.queue_delete(full)

    def test_a_deleted_queue_is_made_anew(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)))
            daemon.wait_for_line("start", 1)
            with broker.channel() as channel:
                channel.queue_delete(daemon.queue)
            daemon.wait_for_text("is gone, it is made anew")
            wait_until(lambda: _is_routed(daemon, body(2)), "bound again")
            gate.touch()
            daemon.wait_for_line("end", 2)
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 2]


class TestDeclaring:
    def test_the_queue_is_declared_bound_and_unbound_as_ever(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            late = f"{daemon.name}-late-ex"
            bindings = [
                {"exchange": late, "routing_key": "test.late"},
                {"exchange": daemon.exchange, "routing_key": "test.#"},
                {"exchange": daemon.exchange, "routing_key": "old"},
            ]
            daemon.write_service(
                "test_loader",
                queue={
                    "bind_at_startup": bindings,
                    "unbind_at_startup": [{"exchange": daemon.exchange, "routing_key": "old"}],
                },
            )
            daemon.start()
            assert daemon.text().count("no exchange") == 1
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)
            lines = broker.control("list_queues", "--silent", "name", "arguments")
            (line,) = [line for line in lines.splitlines() if line.startswith(daemon.queue)]
            assert line.split("\t")[1] == '[{"x-queue-type","quorum"}]'
            lines = broker.control(
                "list_bindings", "--silent", "source_name", "destination_name", "routing_key"
            )
            assert f"{daemon.exchange}\t{daemon.queue}\ttest.#" in lines
            assert f"{daemon.exchange}\t{daemon.queue}\told" not in lines
            with broker.channel() as channel:
                channel.exchange_declare(late, "topic", durable=True)
                wait_until(
                    lambda: _is_routed(daemon, body(2), exchange=late, key="test.late"), "bound"
                )
                daemon.wait_for_line("end", 2)
                channel.exchange_delete(late)

    def test_who_we_are_is_told_to_the_broker(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        amqp = {"product": "our product", "information": "our words"}
        with Daemon(tmp_path, broker, effects_database, amqp=amqp) as daemon:
            daemon.start()
            told = broker.control("list_connections", "--silent", "client_properties")
            assert '{"product","our product"}' in told
            assert '{"information","our words"}' in told
            assert '{"connection_name","test_loader@' in told
            assert '{"version","' in told

    def test_without_the_right_to_configure_an_existing_queue_is_used(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        user = {"username": "restricted", "password": "p4ss"}
        broker.control("add_user", *user.values())
        broker.control("set_permissions", "restricted", "", ".*", ".*")
        both = {"test_loader": {"amqp": user}, "other_loader": {}}
        with Daemon(tmp_path, broker, effects_database, services=both, notify=True) as daemon:
            with daemon.listening(daemon.notices) as told:
                daemon.start(wait=False)
                daemon.wait_for_status("failed", "test_loader")
                wait_until(lambda: "1 running" in daemon.status(), "the other one runs")
                daemon.publish(body(1))
                daemon.wait_for_line("end", 1)
                with broker.channel() as channel:
                    channel.queue_declare(
                        daemon.queue, durable=True, arguments={"x-queue-type": "quorum"}
                    )
                daemon.wait_for_status("running")
                daemon.publish(body(2))
                daemon.wait_for_line("end", 2, times=2)
                told(1)
                assert daemon.stop() == 0
                first = json.loads(told()[0][2])
            assert first["type"] == "SERVICE_ERROR"
            assert "ACCESS_REFUSED" in first["payload"]["reason"]
            assert "p4ss" not in daemon.text()
        broker.control("delete_user", "restricted")

    def test_a_queue_of_another_kind_is_a_problem_of_that_service_only(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        both = {"test_loader": {}, "other_loader": {}}
        with Daemon(tmp_path, broker, effects_database, services=both) as daemon:
            with broker.channel() as channel:
                channel.queue_declare(daemon.queue, durable=True)
            daemon.start(wait=False)
            daemon.wait_for_status("failed", "test_loader")
            wait_until(lambda: "1 running" in daemon.status(), "the other one runs")
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)
            assert "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'" in daemon.text()
            with broker.channel() as channel:
                channel.queue_delete(daemon.queue)
            daemon.wait_for_status("running")

    def test_tls_and_a_wrong_authority(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        good = {
            "port": broker.tls_port,
            "cacert": str(broker.certificates.ca),
            "cert": str(broker.certificates.client),
            "key": str(broker.certificates.client_key),
        }
        wrong = good | {"cacert": str(broker.certificates.other_ca)}
        both = {"test_loader": {"amqp": good}, "other_loader": {"amqp": wrong}}
        with Daemon(tmp_path, broker, effects_database, services=both) as daemon:
            daemon.start(wait=False)
            daemon.wait_for_status("connecting (broker", "other_loader")
            wait_until(lambda: "1 running" in daemon.status(), "one runs")
            reason = "certificate: self-signed certificate in certificate chain"
            wait_until(lambda: reason in daemon.status(), "reason", instead=daemon.status)
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)
            daemon.wait_until_empty()


class TestDatabase:
    def test_while_the_database_is_away_nothing_is_given_up(
        self, tmp_path: Path, broker: Broker, effects_server: ClickHouseServer
    ) -> None:
        database = effects_server.settings("default")
        with Daemon(tmp_path, broker, database, notify=True) as daemon:
            daemon.start()
            daemon.publish(body(301, insert=True))
            daemon.wait_for_line("end", 301)
            with daemon.listening(daemon.notices) as told:
                effects_server.kill()
                try:
                    daemon.publish(*(body(n, insert=True) for n in range(302, 312)))
                    daemon.wait_for_status("degraded")
                    # One attempt found out; the others were not tried.
                    time.sleep(0.5)
                    assert len(daemon.lines("start")) <= 2
                finally:
                    effects_server.start()
                daemon.wait_until_empty()
                daemon.wait_for_status("running")
                told(2)
                assert daemon.stop() == 0
                keys = [method.routing_key for method, _, _ in told()]
            assert keys == ["service_worker_error.warning", "message.info"]
        with open_database(database) as opened:
            found = opened.query("SELECT count() FROM Effects WHERE id BETWEEN 301 AND 311")
        assert found == [(11,)]

    def test_a_temporary_failure_is_repeated_until_it_works(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, notify=True) as daemon:
            daemon.start()
            with daemon.listening(daemon.notices) as told:
                daemon.publish(body(1, **{"raise": "temporary"}, until=str(gate)))
                daemon.wait_for_line("start", 1, times=4)
                gate.touch()
                daemon.wait_until_empty()
                told(2)
                assert daemon.stop() == 0
                keys = [method.routing_key for method, _, _ in told()]
            assert keys == ["service_worker_error.warning", "message.info"]
            assert daemon.loads() == [1]


def _is_routed(daemon: Daemon, text: bytes, exchange: str = "", key: str = "test.load") -> bool:
    """Publish, if there is a queue for it."""
    from pika.exceptions import UnroutableError

    with daemon.broker.channel() as channel:
        try:
            channel.basic_publish(exchange or daemon.exchange, key, text, mandatory=True)
        except UnroutableError:
            return False
    return True
