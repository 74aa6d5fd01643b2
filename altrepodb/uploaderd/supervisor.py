"""Service processes as main sees them: started, heard, restarted alone, drained, killed.

A service that ends, or is not heard for ``service_timeout``, is started again after a delay that
grows with every failure; the others never notice. Each incarnation has a pipe of its own, so
nothing meant for an old one reaches a new one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from altrepodb.uploaderd.log import LogSink
from altrepodb.uploaderd.notice import Notice, Notify
from altrepodb.uploaderd.processes import spawn_context
from altrepodb.uploaderd.service import (
    EXIT_ABANDONED,
    EXIT_DRAINED,
    Command,
    Report,
    ServiceStart,
    run_service,
)
from altrepodb.uploaderd.settings import ServiceSettings

__all__ = ["Supervised"]

_RESTART_DELAYS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_QUIET_S = 600.0
_JOIN_S = 5.0
_DRAIN_MARGIN_S = 10.0


class Supervised:
    """One service of the configuration through all its incarnations.

    ``tell`` is called whenever something about it has changed.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        log: LogSink,
        service_timeout: float,
        notify: Notify,
        tell: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.report = Report("starting")
        self.restarts = 0
        self.has_abandoned = False
        """Whether a drain ended with work that was cut off."""
        self._log = log
        self._service_timeout = service_timeout
        self._notify = notify
        self._tell = tell
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._heard = 0.0
        self._started = 0.0
        self._failures = 0
        self._next: ServiceSettings | None = settings
        """With which settings it is started again; None when it is to end."""
        self._is_ending = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._logger = logging.getLogger("altrepodb.uploaderd")

    @property
    def is_over(self) -> bool:
        """Whether there is no process and there will be none."""
        return self._process is None and self._next is None

    @property
    def wanted(self) -> ServiceSettings | None:
        """With which settings it runs or will run next; None when it is to end."""
        return self._next

    @property
    def pid(self) -> int:
        """The process now, 0 for none."""
        return (self._process.pid or 0) if self._process is not None else 0

    def start(self) -> None:
        """Start a new process, unless the service is to end."""
        self._timer = None
        if self._next is None or self._process is not None:
            return
        self.settings = self._next
        context = spawn_context()
        ours, theirs = context.Pipe()
        start = ServiceStart(self.settings, self._log, os.getpid())
        process = context.Process(target=run_service, args=(start, theirs), name=self.settings.name)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        self._started = self._heard = time.monotonic()
        self._is_ending, self._deadline = False, None
        self.report = Report("starting")
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_readable)

    def drain(self, replacement: ServiceSettings | None) -> None:
        """Let it end what it does; then start it with other settings, or not again."""
        self._next = replacement
        if self._process is None:
            if self._timer is not None:
                self._timer.cancel()
            self.start()
            self._tell()
            return
        self._is_ending = True
        self._deadline = time.monotonic() + self.settings.drain_timeout + _DRAIN_MARGIN_S
        self.command("drain")

    def command(self, command: Command) -> None:
        """Send a command, if there is somebody to hear it."""
        if self._pipe is not None:
            try:
                self._pipe.send(command)
            except OSError:
                # Its end will be found at once.
                return

    def check(self) -> None:
        """Kill a service that is not heard any more, or does not end; find one that ended."""
        if self._process is None:
            return
        now = time.monotonic()
        if now - self._heard > self._service_timeout:
            self._logger.error("%s: not heard for %.0f s", self.settings.name, now - self._heard)
            self.kill()
        elif self._deadline is not None and now > self._deadline:
            self._logger.error("%s: does not end", self.settings.name)
            self.kill()
        elif not self._process.is_alive():
            self._on_readable()

    def kill(self) -> None:
        """Kill the process; its workers die with it."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_JOIN_S)
            self._on_end()

    def give_up(self) -> None:
        """Kill it, for good."""
        self._next = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._process is not None:
            self.has_abandoned = True
        self.kill()

    # --- what it says

    def _on_readable(self) -> None:
        pipe, process = self._pipe, self._process
        if pipe is None or process is None:
            return
        try:
            while pipe.poll():
                self._on_message(pipe.recv())
        except (EOFError, OSError):
            process.join(_JOIN_S)
            if process.is_alive():
                process.kill()
                process.join(_JOIN_S)
            self._on_end()
            return
        if not process.is_alive():
            self._on_end()

    def _on_message(self, message: Any) -> None:
        self._heard = time.monotonic()
        if isinstance(message, Notice):
            self._notify(
                message.subject,
                message.severity,
                message.type,
                message.message,
                message.payload,
            )
        elif isinstance(message, Report):
            changed = (message.state, message.detail) != (self.report.state, self.report.detail)
            self.report = message
            if changed:
                self._tell()

    def _on_end(self) -> None:
        process, pipe = self._process, self._pipe
        if process is None or pipe is None or process.is_alive():
            # One that even SIGKILL does not end at once is found by the next check.
            return
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        pipe.close()
        status = process.exitcode
        process.close()
        self._process = self._pipe = None
        if self._is_ending and status != EXIT_DRAINED:
            self.has_abandoned = True
        if self._next is None:
            self.report = Report("stopped")
        else:
            self._start_again(status)
        self._tell()

    def _start_again(self, status: int | None) -> None:
        is_expected = status in (EXIT_DRAINED, EXIT_ABANDONED)
        delay = 0.0 if self._is_ending else self._delay()
        self.restarts += 1
        if is_expected:
            self._logger.info("%s: drained, starts again", self.settings.name)
        else:
            reason = f"ended with status {status}, starts again in {delay:g} s"
            self._logger.error("%s: %s", self.settings.name, reason)
            payload = {"state": "FAILED", "reason": reason}
            self._notify(self.settings.name, "WARNING", "SERVICE_ERROR", reason, payload)
        self.report = Report("failed", f"ended with status {status}")
        self._timer = asyncio.get_running_loop().call_later(delay, self.start)

    def _delay(self) -> float:
        if time.monotonic() - self._started > _QUIET_S:
            self._failures = 0
        delay = _RESTART_DELAYS_S[min(self._failures, len(_RESTART_DELAYS_S) - 1)]
        self._failures += 1
        return delay
