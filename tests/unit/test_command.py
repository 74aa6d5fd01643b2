"""The command wrapper: exit codes, JSON, signals, secrets, as a process and inside one."""

import configparser
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from enum import Enum
from pathlib import Path
from typing import ClassVar

import pytest

from altrepodb import __version__, errors
from altrepodb.cli import command as module
from altrepodb.cli.command import (
    Command,
    add_workers_option,
    calendar_date,
    dated_log_file,
    make_parser,
    positive_integer,
    run_command,
)

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "bin").iterdir() if path.is_file())

SAMPLE = '''
"""A command for tests: what it does stands in its argument."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from altrepodb.cli.command import Command, dated_log_file, run_command


@dataclass
class Summary:
    packages: int = 5
    inserted: dict = field(default_factory=lambda: {"Files": 10, "Packages": 3})


def noise():
    print("from print")
    os.write(1, b"from the descriptor")
    subprocess.run(["echo", "from a child"], check=True)


def sleep():
    try:
        print("ready", file=sys.stderr, flush=True)
        time.sleep(30)
    finally:
        Path("cleaned").touch()


def sleep_with_child():
    child = os.fork()
    if child == 0:
        sleep()
    time.sleep(0.2)
    os.kill(child, 15)
    _, status = os.waitpid(child, 0)
    print("child", status, file=sys.stderr, flush=True)


def stubborn():
    try:
        sleep()
    finally:
        print("stubborn", file=sys.stderr, flush=True)
        time.sleep(30)


def flood():
    while True:
        print("x" * 1000)


def run(arguments, settings):
    exec(arguments.CODE)
    return Summary()


COMMAND = Command(
    name="sample",
    description="A sample.",
    run=run,
    add_arguments=lambda parser: parser.add_argument("CODE"),
    log_file=lambda arguments: dated_log_file("sample"),
)
sys.exit(run_command(COMMAND))
'''


@dataclass
class Summary:
    """A summary as a loader returns it."""

    packages: int = 5
    inserted: dict[str, int] = field(default_factory=lambda: {"Files": 10, "Packages": 3})


def make_command(run, **options):
    return Command(name="sample", description="A sample.", run=run, **options)


def raising(error):
    def run(arguments, settings):
        raise error

    return make_command(run)


