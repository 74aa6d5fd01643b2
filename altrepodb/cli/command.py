"""What all commands share: options, logging, signals, exit codes and the summary of a run.

A command is a ``Command`` and two lines:

    def main(argv: Sequence[str] | None = None) -> int:
        return run_command(COMMAND, argv)

``Command.run`` takes the parsed arguments and the settings and returns a summary dataclass. The
fields of the summary are numbers, texts, and mappings such as "rows inserted by table". A summary
with an ``exit_code`` other than 0 and an ``error`` text reports a run that did only part of its
work. Nothing heavy is imported here, and a command imports its loader inside ``run``, so that
``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from altrepodb import __version__
from altrepodb.config import Settings, load_settings
from altrepodb.errors import (
    AltrepodbError,
    ConfigurationError,
    DatabaseUnavailableError,
    LockHeldError,
)
from altrepodb.logger import configured, log_directory, printable
from altrepodb.progress import Mode, set_mode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from altrepodb.db import Database

__all__ = [
    "Command",
    "add_workers_option",
    "calendar_date",
    "dated_log_file",
    "make_parser",
    "positive_integer",
    "run_command",
]

logger = logging.getLogger(__name__)

_EXIT_CODES = """\
exit codes:
  0   done, also when there was nothing new
  1   failed: source, database or broken input
  2   wrong arguments or configuration
  3   refused, because it is loaded already
  75  failed for now, worth a retry: server or site away, lock held
  128 and more: ended by the signal of that number less 128
"""
_ENVIRONMENT = """\
environment:
  ALTREPODB_CONFIG and ALTREPODB_PASSWORD stand in for -c and -P; ALTREPODB_DBNAME, _HOST,
  _PORT, _USER, _PASSWORD_FILE, _EMBEDDED, _SECURE, _CA_CERTS, _VERIFY and _WORKERS for the
  keys of that name in the section [DATABASE] of the configuration file
"""
_EXIT_FAILED = 1
_EXIT_SIGNAL = 128
_OWN_FIELDS = frozenset({"exit_code", "error"})
_MASK = "***"
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")


@dataclass(frozen=True)
class Command:
    """One command of the tool set.

    ``add_arguments`` adds the command's own options; ``log_file`` names its log file from the
    arguments. ``has_database`` and ``has_config`` give it the database options and the INI file
    of ``-c``; ``long_version`` lets ``--version`` print the program's version, which the image
    loaders use for the image's. A run that opened its database is recorded in the ledger there,
    unless ``has_ledger`` is False or it was a dry run.
    """

    name: str
    description: str
    run: Callable[[argparse.Namespace, Settings], DataclassInstance | None]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    log_file: Callable[[argparse.Namespace], str] | None = None
    has_database: bool = True
    has_config: bool = True
    long_version: bool = True
    has_ledger: bool = True


@dataclass(frozen=True)
class _Outcome:
    """How a run ended."""

    exit_code: int = 0
    error: str | None = None
    summary: DataclassInstance | None = None
    cause: BaseException | None = None


class _UsageError(ConfigurationError):
    """The command line cannot be understood."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the program, so that ``--json`` is answered in every case."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(message, self.format_usage())


class _Terminated(BaseException):
    """A signal asked to stop; no ``except Exception`` on the way may swallow it."""


# --- options


def make_parser(command: Command) -> argparse.ArgumentParser:
    """The parser of a command: its own options and the shared ones."""
    epilog = f"{_ENVIRONMENT}\n{_EXIT_CODES}" if command.has_config else _EXIT_CODES
    parser = _Parser(
        prog=command.name,
        description=command.description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # With abbreviations every new option could break somebody's command line.
        allow_abbrev=False,
    )
    if command.add_arguments is not None:
        command.add_arguments(parser)
    if command.has_config:
        parser.add_argument("-c", "--config", metavar="FILE", help="configuration file (INI)")
    if command.has_database:
        _add_database_options(parser)
    _add_output_options(parser, command)
    return parser


