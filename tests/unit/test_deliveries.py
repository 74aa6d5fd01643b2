"""The messages that a service holds: every turn a message can take, without broker or clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika import BasicProperties

from altrepodb.config import DatabaseSettings
from altrepodb.errors import SourceError, TemporaryError
from altrepodb.uploaderd.actions import Delivery, Job, Publish, Settle, Tag
from altrepodb.uploaderd.deliveries import Deliveries
from altrepodb.uploaderd.held import Phase
from altrepodb.uploaderd.notice import Notice
from altrepodb.uploaderd.outcome import Outcome, OutcomeKind, outcome_of_error, outcome_of_summary
from altrepodb.uploaderd.receipt import MAX_BODY_BYTES, MAX_DEPTH, read_body
from altrepodb.uploaderd.retry_queue import Attempts, read_attempts
from altrepodb.uploaderd.service_type import Drop, Message, ServiceType, Work
from altrepodb.uploaderd.settings import AmqpSettings, QueueSettings, ServiceSettings

DONE = Outcome(OutcomeKind.DONE)
FAILED = Outcome(OutcomeKind.FAILED, "it failed")
TEMPORARY = Outcome(OutcomeKind.TEMPORARY, "not now")
AWAY = Outcome(OutcomeKind.DATABASE_AWAY, "no database")


def accept(message: Message, _: object) -> Work | None:
    order = message.body
    if order.get("accept") == "ignore":
        return None
    if order.get("accept") == "temporary":
        raise TemporaryError("cannot say yet")
    if order.get("accept") == "defect":
        raise ZeroDivisionError
    return Work(
        str(order["id"]),
        order,
        order.get("exclusive"),
        order.get("merged"),
        order.get("published", {}),
    )


KIND = ServiceType("test", frozenset(), lambda _: None, accept, lambda *_: None)


@dataclass
class Desk:
    """Deliveries with a clock that stands still until it is moved."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    tags: int = 0
    channel: int = 1

    def __post_init__(self) -> None:
        values: dict[str, Any] = {
            "type": KIND,
            "file": Path("test.json"),
            "database": DatabaseSettings(host="x"),
            "amqp": AmqpSettings(queue=QueueSettings("test-q", "quorum")),
            "retry_delays": (10.0, 100.0),
            **self.changes,
        }
        self.deliveries = Deliveries(ServiceSettings(**values), lambda: self.now, lambda: self.now)

    def receive(
        self, number: int = 1, *, flagged: bool = False, count: int = 0, **order: Any
    ) -> Tag:
        return self.receive_body(json.dumps({"id": number, **order}).encode(), flagged, count)

    def receive_body(self, body: bytes, flagged: bool = False, count: int = 0) -> Tag:
        self.tags += 1
        tag = Tag(self.channel, self.tags)
        self.deliveries.receive(Delivery(tag, "key", body, flagged, count))
        return tag

    def lose_channel(self) -> None:
        self.deliveries.lose_channel()
        self.channel += 1
        self.tags = 0

    def job(self) -> Job:
        job = self.deliveries.next_job()
        assert job is not None
        return job

    def finish(self, outcome: Outcome = DONE) -> None:
        self.deliveries.finish(self.job(), outcome)

    def done(self) -> list[tuple[int, str]]:
        """Numbers of tags and verdicts of all that was settled on the channel of now."""
        return [
            (action.tag.number, action.verdict)
            for action in self.deliveries.take_actions()
            if isinstance(action, Settle) and action.tag.channel == self.channel
        ]

    def notices(self) -> list[tuple[str, str]]:
        return [
            (action.severity, action.message)
            for action in self.deliveries.take_actions()
            if isinstance(action, Notice)
        ]


