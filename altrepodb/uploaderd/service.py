"""A service process: one queue, its workers, and the way between them.

One thread does everything: it owns both connections, watches the pipes of the workers and of
main, and never waits for any of them. That it turns is what its reports to main prove.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from altrepodb.uploaderd.actions import Delivery, Job, Publish, Settle
from altrepodb.uploaderd.consuming import Consumer
from altrepodb.uploaderd.crew import Crew
from altrepodb.uploaderd.deliveries import Deliveries
from altrepodb.uploaderd.held import Phase
from altrepodb.uploaderd.histogram import Histogram
from altrepodb.uploaderd.log import LogSink, daemon_log
from altrepodb.uploaderd.notice import Notice, NoticeType, Severity
from altrepodb.uploaderd.outcome import Outcome, OutcomeKind
from altrepodb.uploaderd.processes import die_with_parent, ignore_signals, set_title
from altrepodb.uploaderd.publishing import EventPublisher
from altrepodb.uploaderd.settings import ServiceSettings

__all__ = ["Command", "Report", "ServiceStart", "State", "run_service"]

State = Literal["starting", "connecting", "running", "degraded", "draining", "failed", "stopped"]
Command = Literal["drain", "dump"]

REPORT_INTERVAL_S = 2.0
_SETTLE_CHECK_S = 0.2
_FIRST_PROBE_S = 1.0
_LAST_PROBE_S = 30.0
# 1 is what Python ends with after an error that nobody caught.
EXIT_DRAINED, EXIT_ABANDONED, EXIT_FAILED = 0, 3, 70


@dataclass(frozen=True, slots=True)
class ServiceStart:
    """All that a service process needs to know."""

    settings: ServiceSettings
    log: LogSink
    parent: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a service tells main, every few seconds and whenever its state changes."""

    state: State
    detail: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)
    load_seconds: Histogram = field(default_factory=Histogram)


