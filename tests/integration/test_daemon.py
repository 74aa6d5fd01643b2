"""The daemon with a real broker and a real database: delivery, retries, giving up, stopping."""

from __future__ import annotations

import json
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pika
import pytest
from prometheus_client.parser import text_string_to_metric_families

from altrepodb.config import DatabaseSettings
from altrepodb.db import open_database
from tests.support.clickhouse import free_port
from tests.support.daemon import Daemon, body, freeze, wait_until
from tests.support.daemon_services import EFFECTS_TABLE
from tests.support.rabbitmq import Broker

pytestmark = pytest.mark.server


def notices(messages: list[tuple[Any, Any, bytes]]) -> list[tuple[str, str]]:
    """Routing keys and texts of notices."""
    return [(method.routing_key, json.loads(text)["message"]) for method, _, text in messages]


def good(number: int) -> bytes:
    return body(number, insert=True)


class TestDelivery:
    def test_messages_are_loaded_published_and_acknowledged(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            daemon.start()
            with daemon.listening(daemon.uploaded) as events:
                daemon.publish(body(1), body(2, published={"repo_path": "/x"}), persistent=False)
                daemon.publish(body(3), key="test.ignored")
                daemon.wait_until_empty()
                (one, properties, text), (_, _, added) = events()
            assert daemon.loads() == [1, 2]
            assert (one.routing_key, text) == ("test.load", body(1))
            received = json.loads(body(2, published={"repo_path": "/x"}))
            assert json.loads(added) == received | {"repo_path": "/x"}
            assert properties.delivery_mode == 2
            assert properties.content_type == "application/json"
            assert "x-delivery-count" not in (properties.headers or {})
            assert daemon.stop() == 0
            wait_until(daemon.is_gone, "nobody left")

    def test_an_event_keeps_properties_but_not_the_marks_of_the_broker(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, publish_on_done=True) as daemon:
            daemon.start()
            with daemon.listening(daemon.uploaded) as events, broker.channel() as channel:
                headers = {"x-delivery-count": 1, "x-death": [], "own": "kept"}
                properties = pika.BasicProperties(
                    headers=headers, content_type="text/json", message_id="m1"
                )
                channel.basic_publish(daemon.exchange, "test.load", body(1), properties)
                daemon.wait_until_empty()
                ((_, found, _),) = events()
            assert found.headers == {"own": "kept"}
            assert (found.content_type, found.message_id) == ("text/json", "m1")

    def test_hostile_messages_are_given_up_and_the_service_goes_on(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        hostile = [
            b"no json",
            b'"text"',
            b"5",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"id": NaN}',
            b'{"id": "\\ud800"}',
            b'{"id":' * 60_000,
            b'{"id":' * 100 + b"1" + b"}" * 100,
            b'{"id": "' + b"x" * (17 << 20) + b'"}',
        ]
        with Daemon(tmp_path, broker, effects_database, notify=True) as daemon:
            daemon.start()
            before = daemon.processes()
            with daemon.listening(daemon.notices) as told:
                daemon.publish(*hostile)
                daemon.publish(body(7), key="test.defect")
                daemon.publish(body(2))
                daemon.wait_until_empty()
                daemon.wait_for_line("end", 2)
                assert daemon.processes() == before
                # All, before a stop has them merged and sent in a hurry: two are equal.
                told(len(hostile))
                assert daemon.stop() == 0
                found = notices(told())
            assert daemon.loads() == [2]
            keys = [key for key, _ in found]
            assert keys.count("service_worker_error.critical") == 1
            texts = {text for _, text in found}
            assert "body: expected a JSON object, got list" in texts
            assert "body: nested deeper than 64 levels" in texts
            assert any("expected 16777216 at most" in text for text in texts)
            assert daemon.text().count("given up") == len(hostile) + 1

    @pytest.mark.parametrize("kind", ["quorum", "classic"])
    def test_failures_are_retried_with_delays_then_given_up(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings, kind: str
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(
            tmp_path,
            broker,
            effects_database,
            notify=True,
            queue={"type": kind},
            requeue_on_reject=True,
            max_redeliver_count=2,
            retry_delays=[0.5],
        ) as daemon:
            daemon.start()
            with daemon.listening(daemon.notices) as told:
                # Both are there when the first of them is tried.
                daemon.publish(body(9, wait_for=str(gate)))
                daemon.publish(body(1, **{"raise": "failed"}), body(2))
                wait_until(lambda: broker.count(daemon.queue) == 0, "all received")
                gate.touch()
                daemon.wait_for_line("start", 1, times=3)
                daemon.wait_until_empty()
                told(1)
                assert daemon.stop() == 0
                assert notices(told()) == [("service_worker_error.critical", "load 1 raises")]
            times = [float(line.split()[3]) for line in daemon.lines("start", 1)]
            assert len(times) == 3
            assert all(later - sooner >= 0.45 for sooner, later in pairwise(times))
            # The other one did not wait for it.
            order = [line.split()[1] for line in daemon.lines("start")]
            assert order == ["9", "1", "2", "1", "1"]
            assert "given up: load 1 raises; body: {" in daemon.text()

    @pytest.mark.parametrize("kind", ["failed", "defect"])
    def test_without_requeueing_the_first_failure_gives_up(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings, kind: str
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, max_redeliver_count=2) as daemon:
            daemon.start()
            daemon.publish(body(1, **{"raise": kind}), body(2, **{"raise": "malformed"}), body(3))
            daemon.wait_for_line("end", 3)
            daemon.wait_until_empty()
            assert len(daemon.lines("start", 1)) == len(daemon.lines("start", 2)) == 1

    def test_a_dead_letter_has_key_body_and_reasons(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        exchange = f"{tmp_path.name}-dead"
        with Daemon(
            tmp_path, broker, effects_database, dead_letter={"exchange": exchange}
        ) as daemon:
            daemon.start()
            # Without the exchange the log has the body, and the queue is not held up.
            daemon.publish(body(1, **{"raise": "failed"}))
            daemon.wait_for_text("given up: load 1 raises; body: {")
            with daemon.listening(exchange) as letters:
                daemon.publish(body(2, **{"raise": "failed"}))
                daemon.wait_until_empty()
                ((method, properties, text),) = letters()
            assert (method.routing_key, text) == ("test.load", body(2, **{"raise": "failed"}))
            assert properties.headers["x-altrepo-service"] == "test_loader"
            assert properties.headers["x-altrepo-reason"] == "load 2 raises"
            assert properties.headers["x-altrepo-attempt"] == 2
            assert properties.headers["x-altrepo-queue"] == daemon.queue
            assert abs(properties.headers["x-altrepo-time"] - time.time()) < 600
            # An exchange that nothing is bound to loses nothing silently either.
            daemon.publish(body(3, **{"raise": "failed"}))
            daemon.wait_for_text("given up: load 3 raises; body: {")
            with broker.channel() as channel:
                channel.exchange_delete(exchange)

    def test_a_retry_queue_brings_the_message_back_as_it_was(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(
            tmp_path,
            broker,
            effects_database,
            retry_queue=True,
            retry_delays=[0.3],
            publish_on_done=True,
        ) as daemon:
            daemon.start()
            text = body(1, **{"raise": "temporary"}, until=str(gate))
            with daemon.listening(daemon.uploaded) as events:
                daemon.publish(text, key="test.detour")
                daemon.wait_for_line("start", 1, times=3)
                gate.touch()
                daemon.wait_until_empty()
                daemon.wait_for_line("end", 1)
                daemon.wait_until_empty()
                ((method, properties, received),) = events()
            times = [float(line.split()[3]) for line in daemon.lines("start", 1)]
            assert all(later - sooner > 0.28 for sooner, later in pairwise(times))
            assert (method.routing_key, received) == ("test.detour", text)
            assert properties.headers["x-altrepo-attempt"] == len(times) - 1
            assert daemon.stop() == 0
            aside = f"{daemon.queue}.retry.300"
            with broker.channel() as channel:
                assert channel.queue_declare(aside, passive=True).method.message_count == 0
                channel.queue_delete(aside)
                channel.exchange_delete(aside)
                channel.exchange_delete(f"{daemon.queue}.return")

    def test_a_policy_gets_rejected_messages(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            exchange = f"{daemon.name}-dlx"
            with daemon.listening(exchange) as letters:
                pattern = f"^{daemon.queue}$"
                definition = json.dumps({"dead-letter-exchange": exchange, "delivery-limit": 9})
                words = ("--apply-to", "queues", daemon.name, pattern, definition)
                broker.control("set_policy", *words)
                daemon.start()
                daemon.publish(body(1, **{"raise": "failed"}))
                daemon.wait_until_empty()
                ((_, properties, _),) = letters(1)
                broker.control("clear_policy", daemon.name)
                with broker.channel() as channel:
                    channel.exchange_delete(exchange)
            assert properties.headers["x-death"][0]["reason"] == "rejected"

    def test_no_more_than_the_prefetch_is_taken(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(
            tmp_path, broker, effects_database, workers_count=2, amqp={"prefetch_count": 7}
        ) as daemon:
            daemon.start()
            daemon.publish(*(body(n, wait_for=str(gate)) for n in range(30)))
            wait_until(lambda: len(daemon.lines("start")) == 2, "both at work")
            wait_until(lambda: broker.count(daemon.queue) == 23, "seven taken")
            gate.touch()
            daemon.wait_until_empty()
            assert sorted(daemon.loads()) == list(range(30))

    def test_exclusive_works_take_turns_and_merged_ones_are_done_once(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(
            tmp_path, broker, effects_database, workers_count=2, amqp={"prefetch_count": 20}
        ) as daemon:
            daemon.start()
            first = body(1, exclusive="job", merged="job", wait_for=str(gate))
            daemon.publish(first, *(body(n, exclusive="job", merged="job") for n in (2, 3, 4)))
            daemon.wait_for_line("start", 1)
            daemon.publish(body(5))
            daemon.wait_for_line("end", 5)
            assert [line.split()[1] for line in daemon.lines("start")] == ["1", "5"]
            gate.touch()
            daemon.wait_until_empty()
            # The three that waited were done by one call, with the newest of them.
            assert daemon.loads() == [5, 1, 4]

    def test_effects_are_in_the_database(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.publish(good(101), good(102), good(101))
            daemon.wait_until_empty()
        with open_database(effects_database) as opened:
            rows = opened.query("SELECT id FROM Effects WHERE id BETWEEN 101 AND 109 ORDER BY id")
        assert rows == [(101,), (102,)]

    def test_the_embedded_database_admits_one_load_at_a_time(
        self, tmp_path: Path, broker: Broker
    ) -> None:
        embedded = DatabaseSettings(embedded=tmp_path / "database")
        with open_database(embedded) as opened:
            opened.execute(EFFECTS_TABLE)
        with Daemon(tmp_path, broker, embedded, workers_count=2) as daemon:
            daemon.start()
            daemon.publish(*map(good, range(201, 205)))
            daemon.wait_until_empty()
            assert sorted(daemon.loads()) == [201, 202, 203, 204]
            # Between loads others may have it.
            with open_database(embedded, 60.0) as opened:
                assert opened.query("SELECT count() FROM Effects") == [(4,)]


class TestCrashes:
    def test_a_killed_worker_is_replaced_and_its_message_loaded_again(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, workers_count=2) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)), body(2, wait_for=str(gate)))
            daemon.wait_for_line("start", 1)
            daemon.wait_for_line("start", 2)
            victim = int(daemon.lines("start", 1)[0].split()[2])
            other = int(daemon.lines("start", 2)[0].split()[2])
            os.kill(victim, signal.SIGKILL)
            daemon.wait_for_line("start", 1, times=2)
            gate.touch()
            daemon.wait_until_empty()
            (line,) = daemon.lines("end", 2)
            assert line.startswith(f"end 2 {other} ")
            assert len(daemon.lines("start", 2)) == 1
            (line,) = daemon.lines("end", 1)
            assert not line.startswith(f"end 1 {victim} ")
            assert len(daemon.processes("test_loader_worker")) == 2

    def test_a_message_that_always_crashes_is_given_up_and_others_are_loaded(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database, notify=True, max_crash_count=2) as daemon:
            daemon.start()
            with daemon.listening(daemon.notices) as told:
                daemon.publish(body(1, kill=True), *(body(n) for n in range(2, 8)))
                daemon.wait_until_empty()
                # Three deaths, and that it is given up.
                told(4)
                assert daemon.stop() == 0
                keys = [key for key, _ in notices(told())]
            assert sorted(daemon.loads()) == list(range(2, 8))
            assert len(daemon.lines("start", 1)) == 3
            assert keys.count("service_worker_error.critical") == 1

    def test_a_killed_service_takes_its_workers_along_and_loses_nothing(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, max_redeliver_count=0) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)))
            daemon.wait_for_line("start", 1)
            (worker,) = daemon.processes("test_loader_worker")
            (service,) = set(daemon.processes("test_loader")) - {worker}
            os.kill(service, signal.SIGKILL)
            wait_until(lambda: worker not in daemon.processes(), "worker gone")
            gate.touch()
            daemon.wait_until_empty()
            assert daemon.loads() == [1]
            assert "ended with status -9, starts again in 1 s" in daemon.text()

    def test_a_killed_main_leaves_nobody_behind(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)))
            daemon.wait_for_line("start", 1)
            daemon.send(signal.SIGKILL)
            daemon.wait()
            wait_until(daemon.is_gone, "nobody left")
            gate.touch()
            daemon.start()
            daemon.wait_until_empty()
            assert daemon.loads() == [1]

    def test_a_silent_service_is_killed_and_started_again(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        # A service that is alive says so every two seconds, but not while it starts.
        with Daemon(tmp_path, broker, effects_database, config={"service_timeout": 10}) as daemon:
            daemon.start()
            workers = set(daemon.processes("test_loader_worker"))
            (service,) = set(daemon.processes("test_loader")) - workers
            os.kill(service, signal.SIGSTOP)
            daemon.wait_for_text("test_loader: not heard for")
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)
            wait_until(lambda: not workers & set(daemon.processes()), "its workers are gone")

    def test_a_load_that_takes_too_long_is_ended_and_counts_as_failed(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        # It is the limit of the other load too, whose worker has just been started.
        with Daemon(tmp_path, broker, effects_database, load_timeout=10) as daemon:
            daemon.start()
            daemon.publish(body(1, sleep=3600), body(2))
            daemon.wait_for_line("end", 2)
            daemon.wait_until_empty()
            assert "given up: took longer than 10 s" in daemon.text()


class TestStopping:
    def test_a_drain_ends_the_load_and_gives_the_rest_back_in_order(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)), body(2), body(3), body(4))
            daemon.wait_for_line("start", 1)
            wait_until(lambda: broker.count(daemon.queue) == 0, "all received")
            # As a control group does it: to everybody.
            for process_id in daemon.processes():
                os.kill(process_id, signal.SIGTERM)
            daemon.wait_for_status("draining")
            gate.touch()
            assert daemon.wait() == 0
            wait_until(daemon.is_gone, "nobody left")
            assert daemon.loads() == [1]
            wait_until(lambda: broker.count(daemon.queue) == 3, "the rest is given back")
            daemon.start()
            daemon.wait_until_empty()
            assert daemon.loads() == [1, 2, 3, 4]

    def test_a_drain_has_an_end(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        gate = tmp_path / "gate"
        with Daemon(tmp_path, broker, effects_database, drain_timeout=1) as daemon:
            daemon.start()
            daemon.publish(body(1, wait_for=str(gate)))
            daemon.wait_for_line("start", 1)
            daemon.send(signal.SIGTERM)
            assert daemon.wait() == 1
            wait_until(daemon.is_gone, "nobody left")
            gate.touch()
            daemon.start()
            daemon.wait_until_empty()
            assert daemon.loads() == [1]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_second_signal_stops_at_once(
        self,
        tmp_path: Path,
        broker: Broker,
        effects_database: DatabaseSettings,
        number: signal.Signals,
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.publish(body(1, sleep=3600))
            daemon.wait_for_line("start", 1)
            daemon.send(number)
            daemon.wait_for_status("draining")
            daemon.send(number)
            assert daemon.wait() == 1
            wait_until(daemon.is_gone, "nobody left")
            wait_until(lambda: broker.count(daemon.queue) == 1, "given back")

    def test_what_systemd_is_told(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            wait_until(lambda: daemon.told().count("WATCHDOG=1") > 3, "watchdog")
            freeze(daemon.pid)
            daemon.forget_told()
            time.sleep(0.5)
            assert daemon.told() == []
            daemon.send(signal.SIGCONT)
            wait_until(lambda: "WATCHDOG=1" in daemon.told(), "watchdog again")
            daemon.forget_told()
            assert daemon.stop() == 0
            told = [line for line in daemon.told() if line != "WATCHDOG=1"]
            assert told[0] == "STOPPING=1"
            assert told[1].startswith("EXTEND_TIMEOUT_USEC=")
            assert told[-1] == "STATUS=All services stopped"

    def test_a_reload_restarts_what_has_changed(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        both = {"test_loader": {}, "other_loader": {}}
        with Daemon(tmp_path, broker, effects_database, services=both) as daemon:
            daemon.start()
            before = {title: daemon.processes(title) for title in ("test_", "other_", "uploaderd")}
            daemon.forget_told()
            daemon.write_service("other_loader", workers_count=2)
            daemon.send(signal.SIGHUP)
            wait_until(lambda: len(daemon.processes("other_loader_worker")) == 2, "two workers")
            assert daemon.processes("test_") == before["test_"]
            assert not set(before["other_"]) & set(daemon.processes())
            # That all are running may be told twice at the start, the second time a bit late.
            told = [line for line in daemon.told() if not line.startswith("STATUS=")]
            assert told[0] == "RELOADING=1"
            assert told[1].startswith("MONOTONIC_USEC=")
            assert "READY=1" in told
            (tmp_path / "services.d" / "test_loader.json").write_text("{")
            daemon.send(signal.SIGHUP)
            daemon.wait_for_text("not reloaded: ")
            daemon.publish(body(1))
            daemon.wait_until_empty()
            daemon.write_service("test_loader")
            daemon.write_services({"test_loader": {}})
            daemon.write_config()
            daemon.send(signal.SIGHUP)
            wait_until(lambda: not daemon.processes("other_"), "the other one is gone")
            daemon.send(signal.SIGUSR1)
            daemon.wait_for_text("workers [")
            assert daemon.stop() == 0


class TestOperations:
    def test_metrics_and_health(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        port = free_port()
        config = {"metrics": {"listen": f"127.0.0.1:{port}"}}
        with Daemon(tmp_path, broker, effects_database, config=config) as daemon:
            daemon.start()
            daemon.publish(body(1), body(2), body(3, **{"raise": "malformed"}))
            daemon.publish(body(4), key="test.ignored")
            url = f"http://127.0.0.1:{port}"
            assert get(f"{url}/live") == (200, "live\n")
            assert get(f"{url}/ready") == (200, "ready\n")
            assert get(f"{url}/other")[0] == 404
            # An early report may come when all are received and not all are done.
            expected = {
                "uploaderd_received_total": 4,
                "uploaderd_done_total": 2,
                "uploaderd_ignored_total": 1,
                "uploaderd_malformed_total": 1,
                "uploaderd_load_seconds_count": 3,
                "uploaderd_in_flight": 0,
                "uploaderd_state running": 1,
            }
            wait_until(
                lambda: expected.items() <= samples(url).items(),
                "report",
                instead=lambda: str(samples(url)),
            )
            os.kill(daemon.processes("test_loader_worker")[0], signal.SIGKILL)
            wait_until(lambda: samples(url)["uploaderd_worker_restarts_total"] == 1, "restart")
            assert daemon.stop() == 0

    def test_without_a_writable_log_standard_error_is_used(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        log = {"file": "/proc/none/log", "syslog": False}
        with Daemon(tmp_path, broker, effects_database, config={"log": log}) as daemon:
            daemon.start()
            daemon.publish(body(1))
            daemon.wait_for_line("end", 1)
            assert daemon.stop() == 0
            lines = (tmp_path / "stderr").read_text()
        assert "/proc/none/log: cannot be used for the log" in lines
        assert "test.load 1: done" in lines

    def test_every_process_writes_to_the_log_that_somebody_rotates(
        self, tmp_path: Path, broker: Broker, effects_database: DatabaseSettings
    ) -> None:
        with Daemon(tmp_path, broker, effects_database) as daemon:
            daemon.start()
            daemon.log.rename(tmp_path / "log.1")
            daemon.publish(body(1, **{"raise": "defect"}))
            daemon.wait_for_text("given up")
            assert daemon.stop() == 0
            text = daemon.log.read_text()
        assert "[uploaderd]" in text
        assert "[test_loader]" in text
        assert "[test_loader_worker]" in text
        assert "ZeroDivisionError: load 1 raises" in text


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(url: str) -> dict[str, float]:
    """What an independent reader of the format finds, by name (and state)."""
    families = text_string_to_metric_families(get(f"{url}/metrics")[1])
    return {
        " ".join(filter(None, (sample.name, sample.labels.get("state")))): sample.value
        for family in families
        for sample in family.samples
    }
