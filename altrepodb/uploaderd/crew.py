"""The worker processes of one service: started, fed, watched, replaced, killed.

All of it belongs to the thread of the service's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from altrepodb.uploaderd.actions import Job
from altrepodb.uploaderd.log import LogSink
from altrepodb.uploaderd.outcome import Outcome, OutcomeKind
from altrepodb.uploaderd.processes import close_group, spawn_context
from altrepodb.uploaderd.settings import ServiceSettings
from altrepodb.uploaderd.worker import LEAVE, PROBE, READY, LoadRequest, WorkerStart, run_worker

__all__ = ["Crew"]

_RESTART_DELAY_S = 1.0
_QUIET_S = 60.0
_JOIN_S = 5.0


@dataclass(slots=True, eq=False)
class _Worker:
    """One process and what it is busy with: starting, nothing, a probe, or a job."""

    process: SpawnProcess
    pipe: Connection
    task: Job | Literal["starting", "probe"] | None
    since: float
    timeout: asyncio.TimerHandle | None = None


class Crew:
    """``workers_count`` processes.

    ``finished`` gets a job and how it ended, ``crashed`` a job and what became of its worker,
    ``probed`` whether the database answered, ``idle`` is called when a worker became free.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        log: LogSink,
        finished: Callable[[Job, Outcome], None],
        crashed: Callable[[Job, str], None],
        probed: Callable[[Outcome], None],
        idle: Callable[[], None],
    ) -> None:
        self.restarts = 0
        self._settings = settings
        self._log = log
        self._finished = finished
        self._crashed = crashed
        self._probed = probed
        self._idle = idle
        self._workers: list[_Worker] = []
        self._is_closed = False
        self._logger = logging.getLogger(f"altrepodb.{settings.name}")

    def start(self) -> None:
        """Start all workers."""
        for _ in range(self._settings.workers_count):
            self._start_one()

    @property
    def is_started(self) -> bool:
        """Whether every worker has come up."""
        started = [worker for worker in self._workers if worker.task != "starting"]
        return len(started) == self._settings.workers_count

    @property
    def has_idle(self) -> bool:
        """Whether somebody could take a job."""
        return any(worker.task is None for worker in self._workers)

    def hand_out(self, job: Job) -> None:
        """Give a job to a worker that is idle."""
        worker = self._send(LoadRequest(job.work, job.routing_key, job.attempt), job)
        if worker is not None and self._settings.load_timeout:
            worker.timeout = asyncio.get_running_loop().call_later(
                self._settings.load_timeout, self._end_late_load, worker, job
            )

    def probe(self) -> None:
        """Have an idle worker look for the database."""
        self._send(PROBE, PROBE)

    def check(self) -> None:
        """Find workers that died while something of theirs still held their pipe open."""
        for worker in list(self._workers):
            if not worker.process.is_alive():
                self._on_readable(worker)

    def process_ids(self) -> list[int]:
        """The processes, for the log."""
        return [worker.process.pid or 0 for worker in self._workers]

    def close(self) -> None:
        """End all workers: those that are idle leave, those at work are killed."""
        self._is_closed = True
        for worker in self._workers:
            asyncio.get_running_loop().remove_reader(worker.pipe.fileno())
            if worker.task is None:
                with suppress(OSError):
                    worker.pipe.send(LEAVE)
            elif worker.process.pid is not None:
                close_group(worker.process.pid)
        deadline = time.monotonic() + _JOIN_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.pipe.close()
            if worker.process.pid is not None and worker.process.is_alive():
                close_group(worker.process.pid)
                worker.process.join(_JOIN_S)
        self._workers.clear()

    # --- one worker

    def _start_one(self) -> None:
        if self._is_closed:
            return
        settings = self._settings
        context = spawn_context()
        ours, theirs = context.Pipe()
        start = WorkerStart(settings.type, settings.own, settings.database, self._log, os.getpid())
        process = context.Process(
            target=run_worker, args=(start, theirs), name=f"{settings.name}_worker"
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours, "starting", time.monotonic())
        self._workers.append(worker)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_readable, worker)

    def _send(self, request: Any, task: Job | Literal["probe"]) -> _Worker | None:
        worker = next(worker for worker in self._workers if worker.task is None)
        worker.task = task
        try:
            worker.pipe.send(request)
        except OSError:
            # It has just died, which its pipe will tell.
            return None
        return worker

    def _on_readable(self, worker: _Worker) -> None:
        try:
            while worker.pipe.poll():
                self._on_answer(worker, worker.pipe.recv())
        except (EOFError, OSError):
            self._on_death(worker)
            return
        if not worker.process.is_alive():
            self._on_death(worker)

    def _on_answer(self, worker: _Worker, answer: Any) -> None:
        task, worker.task = worker.task, None
        self._stop_clock(worker)
        if answer != READY:
            assert isinstance(answer, Outcome)
            if isinstance(task, Job):
                self._finished(task, answer)
            elif task == PROBE:
                self._probed(answer)
        self._idle()

    def _on_death(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        asyncio.get_running_loop().remove_reader(worker.pipe.fileno())
        worker.pipe.close()
        self._stop_clock(worker)
        if worker.process.pid is not None:
            # What it has started may be alive.
            close_group(worker.process.pid)
        worker.process.join(_JOIN_S)
        code = worker.process.exitcode
        reason = f"worker {worker.process.pid} died, exit status {code}"
        self.restarts += 1
        task = worker.task
        if isinstance(task, Job):
            self._crashed(task, reason)
        elif task == PROBE:
            self._probed(Outcome(OutcomeKind.DATABASE_AWAY, reason))
        else:
            self._logger.error("%s", reason)
        # One that dies at once must not be started in a hurry.
        is_quick = time.monotonic() - worker.since < _QUIET_S and not isinstance(task, Job)
        delay = _RESTART_DELAY_S if is_quick else 0.0
        asyncio.get_running_loop().call_later(delay, self._start_one)

    def _end_late_load(self, worker: _Worker, job: Job) -> None:
        """Kill a load that takes longer than allowed; that is a failure, not a crash."""
        if worker.task is not job or worker.process.pid is None:
            return
        worker.task = None
        close_group(worker.process.pid)
        limit = self._settings.load_timeout
        self._on_death(worker)
        self._finished(job, Outcome(OutcomeKind.FAILED, f"took longer than {limit:g} s", limit))

    def _stop_clock(self, worker: _Worker) -> None:
        if worker.timeout is not None:
            worker.timeout.cancel()
            worker.timeout = None
