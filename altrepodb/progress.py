"""Progress of a long step: a bar on a terminal, now and then a log line elsewhere.

    with Progress("reading packages", total=20_000) as progress:
        for package in packages:
            progress.advance()

``advance`` costs well under a microsecond, so it may be called for every package.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from types import TracebackType
from typing import Literal, TextIO

__all__ = ["Mode", "Progress", "active_bar", "set_mode"]

logger = logging.getLogger(__name__)

Mode = Literal["normal", "verbose", "quiet"]

_REDRAW_S = 0.2
_LOG_INTERVAL_S: dict[Mode, float] = {"normal": 30.0, "verbose": 5.0, "quiet": float("inf")}
_BAR_WIDTH = 24
_CLEAR_LINE = "\r\x1b[K"
_CLOCK_EVERY = 16
"""How many quick steps may pass before the clock is read."""

_mode: Mode = "normal"
_on_terminal: Progress | None = None


def set_mode(mode: Mode) -> Mode:
    """How much progress to show from now on; returns what was set before."""
    global _mode
    previous, _mode = _mode, mode
    return previous


def active_bar() -> Progress | None:
    """The progress that has its bar on the terminal now, if any."""
    return _on_terminal


class Progress:
    """Counts steps towards a total, or without one, and shows how far they are.

    Use it as a context manager. One bar is drawn at a time; a progress inside another one, or
    one in a child process, writes log lines.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "packages",
        stream: TextIO | None = None,
    ) -> None:
        """``total`` None stands for unknown; ``stream`` replaces standard error for the bar."""
        self.label = label
        self.total = total
        self.unit = unit
        self.count = 0
        self._stream = stream if stream is not None else sys.stderr
        self._clock = time.monotonic
        self._started = self._shown = self._clock()
        self._next_look = 0
        self._has_bar = False
        self._process = os.getpid()

    def __enter__(self) -> Progress:
        global _on_terminal
        self._started = self._shown = self._clock()
        self._has_bar = _on_terminal is None and _mode != "quiet" and _is_terminal(self._stream)
        if self._has_bar:
            _on_terminal = self
            self.draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._has_bar:
            self.clear()
            self._leave_terminal()
        if kind is None:
            self._log_end()

    def advance(self, steps: int = 1) -> None:
        """Count steps and, when it is time, show them."""
        self.count += steps
        if self.count >= self._next_look:
            self._look()

    def _look(self) -> None:
        now = self._clock()
        elapsed = now - self._shown
        interval = _REDRAW_S if self._has_bar else _LOG_INTERVAL_S[_mode]
        if elapsed >= interval:
            self._shown = now
            if self._has_bar:
                self.draw()
            else:
                logger.info("%s: %s", self.label, self.describe())
        # Quick steps need not read the clock each time, slow ones must.
        per_step = (now - self._started) / self.count if self.count else 0.0
        pause = _CLOCK_EVERY if per_step * _CLOCK_EVERY < _REDRAW_S / 4 else 1
        self._next_look = self.count + pause

    def describe(self) -> str:
        """For example ``1,200 of 20,000 packages, 850/s, 0:22 left``."""
        elapsed = self._clock() - self._started
        rate = self.count / elapsed if elapsed > 0 else 0.0
        counted = f"{self.count:,} {self.unit}"
        if self.total is not None:
            counted = f"{self.count:,} of {self.total:,} {self.unit}"
        parts = [counted, f"{_rounded(rate)}/s"]
        if self.total is None:
            parts.append(f"{_duration(elapsed)} so far")
        elif rate:
            parts.append(f"{_duration(max(self.total - self.count, 0) / rate)} left")
        return ", ".join(parts)

    def draw(self) -> None:
        """Draw the bar over the one before."""
        width = shutil.get_terminal_size().columns - 1
        line = f"{self.label}: {self._bar()}{self.describe()}"
        self._write(f"{_CLEAR_LINE}{line[:width]}")

    def clear(self) -> None:
        """Take the bar off the terminal."""
        self._write(_CLEAR_LINE)

    def _bar(self) -> str:
        if not self.total:
            return ""
        done = min(self.count * _BAR_WIDTH // self.total, _BAR_WIDTH)
        percent = min(self.count * 100 // self.total, 100)
        return f"[{'#' * done}{'.' * (_BAR_WIDTH - done)}] {percent:3d}% "

    def _write(self, text: str) -> None:
        if os.getpid() != self._process:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal went away; the work goes on without a bar.
            self._leave_terminal()

    def _leave_terminal(self) -> None:
        global _on_terminal
        self._has_bar = False
        if _on_terminal is self:
            _on_terminal = None

    def _log_end(self) -> None:
        elapsed = self._clock() - self._started
        rate = self.count / elapsed if elapsed > 0 else 0.0
        level = logging.DEBUG if _mode == "quiet" else logging.INFO
        logger.log(
            level,
            "%s: %s %s in %s, %s/s",
            self.label,
            f"{self.count:,}",
            self.unit,
            _duration(elapsed),
            _rounded(rate),
        )


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _duration(seconds: float) -> str:
    """``12.3 s`` below a minute, then ``1:05`` and ``1:02:05``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