def _add_database_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "database", "a ClickHouse server, or an embedded ClickHouse in a directory"
    )
    group.add_argument("-d", "--dbname", metavar="NAME", help="database name")
    group.add_argument("-s", "--host", metavar="HOST", help="server (localhost)")
    group.add_argument(
        "-p", "--port", metavar="N", help="port of the native protocol (9000, with TLS 9440)"
    )
    group.add_argument("-u", "--user", metavar="NAME", help="user (default)")
    group.add_argument(
        "-P", "--password", metavar="TEXT", help="password; better use ALTREPODB_PASSWORD"
    )
    group.add_argument(
        "-e", "--embedded", metavar="DIR", help="embedded database in DIR, made when missing"
    )
    group.add_argument(
        "--secure", action="store_const", const="yes", help="connect to the server with TLS"
    )
    group.add_argument("--ca-certs", metavar="FILE", help="certificates to check the server with")
    group.add_argument(
        "--no-verify",
        dest="no_verify",
        action="store_true",
        help="do not check the certificate of the server",
    )


def _add_output_options(parser: argparse.ArgumentParser, command: Command) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("-D", "--debug", action="store_true", help="log debug messages")
    group.add_argument("-v", "--verbose", action="store_true", help="report progress more often")
    group.add_argument("--quiet", action="store_true", help="no output unless the run fails")
    group.add_argument(
        "--json", action="store_true", help="print a summary as one JSON object on standard output"
    )
    names = ["-V", "--program-version"] + (["--version"] if command.long_version else [])
    group.add_argument(
        *names,
        action="version",
        version=f"{command.name} {__version__}",
        help="print the version of the program and exit",
    )


def add_workers_option(parser: argparse.ArgumentParser, default: str = "one per processor") -> None:
    """``-w/--workers``, for the commands that read in several processes."""
    parser.add_argument(
        "-w",
        "--workers",
        metavar="N",
        type=positive_integer,
        help=f"number of worker processes ({default})",
    )


def positive_integer(text: str) -> int:
    """Argument type: a whole number above 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def calendar_date(text: str) -> date:
    """Argument type: a day as YYYY-MM-DD."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a day as YYYY-MM-DD, got {text!r}") from None


def dated_log_file(stem: str, day: date | None = None) -> str:
    """``<stem>-<day or today>.log`` as the name of one file, whatever the stem holds."""
    name = stem.replace("/", "_").replace("\0", "_")
    return f"{name}-{day or date.today()}.log"


# --- a run