@pytest.fixture
def environment(tmp_path):
    """An environment with a home of its own and without anything of ours."""
    ours = ("ALTREPODB_", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**kept, "HOME": str(tmp_path), "XDG_DATA_HOME": "", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def sample(tmp_path, environment):
    """Start the sample command as a process; keywords go to Popen."""
    script = tmp_path / "sample.py"
    script.write_text(SAMPLE)
    processes = []

    def start(*arguments, **options):
        variables = {**environment, **options.pop("env", {})}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env=variables,
            cwd=tmp_path,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def finish(process):
    """Exit code, standard output and standard error."""
    output, error = process.communicate(timeout=120)
    return process.returncode, output, error


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.AltrepodbError("x.rpm: bad"), 1),
            (errors.SourceError("x.rpm: bad"), 1),
            (errors.DatabaseError("x.rpm: bad"), 1),
            (errors.ConfigurationError("x.rpm: bad"), 2),
            (errors.AlreadyLoadedError("x.rpm: bad"), 3),
            (errors.TemporaryError("x.rpm: bad"), 75),
            (errors.DatabaseUnavailableError("x.rpm: bad"), 75),
            (errors.LockHeldError("x.rpm: bad"), 75),
        ],
    )
    def test_of_our_errors(self, capsys, error, code):
        assert run_command(raising(error), ["--quiet"] * (code != 75)) == code
        assert capsys.readouterr().err.endswith("sample: error: x.rpm: bad\n")

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (ValueError("two\nlines"), "ValueError: two lines"),
            (KeyError(), "KeyError"),
            (FileNotFoundError(2, "No such file", "/x"), "/x: No such file"),
            (FileNotFoundError(2, "No such file", b"/\xff"), r"/\xff: No such file"),
            (OSError("odd"), "OSError: odd"),
            (MemoryError(), "MemoryError"),
            (BrokenPipeError(32, "Broken pipe"), "BrokenPipeError: [Errno 32] Broken pipe"),
            (SystemExit("a text"), "a text"),
            (RuntimeError("\x1b[2J"), r"RuntimeError: \x1b[2J"),
        ],
    )
    def test_of_other_errors(self, capsys, error, line):
        assert run_command(raising(error), ["--quiet"]) == 1
        assert capsys.readouterr().err == f"sample: error: {line}\n"

    @pytest.mark.parametrize(("leave", "code"), [(SystemExit(), 0), (SystemExit(4), 4)])
    def test_of_system_exit(self, leave, code):
        assert run_command(raising(leave), ["--quiet"]) == code

    def test_of_an_interrupt(self, capsys):
        assert run_command(raising(KeyboardInterrupt()), ["--quiet"]) == 130
        assert capsys.readouterr().err == "sample: error: interrupted\n"

    def test_of_success(self):
        assert run_command(make_command(lambda *_: Summary()), ["--quiet"]) == 0
        assert run_command(make_command(lambda *_: None), ["--quiet"]) == 0

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["--nonsense"], "unrecognized arguments: --nonsense"),
            (["--port"], "argument -p/--port: expected one argument"),
            (["--verb"], "unrecognized arguments: --verb"),
        ],
    )
    def test_of_wrong_arguments(self, capsys, arguments, error):
        assert run_command(make_command(lambda *_: None), arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("usage: sample [-h]")
        assert captured.err.endswith(f"sample: error: {error}\n")
        assert captured.out == ""

    def test_of_wrong_settings(self, capsys):
        assert run_command(make_command(lambda *_: None), ["-s", "h", "-p", "x"]) == 2
        assert capsys.readouterr().err == (
            "sample: error: command line: --port: expected a whole number from 1 to 65535, "
            "got 'x'\n"
        )

    def test_of_a_summary(self, capsys):
        @dataclass
        class Partial:
            exit_code: int = 1
            error: str = "p10: not loaded"

        assert run_command(make_command(lambda *_: Partial()), ["--json"]) == 1
        captured = capsys.readouterr()
        assert captured.err.endswith("sample: error: p10: not loaded\n")
        assert json.loads(captured.out)["error"] == "p10: not loaded"

    def test_traceback_only_with_debug(self, capsys):
        assert run_command(raising(ValueError("x")), []) == 1
        assert "Traceback" not in capsys.readouterr().err
        assert run_command(raising(ValueError("x")), ["-D"]) == 1
        error = capsys.readouterr().err
        assert error.count("Traceback") == 1
        assert error.endswith("\nValueError: x\nsample: error: ValueError: x\n")


class TestOptions:
    def test_version(self, capsys):
        for option in ("-V", "--program-version", "--version"):
            assert run_command(make_command(lambda *_: None), [option]) == 0
            assert capsys.readouterr().out == f"sample {__version__}\n"

    def test_version_of_an_image(self, capsys):
        command = make_command(
            lambda *_: None,
            long_version=False,
            add_arguments=lambda parser: parser.add_argument("--version"),
        )
        assert make_parser(command).parse_args(["--version", "10.1"]).version == "10.1"
        assert run_command(command, ["-V"]) == 0
        assert capsys.readouterr().out == f"sample {__version__}\n"

    def test_help_tells_the_exit_codes(self, capsys):
        assert run_command(make_command(lambda *_: None), ["-h"]) == 0
        text = capsys.readouterr().out
        for code in ("0 ", "1 ", "2 ", "3 ", "75"):
            assert re.search(rf"^  {code} +\w", text, re.MULTILINE)
        assert "ALTREPODB_PASSWORD" in text
        assert run_command(make_command(lambda *_: None, has_config=False), ["-h"]) == 0
        assert "ALTREPODB_PASSWORD" not in capsys.readouterr().out.partition("environment:")[2]

    def test_commands_without_database_and_file_may_use_the_letters(self):
        command = make_command(
            lambda *_: None,
            has_database=False,
            has_config=False,
            add_arguments=lambda parser: parser.add_argument(
                "-c", "-s", "-p", "-d", "-e", dest="x"
            ),
        )
        assert make_parser(command).parse_args(["-s", "1"]).x == "1"

    def test_commands_without_file_ignore_its_variable(self, monkeypatch):
        monkeypatch.setenv("ALTREPODB_CONFIG", "/nonexistent")
        command = make_command(lambda *_: None, has_database=False, has_config=False)
        assert run_command(command, ["--quiet"]) == 0
        assert run_command(make_command(lambda *_: None), ["--quiet"]) == 2

    def test_settings_reach_the_command(self):
        seen = []
        command = make_command(lambda arguments, settings: seen.append(settings))
        words = "-s h -p 9001 -u u -P p -d d --secure --no-verify"
        assert run_command(command, [*words.split(), "--quiet"]) == 0
        database = seen[0].database
        assert (database.host, database.port, database.user) == ("h", 9001, "u")
        assert (database.password, database.dbname) == ("p", "d")
        assert (database.secure, database.verify) == (True, False)

    def test_embedded(self, tmp_path):
        seen = []
        command = make_command(lambda arguments, settings: seen.append(settings))
        assert run_command(command, ["-e", str(tmp_path), "--quiet"]) == 0
        assert seen[0].database.embedded == tmp_path

    def test_workers(self, capsys):
        seen = []
        command = make_command(
            lambda arguments, settings: seen.append(settings), add_arguments=add_workers_option
        )
        assert run_command(command, ["-w", "3", "--quiet"]) == 0
        assert seen[0].workers == 3
        assert run_command(command, ["-w", "0"]) == 2
        assert "expected a whole number above 0, got '0'" in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["", "0", "-1", "x", "1.0", "٣", "1" * 10])
    def test_positive_integer(self, text):
        with pytest.raises(module.argparse.ArgumentTypeError):
            positive_integer(text)

    @pytest.mark.parametrize(
        "text", ["2022-13-01", "2022-02-30", "20220101", "2022-1-1", "", "today", "2022-W01-1"]
    )
    def test_calendar_date(self, text):
        with pytest.raises(module.argparse.ArgumentTypeError, match="expected a day as YYYY-MM-DD"):
            calendar_date(text)
        assert calendar_date("2022-02-28") == date(2022, 2, 28)

    def test_log_file_name_is_one_name(self):
        assert dated_log_file("repo-../../x\0", date(2022, 1, 2)) == "repo-.._.._x_-2022-01-02.log"
        days = [date.today()]
        name = dated_log_file("x")
        days.append(date.today())
        assert name in [f"x-{day}.log" for day in days]