class TestOutcomes:
    def test_done_is_acknowledged(self) -> None:
        desk = Desk()
        desk.receive()
        assert desk.done() == []
        desk.finish()
        assert desk.done() == [(1, "ack")]

    def test_ignored_is_acknowledged_without_work(self) -> None:
        desk = Desk()
        desk.receive(accept="ignore")
        assert desk.deliveries.next_job() is None
        assert desk.done() == [(1, "ack")]

    def test_malformed_is_rejected_with_a_notice(self) -> None:
        desk = Desk()
        desk.receive_body(b"[]")
        actions = desk.deliveries.take_actions()
        assert [type(action) for action in actions] == [Notice, Settle]
        assert actions[0] == Notice(
            "test",
            "WARNING",
            "SERVICE_WORKER_ERROR",
            "body: expected a JSON object, got list",
            "[]",
        )
        assert actions[1] == Settle(Tag(1, 1), "reject")

    def test_a_defect_of_the_service_fails_the_message_only(self) -> None:
        desk = Desk()
        desk.receive(1, accept="defect")
        desk.receive(2)
        desk.finish()
        assert desk.done() == [(1, "reject"), (2, "ack")]

    def test_a_message_that_cannot_be_judged_yet_is_judged_again(self) -> None:
        desk = Desk()
        desk.receive(accept="temporary")
        assert desk.deliveries.next_job() is None
        desk.now += 20
        assert desk.deliveries.next_job() is None
        assert desk.done() == []
        assert desk.deliveries.in_phase(Phase.RETRYING) == 1

    def test_failures_are_repeated_as_often_as_allowed(self) -> None:
        desk = Desk({"requeue_on_reject": True, "max_redeliver_count": 2})
        desk.receive()
        for delay in (10, 100):
            desk.finish(FAILED)
            desk.now += 0.8 * delay
            assert desk.deliveries.next_job() is None
            desk.now += 0.4 * delay
        assert desk.done() == []
        desk.finish(FAILED)
        assert desk.notices() == [("CRITICAL", "it failed")]

    def test_temporary_failures_count_towards_nothing(self) -> None:
        desk = Desk({"requeue_on_reject": True, "max_redeliver_count": 1})
        desk.receive()
        for _ in range(50):
            desk.finish(TEMPORARY)
            desk.now += 200
        desk.finish(FAILED)
        desk.now += 200
        desk.finish()
        actions = desk.deliveries.take_actions()
        assert actions[-2:] == [
            Settle(Tag(1, 1), "ack"),
            Notice("test", "INFO", "MESSAGE", "works again; it was hindered by: not now"),
        ]
        assert [a.severity for a in actions if isinstance(a, Notice)] == ["WARNING", "INFO"]

    def test_an_absent_database_holds_everything_up_until_it_is_back(self) -> None:
        desk = Desk()
        desk.receive(1)
        desk.receive(2)
        desk.finish(AWAY)
        desk.now += 10_000
        assert desk.deliveries.next_job() is None
        assert desk.notices() == [("WARNING", "no database")]
        desk.deliveries.database_is_back()
        desk.finish()
        desk.finish()
        assert desk.done() == [(1, "ack"), (2, "ack")]

    def test_a_failure_during_a_drain_is_judged_after_the_next_start(self) -> None:
        desk = Desk()
        desk.receive()
        job = desk.job()
        desk.deliveries.is_draining = True
        desk.deliveries.finish(job, FAILED)
        assert desk.deliveries.take_actions() == []
        assert desk.deliveries.is_at_rest
        desk.now += 1000
        assert desk.deliveries.next_job() is None


