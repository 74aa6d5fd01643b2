"""Logs of build tasks: any number of bytes from a pattern, and what a reader must make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from random import Random
from typing import Literal

from tests.support.vocabulary import CYRILLIC_WORDS, WORDS, pick

LogKind = Literal["build", "srpm"]
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY_S = 86_400
_CHUNK_SIZE = 1 << 16
# Both are replaced in every chunk, so that time goes on and few lines repeat.
_STAMPS = {"build": b"[00:00:00] ", "srpm": b"<13>Jan  1 00:00:00 "}
_COUNTER = b"@0000000"
_STAMPED_SHARE = 0.6
_COUNTED_SHARE = 0.4
_LINES = (
    "gcc -DHAVE_CONFIG_H -I. -I.. -O2 -g -c -o {word}/{other}.o {word}/{other}.c",
    "libtool: compile:  x86_64-alt-linux-gcc -I./include -fPIC -DPIC {word}.c",
    "checking for {word}_{other} in -l{word}... yes",
    "{word}.c:{number}:12: warning: unused variable '{other}' [-Wunused-variable]",
    "make[2]: Entering directory '/usr/src/RPM/BUILD/{word}-{number}/{other}'",
    "Installing: /usr/share/doc/{word}-{number}/{other}.html",
    "  CC       {word}/{other}.lo",
    "PASS: test-{word}-{other}-{number}",
    "Processing files: lib{word}-devel-{number}",
    "создание каталога «{word}/{other}»: {cyrillic}",
    "Requires: lib{word}.so.{number}()(64bit) >= set:{other}",
    "[{number}%] Building CXX object {word}/CMakeFiles/{other}.dir/main.cpp.o",
    "",
)


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A log of about that many bytes, realistic and never held in memory as a whole."""

    size: int
    kind: LogKind = "build"
    seed: int = 0


LogContent = bytes | LogPattern


def iter_log(content: LogContent, end: int) -> Iterator[bytes]:
    """The chunks of a log; ``end`` is its last moment in seconds since 1970."""
    if isinstance(content, bytes):
        yield content
        return
    chunks = max(1, round(content.size / _CHUNK_SIZE))
    blocks = _blocks(content.kind, min(content.size, _CHUNK_SIZE), content.seed % 8)
    stamp = _STAMPS[content.kind]
    for number in range(chunks):
        block = blocks[number % len(blocks)]
        time = _stamp(content.kind, number, end - (chunks - 1 - number))
        yield block.replace(stamp, time).replace(_COUNTER, b"@%07x" % (number & 0xFFFFFFF))


def _stamp(kind: LogKind, elapsed: int, moment: int) -> bytes:
    """A stamp: time since the start for build logs, time of the day for the others."""
    if kind == "build":
        minutes, seconds = divmod(elapsed % _DAY_S, 60)
        return b"[%02d:%02d:%02d] " % (*divmod(minutes, 60), seconds)
    time = datetime.fromtimestamp(moment, timezone.utc)
    month = _MONTHS[time.month - 1]
    return f"<13>{month} {time.day:2d} {time:%H:%M:%S} ".encode()


@lru_cache(maxsize=64)
def _blocks(kind: LogKind, size: int, seed: int) -> tuple[bytes, ...]:
    """Chunks to take turns with."""
    rng = Random(f"log {kind} {seed}")
    return tuple(_block(rng, _STAMPS[kind].decode(), size) for _ in range(4))


def _block(rng: Random, stamp: str, size: int) -> bytes:
    """Whole lines, about as many bytes as wanted."""
    lines = []
    length = 0
    while length < size:
        line = _line(rng, stamp).encode()
        lines.append(line)
        length += len(line)
    return b"".join(lines)


def _line(rng: Random, stamp: str) -> str:
    text = pick(rng, _LINES).format(
        word=pick(rng, WORDS),
        other=pick(rng, WORDS),
        number=int(rng.random() * 100),
        cyrillic=pick(rng, CYRILLIC_WORDS),
    )
    head = stamp if rng.random() < _STAMPED_SHARE else ""
    tail = f" {_COUNTER.decode()}" if rng.random() < _COUNTED_SHARE else ""
    return f"{head}{text}{tail}\n"
