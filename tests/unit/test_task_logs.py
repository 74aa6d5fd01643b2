"""Logs of tasks: times, messages and numbers of lines, however the bytes arrive."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.task import logs
from altrepodb.task.logs import LogFile, iter_log_chunks
from tests.support.task_facts import LogRow, log_rows
from tests.support.task_logs import LogPattern, iter_log
from tests.support.task_tree import SECOND, at

Kind = Literal["events", "build", "srpm"]

KINDS: tuple[Kind, ...] = ("events", "build", "srpm")
MIB = 1 << 20
END = at("2021-10-05 10:00:00") // SECOND
SOON_S = 5.0
EVENTS = (
    b"early\n2021-Oct-05 06:00:00 :: task started\r\n#100 build\r2021-Oct-05 06:40:00 :: a :: b\n"
    b"\n2021-Foo-05 07:00:00 :: odd\n2021-Oct-05 06:41:00\n\xff\xfe\xd0\xbf last"
)
BUILD = (
    b"head\n[00:00:01] one\r\n[00:00:02]   two  \r\r[23:59:58] late\n[00:00:03] next day\n"
    b"[100:00:01] none\n\xd0\xbf\xd1\x80\xd0\n[00:00:99] none\n[00:00:03]\n tail"
)
SRPM = (
    b"head\n<13>Oct  5 09:01:02 a: b\r\n<6>Oct  5 09:01:03\n<150>Oct  5 09:01:04 c\r"
    b"<13>Oct 35 00:00:00 odd\n<>Oct  5 00:00:00 odd\n\n\xff\ntail\r"
)
SAMPLES: dict[Kind, bytes] = {"events": EVENTS, "build": BUILD, "srpm": SRPM}


def read(path: Path, kind: Kind) -> list[LogRow]:
    """The rows of a log."""
    return list(iter_rows(LogFile(kind, path, 1, path.stat().st_mtime_ns)))


def iter_rows(log: LogFile) -> Iterator[LogRow]:
    for chunk in iter_log_chunks(log):
        messages = chunk.messages.decode().split("\n")
        assert len(messages) == len(chunk.times)
        for number, row in enumerate(zip(chunk.times, messages, strict=True), chunk.first_line):
            yield LogRow(number, *row)


def rows_of(directory: Path, kind: Kind, data: bytes, mtime: int = END) -> list[LogRow]:
    path = directory / kind
    path.write_bytes(data)
    os.utime(path, ns=(mtime * SECOND, mtime * SECOND))
    return read(path, kind)


def times_of(directory: Path, kind: Kind, lines: list[bytes], end: str) -> list[int]:
    rows = rows_of(directory, kind, b"\n".join(lines), at(end) // SECOND)
    return [row.time for row in rows]


def seconds(*texts: str) -> list[int]:
    return [at(text) // SECOND for text in texts]


def messages_of(directory: Path, kind: Kind, data: bytes) -> list[str]:
    return [row.message for row in rows_of(directory, kind, data)]


# Lines


@pytest.mark.parametrize("kind", KINDS)
def test_lines(kind: Kind, tmp_path: Path) -> None:
    data = "\ta\rb\r\nc\fd\x0be\u2028f\u0085g\n\n  \0x\x01 \n".encode() + b"\xff\xc3z \xd0\n last"
    assert messages_of(tmp_path, kind, data) == [
        "a", "b", "c\fd\x0be\u2028f\u0085g", "", "\0x\x01", "\\xff\\xc3z \\xd0", "last",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\r", [""]),
        (b"\r\n", [""]),
        (b"\n\r", ["", ""]),
        (b"\r\r\n\n", ["", "", ""]),
        (b"a", ["a"]),
        (b"a\r", ["a"]),
        (b"\xe2\x80\x83a\xc2\xa0", ["a"]),
        (b"a\n\xff", ["a", "\\xff"]),
        (b"\x1c\x1fa", ["a"]),
    ],
)
def test_line_ends(kind: Kind, data: bytes, expected: list[str], tmp_path: Path) -> None:
    assert messages_of(tmp_path, kind, data) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_sample(kind: Kind, tmp_path: Path) -> None:
    assert rows_of(tmp_path, kind, SAMPLES[kind]) == log_rows(kind, SAMPLES[kind], END)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [*range(1, 40), 64, 100])
def test_blocks_end_anywhere(
    kind: Kind, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = log_rows(kind, SAMPLES[kind], END)
    monkeypatch.setattr(logs, "_READ_BYTES", size)
    assert rows_of(tmp_path, kind, SAMPLES[kind]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_first_block_ends_anywhere(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one then holds all the rest."""
    expected = log_rows(kind, SAMPLES[kind], END)
    for size in range(1, len(SAMPLES[kind])):
        monkeypatch.setattr(logs, "_READ_BYTES", size)
        assert rows_of(tmp_path, kind, SAMPLES[kind]) == expected, size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", range(-3, 4))
