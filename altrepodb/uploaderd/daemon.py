"""The main process of the daemon: services, notices, signals, systemd, metrics.

Nothing here waits for a service, the broker or the database, and none of them being away ends it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from altrepodb import __version__
from altrepodb.uploaderd.json_settings import ConfigurationProblems
from altrepodb.uploaderd.log import LogSink
from altrepodb.uploaderd.metrics import MetricsServer, render_metrics
from altrepodb.uploaderd.notice import Notify
from altrepodb.uploaderd.notifier import Notifier, log_notice
from altrepodb.uploaderd.processes import set_title
from altrepodb.uploaderd.service_manager import tell_service_manager
from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.settings import (
    DaemonSettings,
    NotifierSettings,
    ServiceSettings,
    read_daemon_settings,
)
from altrepodb.uploaderd.supervisor import Supervised

__all__ = ["DaemonSource", "run_daemon"]

_CHECK_INTERVAL_S = 1.0
_READY_WITHIN_S = 10.0
_EXTEND_INTERVAL_S = 10.0
_EXTEND_BY_MICROSECONDS = 30_000_000
_UNHEALTHY = ("starting", "failed", "stopped")

logger = logging.getLogger("altrepodb.uploaderd")


@dataclass(frozen=True, slots=True)
class DaemonSource:
    """Where the settings come from, for reading them again."""

    config: Path
    service_dir: Path
    types: Mapping[str, ServiceType]

    def read(self) -> DaemonSettings:
        """Read them. Raises ConfigurationProblems."""
        return read_daemon_settings(self.config, self.service_dir, self.types)


def run_daemon(source: DaemonSource, settings: DaemonSettings, log: LogSink) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean drain, 1 when work was abandoned."""
    set_title("uploaderd")
    for line in (*log.missing, *settings.warnings):
        logger.warning("%s", line)
    names = [service.name for service in settings.services]
    with _notifying(settings.notifier, names) as (notify, counts):
        status = asyncio.run(_Daemon(source, settings, log, notify, counts).run())
    tell_service_manager("STATUS=All services stopped")
    return status


@contextmanager
def _notifying(
    settings: NotifierSettings | None, names: list[str]
) -> Iterator[tuple[Notify, Callable[[], tuple[int, int]]]]:
    """Who takes notices, and how many of them were sent and dropped."""
    if settings is None:
        yield log_notice, lambda: (0, 0)
        return
    notifier = Notifier(settings)
    notifier.start(names)
    try:
        yield notifier.notify, lambda: (notifier.sent, notifier.dropped)
    finally:
        notifier.stop()


