"""Progress: a bar on a terminal, lines in the log elsewhere, and next to no cost."""

import io
import logging
import os
import re
import time

import pytest

from altrepodb import progress as module
from altrepodb.progress import Progress, active_bar, set_mode


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class BrokenTerminal(Terminal):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError("gone")


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    return clock


@pytest.fixture
def mode():
    """Set a mode for the length of a test."""
    before = module._mode
    yield set_mode
    set_mode(before)


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.DEBUG, logger="altrepodb")
    return lambda: [record.getMessage() for record in caplog.records]


def last_drawn(stream):
    return stream.getvalue().rpartition("\r\x1b[K")[2]


class TestBar:
    def test_known_total(self, clock):
        stream = Terminal()
        with Progress("reading", total=200, stream=stream) as progress:
            assert last_drawn(stream).startswith(
                "reading: [........................]   0% 0 of 200"
            )
            clock.now += 2
            progress.advance(50)
            assert last_drawn(stream) == (
                "reading: [######..................]  25% 50 of 200 packages, 25/s, 6.0 s left"
            )
        assert last_drawn(stream) == ""

    def test_unknown_total(self, clock):
        stream = Terminal()
        with Progress("reading", unit="files", stream=stream) as progress:
            clock.now += 90
            progress.advance(9)
            assert last_drawn(stream) == "reading: 9 files, 0.1/s, 1:30 so far"

    def test_more_than_the_total(self, clock):
        stream = Terminal()
        with Progress("reading", total=10, stream=stream) as progress:
            clock.now += 1
            progress.advance(20)
            assert "[########################] 100% 20 of 10 packages" in last_drawn(stream)
            assert last_drawn(stream).endswith("0.0 s left")

    def test_empty_total(self, clock):
        with Progress("reading", total=0, stream=Terminal()) as progress:
            clock.now += 1
            progress.advance(0)
            assert progress.describe() == "0 of 0 packages, 0.0/s"

    def test_narrow_terminal(self, clock, monkeypatch):
        monkeypatch.setenv("COLUMNS", "30")
        stream = Terminal()
        with Progress("reading", total=200, stream=stream):
            assert len(last_drawn(stream)) == 29

    def test_is_cleared_after_an_error(self, clock):
        stream = Terminal()
        with pytest.raises(ValueError), Progress("reading", stream=stream):
            raise ValueError
        assert last_drawn(stream) == ""
        assert active_bar() is None

    def test_is_redrawn_at_most_five_times_a_second(self, clock):
        stream = Terminal()
        with Progress("reading", stream=stream) as progress:
            for _ in range(1000):
                clock.now += 0.01
                progress.advance()
        assert 40 <= stream.getvalue().count("\r") <= 52

    def test_is_drawn_even_after_few_slow_steps(self, clock):
        stream = Terminal()
        with Progress("reading", stream=stream) as progress:
            for _ in range(100):
                progress.advance()
            clock.now += 10
            for _ in range(16):
                progress.advance()
            assert "11" in last_drawn(stream)
            clock.now += 10
            progress.advance()
            assert "117 packages" in last_drawn(stream)

    def test_one_bar_at_a_time(self, clock):
        outer_stream, inner_stream = Terminal(), Terminal()
        with Progress("outer", stream=outer_stream) as outer:
            assert active_bar() is outer
            with Progress("inner", stream=inner_stream):
                assert active_bar() is outer
            assert inner_stream.getvalue() == ""
            assert active_bar() is outer
        assert active_bar() is None

    def test_terminal_that_goes_away(self, clock):
        with Progress("reading", stream=BrokenTerminal()) as progress:
            clock.now += 1
            progress.advance()
        assert active_bar() is None

    def test_child_process_leaves_the_terminal_alone(self, clock, monkeypatch):
        stream = Terminal()
        with Progress("reading", stream=stream) as progress:
            drawn = stream.getvalue()
            monkeypatch.setattr(os, "getpid", lambda: -1)
            progress.draw()
            assert stream.getvalue() == drawn
            monkeypatch.undo()

    @pytest.mark.parametrize("term", ["dumb"])
    def test_dumb_terminal(self, clock, monkeypatch, term):
        monkeypatch.setenv("TERM", term)
        stream = Terminal()
        with Progress("reading", stream=stream):
            assert stream.getvalue() == ""

    def test_standard_error_is_the_terminal(self, clock, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        with Progress("reading"):
            assert last_drawn(terminal).startswith("reading: ")

    def test_no_standard_error(self, clock, monkeypatch):
        monkeypatch.setattr("sys.stderr", None)
        with Progress("reading") as progress:
            progress.advance()


class TestLog:
    def test_lines_now_and_then(self, clock, messages):
        with Progress("reading", total=1000, stream=io.StringIO()) as progress:
            for _ in range(100):
                clock.now += 1
                progress.advance()
        lines = messages()
        assert len(lines) == 4
        assert lines[0] == "reading: 30 of 1,000 packages, 1.0/s, 16:10 left"
        assert lines[-1] == "reading: 100 packages in 1:40, 1.0/s"

    def test_verbose_says_more(self, clock, messages, mode):
        mode("verbose")
        with Progress("reading", stream=io.StringIO()) as progress:
            for _ in range(100):
                clock.now += 1
                progress.advance()
        assert len(messages()) == 21

    def test_quiet_says_nothing(self, clock, caplog, mode):
        mode("quiet")
        caplog.set_level(logging.INFO, logger="altrepodb")
        stream = Terminal()
        with Progress("reading", stream=stream) as progress:
            clock.now += 1000
            progress.advance()
        assert stream.getvalue() == ""
        assert caplog.records == []

    def test_no_last_line_after_an_error(self, clock, messages):
        with pytest.raises(ValueError), Progress("reading", stream=io.StringIO()):
            raise ValueError
        assert messages() == []

    def test_last_line_is_for_everybody(self, clock, caplog):
        caplog.set_level(logging.INFO, logger="altrepodb")
        with Progress("reading", stream=io.StringIO()) as progress:
            progress.advance()
        assert len(caplog.records) == 1

    def test_set_mode_returns_the_one_before(self, mode):
        assert mode("quiet") == "normal"
        assert mode("normal") == "quiet"


def test_clock_is_read_rarely(clock):
    progress = Progress("reading", stream=io.StringIO())
    with progress:
        for step in range(10_000):
            clock.now += 1e-6
            progress.advance()
            assert progress.count == step + 1
    assert clock.looks < 10_000 / 10


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (3599.9, "59:59"), (3725, "1:02:05")],
)
def test_duration(seconds, expected):
    assert module._duration(seconds) == expected


def test_rate_has_a_digit_when_it_is_small():
    assert [module._rounded(rate) for rate in (0, 9.94, 10, 12345.6)] == [
        "0.0",
        "9.9",
        "10",
        "12,346",
    ]


def test_real_clock():
    with Progress("reading", stream=io.StringIO()) as progress:
        progress.advance()
    assert re.fullmatch(r"1 packages, .*/s, .* so far", progress.describe())