def test_line_end_over_a_block_end(
    kind: Kind, before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_READ_BYTES", 64)
    data = b"x" * (64 + before - 10) + b"\n" + b"y" * 8 + b"\r\n" + b"z" * 64 + b"\r\n"
    assert messages_of(tmp_path, kind, data) == ["x" * (54 + before), "y" * 8, "z" * 64]


TEXTS = st.lists(
    st.sampled_from(
        [
            b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"x", b"\xff", b"\xd0\xbf", b"\xd0", b"\0",
            b"[00:00:01] ", b"[23:00:00]", b"[24:00:00] ", b"[00:60:00]", b"[", b"<13>",
            b"<13>Oct  5 09:01:02 ", b"<1>Feb 29 00:00:00 ", b"<1>Dec 31 23:59:59", b"<1>Oct 05",
            b"2021-Oct-05 06:00:00 :: ", b"2021-Oct-05 06:00:00", b"2021-Feb-30 06:00:00 :: ",
            b"1969-Oct-05 06:00:00", b"9999-Oct-05 06:00:00", b" :: ", b"\xe2\x80\xa8", b"\x0c",
        ]
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    parts=TEXTS,
    size=st.integers(1, 64),
    mtime=st.sampled_from([0, 1, END, at("2020-03-01 00:00:00") // SECOND, 2**32 - 1]),
)
def test_any_lines(kind: Kind, parts: list[bytes], size: int, mtime: int) -> None:
    """The same as the plain oracle says, whatever comes together."""
    data = b"".join(parts)
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_READ_BYTES", size)
        assert rows_of(Path(directory), kind, data, mtime) == log_rows(kind, data, mtime)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_rubbish(kind: Kind, seed: int, tmp_path: Path) -> None:
    data = Random(seed).randbytes(200_000)
    assert rows_of(tmp_path, kind, data) == log_rows(kind, data, END)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_sample(kind: Kind, tmp_path: Path) -> None:
    """Every byte flipped in turn, and a cut at every place."""
    sound = SAMPLES[kind]
    rng = Random(kind)
    for place in range(len(sound)):
        flipped = bytearray(sound)
        flipped[place] ^= rng.choice((0x01, 0x10, 0x20, 0x80, 0xFF))
        for data in (bytes(flipped), sound[:place]):
            assert rows_of(tmp_path, kind, data) == log_rows(kind, data, END)


@pytest.mark.parametrize("kind", ["build", "srpm"])
def test_usual_log_of_many_blocks(
    kind: Literal["build", "srpm"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_READ_BYTES", 1 << 14)
    data = b"".join(iter_log(LogPattern(400_000, kind), END))
    assert rows_of(tmp_path, kind, data) == log_rows(kind, data, END)


# Long lines


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0, 5 * MIB])
def test_endless_line_is_cut(kind: Kind, offset: int, tmp_path: Path) -> None:
    """Wherever it begins, the first piece is of 16 MiB."""
    head = b"\n".join([b"h" * 99] * (offset // 100)) + b"\n" if offset else b""
    data = head + b"x" * (18 * MIB) + b"\nend\n"
    # Of the processor: a busy machine tells nothing of the program.
    started = time.thread_time()
    rows = rows_of(tmp_path, kind, data)
    assert time.thread_time() - started < SOON_S
    lengths = [len(row.message) for row in rows[-3:]]
    assert lengths == [16 * MIB, 2 * MIB, 3]
    assert rows[-1].line == offset // 100 + 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"x" * 16 + b"\nend", ["x" * 16, "end"]),
        (b"x" * 15 + b"\r\nend", ["x" * 15, "end"]),
        (b"x" * 16 + b"\r\nend", ["x" * 16, "end"]),
        (b"x" * 17 + b"\r\nend", ["x" * 16, "x", "end"]),
        (b"x" * 40, ["x" * 16, "x" * 16, "x" * 8]),
        ("я".encode() * 9, ["я" * 8, "я"]),
        (b"x" + "я".encode() * 9, ["x" + "я" * 7, "яя"]),
        (b"\xff" * 17, ["\\xff" * 16, "\\xff"]),
    ],
)
def test_where_a_line_is_cut(
    line: bytes, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not within a character, and a line end just behind the cut is not another line."""
    monkeypatch.setattr(logs, "_MAX_LINE_BYTES", 16)
    for size in (1, 2, 3, 7, 8, 15, 16):
        monkeypatch.setattr(logs, "_READ_BYTES", size)
        for kind in KINDS:
            assert messages_of(tmp_path, kind, line) == expected, (size, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_bounded(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_READ_BYTES", 1 << 14)
    path = tmp_path / kind
    path.write_bytes(b"x" * 15 * MIB + b"\n" * (MIB // 4))
    tracemalloc.start()
    try:
        lines = sum(len(chunk.times) for chunk in iter_log_chunks(LogFile(kind, path, 1, 0)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == MIB // 4
    assert peak < 100 * MIB


# Times


def test_events_without_a_stamp_at_the_start(tmp_path: Path) -> None:
    data = b"early\n2021-Oct-05 06:00:00 :: a :: b\n2021-Foo-05 07:00:00 :: c"
    rows = rows_of(tmp_path, "events", data)
    assert [row.time for row in rows] == seconds(*["2021-10-05 06:00:00"] * 3)
    assert [row.message for row in rows] == ["early", "a :: b", "2021-Foo-05 07:00:00 :: c"]


def test_events_without_any_stamp(tmp_path: Path) -> None:
    assert [row.time for row in rows_of(tmp_path, "events", b"a\nb\n", 99)] == [99, 99]


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/Los_Angeles", "UTC"])
@pytest.mark.parametrize("kind", KINDS)
def test_zone_of_the_process_changes_nothing(
    zone: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = log_rows(kind, SAMPLES[kind], END)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert rows_of(tmp_path, kind, SAMPLES[kind]) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_build_log_wraps_after_a_day(tmp_path: Path) -> None:
    lines = [b"head", b"[23:59:58] a", b"[00:00:03] b", b"[100:00:01] c", b"tail"]
    assert times_of(tmp_path, "build", lines, "2021-10-06 00:00:03") == seconds(
        "2021-10-05 00:00:00",
        "2021-10-05 23:59:58",
        *["2021-10-06 00:00:03"] * 3,
    )


def test_build_log_of_three_days(tmp_path: Path) -> None:
    lines = [b"[10:00:00] a", b"[09:00:00] b", b"[09:00:00] c", b"[08:00:00] d"]
    assert times_of(tmp_path, "build", lines, "2021-10-08 08:00:00") == seconds(
        "2021-10-06 10:00:00",
        "2021-10-07 09:00:00",
        "2021-10-07 09:00:00",
        "2021-10-08 08:00:00",
    )


def test_build_log_without_stamps(tmp_path: Path) -> None:
    assert times_of(tmp_path, "build", [b"a", b"b"], "2021-10-06 00:00:03") == seconds(
        *["2021-10-06 00:00:03"] * 2
    )


def test_build_log_older_than_time(tmp_path: Path) -> None:
    """A start before 1970 is the start of 1970."""
    rows = rows_of(tmp_path, "build", b"a\n[01:00:00] b\n[02:00:00] c\n", 3600)
    assert [row.time for row in rows] == [0, 0, 3600]


@pytest.mark.parametrize(
    ("end", "stamps", "expected"),
    [
        (
            "2022-01-01 00:00:03",
            [b"<13>Dec 31 23:59:58 a", b"<6>Jan  1 00:00:02 b"],
            ["2021-12-31 23:59:58", "2022-01-01 00:00:02"],
        ),
        ("2021-05-05 00:00:00", [b"<150>Feb 29 01:02:03 a"], ["2020-02-29 01:02:03"]),
        ("2020-03-01 00:00:00", [b"<13>Feb 29 01:02:03 a"], ["2020-02-29 01:02:03"]),
        ("2021-12-31 23:59:59", [b"<13>Jan  1 00:00:01 a"], ["2022-01-01 00:00:01"]),
        ("2021-05-05 00:00:00", [b"<13>May  5 00:05:00 a"], ["2021-05-05 00:05:00"]),
        ("2021-05-05 00:00:00", [b"<13>May  6 00:00:00 a"], ["2021-05-06 00:00:00"]),
        ("2021-05-05 00:00:00", [b"<13>May  7 00:00:00 a"], ["2020-05-07 00:00:00"]),
        ("2021-05-05 00:00:00", [b"<13>Feb 30 00:00:00 a"], ["2021-05-05 00:00:00"]),
        ("2021-05-05 00:00:00", [b"<13>Foo  3 00:00:00 a"], ["2021-05-05 00:00:00"]),
        ("2106-02-07 06:28:15", [b"<13>Feb  7 12:00:00 a"], ["2106-02-07 06:28:15"]),
    ],
)
def test_srpm_log_years(end: str, stamps: list[bytes], expected: list[str], tmp_path: Path) -> None:
    assert times_of(tmp_path, "srpm", stamps, end) == seconds(*expected)


def test_parts_of_a_second_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n")
    os.utime(path, ns=(0, END * SECOND + 999_999_999))
    assert read(path, "build") == [LogRow(1, END, "a")]


# Files


def test_vanished_log(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(iter_log_chunks(LogFile("build", tmp_path / "none", 1, 0)))


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(SourceError, match=str(path)):
        list(iter_log_chunks(LogFile("build", path, 1, 0)))


def test_log_that_grows_is_read_to_the_end_met(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"[00:00:01] a\n" * 1000)
    log = LogFile("build", path, 1, path.stat().st_mtime_ns)
    chunks = iter_log_chunks(log)
    first = next(chunks)
    with path.open("ab") as file:
        file.write(b"[00:00:02] b\n" * 1000)
    lines = len(first.times) + sum(len(chunk.times) for chunk in chunks)
    assert 1000 <= lines <= 2000
