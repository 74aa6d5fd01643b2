"""The logs of a task: lines with their times and messages, read as a stream.

Three kinds: ``events`` lines carry their own UTC stamp, ``build`` lines the time elapsed since
the build began (the file's modification time is its end), ``srpm`` lines a syslog stamp without
a year. Lines end at a line feed, a carriage return or both; undecodable bytes become ``\\xNN``.
"""

from __future__ import annotations

import calendar
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.rpm.package_file import printable

__all__ = ["LogChunk", "LogFile", "iter_log_chunks"]

_READ_BYTES = 4 * 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
_DAY_S = 86400
_CLOCK_SKEW_S = _DAY_S
_YEARS_BACK = 8
_LARGEST_TIME = 0xFFFFFFFF

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_EVENT_STAMP = re.compile(r"(\d{4})-([A-Z][a-z]{2})-(\d{2})\s(\d{2}):(\d{2}):(\d{2})", re.ASCII)
_ELAPSED = re.compile(r"(\d{2}):(\d{2}):(\d{2})\]", re.ASCII)
_ELAPSED_CHARACTERS = len("HH:MM:SS]")
_SYSLOG_STAMP = re.compile(
    r"<\d+>([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2})(?!\S)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log: its kind (events, build, srpm), its file and the key of its lines."""

    kind: str
    path: Path
    log_hash: int
    modified_ns: int


class LogChunk(NamedTuple):
    """Consecutive lines: the number of the first, the time of each, the messages joined."""

    first_line: int
    times: list[int]
    messages: bytes
    """Messages joined with line feeds, of which they contain none."""


Stamper = Callable[[str], tuple[int, str] | None]
"""Time and rest of a stamped line, None for a line without a stamp."""


def iter_log_chunks(log: LogFile) -> Iterator[LogChunk]:
    """All lines of a log in chunks of bounded size.

    A log that grows meanwhile is read to the end met. Raises SourceError when it cannot be
    read, FileNotFoundError when it has vanished.
    """
    name = printable(os.fspath(log.path))
    try:
        descriptor = os.open(log.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as source:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(f"{name}: not a regular file")
            modified = status.st_mtime_ns // 1_000_000_000
            stamper, inherited = _stamper(log.kind, source.read, modified, status.st_size)
            source.seek(0)
            yield from _chunks(source.read, stamper, inherited)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error


_Read = Callable[[int], bytes | None]


def _stamper(kind: str, read: _Read, modified: int, size: int) -> tuple[Stamper, int]:
    """How to read the stamps of a log, and the time of lines before the first one."""
    match kind:
        case "build":
            return _build_stamper(read, modified)
        case "srpm":
            return lambda line: _syslog_line(line, modified), modified
        case _:
            return _event_line, _first_event_time(read, modified, size)


def _blocks(read: _Read) -> Iterator[bytes]:
    """Blocks that end where a line ends; a line that is far too long is cut."""
    rest = b""
    while block := read(_READ_BYTES):
        block = rest + block
        # A carriage return at the very end may be the first half of a line end.
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        if not end and len(block) < _MAX_LINE_BYTES:
            rest = block
            continue
        end = end or _MAX_LINE_BYTES
        yield block[:end]
        rest = block[end:]
    if rest:
        yield rest


def _lines(block: bytes) -> list[str]:
    text = block.decode("utf-8", "backslashreplace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _chunks(read: _Read, stamper: Stamper, inherited: int) -> Iterator[LogChunk]:
    line_number, time = 1, inherited
    for block in _blocks(read):
        times, messages = [], []
        for line in _lines(block):
            stamped = stamper(line)
            if stamped is not None:
                time, line = stamped
            times.append(time)
            messages.append(line.strip())
        yield LogChunk(line_number, times, "\n".join(messages).encode())
        line_number += len(times)


def _clamped(time: int) -> int:
    return min(max(time, 0), _LARGEST_TIME)


# --- events


@lru_cache(maxsize=1024)
def _event_time(groups: tuple[str, ...]) -> int | None:
    year, month, day, hour, minute, second = groups
    try:
        moment = datetime(
            int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second),
            tzinfo=timezone.utc,
        )  # fmt: skip
    except (KeyError, ValueError):
        return None
    return _clamped(int(moment.timestamp()))


def _event_line(line: str) -> tuple[int, str] | None:
    found = _EVENT_STAMP.match(line) if line[:1].isdigit() else None
    time = _event_time(found.groups()) if found else None
    if found is None or time is None:
        return None
    return time, line[found.end() :].removeprefix(" :: ")


def _first_event_time(read: _Read, modified: int, size: int) -> int:
    """The first stamp of the file; its modification time when it has none."""
    for block in _blocks(read):
        for line in _lines(block):
            if stamped := _event_line(line):
                return stamped[0]
    return _clamped(modified)


# --- build


def _build_stamper(read: _Read, modified: int) -> tuple[Stamper, int]:
    """The log is read twice: its last stamp tells when the build began."""
    total = _total_elapsed_s(read)
    if total is None:
        return lambda line: None, _clamped(modified)
    start = modified - total
    last_clock, days = 0, 0

    def stamp(line: str) -> tuple[int, str] | None:
        nonlocal last_clock, days
        if line[:1] != "[":
            return None
        clock = _clock_s(line[1 : 1 + _ELAPSED_CHARACTERS])
        if clock is None:
            return None
        if clock < last_clock:
            days += 1
        last_clock = clock
        return _clamped(start + days * _DAY_S + clock), line[1 + _ELAPSED_CHARACTERS :]

    return stamp, _clamped(start)


@lru_cache(maxsize=4096)
def _clock_s(text: str) -> int | None:
    """Seconds of ``HH:MM:SS]``, None when it is anything else."""
    found = _ELAPSED.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _total_elapsed_s(read: _Read) -> int | None:
    """Elapsed time of the last stamped line, each step back counted as a day's end."""
    total, last_clock = None, 0
    for block in _blocks(read):
        # Only lines that begin with a bracket are looked at: this pass must cost little.
        bracketed = (b"\n" + block.replace(b"\r", b"\n")).split(b"\n[")[1:]
        for line in bracketed:
            clock = _clock_s(line[:_ELAPSED_CHARACTERS].decode("ascii", "replace"))
            if clock is not None:
                step = clock - last_clock
                total = (total or 0) + (step if step >= 0 else step + _DAY_S)
                last_clock = clock
    return total


# --- srpm


@lru_cache(maxsize=4096)
def _syslog_time(groups: tuple[str, ...], modified: int) -> int | None:
    """The greatest year for which the date exists and is not after the end of the log."""
    month, day, hour, minute, second = groups
    latest = datetime.fromtimestamp(modified + _CLOCK_SKEW_S, timezone.utc)
    for year in range(latest.year, latest.year - _YEARS_BACK - 1, -1):
        try:
            moment = datetime(
                year, _MONTHS[month], int(day), int(hour), int(minute), int(second),
                tzinfo=timezone.utc,
            )  # fmt: skip
        except KeyError:
            return None
        except ValueError:
            continue
        if moment <= latest:
            return _clamped(int(moment.timestamp()))
    return None


def _syslog_line(line: str, modified: int) -> tuple[int, str] | None:
    found = _SYSLOG_STAMP.match(line) if line[:1] == "<" else None
    time = _syslog_time(found.groups(), modified) if found else None
    if found is None or time is None:
        return None
    return time, line[found.end() :]