class _Daemon:
    """The services of one configuration, and what the outside asks of them."""

    def __init__(
        self,
        source: DaemonSource,
        settings: DaemonSettings,
        log: LogSink,
        notify: Notify,
        notices: Callable[[], tuple[int, int]],
    ) -> None:
        self._source = source
        self._settings = settings
        self._log = log
        self._notify = notify
        self._notices = notices
        self._services: list[Supervised] = []
        self._is_ready = False
        self._is_stopping = False
        self._status = ""
        self._ended: asyncio.Future[int]

    async def run(self) -> int:
        """Everything from the start to the end of all services."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        loop.set_exception_handler(self._on_defect)
        loop.add_signal_handler(signal.SIGTERM, self._on_stop)
        loop.add_signal_handler(signal.SIGINT, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)
        tasks = [loop.create_task(self._check_regularly())]
        metrics = self._open_metrics()
        try:
            logger.info("uploaderd %s, %d services", __version__, len(self._settings.services))
            self._services = [self._supervised(service) for service in self._settings.services]
            for service in self._services:
                service.start()
            loop.call_later(_READY_WITHIN_S, self._be_ready)
            tasks.append(loop.create_task(self._feed_watchdog()))
            return await self._ended
        finally:
            for service in self._services:
                service.give_up()
            for task in tasks:
                task.cancel()
            if metrics is not None:
                metrics.close()
            logger.info("stopped")

    def _supervised(self, settings: ServiceSettings) -> Supervised:
        timeout = self._settings.service_timeout
        return Supervised(settings, self._log, timeout, self._notify, self._on_change)

    def _open_metrics(self) -> MetricsServer | None:
        if self._settings.metrics_listen is None:
            return None
        try:
            return MetricsServer(
                self._settings.metrics_listen,
                lambda: render_metrics(self._services, self._notices()),
                lambda: self._is_ready and not self._is_stopping and self._is_healthy(),
            )
        except OSError as error:
            host, port = self._settings.metrics_listen
            logger.warning("metrics: %s:%d: %s", host, port, error.strerror or error)
            return None

    # --- what happens

    def _on_change(self) -> None:
        if not self._is_ready and all(s.report.state != "starting" for s in self._services):
            self._be_ready()
        self._tell_status()
        if self._is_stopping and all(service.is_over for service in self._services):
            has_abandoned = any(service.has_abandoned for service in self._services)
            self._end(1 if has_abandoned else 0)

    def _on_stop(self) -> None:
        """The first signal drains, the second one ends at once."""
        if self._is_stopping:
            logger.warning("stops at once")
            for service in self._services:
                service.give_up()
            self._end(1)
            return
        self._is_stopping = True
        logger.info("drains")
        tell_service_manager("STOPPING=1")
        self._extend_timeout()
        for service in list(self._services):
            service.drain(None)
        self._on_change()

    def _extend_timeout(self) -> None:
        tell_service_manager(f"EXTEND_TIMEOUT_USEC={_EXTEND_BY_MICROSECONDS}")
        asyncio.get_running_loop().call_later(_EXTEND_INTERVAL_S, self._extend_timeout)

    def _reload(self) -> None:
        """Read the files again and restart, after a drain, what has changed."""
        if self._is_stopping:
            return
        monotonic_microseconds = time.monotonic_ns() // 1000
        tell_service_manager("RELOADING=1", f"MONOTONIC_USEC={monotonic_microseconds}")
        try:
            settings = self._source.read()
        except ConfigurationProblems as error:
            for problem in error.problems:
                logger.error("%s", problem)
            self._notify("uploaderd", "WARNING", "SERVICE_ERROR", f"not reloaded: {error}")
        else:
            self._replace(settings)
        tell_service_manager("READY=1")

    def _replace(self, settings: DaemonSettings) -> None:
        for line in settings.warnings:
            logger.warning("%s", line)
        before = replace(self._settings, services=(), warnings=())
        if replace(settings, services=(), warnings=()) != before:
            logger.warning("what has changed beside the services counts after a restart")
        added = list(settings.services)
        for service in self._services:
            if service.wanted in added:
                added.remove(service.wanted)
                continue
            changed = next((new for new in added if _is_same_file(new, service.settings)), None)
            if changed is not None:
                added.remove(changed)
            logger.info("%s: %s", service.settings.name, "changed" if changed else "gone")
            service.drain(changed)
        self._services = [service for service in self._services if not service.is_over]
        for new in added:
            logger.info("%s: new", new.name)
            service = self._supervised(new)
            self._services.append(service)
            service.start()
        self._settings = settings
        self._on_change()

    def _dump(self) -> None:
        logger.info("status: %s", self._summary())
        for service in self._services:
            report = service.report
            logger.info(
                "%s: process %d, %s %s, %s, %s",
                service.settings.name,
                service.pid,
                report.state,
                report.detail,
                dict(report.counters),
                dict(report.gauges),
            )
            service.command("dump")

    def _on_defect(self, _loop: object, context: Mapping[str, object]) -> None:
        error = context.get("exception")
        logger.error(
            "defect: %s",
            context.get("message"),
            exc_info=error if isinstance(error, Exception) else None,
        )
        self._end(1)

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)

    # --- what is told

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            for service in list(self._services):
                service.check()
            self._services = [
                service for service in self._services if self._is_stopping or not service.is_over
            ]

    async def _feed_watchdog(self) -> None:
        """At half of the time that systemd gives us, as long as this loop turns."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if not microseconds.isdecimal() or not int(microseconds):
            return
        while True:
            tell_service_manager("WATCHDOG=1")
            await asyncio.sleep(int(microseconds) / 2e6)

    def _be_ready(self) -> None:
        if not self._is_ready and not self._is_stopping:
            self._is_ready = True
            tell_service_manager("READY=1", f"STATUS={self._summary()}")
            logger.info("ready: %s", self._summary())

    def _tell_status(self) -> None:
        status = self._summary()
        if status != self._status:
            self._status = status
            tell_service_manager(f"STATUS={status}")

    def _summary(self) -> str:
        running = sum(service.report.state == "running" for service in self._services)
        others = [
            f"{service.settings.name}: {service.report.state}"
            + (f" ({service.report.detail})" if service.report.detail else "")
            for service in self._services
            if service.report.state != "running"
        ]
        return ", ".join([f"{len(self._services)} services", f"{running} running", *others])

    def _is_healthy(self) -> bool:
        return all(service.report.state not in _UNHEALTHY for service in self._services)


def _is_same_file(one: ServiceSettings, other: ServiceSettings) -> bool:
    return (one.name, one.file) == (other.name, other.file)
