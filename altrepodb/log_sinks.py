"""Log handlers for file and syslog; ``logger`` imports them when a run asks for one.

The modules behind them would slow down the start of every command.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["FileHandler", "SharedFileHandler", "SyslogHandler"]


class _ReportsOnce(logging.Handler):
    """Says once on standard error that a sink fails, instead of a traceback for each record."""

    sink = ""
    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if self._has_failed or sys.stderr is None:
            return
        self._has_failed = True
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{self.sink}: log records are lost: {sys.exc_info()[1]}\n")


class FileHandler(_ReportsOnce, logging.handlers.RotatingFileHandler):
    """A rotating file, rotated by the process that opened it and by none of its children."""

    def __init__(self, path: Path, max_bytes: int, kept_files: int) -> None:
        super().__init__(
            path,
            maxBytes=max_bytes,
            backupCount=kept_files,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self.sink = str(path)
        self._process = os.getpid()

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return os.getpid() == self._process and bool(super().shouldRollover(record))

    def close(self) -> None:
        # What a full disk did not take is tried again here, and was reported already.
        with suppress(OSError):
            super().close()


class SharedFileHandler(_ReportsOnce, logging.handlers.WatchedFileHandler):
    """A file that several processes append to, opened anew when it was moved away."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.sink = str(path)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class SyslogHandler(_ReportsOnce, logging.handlers.SysLogHandler):
    """The local syslog, facility daemon."""

    def __init__(self, address: str, ident: str) -> None:
        # The base class takes an absent socket in silence, and then fails for each record.
        os.stat(address)
        super().__init__(address, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
        self.sink = address
        self.ident = f"{ident}: "
