"""Hashes and log rows of build tasks, written out plainly as an oracle for the loader."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Literal, NamedTuple

from tests.support.identity import text_hash

_M64 = 0xFFFFFFFFFFFFFFFF
_LAST_SECOND = 0xFFFFFFFF
_DAY_S = 86_400
_MAX_AGE_YEARS = 8
_LINE_END = re.compile("\r\n|\n|\r")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
_EVENTS_STAMP = re.compile(rf"([0-9]{{4}})-([A-Z][a-z]{{2}})-([0-9]{{2}})\s{_CLOCK}")
_BUILD_STAMP = re.compile(rf"\[{_CLOCK}\]")
_SRPM_STAMP = re.compile(rf"<[0-9]+>([A-Z][a-z]{{2}}) ([ 0-9][0-9]) {_CLOCK}")


class LogRow(NamedTuple):
    """A row of TaskLogs without its log's hash; the time is seconds since 1970."""

    line: int
    time: int
    message: str


class _Piece(NamedTuple):
    """A line: its own time, if it has one, and what is left of its text."""

    time: int | None
    text: str


def array_hash(values: Sequence[int]) -> int:
    """ClickHouse's murmurHash3_64 of an Array(UInt64): AH of the specification."""
    state = _integer_hash(len(values))
    for value in values:
        state = _integer_hash(state) ^ text_hash(struct.pack("<Q", value))
    return state


def _integer_hash(value: int) -> int:
    value ^= 0x4CF2D2BAAE6DA887
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _M64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _M64
    return value ^ value >> 33


def log_rows(kind: Literal["events", "build", "srpm"], data: bytes, mtime: int) -> list[LogRow]:
    """What the database must hold of a log; ``mtime`` is in seconds.

    Lines of more than 16 MiB are not cut here.
    """
    lines = log_lines(data)
    times = _KINDS[kind](lines, mtime)
    return [
        LogRow(number, min(max(time, 0), _LAST_SECOND), text.strip())
        for number, (time, text) in enumerate(times, 1)
    ]


def log_lines(data: bytes) -> list[str]:
    """The lines of a log, undecodable bytes as ``\\xNN``."""
    lines = _LINE_END.split(data.decode("utf-8", "backslashreplace"))
    return lines[:-1] if not lines[-1] else lines


def _events(lines: list[str], mtime: int) -> Iterator[tuple[int, str]]:
    """Lines without a stamp inherit the one above, those at the beginning the first one."""
    pieces = [_events_piece(line) for line in lines]
    first = next((piece.time for piece in pieces if piece.time is not None), mtime)
    return _inherited(pieces, first)


def _events_piece(line: str) -> _Piece:
    match = _EVENTS_STAMP.match(line)
    if match:
        year, month, day, *clock = match.groups()
        time = _moment(int(year), month, day, clock)
        if time is not None:
            return _Piece(time, line[match.end() :].removeprefix(" :: "))
    return _Piece(None, line)


def _build(lines: list[str], mtime: int) -> Iterator[tuple[int, str]]:
    """Stamps are times since the start, modulo a day; the file ends at its last stamp."""
    pieces = []
    days = last = 0
    for line in lines:
        match = _BUILD_STAMP.match(line)
        elapsed = _elapsed(match.groups()) if match else None
        if elapsed is None or not match:
            pieces.append(_Piece(None, line))
            continue
        if days * _DAY_S + elapsed < last:
            days += 1
        last = days * _DAY_S + elapsed
        pieces.append(_Piece(last, line[match.end() :]))
    start = mtime - last
    shifted = [_Piece(None if p.time is None else start + p.time, p.text) for p in pieces]
    return _inherited(shifted, start)


def _elapsed(clock: Sequence[str]) -> int | None:
    hours, minutes, seconds = map(int, clock)
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _srpm(lines: list[str], mtime: int) -> Iterator[tuple[int, str]]:
    """Stamps lack the year: the latest one that is not after the file's time."""
    return _inherited([_srpm_piece(line, mtime) for line in lines], mtime)


def _srpm_piece(line: str, mtime: int) -> _Piece:
    match = _SRPM_STAMP.match(line)
    if match:
        month, day, *clock = match.groups()
        limit = mtime + _DAY_S
        latest = datetime.fromtimestamp(limit, timezone.utc).year
        for year in range(latest, latest - _MAX_AGE_YEARS, -1):
            time = _moment(year, month, day, clock)
            if time is not None and time <= limit:
                return _Piece(time, line[match.end() :])
    return _Piece(None, line)


def _moment(year: int, month: str, day: str, clock: Sequence[str]) -> int | None:
    """Seconds since 1970, or None for a date that does not exist."""
    try:
        hour, minute, second = map(int, clock)
        date = year, _MONTHS.index(month) + 1, int(day)
        moment = datetime(*date, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    return int(moment.timestamp())


def _inherited(pieces: Sequence[_Piece], before: int) -> Iterator[tuple[int, str]]:
    """Times and texts; what has no time gets that of the line above."""
    time = before
    for piece in pieces:
        time = time if piece.time is None else piece.time
        yield time, piece.text


_KINDS: dict[str, Callable[[list[str], int], Iterator[tuple[int, str]]]] = {
    "events": _events,
    "build": _build,
    "srpm": _srpm,
}