class TestCrashes:
    def test_crashes_are_counted_apart_from_failures(self) -> None:
        desk = Desk({"max_crash_count": 2})
        desk.receive()
        for _ in range(2):
            desk.deliveries.crash(desk.job(), "died")
            desk.now += 200
        assert desk.done() == []
        desk.deliveries.crash(desk.job(), "died")
        assert desk.notices()[-1] == ("CRITICAL", "died")

    @pytest.mark.parametrize(("count", "is_loaded"), [(0, True), (160, True), (161, False)])
    def test_what_former_incarnations_did_not_finish(self, count: int, is_loaded: bool) -> None:
        desk = Desk({"max_crash_count": 5, "max_redeliver_count": 2})
        desk.receive(flagged=True, count=count)
        assert (desk.deliveries.next_job() is not None) == is_loaded
        assert desk.done() == ([] if is_loaded else [(1, "reject")])

    @pytest.mark.parametrize(("count", "crashes"), [(7, 6), (8, 1)])
    def test_many_interruptions_leave_one_more_try(self, count: int, crashes: int) -> None:
        desk = Desk({"max_crash_count": 5, "max_redeliver_count": 2})
        desk.receive(flagged=True, count=count)
        for _ in range(crashes):
            assert desk.done() == []
            desk.deliveries.crash(desk.job(), "died")
            desk.now += 200
        assert desk.done() == [(1, "reject")]

    def test_the_flag_alone_gives_nothing_up(self) -> None:
        desk = Desk({"max_crash_count": 0})
        desk.receive(flagged=True)
        desk.finish()
        assert desk.done() == [(1, "ack")]

    def test_deliveries_of_one_incarnation_are_no_crashes(self) -> None:
        desk = Desk({"max_crash_count": 0})
        desk.receive()
        for count in range(1, 30):
            desk.lose_channel()
            desk.receive(flagged=True, count=count)
        desk.finish()
        assert desk.done() == [(1, "ack")]


class TestPublishing:
    def test_the_event_comes_before_the_acknowledgement(self) -> None:
        desk = Desk({"publish_on_done": True})
        desk.receive(published={"repo_path": "/x"})
        desk.finish()
        (publish,) = desk.deliveries.take_actions()
        assert isinstance(publish, Publish)
        assert (publish.exchange, publish.routing_key) == ("amq.topic", "key")
        assert publish.added == {"repo_path": "/x"}
        assert not desk.deliveries.is_at_rest
        desk.deliveries.published(publish.number)
        assert desk.done() == [(1, "ack")]
        desk.deliveries.published(publish.number)
        assert desk.done() == []

    def test_a_dead_letter_is_acknowledged_when_it_has_arrived(self) -> None:
        desk = Desk({"dead_letter_exchange": "dead-ex"})
        desk.receive()
        desk.finish(Outcome(OutcomeKind.FAILED, "x" * 2000))
        publish = desk.deliveries.take_actions()[-1]
        assert isinstance(publish, Publish)
        assert publish.is_mandatory
        assert publish.headers == {
            "x-altrepo-service": "test",
            "x-altrepo-reason": "x" * 512,
            "x-altrepo-attempt": 2,
            "x-altrepo-time": 1000,
            "x-altrepo-queue": "test-q",
        }
        desk.deliveries.published(publish.number)
        assert desk.done() == [(1, "ack")]

    def test_a_dead_letter_that_nobody_takes_is_rejected(self) -> None:
        desk = Desk({"dead_letter_exchange": "dead-ex"})
        desk.receive()
        desk.finish(FAILED)
        publish = desk.deliveries.take_actions()[-1]
        assert isinstance(publish, Publish)
        desk.deliveries.published(publish.number, "no queue")
        assert desk.done() == [(1, "reject")]


