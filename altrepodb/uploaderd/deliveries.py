"""The messages that a service holds, and what is to be done with each of them.

Nothing here knows the broker, processes or clocks that run by themselves: the service tells what
happened (a delivery, the end of a load, a crash, a confirmed event, a lost channel), asks for the
next job, and carries out the actions that have gathered. A message goes through these phases:

    WAITING   -> WORKING -> SETTLING (an event or a dead letter is being published) -> SETTLED
       ^            |
       +-- RETRYING-+

A tag belongs to the channel that brought it. When the channel is lost, what was handed out goes
on, and the broker will deliver the messages again, flagged as redelivered: such a delivery is
adopted by the message that it is, known by routing key and body. Messages of equal key and body
are counted, so none of them stands for another. A settled message is remembered until the broker
has shown that it saw the acknowledgement.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from altrepodb.errors import AltrepodbError, TemporaryError
from altrepodb.uploaderd.actions import (
    Action,
    Delivery,
    Job,
    Publish,
    Purpose,
    Settle,
    Verdict,
)
from altrepodb.uploaderd.held import Held, Phase, digest_of, payload_of, text_of
from altrepodb.uploaderd.notice import Notice, NoticeType, Severity
from altrepodb.uploaderd.outcome import Outcome, OutcomeKind, outcome_of_error
from altrepodb.uploaderd.receipt import read_body
from altrepodb.uploaderd.retry_queue import Attempts, read_attempts, retry_exchange
from altrepodb.uploaderd.service_type import Drop, Message, Work
from altrepodb.uploaderd.settings import ServiceSettings

__all__ = ["Deliveries"]

_JITTER = 0.1
_REMEMBERED_S = 3600.0
_MAX_REMEMBERED = 1000
_MAX_REASON_LENGTH = 512
_NEVER = float("inf")
_HOPELESS_FACTOR = 20
"""How many times more often than allowed a message may be interrupted before it is not tried."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Deliveries:
    """All messages of one service; see the module.

    ``clock`` is monotonic, ``wall_clock`` counts seconds since 1970 UTC.
    """

    settings: ServiceSettings
    clock: Clock = time.monotonic
    wall_clock: Clock = time.time
    counters: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    """Messages that the broker was told about so far."""
    is_draining: bool = False
    is_database_away: bool = False
    hindrance: str = ""
    """Why works fail for now, since the notice about it."""
    _held: dict[int, Held] = field(default_factory=dict)
    _by_key: dict[bytes, list[Held]] = field(default_factory=dict)
    _exclusive: set[Hashable] = field(default_factory=set)
    _actions: list[Action] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _last_requeue: float = -_NEVER

    @property
    def logger(self) -> logging.Logger:
        """The log of the service."""
        return logging.getLogger(f"altrepodb.{self.settings.name}")

    def take_actions(self) -> list[Action]:
        """What is to be done now, in this order."""
        actions, self._actions = self._actions, []
        return actions

    # --- what happens

    def receive(self, delivery: Delivery) -> None:
        """A message came."""
        self.counters["received"] += 1
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("%s: received %s", delivery.routing_key, text_of(delivery.body))
        key = digest_of(delivery)
        if delivery.redelivered and self._adopt(key, delivery):
            return
        held = self._hold(key, delivery)
        limit = self.settings.max_crash_count + self.settings.max_redeliver_count
        is_suspect = delivery.redelivered and delivery.count > limit
        if is_suspect and delivery.count > _HOPELESS_FACTOR * (limit + 1):
            reason = f"was interrupted {delivery.count} times"
            self._give_up(held, reason, "CRITICAL", "given_up")
            return
        if is_suspect:
            # Brokers and daemons that were restarted have counted too, and of those this message
            # may be innocent. So it is tried once more, and given up when its worker dies.
            held.crashes = self.settings.max_crash_count
        self._accept(held)

    def finish(self, job: Job, outcome: Outcome) -> None:
        """A load ended."""
        self._exclusive.discard(job.work.exclusive)
        for held in self._of(job):
            self._log_outcome(held, outcome)
            match outcome.kind:
                case OutcomeKind.DONE:
                    self._done(held)
                case OutcomeKind.MALFORMED:
                    self._give_up(held, outcome.reason, "WARNING", "malformed")
                case OutcomeKind.FAILED:
                    self._failed(held, outcome.reason)
                case OutcomeKind.DATABASE_AWAY:
                    self._hindered(held, outcome.reason)
                    self._wait_for_database(held)
                case OutcomeKind.TEMPORARY:
                    self._hindered(held, outcome.reason)
                    self._retry(held, held.hindrances)
        if outcome.kind is OutcomeKind.DONE:
            self._end_hindrance()

    def crash(self, job: Job, reason: str) -> None:
        """The worker of a job died."""
        self._exclusive.discard(job.work.exclusive)
        self.counters["crashes"] += 1
        for held in self._of(job):
            held.crashes += 1
            self.logger.error(
                "%s %s: %s, attempt %d", held.routing_key, job.work.subject, reason, held.attempt
            )
            self._notify("WARNING", "SERVICE_WORKER_ERROR", reason, held)
            if held.crashes > self.settings.max_crash_count:
                self._give_up(held, reason, "CRITICAL", "given_up")
            else:
                self._retry(held, held.crashes)

    def published(self, number: int, error: str = "") -> None:
        """An event, a dead letter or a copy is with the broker, or cannot be put anywhere."""
        held = self._held.get(number)
        if held is None or held.phase is not Phase.SETTLING:
            return
        if not error:
            self._settle(held, "ack")
        elif held.given_up:
            self.logger.error("%s: dead letter: %s", self.settings.dead_letter_exchange, error)
            self._reject(held)
        else:
            self.logger.warning("retry queue: %s", error)
            self._keep(held, held.delay)

    def lose_channel(self) -> None:
        """All tags are void; the broker will deliver again what is not settled."""
        now = self.clock()
        for held in self._held.values():
            if held.tag is None:
                continue
            held.tag, held.since = None, now
            if held.phase in (Phase.WAITING, Phase.RETRYING):
                # It comes again with its body.
                held.body, held.properties, held.work = b"", None, None
        self._forget_old(now)

    def confirm_settled(self, settled: int) -> None:
        """The broker has seen the first ``settled`` of our acknowledgements."""
        for held in list(self._held.values()):
            is_seen = held.phase is Phase.SETTLED and held.tag is not None
            if is_seen and held.settled <= settled:
                self._forget(held)

    def database_is_back(self) -> None:
        """A probe was answered."""
        self.is_database_away = False
        now = self.clock()
        for held in self._held.values():
            if held.waits_for_database:
                held.waits_for_database, held.due = False, now
        self._end_hindrance()

    # --- what can be done

    def next_job(self) -> Job | None:
        """The next work for a worker that is free, if there is any."""
        if self.is_draining or self.is_database_away:
            return None
        now = self.clock()
        for held in self._in_order():
            if held.phase is Phase.RETRYING and held.due <= now:
                held.phase = Phase.WAITING
                if held.work is None:
                    self._accept(held)
            if held.phase is Phase.WAITING and held.work is not None:
                work = held.work
                if work.exclusive is None or work.exclusive not in self._exclusive:
                    return self._hand_out(held, work)
        return None

    def next_due(self) -> float | None:
        """Seconds until the next retry, or None."""
        dues = [
            held.due
            for held in self._held.values()
            if held.phase is Phase.RETRYING and held.tag is not None and held.due != _NEVER
        ]
        return max(0.0, min(dues) - self.clock()) if dues else None

    def make_room(self) -> None:
        """Give a message back when those that wait for a retry leave no room for others.

        Only after a failure that counts, and rarely: each time costs one of the deliveries
        after which a message is taken for poison.
        """
        retrying = [
            held
            for held in self._in_order()
            if held.phase is Phase.RETRYING and not held.hindrances and held.due != _NEVER
        ]
        now = self.clock()
        is_full = len(retrying) >= self.settings.prefetch_count
        if is_full and now - self._last_requeue >= min(self.settings.retry_delays):
            self._last_requeue = now
            held = retrying[0]
            assert held.tag is not None
            self._actions.append(Settle(held.tag, "requeue"))
            # It will be adopted, with its schedule.
            held.tag, held.since, held.body, held.work = None, now, b"", None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is at work and nothing is being published."""
        return not any(
            held.phase in (Phase.WORKING, Phase.SETTLING) for held in self._held.values()
        )

    def in_phase(self, phase: Phase) -> int:
        """How many messages are in a phase."""
        return sum(held.phase is phase for held in self._held.values())

    def oldest_age(self) -> float:
        """Seconds since the receipt of the oldest message that is not settled; 0 for none."""
        now = self.wall_clock()
        ages = [now - h.received for h in self._held.values() if h.phase is not Phase.SETTLED]
        return max(ages, default=0.0)

    def describe(self) -> list[str]:
        """One line for each message that is not settled, for the log."""
        now = self.wall_clock()
        return [
            f"{held.routing_key} {held.work.subject if held.work else '-'}: {held.phase.value},"
            f" attempt {held.attempt}, received {now - held.received:.0f} s ago"
            for held in self._held.values()
            if held.phase is not Phase.SETTLED
        ]

    # --- receiving

    def _hold(self, key: bytes, delivery: Delivery) -> Held:
        before = read_attempts(delivery.properties, self.wall_clock())
        held = Held(
            number=next(self._numbers),
            key=key,
            tag=delivery.tag,
            routing_key=delivery.routing_key,
            body=delivery.body,
            properties=delivery.properties,
            redelivered=delivery.redelivered or before.total > 0,
            received=before.received,
            since=self.clock(),
            failures=before.failures,
            crashes=before.crashes,
            hindrances=before.hindrances,
        )
        self._held[held.number] = held
        self._by_key.setdefault(key, []).append(held)
        return held

    def _adopt(self, key: bytes, delivery: Delivery) -> bool:
        """Let the message that this delivery is have its new tag."""
        lost = [held for held in self._by_key.get(key, ()) if held.tag is None]
        if not lost:
            return False
        # A settled one comes last: its acknowledgement has most likely arrived.
        held = min(lost, key=lambda one: (one.phase is Phase.SETTLED, one.number))
        self.counters["adopted"] += 1
        held.tag, held.since = delivery.tag, self.clock()
        held.body, held.properties = delivery.body, delivery.properties
        # Last in the order of arrival.
        self._held[held.number] = self._held.pop(held.number)
        if held.phase is Phase.SETTLED:
            self._settle(held, held.verdict)
        elif held.phase is Phase.WAITING:
            self._accept(held)
        self.logger.debug("%s: adopted, %s", held.routing_key, held.phase.value)
        return True

    def _accept(self, held: Held) -> None:
        """Ask the service what to do with a message."""
        kind = self.settings.type
        try:
            message = Message(
                held.routing_key, read_body(held.body), held.redelivered, held.received
            )
            held.work = kind.accept(message, self.settings.own)
        except Drop as error:
            self._refuse(held, error)
            return
        except TemporaryError as error:
            self._hindered(held, str(error))
            self._retry(held, held.hindrances)
            return
        except Exception as error:
            # A service that fails on a message must not fail on the next ones.
            if not isinstance(error, AltrepodbError):
                self.logger.exception("%s: defect", held.routing_key)
            self._failed(held, outcome_of_error(error).reason)
            return
        if held.work is None:
            self.counters["ignored"] += 1
            self.logger.info("%s: ignored", held.routing_key)
            self._settle(held, "ack")

    def _refuse(self, held: Held, error: Drop) -> None:
        self.logger.warning("%s: malformed: %s", held.routing_key, error)
        self._give_up(held, str(error), "WARNING", "malformed")

    # --- handing out

    def _in_order(self) -> list[Held]:
        return [held for held in self._held.values() if held.tag is not None]

    def _hand_out(self, held: Held, work: Work) -> Job:
        group = [held] if work.merged is None else self._merged(work.merged)
        newest = group[-1].work
        assert newest is not None
        for member in group:
            member.phase = Phase.WORKING
        if newest.exclusive is not None:
            self._exclusive.add(newest.exclusive)
        numbers = tuple(member.number for member in group)
        return Job(newest, numbers, group[-1].routing_key, group[-1].attempt)

    def _merged(self, key: Hashable) -> list[Held]:
        """All that wait and can be done by one call."""
        return [
            held
            for held in self._in_order()
            if held.phase in (Phase.WAITING, Phase.RETRYING)
            and held.work is not None
            and held.work.merged == key
        ]

    def _of(self, job: Job) -> list[Held]:
        return [self._held[number] for number in job.numbers]

    # --- outcomes

    def _done(self, held: Held) -> None:
        self.counters["done"] += 1
        assert held.work is not None
        if not self.settings.publish_on_done or held.work.published is None:
            self._settle(held, "ack")
            return
        self._publish(held, self.settings.amqp.exchange, "event", added=held.work.published)

    def _failed(self, held: Held, reason: str) -> None:
        held.failures += 1
        if self.is_draining:
            # What a stop may have caused is judged after the next start.
            self._retry(held, held.failures)
            return
        limit = self.settings.max_redeliver_count if self.settings.requeue_on_reject else 0
        if held.failures > limit:
            self._give_up(held, reason, "CRITICAL", "given_up")
        else:
            self._retry(held, held.failures)

    def _hindered(self, held: Held, reason: str) -> None:
        held.hindrances += 1
        if not self.hindrance:
            self.hindrance = reason
            self._notify("WARNING", "SERVICE_WORKER_ERROR", reason, held)

    def _end_hindrance(self) -> None:
        if self.hindrance and not self.is_database_away:
            message = f"works again; it was hindered by: {self.hindrance}"
            self.hindrance = ""
            self._actions.append(Notice(self.settings.name, "INFO", "MESSAGE", message))

    def _wait_for_database(self, held: Held) -> None:
        self.is_database_away = held.waits_for_database = True
        self._keep(held, _NEVER)

    def _retry(self, held: Held, attempts: int) -> None:
        self.counters["retried"] += 1
        delays = self.settings.retry_delays
        held.delay = delays[min(attempts, len(delays)) - 1]
        if self.settings.retry_queue and held.tag is not None and not self.is_draining:
            self._put_aside(held)
        else:
            self._keep(held, held.delay * random.uniform(1 - _JITTER, 1 + _JITTER))

    def _keep(self, held: Held, delay: float) -> None:
        """Wait here, without acknowledgement."""
        held.phase, held.due = Phase.RETRYING, self.clock() + delay
        if held.tag is None:
            held.body, held.properties, held.work = b"", None, None

    def _put_aside(self, held: Held) -> None:
        """Wait in a queue of the broker, as a copy that says how often it was tried."""
        attempts = Attempts(held.failures, held.crashes, held.hindrances, held.received)
        exchange = retry_exchange(self.settings.queue.name, held.delay)
        self._publish(held, exchange, "retry", headers=attempts.headers())

    def _give_up(self, held: Held, reason: str, severity: Severity, counter: str) -> None:
        self.counters[counter] += 1
        held.given_up = reason
        self._notify(severity, "SERVICE_WORKER_ERROR", reason, held)
        if not self.settings.dead_letter_exchange:
            self._reject(held)
            return
        headers = {
            "x-altrepo-service": self.settings.name,
            "x-altrepo-reason": reason[:_MAX_REASON_LENGTH],
            "x-altrepo-attempt": held.attempt,
            "x-altrepo-time": int(self.wall_clock()),
            "x-altrepo-queue": self.settings.queue.name,
        }
        self._publish(held, self.settings.dead_letter_exchange, "dead letter", headers=headers)

    def _reject(self, held: Held) -> None:
        """Without requeueing; the log may have the last copy."""
        self.logger.error(
            "%s: given up: %s; body: %s",
            held.routing_key,
            held.given_up,
            text_of(held.body),
        )
        self._settle(held, "reject")

    def _publish(
        self,
        held: Held,
        exchange: str,
        purpose: Purpose,
        added: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        held.phase = Phase.SETTLING
        publish = Publish(
            number=held.number,
            exchange=exchange,
            routing_key=held.routing_key,
            body=held.body,
            properties=held.properties,
            purpose=purpose,
            added=added or {},
            headers=headers or {},
            delay_s=held.delay,
        )
        self._actions.append(publish)

    def _settle(self, held: Held, verdict: Verdict) -> None:
        """The last step; without a tag it is taken when the message comes again."""
        held.phase, held.verdict = Phase.SETTLED, verdict
        held.body, held.properties, held.work = b"", None, None
        if held.tag is not None:
            self.settled += 1
            held.settled = self.settled
            self._actions.append(Settle(held.tag, verdict))

    # --- remembering and telling

    def _forget(self, held: Held) -> None:
        del self._held[held.number]
        same = self._by_key[held.key]
        same.remove(held)
        if not same:
            del self._by_key[held.key]

    def _forget_old(self, now: float) -> None:
        lost = [
            held
            for held in self._held.values()
            if held.tag is None and held.phase not in (Phase.WORKING, Phase.SETTLING)
        ]
        lost.sort(key=lambda held: held.since)
        surplus = len(lost) - _MAX_REMEMBERED
        for index, held in enumerate(lost):
            if index < surplus or now - held.since > _REMEMBERED_S:
                self._forget(held)

    def _log_outcome(self, held: Held, outcome: Outcome) -> None:
        subject = held.work.subject if held.work else "-"
        level = logging.INFO if outcome.kind is OutcomeKind.DONE else logging.WARNING
        remark = f": {outcome.reason}" if outcome.reason else ""
        self.logger.log(
            level,
            "%s %s: %s, attempt %d, %.3f s%s",
            held.routing_key,
            subject,
            outcome.kind.value,
            held.attempt,
            outcome.seconds,
            remark,
        )

    def _notify(self, severity: Severity, kind: NoticeType, message: str, held: Held) -> None:
        payload = payload_of(held.body)
        self._actions.append(Notice(self.settings.name, severity, kind, message, payload))
