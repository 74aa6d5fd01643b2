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
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from operator import lt
from pathlib import Path
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.rpm.package_file import printable
from altrepodb.task.files import seconds

__all__ = ["LogChunk", "LogFile", "iter_log_chunks"]

_READ_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
"""Not less than is read at once."""
_DAY_S = 86400
_CLOCK_SKEW_S = _DAY_S
_YEARS_BACK = 8
_LARGEST_TIME = 0xFFFFFFFF

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_DIGITS = frozenset("0123456789")
_EVENT_STAMP = re.compile(r"(\d{4})-([A-Z][a-z]{2})-(\d{2})\s(\d{2}):(\d{2}):(\d{2})", re.ASCII)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_ELAPSED = re.compile(rf"\[({_CLOCK})\]", re.ASCII)
_ELAPSED_IN_BLOCK = re.compile(rf"\n\[({_CLOCK})\]".encode())
_ELAPSED_CHARACTERS = len("[HH:MM:SS]")
_SYSLOG_STAMP = re.compile(r"<\d+>([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2})", re.ASCII)


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
    times: array[int]
    messages: bytes
    """Messages joined with line feeds, of which they contain none."""


_Read = Callable[[int], bytes | None]
_ReadStamp = Callable[[str], tuple[int, str] | None]
"""Time and rest of a stamped line, None for a line without a stamp."""


class _Format(NamedTuple):
    """How to read the stamps of a log."""

    marks: frozenset[str]
    """What a stamped line begins with."""
    read_stamp: _ReadStamp
    before: int
    """The time of lines before the first stamp."""
    repeated_characters: int = 0
    """The length of stamps that mean the same wherever they follow each other, 0 for others."""


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
            log_format = _format_of(log.kind, source.read, seconds(status.st_mtime_ns))
            source.seek(0)
            yield from _chunks(source.read, log_format)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error


def _format_of(kind: str, read: _Read, modified: int) -> _Format:
    match kind:
        case "build":
            return _build_format(read, modified)
        case "srpm":
            return _Format(frozenset("<"), lambda line: _syslog_line(line, modified), modified)
        case _:
            return _Format(_DIGITS, _event_line, _first_event_time(read, modified))


def _blocks(read: _Read) -> Iterator[bytes]:
    """Blocks that end where a line ends; a line that is far too long is cut."""
    rest = b""
    while block := read(_READ_BYTES):
        rest += block
        while cut := _cut_of_long_line(rest):
            yield rest[:cut]
            rest = rest[cut:]
        # A carriage return at the very end may be the first half of a line end.
        if end := max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _cut_of_long_line(data: bytes) -> int:
    """Where to cut the first line because it is too long, 0 when it is not."""
    if len(data) <= _MAX_LINE_BYTES or b"\n" in data[: _MAX_LINE_BYTES + 1]:
        return 0
    if b"\r" in data[: _MAX_LINE_BYTES + 1]:
        return 0
    # Not within a character, if these are characters.
    places = range(_MAX_LINE_BYTES, _MAX_LINE_BYTES - 4, -1)
    return next((place for place in places if data[place] & 0xC0 != 0x80), _MAX_LINE_BYTES)


def _lines(block: bytes) -> list[str]:
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = block.decode("utf-8", "backslashreplace").split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _chunks(read: _Read, log_format: _Format) -> Iterator[LogChunk]:
    marks, read_stamp, time, width = log_format
    line_number, stamp = 1, "\n"
    for block in _blocks(read):
        lines = _lines(block)
        times: array[int] = array("I")
        # Everything is for speed here: most lines repeat the stamp of the line before.
        for number, line in enumerate(lines):
            if line[:width] == stamp:
                lines[number] = line[width:]
            elif line[:1] in marks:
                stamped = read_stamp(line)
                if stamped is not None:
                    stamp = line[:width] or stamp
                    times += array("I", (time,)) * (number - len(times))
                    time, lines[number] = stamped
        times += array("I", (time,)) * (len(lines) - len(times))
        yield LogChunk(line_number, times, "\n".join(map(str.strip, lines)).encode())
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
    found = _EVENT_STAMP.match(line)
    time = _event_time(found.groups()) if found else None
    if found is None or time is None:
        return None
    return time, line[found.end() :].removeprefix(" :: ")


def _first_event_time(read: _Read, modified: int) -> int:
    """The first stamp of the file; its modification time when it has none."""
    for block in _blocks(read):
        for line in _lines(block):
            if stamped := _event_line(line):
                return stamped[0]
    return modified


# --- build


def _build_format(read: _Read, modified: int) -> _Format:
    """The log is read twice: its last stamp tells when the build began."""
    total = _total_elapsed_s(read)
    if total is None:
        return _Format(frozenset(), lambda line: None, modified)
    start = modified - total
    last_clock = 0

    def read_stamp(line: str) -> tuple[int, str] | None:
        nonlocal last_clock, start
        found = _ELAPSED.match(line)
        if found is None:
            return None
        clock = _clock_s(found[1])
        if clock < last_clock:
            start += _DAY_S
        last_clock = clock
        return _clamped(start + clock), line[found.end() :]

    return _Format(frozenset("["), read_stamp, _clamped(start), _ELAPSED_CHARACTERS)


def _clock_s(clock: str) -> int:
    hours, minutes, seconds_ = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds_)


def _total_elapsed_s(read: _Read) -> int | None:
    """Elapsed time of the last stamped line, each step back counted as a day's end."""
    days, last = 0, b""
    for block in _blocks(read):
        if b"\r" in block:
            block = block.replace(b"\r", b"\n")
        # As texts they are in the order of the times.
        clocks = [last, *_ELAPSED_IN_BLOCK.findall(b"\n" + block)]
        days += sum(map(lt, clocks[1:], clocks))
        last = clocks[-1]
    return days * _DAY_S + _clock_s(last.decode()) if last else None


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
    found = _SYSLOG_STAMP.match(line)
    time = _syslog_time(found.groups(), modified) if found else None
    if found is None or time is None:
        return None
    return time, line[found.end() :]