class TestJson:
    def test_one_object_and_nothing_else(self, sample):
        code, output, error = finish(sample("--json", "noise()"))
        assert code == 0
        assert output.count("\n") == 1
        found = json.loads(output)
        assert found.pop("seconds") >= 0
        assert found == {
            "program": "sample",
            "version": __version__,
            "exit_code": 0,
            "packages": 5,
            "inserted": {"Files": 10, "Packages": 3},
        }
        for source in ("print", "the descriptor", "a child"):
            assert f"from {source}" in error

    def test_standard_output_is_as_before_afterwards(self, capfd):
        assert run_command(make_command(lambda *_: None), ["--json", "--quiet"]) == 0
        os.write(1, b"after")
        assert capfd.readouterr().out.endswith("}\nafter")

    @pytest.mark.parametrize(
        ("arguments", "code", "error"),
        [
            (["raise ValueError('x')"], 1, "ValueError: x"),
            (["-p", "x", ""], 2, "command line: --port: expected a whole number"),
            (["-c", "/nonexistent", ""], 2, "/nonexistent: cannot be read"),
            ([], 2, "the following arguments are required: CODE"),
        ],
    )
    def test_failures(self, sample, arguments, code, error):
        found, output, _ = finish(sample("--json", *arguments))
        assert found == code
        content = json.loads(output)
        assert content["exit_code"] == code
        assert content["error"].startswith(error)

    def test_values(self, capsys):
        class Colour(Enum):
            RED = 1

        @dataclass
        class Inner:
            number: int = 1

        @dataclass
        class Everything:
            day: date = date(2022, 1, 2)
            time: datetime = datetime(2022, 1, 2, tzinfo=timezone.utc)
            digest: bytes = b"\xff\0"
            path: Path = Path("/x")
            names: frozenset[str] = frozenset({"b", "a"})
            pairs: tuple[int, ...] = (1, 2)
            inner: Inner = field(default_factory=Inner)
            ratio: float = float("nan")
            text: str = "\udcff"
            flag: bool = True
            colour: Colour = Colour.RED
            program: str = "must not win"

        assert run_command(make_command(lambda *_: Everything()), ["--json", "--quiet"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["program"] == "sample"
        assert {key: found[key] for key in ("day", "time", "digest", "path")} == {
            "day": "2022-01-02",
            "time": "2022-01-02T00:00:00+00:00",
            "digest": "ff00",
            "path": "/x",
        }
        assert (found["names"], found["pairs"]) == (["a", "b"], [1, 2])
        assert found["inner"] == {"number": 1}
        assert (found["ratio"], found["text"], found["flag"]) == (None, "\udcff", True)
        assert found["colour"] == "Colour.RED"

    def test_signal(self, sample):
        process = sample("--json", "sleep()")
        assert process.stderr.readline().endswith("sample 3.0.0\n".replace("3.0.0", __version__))
        wait_for(process, "ready")
        process.terminate()
        code, output, _ = finish(process)
        assert code == 143
        assert json.loads(output)["error"] == "ended by SIGTERM"


def wait_for(process, word):
    """Read standard error up to a line that holds the word."""
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"no {word!r} on standard error")


class TestOutput:
    def test_log_of_a_run(self, sample):
        code, output, error = finish(sample("-e", "db", "pass"))
        assert (code, output) == (0, "")
        lines = [line.split(" ", 2)[2] for line in error.splitlines()]
        assert lines[:3] == [
            f"sample {__version__}",
            "arguments: CODE=pass, embedded=db",
            "embedded database repodb in db",
        ]
        assert lines[3:5] == ["inserted Files     10", "inserted Packages  3"]
        assert re.fullmatch(r"result=done packages=5 inserted=13 elapsed=\d+\.\d", lines[5])

    def test_default_database_is_said(self, sample, tmp_path):
        _, _, error = finish(sample("pass"))
        assert f"embedded database repodb in {tmp_path}/.local/share/altrepodb (neither" in error

    def test_failed_run_says_so_last(self, sample):
        _, _, error = finish(sample("raise ValueError('x')"))
        assert re.search(r" result=failed elapsed=\S+\nsample: error: ValueError: x\n$", error)

    def test_warnings_about_the_configuration(self, sample, tmp_path):
        (tmp_path / "c.ini").write_text("[DATABASE]\nhots = h\n")
        _, _, error = finish(sample("-c", "c.ini", "pass"))
        assert "warning: c.ini: [DATABASE] hots: unknown key" in error

    def test_quiet(self, sample):
        assert finish(sample("--quiet", "print(end='')")) == (0, "", "")
        assert finish(sample("--quiet", "1 / 0")) == (
            1,
            "",
            "sample: error: ZeroDivisionError: division by zero\n",
        )

    def test_quiet_about_a_held_lock(self, capsys):
        assert run_command(raising(errors.LockHeldError("x")), ["--quiet"]) == 75
        assert capsys.readouterr().err == ""
        assert run_command(raising(errors.TemporaryError("x")), ["--quiet"]) == 75
        assert capsys.readouterr().err == "sample: error: x\n"

    @pytest.mark.parametrize(
        ("option", "mode"), [("--quiet", "quiet"), ("-v", "verbose"), ("-D", "normal")]
    )
    def test_progress_mode(self, option, mode):
        from altrepodb import progress

        seen = []
        command = make_command(lambda *_: seen.append(progress._mode))
        assert run_command(command, [option]) == 0
        assert seen == [mode]
        assert progress._mode == "normal"

    def test_debug_reaches_all_loggers(self, capsys):
        def run(arguments, settings):
            logging.getLogger("altrepodb.db.server").debug("a round trip")

        assert run_command(make_command(run), ["-D"]) == 0
        assert "debug: a round trip" in capsys.readouterr().err
        assert run_command(make_command(run), []) == 0
        assert "a round trip" not in capsys.readouterr().err

    def test_log_file(self, sample, tmp_path):
        (tmp_path / "c.ini").write_text("[LOGGING]\nlog_to_file = yes\nlog_to_console = no\n")
        days = [date.today()]
        code, _, error = finish(sample("-D", "-c", "c.ini", "raise ValueError('x')"))
        days.append(date.today())
        assert code == 1
        assert error.startswith("Traceback")
        (file,) = (tmp_path / "altrepodb").iterdir()
        assert file.name in [f"sample-{day}.log" for day in days]
        text = file.read_text()
        assert "ERROR" in text
        assert "ValueError: x" in text

    def test_log_file_of_a_partial_run(self, tmp_path, monkeypatch):
        @dataclass
        class Partial:
            exit_code: int = 1
            error: str = "p10: not loaded"

        (tmp_path / "c.ini").write_text("[LOGGING]\nlog_to_file = yes\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        command = make_command(lambda *_: Partial(), log_file=lambda _: "x.log")
        assert run_command(command, ["--quiet", "-c", str(tmp_path / "c.ini")]) == 1
        text = (tmp_path / "altrepodb" / "x.log").read_text()
        assert re.search(r"ERROR .* p10: not loaded\n", text)
        assert " result=failed elapsed=" in text

    def test_log_file_of_a_good_run(self, sample, tmp_path):
        (tmp_path / "c.ini").write_text("[LOGGING]\nlog_to_file = yes\n")
        assert finish(sample("-c", "c.ini", "pass"))[0] == 0
        (file,) = (tmp_path / "altrepodb").iterdir()
        assert "ERROR" not in file.read_text()

    def test_command_without_a_log_file(self, tmp_path, monkeypatch):
        (tmp_path / "c.ini").write_text("[LOGGING]\nlog_to_file = yes\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        command = make_command(lambda *_: None)
        assert run_command(command, ["--quiet", "-c", str(tmp_path / "c.ini")]) == 0

    def test_no_log_file_unless_asked_for(self, sample, tmp_path):
        assert finish(sample("pass"))[0] == 0
        assert not (tmp_path / "altrepodb").exists()

    def test_command_without_a_database(self, capsys):
        command = make_command(lambda *_: None, has_database=False)
        assert run_command(command, []) == 0
        assert "database" not in capsys.readouterr().err

    def test_long_lists_are_counted(self, capsys):
        @dataclass
        class Lists:
            missing: tuple[str, ...] = ("a", "b")
            mixed: dict[str, str] = field(default_factory=lambda: {"x": "y"})

        assert run_command(make_command(lambda *_: Lists()), []) == 0
        assert "result=done missing=2 mixed=1 elapsed=" in capsys.readouterr().err

    def test_help_to_a_closed_pipe(self, sample):
        reader, writer = os.pipe()
        os.close(reader)
        process = sample("-h", stdout=writer)
        os.close(writer)
        assert finish(process) == (141, None, "")

    @pytest.mark.parametrize("arguments", [["--json", "pass"], ["flood()"], ["print('x')"]])
    def test_closed_pipe(self, sample, arguments):
        reader, writer = os.pipe()
        os.close(reader)
        process = sample("--quiet", *arguments, stdout=writer)
        os.close(writer)
        assert finish(process) == (141, None, "")

    def test_full_disk_behind_standard_output(self, sample):
        with open("/dev/full", "w") as full:
            code, _, error = finish(sample("--quiet", "--json", "pass", stdout=full))
        assert code == 1
        assert error == "standard output: No space left on device\n"

    def test_closed_standard_streams(self, sample, tmp_path):
        for number in (1, 2):
            process = sample("--json", "pass", preexec_fn=lambda number=number: os.close(number))
            code, output, _ = finish(process)
            assert code == 0
            assert bool(output) == (number == 2)
        process = sample("--json", "1 / 0", preexec_fn=lambda: os.close(2))
        code, output, _ = finish(process)
        assert code == 1
        assert json.loads(output)["error"] == "ZeroDivisionError: division by zero"


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_context_managers_run(self, sample, tmp_path, number):
        process = sample("sleep()")
        wait_for(process, "ready")
        process.send_signal(number)
        code, _, error = finish(process)
        assert code == 128 + number
        assert (tmp_path / "cleaned").exists()
        word = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        assert error.endswith(f"sample: error: {word}\n")
        assert "Traceback" not in error

    def test_what_else_goes_wrong_is_a_consequence(self, sample):
        code = "try:\n sleep()\nfinally:\n raise ValueError('connection lost')"
        process = sample(code)
        wait_for(process, "ready")
        process.terminate()
        assert finish(process)[0] == 143

    def test_second_signal_ends_at_once(self, sample):
        process = sample("stubborn()")
        wait_for(process, "ready")
        process.terminate()
        wait_for(process, "stubborn")
        process.terminate()
        assert finish(process)[0] == -signal.SIGTERM

    def test_child_process_dies_as_usual(self, sample, tmp_path):
        code, _, error = finish(sample("sleep_with_child()"))
        assert code == 0
        assert "child 15" in error
        assert not (tmp_path / "cleaned").exists()

    def test_nohup(self, sample):
        ignore = "import signal\nassert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN"
        process = sample(ignore, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        assert finish(process)[0] == 0

    def test_handlers_are_as_before_afterwards(self):
        before = signal.getsignal(signal.SIGTERM)
        assert run_command(make_command(lambda *_: None), ["--quiet"]) == 0
        assert signal.getsignal(signal.SIGTERM) is before

    def test_another_thread(self):
        codes = []
        command = make_command(lambda *_: None)
        thread = threading.Thread(target=lambda: codes.append(run_command(command, ["--quiet"])))
        thread.start()
        thread.join()
        assert codes == [0]


class TestSecrets:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["-P", "hunter2"],
            ["-Phunter2"],
            ["--password", "hunter2"],
            ["--password=hunter2"],
            ["-vPhunter2"],
        ],
    )
    def test_password_of_the_command_line(self, sample, arguments, tmp_path):
        (tmp_path / "c.ini").write_text("[LOGGING]\nlog_to_file = yes\n[DATABASE]\nhost = h\n")
        show = "print(open('/proc/self/cmdline').read())\nraise ValueError('x')"
        _, output, error = finish(sample("-D", "-c", "c.ini", *arguments, show))
        (file,) = (tmp_path / "altrepodb").iterdir()
        assert "password=***" in error
        assert "sample" in output
        assert "***" in output
        for text in (output, error, file.read_text()):
            assert "hunter2" not in text

    def test_password_of_a_url(self, sample):
        show = "print(open('/proc/self/cmdline').read())  # http://user:hunter2@host/"
        _, output, error = finish(sample("-e", "db", show))
        assert "http://user:***@host/" in output
        assert "hunter2" not in output + error

    def test_no_password_no_other_title(self, sample):
        _, output, _ = finish(sample("print(open('/proc/self/cmdline').read())"))
        assert "sample.py" in output

    def test_other_passwords(self, sample, tmp_path):
        (tmp_path / "c.ini").write_text("[DATABASE]\nhost = h\npassword = hunter2\n")
        _, _, error = finish(sample("-D", "-c", "c.ini", "raise ValueError(repr(settings))"))
        assert "hunter2" not in error
        variables = {"ALTREPODB_PASSWORD": "hunter2", "ALTREPODB_HOST": "h"}
        _, _, error = finish(sample("-D", "raise ValueError(repr(settings))", env=variables))
        assert "hunter2" not in error

    def test_urls(self):
        arguments = Namespace(url="https://user:hunter2@host/path", password=None, plain="a:b@c")
        assert module._masked_arguments(arguments) == "url=https://user:***@host/path, plain=a:b@c"
        assert module._masked_arguments(Namespace(debug=False)) == "none"

    def test_title_of_a_process_that_is_not_ours(self, monkeypatch):
        monkeypatch.setattr(module, "_hide_passwords", lambda *_: pytest.fail("was set"))
        command = make_command(lambda *_: None)
        assert run_command(command, ["--quiet", "-s", "h", "-P", "hunter2"]) == 0

    def test_words_of_the_process_title(self):
        words = ["x", "--password=x", "-Px", "-DPx", "suffix", "http://u:x@h"]
        assert [module._masked_word(word, "x") for word in words] == [
            "***",
            "--password=***",
            "-P***",
            "-DP***",
            "suffix",
            "http://u:***@h",
        ]
        assert module._masked_word("-P", "") == "-P"


class TestEveryCommand:
    """What holds for each script in bin/. Some commands have a second name."""

    second_names: ClassVar[dict[str, str]] = {
        "altrepobot": "repodb_notify_telegram",
        "bugzilla": "bugzilla_loader",
    }
    shown_names: ClassVar[dict[str, str]] = {"repodb_amqpfire": "amqpfire"}

    def module(self, name):
        return self.second_names.get(name, name)

    def console_scripts(self):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(ROOT / "setup.cfg")
        lines = parser["options.entry_points"]["console_scripts"].split("\n")
        return dict(re.split(r"\s*=\s*", line) for line in lines if line)

    def test_is_installed(self):
        assert self.console_scripts() == {
            name: f"altrepodb.cli.{self.module(name)}:main" for name in SCRIPTS
        }

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_has_a_section_in_the_readme(self, name):
        readme = (ROOT / "README.md").read_text()
        assert re.search(rf"^#+ {self.module(name)}$", readme, re.MULTILINE)
        assert f"`{name}`" in readme or f" {name} " in readme

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_help(self, name, environment):
        script = ROOT / "bin" / name
        assert os.access(script, os.X_OK)
        result = subprocess.run(
            [sys.executable, script, "-h"],
            env={**environment, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=True,
        )
        shown = self.shown_names.get(name, self.module(name))
        assert result.stdout.startswith(f"usage: {shown} ")
        assert "exit codes:" in result.stdout
        assert result.stderr == ""

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_starts_light(self, name, environment):
        code = (
            f"import sys\nfrom altrepodb.cli.{self.module(name)} import main\nmain(['-h'])\n"
            "heavy = {'chdb', 'clickhouse_driver', 'numpy', 'requests', 'ssl', 'asyncio'}\n"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stderr == "[]\n"