class TestRetryQueue:
    def test_a_copy_waits_elsewhere_and_keeps_count(self) -> None:
        desk = Desk({"retry_queue": True, "requeue_on_reject": True, "max_redeliver_count": 1})
        desk.receive()
        desk.finish(TEMPORARY)
        publish = desk.deliveries.take_actions()[-1]
        assert isinstance(publish, Publish)
        assert (publish.exchange, publish.delay_s) == ("test-q.retry.10000", 10)
        desk.deliveries.published(publish.number)
        assert desk.done() == [(1, "ack")]
        # The copy comes back; the next failure is the first one that counts.
        desk.now += 10
        copy = BasicProperties(headers=dict(publish.headers))
        desk.deliveries.receive(Delivery(Tag(1, 2), "key", publish.body, False, 0, copy))
        desk.finish(FAILED)
        publish = desk.deliveries.take_actions()[-1]
        assert isinstance(publish, Publish)
        assert publish.headers == {
            "x-altrepo-attempt": 2,
            "x-altrepo-failures": 1,
            "x-altrepo-crashes": 0,
            "x-altrepo-received": 1000,
        }
        copy = BasicProperties(headers=dict(publish.headers))
        desk.deliveries.receive(Delivery(Tag(1, 3), "key", publish.body, False, 0, copy))
        desk.finish(FAILED)
        assert desk.notices()[-1] == ("CRITICAL", "it failed")

    def test_without_a_queue_the_message_waits_here(self) -> None:
        desk = Desk({"retry_queue": True})
        desk.receive()
        desk.finish(TEMPORARY)
        publish = desk.deliveries.take_actions()[-1]
        assert isinstance(publish, Publish)
        desk.deliveries.published(publish.number, "refused")
        assert desk.done() == []
        desk.now += 11
        desk.finish()
        assert desk.done() == [(1, "ack")]

    @pytest.mark.parametrize(
        "headers",
        [
            {"x-altrepo-attempt": "9"},
            {"x-altrepo-attempt": -1},
            {"x-altrepo-attempt": 10**12},
            {"x-altrepo-attempt": 1, "x-altrepo-failures": 5},
            {"x-altrepo-attempt": True},
        ],
    )
    def test_headers_that_make_no_sense_count_nothing(self, headers: dict[str, Any]) -> None:
        assert read_attempts(BasicProperties(headers=headers), 5.0) == Attempts(0, 0, 0, 5.0)


class TestHandingOut:
    def test_the_order_is_that_of_arrival(self) -> None:
        desk = Desk()
        for number in (3, 1, 2):
            desk.receive(number)
        assert [desk.job().work.subject for _ in range(3)] == ["3", "1", "2"]

    def test_exclusive_works_are_never_at_work_together(self) -> None:
        desk = Desk()
        desk.receive(1, exclusive="a")
        desk.receive(2, exclusive="a")
        desk.receive(3)
        first = desk.job()
        assert desk.job().work.subject == "3"
        assert desk.deliveries.next_job() is None
        desk.deliveries.crash(first, "died")
        assert desk.job().work.subject == "2"

    def test_merged_works_are_done_and_settled_together(self) -> None:
        desk = Desk()
        for number in (1, 2, 3):
            desk.receive(number, merged="m")
        job = desk.job()
        assert job.work.subject == "3"
        assert desk.deliveries.next_job() is None
        desk.receive(4, merged="m")
        assert desk.job().work.subject == "4"
        desk.deliveries.finish(job, DONE)
        assert desk.done() == [(1, "ack"), (2, "ack"), (3, "ack")]

    def test_retries_without_room_are_given_back_but_not_in_a_hurry(self) -> None:
        desk = Desk({"requeue_on_reject": True, "max_redeliver_count": 9})
        prefetch = desk.deliveries.settings.prefetch_count
        for number in range(prefetch):
            desk.receive(number)
        for _ in range(prefetch):
            desk.finish(FAILED)
        desk.deliveries.make_room()
        desk.deliveries.make_room()
        assert desk.done() == [(1, "requeue")]
        # It comes back and keeps its schedule.
        desk.receive(0, flagged=True, count=1)
        desk.deliveries.make_room()
        assert desk.done() == []
        assert desk.deliveries.next_job() is None
        desk.now += 20
        assert desk.deliveries.next_job() is not None

    def test_temporary_failures_are_never_given_back(self) -> None:
        desk = Desk()
        for number in range(desk.deliveries.settings.prefetch_count):
            desk.receive(number)
            desk.finish(TEMPORARY)
        desk.deliveries.make_room()
        assert desk.done() == []