def run_command(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command with arguments and return its exit code.

    Without arguments it is the process that runs the command, with its own, and ends here.
    """
    exit_code = _exit_code(command, argv)
    return exit_code if argv is not None else _leave(exit_code)


def _leave(exit_code: int) -> NoReturn:
    """End the process. All is written and closed by now; to take the interpreter and the engine
    apart piece by piece would be a twentieth of a short run."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
    os._exit(exit_code)


def _exit_code(command: Command, argv: Sequence[str] | None) -> int:
    given = sys.argv[1:] if argv is None else list(argv)
    started = time.monotonic()
    try:
        arguments = make_parser(command).parse_args(given)
    except SystemExit as leave:
        return _flushed(_leave_code(leave))
    except _UsageError as error:
        _complain(f"{error.usage}{command.name}: error: {printable(str(error))}")
        outcome = _Outcome(error.exit_code, _one_line(error))
        return _report(command, outcome, started) if "--json" in given else error.exit_code
    if argv is None:
        _hide_passwords(command, given, getattr(arguments, "password", None))
    with _stdout_kept_clean(arguments.json), _signals() as received:
        outcome = _run(command, arguments, started, received)
    _complain_about(command, arguments, outcome)
    return _report(command, outcome, started) if arguments.json else _flushed(outcome.exit_code)


def _run(
    command: Command, arguments: argparse.Namespace, started: float, received: list[int]
) -> _Outcome:
    """Everything between the arguments and the exit code; whatever happens is an outcome."""
    from altrepodb.db import kept_open

    try:
        has_settings = command.has_config or command.has_database
        settings = load_settings(_options(arguments)) if has_settings else Settings()
        with _logging(command, arguments, settings):
            _log_start(command, arguments, settings)
            with kept_open() as database_of:
                try:
                    outcome = _completed(command.run(arguments, settings))
                except BaseException as error:
                    outcome = _failure(error, received)
                _record(command, arguments, outcome, started, database_of(settings.database))
            _log_error(outcome, arguments.debug)
            _log_end(outcome, time.monotonic() - started)
    except BaseException as error:
        outcome = _failure(error, received)
    return outcome


def _options(arguments: argparse.Namespace) -> dict[str, object]:
    """The shared options as ``load_settings`` wants them."""
    options = vars(arguments)
    return {**options, "verify": "no" if options.get("no_verify") else None}


@contextmanager
def _logging(command: Command, arguments: argparse.Namespace, settings: Settings) -> Iterator[None]:
    mode: Mode = "quiet" if arguments.quiet else "verbose" if arguments.verbose else "normal"
    file = None
    if settings.logging.to_file and command.log_file is not None:
        file = log_directory() / command.log_file(arguments)
    previous = set_mode(mode)
    try:
        with configured(settings.logging, file, debug=arguments.debug, quiet=arguments.quiet):
            yield
    finally:
        set_mode(previous)


def _log_start(command: Command, arguments: argparse.Namespace, settings: Settings) -> None:
    logger.info("%s %s", command.name, __version__)
    logger.info("arguments: %s", _masked_arguments(arguments))
    if command.has_database:
        logger.info("%s", settings.database.describe())
    for warning in settings.warnings:
        logger.warning("%s", warning)


def _log_error(outcome: _Outcome, debug: bool) -> None:
    """For file and syslog; the console gets it as the last line of the run."""
    if outcome.error is not None:
        cause = outcome.cause if debug else None
        logger.error("%s", outcome.error, exc_info=cause, extra={"on_console": False})


def _log_end(outcome: _Outcome, seconds: float) -> None:
    """The summary for people, and as the last line one for scripts that read logs."""
    fields = _summary_fields(outcome.summary)
    for name, value in fields.items():
        if isinstance(value, Mapping):
            width = max((len(str(key)) for key in value), default=0)
            for key, item in value.items():
                logger.info("%s %s  %s", name, str(key).ljust(width), item)
    result = "done" if outcome.exit_code == 0 else "failed"
    words: dict[str, object] = {"result": result, **{k: _counted(v) for k, v in fields.items()}}
    words["elapsed"] = f"{seconds:.1f}"
    logger.info("%s", " ".join(f"{key}={value}" for key, value in words.items()))


def _counted(value: object) -> object:
    """One word for a field: the sum of a mapping of numbers, the length of anything else."""
    if isinstance(value, Mapping):
        numbers = [item for item in value.values() if isinstance(item, int)]
        return sum(numbers) if len(numbers) == len(value) else len(value)
    if isinstance(value, list | tuple | set | frozenset):
        return len(value)
    return value


def _summary_fields(summary: DataclassInstance | None) -> dict[str, Any]:
    if summary is None:
        return {}
    names = (field.name for field in dataclasses.fields(summary))
    return {name: getattr(summary, name) for name in names if name not in _OWN_FIELDS}


# --- the ledger


def _record(
    command: Command,
    arguments: argparse.Namespace,
    outcome: _Outcome,
    started: float,
    database: Database | None,
) -> None:
    """Write the run into the ledger of the database that it used, if it used one and may."""
    if database is None or not command.has_ledger or getattr(arguments, "dry_run", False):
        return
    if isinstance(outcome.cause, DatabaseUnavailableError):
        return
    from altrepodb.db.ledger import LoaderRun, record_run, result_of, summary_counts

    seconds = time.monotonic() - started
    inserted, warnings = summary_counts(outcome.summary)
    run = LoaderRun(
        program=command.name,
        started=time.time() - seconds,
        seconds=seconds,
        result=result_of(outcome.exit_code),
        exit_code=outcome.exit_code,
        subject=_masked_arguments(_own_arguments(command, arguments)),
        inserted=inserted,
        warnings=warnings,
        error=outcome.error or "",
    )
    record_run(database, run)


def _own_arguments(command: Command, arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments that only this command has: what it was to work on."""
    shared = vars(make_parser(replace(command, add_arguments=None)).parse_args([]))
    return argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k not in shared})


# --- how it ended


def _completed(summary: DataclassInstance | None) -> _Outcome:
    return _Outcome(
        exit_code=getattr(summary, "exit_code", 0),
        error=getattr(summary, "error", None) or None,
        summary=summary,
    )


def _failure(error: BaseException, received: Sequence[int]) -> _Outcome:
    """Exit code and line of an exception.

    ``received`` holds the signals that came: what else goes wrong while they are obeyed is
    their consequence.
    """
    code, line = _code_and_line(error)
    if received:
        code, line = _EXIT_SIGNAL + received[0], f"ended by {signal.Signals(received[0]).name}"
    return _Outcome(code, None if line is None else _one_line(line), cause=error)


def _code_and_line(error: BaseException) -> tuple[int, str | None]:
    match error:
        case AltrepodbError():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return _EXIT_SIGNAL + signal.SIGINT, "interrupted"
        case SystemExit(code=str() as text):
            return _EXIT_FAILED, text
        case SystemExit():
            return _leave_code(error), None
        case BrokenPipeError() if _is_reader_gone():
            return _EXIT_SIGNAL + signal.SIGPIPE, None
        case OSError(filename=str() | bytes() as path, strerror=str() as reason):
            return _EXIT_FAILED, f"{os.fsdecode(path)}: {reason}"
        case _:
            name = type(error).__name__
            return _EXIT_FAILED, f"{name}: {error}" if str(error) else name


def _leave_code(leave: SystemExit) -> int:
    return leave.code if isinstance(leave.code, int) else 0


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))


def _complain_about(command: Command, arguments: argparse.Namespace, outcome: _Outcome) -> None:
    """The one line of a failure, and before it the traceback if it is wanted."""
    if outcome.error is None or (arguments.quiet and isinstance(outcome.cause, LockHeldError)):
        return
    if arguments.debug and outcome.cause is not None:
        import traceback

        _complain("".join(traceback.format_exception(outcome.cause)).rstrip())
    _complain(f"{command.name}: error: {outcome.error}")


def _complain(text: str) -> None:
    """Write to standard error, if there still is one."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


# --- standard output


@contextmanager
def _stdout_kept_clean(wanted: bool) -> Iterator[None]:
    """Send what libraries and child processes print to standard error meanwhile."""
    if not wanted:
        yield
        return
    with redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
            os.dup2(2, 1)
        except OSError:
            # One of the two is closed; then there is nothing to keep clean.
            yield
            return
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _report(command: Command, outcome: _Outcome, started: float) -> int:
    """Print the JSON object of a run; return the exit code."""
    content = {
        **{name: _plain(value) for name, value in _summary_fields(outcome.summary).items()},
        "program": command.name,
        "version": __version__,
        "exit_code": outcome.exit_code,
        "seconds": round(time.monotonic() - started, 3),
    }
    if outcome.error is not None:
        content["error"] = outcome.error
    return _flushed(outcome.exit_code, json.dumps(content) + "\n")


def _plain(value: object) -> Any:
    """A value of a summary as JSON knows it; bytes are shown in hexadecimal."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return value if value - value == 0 else None
        case bytes():
            return value.hex()
        case date() | datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted(map(_plain, value))
        case list() | tuple():
            return [_plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {name: _plain(item) for name, item in _summary_fields(value).items()}
        case _:
            return str(value)


def _flushed(exit_code: int, text: str = "") -> int:
    """Write the last text and flush; the exit code, or another one when that fails."""
    if sys.stdout is None:
        return exit_code
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return exit_code or _EXIT_SIGNAL + signal.SIGPIPE
    except OSError as error:
        _discard_stdout()
        _complain(f"standard output: {error.strerror}")
        return exit_code or _EXIT_FAILED
    return exit_code


def _discard_stdout() -> None:
    """Keep the interpreter from trying again, and complaining, when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _is_reader_gone() -> bool:
    """Whether standard output is a pipe that nobody reads, as after ``| head``."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


# --- signals and secrets


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGHUP into an exception in the main thread, so that clean-up runs.

    Yields the list of the signals that came. A second one of the same kind ends the process at
    once. A child process that inherits the handlers dies by the signal as usual.
    """
    received: list[int] = []
    owner = os.getpid()

    def obey(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:
            os.kill(os.getpid(), number)
            return
        received.append(number)
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    wanted = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Whoever started us with nohup meant it.
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = [(number, signal.signal(number, obey)) for number in wanted]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _masked_arguments(arguments: argparse.Namespace) -> str:
    """Arguments that were given, for the log and the ledger."""
    given = {
        key: _MASK if key == "password" else _without_password(str(value))
        for key, value in vars(arguments).items()
        if value is not None and value is not False
    }
    return ", ".join(f"{key}={value}" for key, value in given.items()) or "none"


def _without_password(text: str) -> str:
    """A URL without the password that it may carry."""
    return _URL_PASSWORD.sub(rf"\1:{_MASK}@", text)


def _hide_passwords(command: Command, given: Sequence[str], password: str | None) -> None:
    """Take passwords out of the process list."""
    masked = [_masked_word(word, password) for word in given]
    if masked == list(given):
        return
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(" ".join([command.name, *masked]))


def _masked_word(word: str, password: str | None) -> str:
    """Covers ``-P X``, ``-PX``, ``-DPX`` and ``--password=X``, and URLs."""
    if password and (word == password or (word.startswith("-") and word.endswith(password))):
        return word.removesuffix(password) + _MASK
    return _without_password(word)
