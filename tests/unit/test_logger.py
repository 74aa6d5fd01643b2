"""Log handlers: where records go, what they look like, and that a broken sink breaks nothing."""

import io
import logging
import os
import re
import socket
import stat
import sys

import pytest

from altrepodb import logger as module
from altrepodb.config import LoggingSettings
from altrepodb.logger import configured, log_directory, printable
from altrepodb.progress import Progress

LOG = logging.getLogger("altrepodb.test")
NOTHING = LoggingSettings(to_console=False)
FILE = LoggingSettings(to_console=False, to_file=True)


class TestPrintable:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("plain\ttext", "plain\ttext"),
            ("Привет ☃", "Привет ☃"),
            (b"caf\xe9 \xff".decode("utf-8", "surrogateescape"), r"caf\xe9 \xff"),
            ("\ud800", r"\ud800"),
            ("a\nb\rc", r"a\nb\rc"),
            ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
            ("\x7f\x85\x9b\0", r"\x7f\x85\x9b\x00"),
            ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
        ],
    )
    def test_escapes(self, text, expected):
        assert printable(text) == expected
        printable(text).encode("utf-8")


class TestConsole:
    def test_time_stamp_and_message(self, capsys):
        with configured(LoggingSettings()):
            LOG.info("loaded %d packages", 5)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} loaded 5 packages\n", captured.err
        )

    def test_unusual_levels_are_named(self, capsys):
        with configured(LoggingSettings()):
            LOG.warning("odd")
            LOG.error("bad")
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(" ", 2)[2] for line in lines] == ["warning: odd", "error: bad"]

    def test_debug_raises_every_logger(self, capsys):
        deep = logging.getLogger("altrepodb.db.server")
        with configured(LoggingSettings()):
            deep.debug("hidden")
        with configured(LoggingSettings(), debug=True):
            deep.debug("shown")
        assert re.fullmatch(r"\S+ \S+ debug: shown\n", capsys.readouterr().err)

    def test_off(self, capsys):
        with configured(NOTHING):
            LOG.error("x")
        assert capsys.readouterr() == ("", "")

    def test_quiet(self, capsys):
        with configured(LoggingSettings(), quiet=True):
            LOG.error("x")
        assert capsys.readouterr() == ("", "")

    def test_the_broker_library_is_silent_meanwhile(self):
        library = logging.getLogger("pika.adapters")
        before = library.getEffectiveLevel()
        with configured(LoggingSettings()):
            assert not library.isEnabledFor(logging.ERROR)
        assert library.getEffectiveLevel() == before

    def test_hostile_text_cannot_forge_a_line(self, capsys):
        with configured(LoggingSettings()):
            LOG.info("name %s", "x\n2026-01-01 00:00:00,000 all is well\x1b[2J")
        assert capsys.readouterr().err.count("\n") == 1

    def test_traceback_keeps_its_lines(self, capsys):
        with configured(LoggingSettings()):
            try:
                raise ValueError("x")
            except ValueError:
                LOG.exception("failed")
        assert capsys.readouterr().err.endswith("\nValueError: x\n")

    def test_record_that_is_for_other_sinks(self, capsys, tmp_path):
        with configured(LoggingSettings(to_file=True), tmp_path / "x.log"):
            LOG.error("elsewhere", extra={"on_console": False})
        assert capsys.readouterr().err == ""
        assert "elsewhere" in (tmp_path / "x.log").read_text()

    def test_closed_standard_error(self, monkeypatch):
        class Closed(io.StringIO):
            def write(self, text):
                raise BrokenPipeError

        for stream in (None, Closed()):
            monkeypatch.setattr(sys, "stderr", stream)
            with configured(LoggingSettings()):
                LOG.info("x")

    def test_bar_makes_way(self, monkeypatch):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", terminal)
        with configured(LoggingSettings()), Progress("reading"):
            terminal.truncate(0)
            terminal.seek(0)
            LOG.info("a line")
            assert re.fullmatch(
                r"\r\x1b\[K\S+ \S+ a line\n\r\x1b\[Kreading: .*", terminal.getvalue()
            )