class TestAdoption:
    def test_a_load_at_work_gets_the_new_tag(self) -> None:
        desk = Desk()
        desk.receive(9)
        desk.receive(1)
        desk.finish()
        job = desk.job()
        desk.done()
        desk.lose_channel()
        desk.receive(1, flagged=True, count=1)
        assert desk.deliveries.next_job() is None
        desk.deliveries.finish(job, DONE)
        assert desk.done() == [(1, "ack")]

    def test_what_ended_meanwhile_is_settled_at_once(self) -> None:
        desk = Desk()
        desk.receive()
        job = desk.job()
        desk.lose_channel()
        desk.deliveries.finish(job, DONE)
        assert desk.done() == []
        desk.receive(flagged=True, count=1)
        assert desk.deliveries.next_job() is None
        assert desk.done() == [(1, "ack")]

    def test_an_acknowledgement_that_was_lost_is_repeated(self) -> None:
        desk = Desk()
        desk.receive()
        desk.finish()
        desk.lose_channel()
        desk.receive(flagged=True, count=1)
        assert desk.deliveries.next_job() is None
        assert desk.done() == [(1, "ack")]

    def test_an_acknowledgement_that_arrived_is_forgotten(self) -> None:
        desk = Desk()
        desk.receive()
        desk.finish()
        desk.deliveries.confirm_settled(desk.deliveries.settled)
        desk.lose_channel()
        # So this is another message, however equal.
        desk.receive(flagged=True, count=1)
        desk.finish()
        assert desk.done() == [(1, "ack")]

    def test_a_verdict_is_kept(self) -> None:
        desk = Desk()
        desk.receive()
        job = desk.job()
        desk.lose_channel()
        desk.deliveries.finish(job, FAILED)
        desk.receive(flagged=True, count=1)
        assert desk.done() == [(1, "reject")]

    def test_a_failure_goes_on_with_its_schedule(self) -> None:
        desk = Desk({"requeue_on_reject": True, "max_redeliver_count": 1})
        desk.receive()
        desk.finish(FAILED)
        desk.lose_channel()
        desk.now += 5
        desk.receive(flagged=True, count=1)
        assert desk.deliveries.next_job() is None
        desk.now += 6
        desk.finish(FAILED)
        assert desk.done() == [(1, "reject")]

    def test_what_is_not_flagged_is_new(self) -> None:
        desk = Desk()
        desk.receive()
        job = desk.job()
        desk.lose_channel()
        desk.receive()
        desk.finish()
        assert desk.done() == [(1, "ack")]
        desk.deliveries.finish(job, DONE)
        assert desk.done() == []

    def test_equal_messages_do_not_stand_for_each_other(self) -> None:
        desk = Desk()
        desk.receive()
        desk.receive()
        desk.finish()
        desk.done()
        desk.lose_channel()
        # The first was settled, so it is the second that comes again, and it was never loaded.
        desk.receive(flagged=True, count=1)
        desk.finish()
        assert desk.done() == [(1, "ack")]

    def test_old_tags_are_never_used(self) -> None:
        desk = Desk()
        desk.receive(1)
        job = desk.job()
        desk.lose_channel()
        other = desk.receive(2)
        assert other.number == 1
        desk.deliveries.finish(job, DONE)
        assert desk.deliveries.take_actions() == []

    def test_what_was_lost_for_an_hour_is_forgotten(self) -> None:
        desk = Desk()
        desk.receive(1)
        desk.lose_channel()
        desk.now += 4000
        desk.receive(2)
        desk.lose_channel()
        assert desk.deliveries.in_phase(Phase.WAITING) == 1

    def test_no_more_than_a_thousand_are_remembered(self) -> None:
        desk = Desk()
        for number in range(1500):
            desk.receive(number)
        desk.lose_channel()
        assert desk.deliveries.in_phase(Phase.WAITING) == 1000


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from("receive hand done fail crash lose confirm wait".split())))
def test_every_message_is_settled_once_and_none_is_forgotten(steps: list[str]) -> None:
    """A queue of messages with equal bodies against any sequence of events."""
    desk = Desk({"requeue_on_reject": True, "max_redeliver_count": 99, "max_crash_count": 99})
    queue: list[int] = []
    held: dict[int, int] = {}
    loaded = published = acknowledged = 0
    jobs: list[Job] = []

    def perform() -> None:
        nonlocal acknowledged
        for number, verdict in desk.done():
            assert verdict == "ack"
            del held[number]
            acknowledged += 1

    def deliver() -> None:
        while queue and len(held) < 5:
            count = queue.pop(0)
            tag = desk.receive(0, flagged=count > 0, count=count)
            held[tag.number] = count
            perform()

    def finish(outcome: Outcome) -> None:
        nonlocal loaded
        if jobs:
            loaded += outcome is DONE
            desk.deliveries.finish(jobs.pop(0), outcome)

    for step in [*steps, *("hand done wait".split() * (3 * len(steps) + 3))]:
        if step == "receive":
            queue.append(0)
            published += 1
        elif step == "hand":
            job = desk.deliveries.next_job()
            jobs += [] if job is None else [job]
        elif step == "done":
            finish(DONE)
        elif step == "fail":
            finish(FAILED)
        elif step == "crash" and jobs:
            desk.deliveries.crash(jobs.pop(0), "died")
        elif step == "confirm":
            desk.deliveries.confirm_settled(desk.deliveries.settled)
        elif step == "wait":
            desk.now += 200
        elif step == "lose":
            queue[:0] = [count + 1 for count in held.values()]
            held.clear()
            desk.lose_channel()
        perform()
        deliver()
    assert (acknowledged, queue, held) == (published, [], {})
    assert loaded == published


