"""``uploaderd``: the daemon that loads data when messages arrive."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, run_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.uploaderd.service_type import ServiceType
    from altrepodb.uploaderd.settings import DaemonSettings

__all__ = ["COMMAND", "daemon_command", "main"]

DEFAULT_CONFIG = Path("/etc/uploaderd/config.json")
DEFAULT_SERVICE_DIR = Path("/etc/uploaderd/services.d/")
_DESCRIPTION = """\
Load data into the database when messages arrive from RabbitMQ, one service for each queue.

SIGTERM lets running loads end, a second one does not; SIGHUP reads the files again and restarts
what has changed; SIGUSR1 writes the state of all services to the log.
"""


@dataclass(frozen=True)
class DaemonSummary:
    """How the daemon ended, or what a check found."""

    services: int
    exit_code: int = 0
    error: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        default=DEFAULT_CONFIG,
        help=f"main configuration ({DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "-s",
        "--service-dir",
        metavar="DIR",
        type=Path,
        default=DEFAULT_SERVICE_DIR,
        help=f"directory of service files ({DEFAULT_SERVICE_DIR})",
    )
    parser.add_argument(
        "--check", action="store_true", help="only check all files, print what is wrong"
    )
    parser.add_argument(
        "--foreground-log", action="store_true", help="log to standard error, not file and syslog"
    )


def daemon_command(types: Mapping[str, ServiceType] | None = None) -> Command:
    """The command with other kinds of services; None stands for those of the program."""

    def run(arguments: argparse.Namespace, settings: Settings) -> DaemonSummary:
        return _run(arguments, types)

    return Command(
        name="uploaderd",
        description=_DESCRIPTION,
        run=run,
        add_arguments=add_arguments,
        has_database=False,
        has_config=False,
    )


def _run(arguments: argparse.Namespace, types: Mapping[str, ServiceType] | None) -> DaemonSummary:
    from altrepodb.uploaderd.daemon import DaemonSource, run_daemon
    from altrepodb.uploaderd.json_settings import ConfigurationProblems
    from altrepodb.uploaderd.log import daemon_log, log_sink

    if types is None:
        from altrepodb.uploaderd.services import SERVICE_TYPES

        types = SERVICE_TYPES
    source = DaemonSource(arguments.config, arguments.service_dir, types)
    try:
        settings = source.read()
    except ConfigurationProblems as error:
        if len(error.problems) == 1:
            raise
        # On lines of their own they can be read; the last line of the run counts them.
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return DaemonSummary(0, error.exit_code, f"{len(error.problems)} problems found")
    if arguments.check:
        return _checked(arguments, settings)
    sink = log_sink(settings.log, debug=arguments.debug, foreground=arguments.foreground_log)
    with daemon_log(sink):
        status = run_daemon(source, settings, sink)
    error_text = "work was abandoned" if status else ""
    return DaemonSummary(len(settings.services), status, error_text)


def _checked(arguments: argparse.Namespace, settings: DaemonSettings) -> DaemonSummary:
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not arguments.json and not arguments.quiet:
        for service in settings.services:
            print(f"{service.file}: {service.name}: good")
    return DaemonSummary(len(settings.services))


COMMAND = daemon_command()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(COMMAND, argv)