def run_service(start: ServiceStart, pipe: Connection) -> None:
    """The life of a service process; its exit status tells how it ended."""
    ignore_signals(signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    die_with_parent(start.parent)
    set_title(start.settings.name)
    with daemon_log(start.log):
        status = asyncio.run(_Service(start, pipe).run())
    pipe.close()
    sys.exit(status)


class _Service:
    """Wires consumer, deliveries, crew and publisher together."""

    def __init__(self, start: ServiceStart, pipe: Connection) -> None:
        settings = start.settings
        self._settings = settings
        self._pipe = pipe
        self._logger = logging.getLogger(f"altrepodb.{settings.name}")
        self._deliveries = Deliveries(settings)
        self._consumer = Consumer(
            settings, self._on_delivery, self._on_channel_lost, self._report, self._notify
        )
        self._publisher = EventPublisher(settings, self._on_published, self._report)
        self._crew = Crew(
            settings,
            start.log,
            finished=self._on_finished,
            crashed=self._on_crashed,
            probed=self._on_probed,
            idle=self._on_idle,
        )
        self._load_seconds = Histogram()
        self._status: asyncio.Future[int]
        self._timer: asyncio.TimerHandle | None = None
        self._is_pumping = False
        self._is_asking = False
        self._is_probing = False
        self._probe_delay = _FIRST_PROBE_S
        self._reported: tuple[State, str] | None = None

    async def run(self) -> int:
        """Serve until told to drain, or until main is gone; the exit status."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_defect)
        self._status = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._start_drain)
        loop.add_reader(self._pipe.fileno(), self._on_command)
        tasks = [loop.create_task(self._report_regularly())]
        try:
            self._crew.start()
            self._report()
            tasks += [
                loop.create_task(self._consumer.run()),
                loop.create_task(self._publisher.run()),
            ]
            for task in tasks:
                task.add_done_callback(self._on_task_done)
            return await self._status
        finally:
            # Before the channel is closed: nothing may be settled by a load that was cut off.
            self._crew.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            loop.remove_reader(self._pipe.fileno())

    # --- what happens

    def _on_delivery(self, delivery: Delivery) -> None:
        self._deliveries.receive(delivery)
        self._pump()

    def _on_channel_lost(self) -> None:
        self._is_asking = False
        self._deliveries.lose_channel()

    def _on_published(self, number: int, error: str) -> None:
        self._deliveries.published(number, error)
        self._pump()

    def _on_finished(self, job: Job, outcome: Outcome) -> None:
        self._load_seconds.add(outcome.seconds)
        self._deliveries.finish(job, outcome)
        self._pump()

    def _on_crashed(self, job: Job, reason: str) -> None:
        self._deliveries.crash(job, reason)
        self._pump()

    def _on_idle(self) -> None:
        self._pump()
        if self._reported is not None and self._reported[0] == "starting":
            self._report()

    def _on_probed(self, outcome: Outcome) -> None:
        self._is_probing = False
        if outcome.kind is OutcomeKind.DONE:
            self._probe_delay = _FIRST_PROBE_S
            self._deliveries.database_is_back()
            self._report()
        self._pump()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._end(EXIT_FAILED, task.exception())

    def _on_defect(self, _loop: Any, context: Mapping[str, Any]) -> None:
        """An error that nobody handles: better a new process than one in an unknown state."""
        self._logger.error("%s", context.get("message"))
        self._end(EXIT_FAILED, context.get("exception"))

    def _end(self, status: int, error: BaseException | None = None) -> None:
        if error is not None:
            self._logger.error("defect", exc_info=error)
        if not self._status.done():
            self._status.set_result(status)

    # --- what is done

    def _pump(self) -> None:
        """Hand out what can be handed out, do what is to be done, set the alarm."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._perform()
            while self._crew.has_idle and (job := self._deliveries.next_job()) is not None:
                self._crew.hand_out(job)
            self._deliveries.make_room()
            self._perform()
        finally:
            self._is_pumping = False
        self._set_alarm()
        self._probe_later()
        if self._deliveries.is_draining and self._deliveries.is_at_rest:
            self._end(EXIT_DRAINED)

    def _perform(self) -> None:
        for action in self._deliveries.take_actions():
            match action:
                case Settle():
                    self._consumer.settle(action)
                    self._ask_later()
                case Publish():
                    self._publisher.publish(action)
                case Notice():
                    self._send(action)

    def _set_alarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._deliveries.next_due()
        if due is not None and self._crew.has_idle:
            self._timer = asyncio.get_running_loop().call_later(due, self._pump)

    def _ask_later(self) -> None:
        """Find out whether the broker has seen the acknowledgements, in groups."""
        if not self._is_asking:
            self._is_asking = True
            asyncio.get_running_loop().call_later(_SETTLE_CHECK_S, self._ask)

    def _ask(self) -> None:
        settled = self._deliveries.settled

        def answer() -> None:
            self._is_asking = False
            self._deliveries.confirm_settled(settled)
            if self._deliveries.settled > settled:
                self._ask_later()

        if not self._consumer.ask_whether_settled(answer):
            self._is_asking = False

    def _probe_later(self) -> None:
        if self._deliveries.is_database_away and not self._is_probing:
            self._is_probing = True
            asyncio.get_running_loop().call_later(self._probe_delay, self._probe)
            self._probe_delay = min(2 * self._probe_delay, _LAST_PROBE_S)
            self._report()

    def _probe(self) -> None:
        if self._crew.has_idle:
            self._crew.probe()
        else:
            # All are at work; the end of one will tell as much.
            self._is_probing = False
            self._probe_later()

    # --- main

    def _on_command(self) -> None:
        try:
            command: Command = self._pipe.recv()
        except (EOFError, OSError):
            # Main is gone, and with it everybody who could tell us to stop.
            self._crew.close()
            os._exit(EXIT_FAILED)
        if command == "drain":
            self._start_drain()
        else:
            self._dump()

    def _start_drain(self) -> None:
        if self._deliveries.is_draining:
            return
        self._logger.info("drains")
        self._deliveries.is_draining = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings.drain_timeout, self._end, EXIT_ABANDONED)
        self._report()
        # With nothing at work there is nothing to wait for, least of all a broker that is silent.
        self._pump()
        if not self._status.done():
            drain = loop.create_task(self._consumer.drain())
            drain.add_done_callback(lambda _: self._pump())

    def _dump(self) -> None:
        state, detail = self._state()
        self._logger.info("state %s %s", state, detail)
        self._logger.info("workers %s", self._crew.process_ids())
        for line in self._deliveries.describe():
            self._logger.info("%s", line)

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            self._crew.check()
            self._report()

    def _state(self) -> tuple[State, str]:
        deliveries, consumer = self._deliveries, self._consumer
        if deliveries.is_draining:
            return "draining", ""
        if not self._crew.is_started and self._reported in (None, ("starting", "")):
            return "starting", ""
        if consumer.state != "running":
            return ("failed" if consumer.state == "failed" else "connecting"), consumer.detail
        hindrance = deliveries.hindrance or self._publisher.trouble
        return ("degraded", hindrance) if hindrance else ("running", "")

    def _report(self) -> None:
        self._reported = state, detail = self._state()
        deliveries = self._deliveries
        gauges = {
            "in_flight": deliveries.in_phase(Phase.WORKING),
            "waiting": deliveries.in_phase(Phase.WAITING),
            "retrying": deliveries.in_phase(Phase.RETRYING),
            "oldest_seconds": deliveries.oldest_age(),
        }
        counters = {
            **deliveries.counters,
            "reconnects": self._consumer.reconnects,
            "worker_restarts": self._crew.restarts,
        }
        self._send(Report(state, detail, counters, gauges, self._load_seconds))

    def _notify(
        self,
        subject: str,
        severity: Severity,
        type: NoticeType,
        message: str,
        payload: Any = None,
    ) -> None:
        self._send(Notice(subject, severity, type, message, payload))

    def _send(self, message: Report | Notice) -> None:
        # When main is gone its pipe tells so.
        with suppress(OSError):
            self._pipe.send(message)