class TestReceipt:
    def test_a_body_of_the_greatest_size_and_depth(self) -> None:
        text = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
        assert read_body(text.encode())
        with pytest.raises(Drop, match="nested deeper"):
            read_body(f'{{"a":{text}}}'.encode())
        frame = b'{"a": ""}'
        full = frame[:-2] + b"x" * (MAX_BODY_BYTES - len(frame)) + frame[-2:]
        assert read_body(full)
        with pytest.raises(Drop, match="16777217 bytes"):
            read_body(full + b" ")

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"1" * 5000, b'{"a": 1e999}', b'{"a": -Infinity}', b'{"a": "\\udc80"}'],
    )
    def test_what_is_refused(self, body: bytes) -> None:
        with pytest.raises(Drop):
            read_body(body)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=200))
    def test_any_bytes(self, body: bytes) -> None:
        try:
            assert isinstance(read_body(body), dict)
        except Drop as error:
            assert str(error).startswith("body: ")


@dataclass(frozen=True)
class Summary:
    exit_code: int = 0
    error: str = ""


def test_what_summaries_and_errors_mean() -> None:
    assert outcome_of_summary(None) == DONE
    assert outcome_of_summary(Summary(3)).kind is OutcomeKind.DONE
    assert outcome_of_summary(Summary(75, "away")) == Outcome(OutcomeKind.TEMPORARY, "away")
    assert outcome_of_summary(Summary(1, "a\nb")) == Outcome(OutcomeKind.FAILED, "a b")
    assert outcome_of_error(OSError(28, "full")).kind is OutcomeKind.TEMPORARY
    assert outcome_of_error(OSError(2, "missing")).kind is OutcomeKind.FAILED
    assert outcome_of_error(SourceError("bad")) == Outcome(OutcomeKind.FAILED, "bad")
    assert outcome_of_error(KeyError("x")) == Outcome(OutcomeKind.FAILED, "KeyError: 'x'")
