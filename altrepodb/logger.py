"""Log handlers of a run: console, syslog and a rotating file.

All loggers of the program are children of ``altrepodb``. Handlers hang there for the length of a
``with configured(...)`` block and are gone after it, so that a program that imports the loaders
keeps its own logging. A sink that cannot be opened or written is reported once and left out: a
load does not fail because of its log.

Texts from packages, messages and file names end up in logs; control characters and bytes that
are not UTF-8 are written as ``\\x1b``, so that they can neither forge a line nor drive a terminal.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from altrepodb.config import LoggingSettings
from altrepodb.progress import active_bar

__all__ = ["configured", "log_directory", "printable"]

ROOT = "altrepodb"
SYSLOG_SOCKET = "/dev/log"

_MAX_FILE_BYTES = 1 << 24
_KEPT_FILES = 10
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONSOLE_FORMAT = "%(asctime)s %(message)s"
_SYSLOG_FORMAT = "%(levelname)-9s %(name)s %(message)s"
_FILE_FORMAT = (
    "%(asctime)s %(levelname)-9s [%(threadName)s] %(module)s.%(funcName)s:%(lineno)d %(message)s"
)


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes as escapes, on one line."""
    text = _CONTROL.sub(_escape, text)
    if text.isascii():
        return text
    try:
        # Lone surrogates stand for bytes that are not UTF-8, ...
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # ... except for those that no decoder makes of bytes.
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def log_directory() -> Path:
    """Where log files go: ``~/altrepodb``."""
    return Path.home() / "altrepodb"


@contextmanager
def configured(
    settings: LoggingSettings,
    file: Path | None = None,
    *,
    debug: bool = False,
    quiet: bool = False,
    is_shared: bool = False,
) -> Iterator[None]:
    """Send the records of ``altrepodb`` and its children where the settings say.

    ``file`` is the log file, used when the settings ask for one; ``quiet`` keeps everything off
    the console; ``debug`` raises all loggers of the program to DEBUG; ``is_shared`` is for a file
    that several processes write and that somebody else rotates.
    """
    root, broker_library = logging.getLogger(ROOT), logging.getLogger("pika")
    library_level = broker_library.level
    # What it says about each refused or lost connection, with tracebacks, we say in one line.
    broker_library.setLevel(logging.CRITICAL)
    before = root.handlers[:], root.level, root.propagate
    # With no handler at all the logging package would write warnings to standard error.
    root.handlers, root.propagate = [logging.NullHandler()], False
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        with ExitStack() as stack:
            for handler in _handlers(settings, file, quiet, is_shared):
                root.addHandler(handler)
                stack.callback(handler.close)
            yield
    finally:
        root.handlers, root.propagate = before[0], before[2]
        root.setLevel(before[1])
        broker_library.setLevel(library_level)


class _Formatter(logging.Formatter):
    """Escapes what the message brings along; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


class _ConsoleFormatter(_Formatter):
    """Time stamp and message, and the level when it is not the usual one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno != logging.INFO:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


class _ConsoleHandler(logging.Handler):
    """Standard error as it is now; a progress bar makes way for the line."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        # The command wrapper keeps a record off the console that it prints there itself.
        if stream is None or not getattr(record, "on_console", True):
            return
        bar = active_bar()
        try:
            if bar is not None:
                bar.clear()
            stream.write(f"{self.format(record)}\n")
            stream.flush()
            if bar is not None:
                bar.draw()
        except (OSError, ValueError):
            # The terminal or the pipe went away; the work goes on without it.
            pass


def _handlers(
    settings: LoggingSettings, file: Path | None, quiet: bool, is_shared: bool
) -> Iterator[logging.Handler]:
    """The sinks that can be opened; the console tells about the others."""
    if settings.to_console and not quiet:
        yield _formatted(_ConsoleHandler(), _ConsoleFormatter(_CONSOLE_FORMAT))
    if settings.to_syslog:
        try:
            from altrepodb.log_sinks import SyslogHandler

            handler = SyslogHandler(SYSLOG_SOCKET, printable(settings.syslog_ident))
        except OSError as error:
            _report_missing(SYSLOG_SOCKET, error)
        else:
            yield _formatted(handler, _Formatter(_SYSLOG_FORMAT))
    if settings.to_file and file is not None:
        try:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            from altrepodb.log_sinks import FileHandler, SharedFileHandler

            file_handler = (
                SharedFileHandler(file)
                if is_shared
                else FileHandler(file, _MAX_FILE_BYTES, _KEPT_FILES)
            )
        except OSError as error:
            _report_missing(file, error)
        else:
            yield _formatted(file_handler, _Formatter(_FILE_FORMAT))


def _formatted(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    return handler


def _report_missing(sink: object, error: OSError) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{sink}: cannot be used for the log: {error.strerror or error}\n")
