"""The log of all processes of the daemon: a file that each appends to, syslog, standard error.

Every record is one write to a file opened for appending, so that records of several processes do
not mix, and the file is opened anew when logrotate has moved it away. A sink that cannot be used
is reported once, by main, and left out; standard error stands in when none is left.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from altrepodb.config import LoggingSettings
from altrepodb.logger import ROOT, SYSLOG_SOCKET, configured
from altrepodb.uploaderd.settings import LogSettings

__all__ = ["LogSink", "daemon_log", "log_sink"]

logger = logging.getLogger("altrepodb.uploaderd")


@dataclass(frozen=True, slots=True)
class LogSink:
    """Where records go, settled by main and passed to every process."""

    file: Path | None
    to_syslog: bool
    level: str
    to_console: bool = False
    missing: tuple[str, ...] = ()
    """What to say about sinks that cannot be used."""


def log_sink(settings: LogSettings, *, debug: bool, foreground: bool) -> LogSink:
    """The sinks that the settings and the command line want, as far as they can be used."""
    level = "DEBUG" if debug else settings.level
    if foreground:
        return LogSink(None, False, level, to_console=True)
    sink = LogSink(settings.file, settings.to_syslog, level)
    if sink.file is not None:
        try:
            sink.file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with sink.file.open("a"):
                pass
        except OSError as error:
            sink = replace(sink, file=None, missing=(_unusable(sink.file, error),))
    if sink.to_syslog:
        try:
            os.stat(SYSLOG_SOCKET)
        except OSError as error:
            missing = (*sink.missing, _unusable(SYSLOG_SOCKET, error))
            sink = replace(sink, to_syslog=False, missing=missing)
    return replace(sink, to_console=sink.file is None and not sink.to_syslog)


@contextmanager
def daemon_log(sink: LogSink) -> Iterator[None]:
    """Send the records of ``altrepodb`` and its children to the sinks."""
    settings = LoggingSettings(
        to_file=sink.file is not None, to_syslog=sink.to_syslog, to_console=sink.to_console
    )
    with configured(settings, sink.file, is_shared=True):
        logging.getLogger(ROOT).setLevel(sink.level)
        yield


def _unusable(sink: object, error: OSError) -> str:
    return f"{sink}: cannot be used for the log: {error.strerror or error}"