class TestFile:
    def test_format(self, tmp_path):
        with configured(FILE, tmp_path / "x.log"):
            LOG.info("сообщение %s", b"\xff".decode("utf-8", "surrogateescape"))
        assert re.fullmatch(
            r"\S+ \S+ INFO      \[MainThread\] test_logger\.test_format:\d+ сообщение \\xff\n",
            (tmp_path / "x.log").read_text("utf-8"),
        )

    def test_directory_is_made(self, tmp_path):
        before = os.umask(0o022)
        try:
            with configured(FILE, tmp_path / "altrepodb" / "x.log"):
                LOG.info("x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "altrepodb").stat().st_mode) == 0o755

    def test_appends(self, tmp_path):
        for _ in range(2):
            with configured(FILE, tmp_path / "x.log"):
                LOG.info("x")
        assert len((tmp_path / "x.log").read_text().splitlines()) == 2

    def test_not_asked_for(self, tmp_path):
        with configured(NOTHING, tmp_path / "x.log"):
            LOG.info("x")
        with configured(FILE, None):
            LOG.info("x")
        assert list(tmp_path.iterdir()) == []

    def test_limits(self):
        assert module._MAX_FILE_BYTES == 16 * 1024 * 1024
        assert module._KEPT_FILES == 10

    def test_rotation(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "_MAX_FILE_BYTES", 200)
        with configured(FILE, tmp_path / "x.log"):
            for number in range(40):
                LOG.info("line %d", number)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == sorted(["x.log", *(f"x.log.{number}" for number in range(1, 11))])
        assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())

    def test_children_do_not_rotate(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "_MAX_FILE_BYTES", 10)
        with configured(FILE, tmp_path / "x.log"):
            monkeypatch.setattr(os, "getpid", lambda: -1)
            for _ in range(5):
                LOG.info("a line")
            monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["x.log"]

    def test_directory_that_cannot_be_made(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        with configured(LoggingSettings(to_file=True), tmp_path / "file" / "x.log"):
            LOG.info("goes on")
        first, second = capsys.readouterr().err.splitlines()
        assert first.endswith("file/x.log: cannot be used for the log: File exists")
        assert second.endswith("goes on")

    def test_nowhere_to_say_it(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setattr(sys, "stderr", None)
        for path in (tmp_path / "file" / "x.log", module.Path("/dev/full")):
            with configured(FILE, path):
                LOG.info("x")

    def test_full_disk_is_said_once(self, capsys):
        with configured(FILE, module.Path("/dev/full")):
            LOG.info("x")
            LOG.info("x")
        error = capsys.readouterr().err
        assert error.count("/dev/full: log records are lost: ") == 1
        assert "Traceback" not in error

    def test_place(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/somebody")
        assert str(log_directory()) == "/home/somebody/altrepodb"


class TestSyslog:
    @pytest.fixture
    def syslog(self, tmp_path, monkeypatch):
        """A datagram socket in place of the system's."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(tmp_path / "log"))
            server.settimeout(5)
            monkeypatch.setattr(module, "SYSLOG_SOCKET", str(tmp_path / "log"))
            yield lambda: server.recv(4096).rstrip(b"\0").decode()

    def test_format(self, syslog):
        with configured(LoggingSettings(to_console=False, to_syslog=True, syslog_ident="loader")):
            LOG.warning("odd\nline")
        # 28 = facility daemon (3) * 8 + warning (4)
        assert syslog() == r"<28>loader: WARNING   altrepodb.test odd\nline"

    def test_absent(self, monkeypatch, capsys):
        monkeypatch.setattr(module, "SYSLOG_SOCKET", "/nonexistent/log")
        with configured(LoggingSettings(to_syslog=True)):
            LOG.info("goes on")
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("/nonexistent/log: cannot be used for the log: ")
        assert second.endswith("goes on")

    def test_goes_away(self, tmp_path, monkeypatch, capsys):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(str(tmp_path / "log"))
        monkeypatch.setattr(module, "SYSLOG_SOCKET", str(tmp_path / "log"))
        with configured(LoggingSettings(to_console=False, to_syslog=True)):
            server.close()
            (tmp_path / "log").unlink()
            LOG.info("x")
            LOG.info("x")
        error = capsys.readouterr().err
        assert error.count("log records are lost") == 1
        assert "Traceback" not in error


def test_logging_is_as_before_afterwards(tmp_path):
    root = logging.getLogger("altrepodb")
    before = root.handlers[:], root.level, root.propagate
    with pytest.raises(KeyError), configured(FILE, tmp_path / "x.log", debug=True):
        raise KeyError
    assert (root.handlers, root.level, root.propagate) == before
