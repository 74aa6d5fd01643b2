"""``repodb_amqpfire``: send the message that starts a service of the daemon."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from altrepodb.cli.command import Command, run_command
from altrepodb.config import Settings

__all__ = ["COMMAND", "main"]

_SERVICES = ("repo", "watch", "repocop", "beehive", "spdx", "task")
_DESCRIPTION = """\
Send the message that starts a service of uploaderd. OK means that a queue has it.

  -s repo -p BRANCH DATE   load a repository; DATE is YYYY-MM-DD or today
  -s watch                 load the Watch list
  -s repocop               load the Repocop results
  -s beehive               load the Beehive results
  -s spdx                  load the SPDX licence list
  -s task -p ID STATE      load a task again; the file has to name the exchange of tasks
"""


@dataclass(frozen=True)
class FireSummary:
    """What was sent."""

    service: str
    exchange: str
    routing_key: str
    body: str
    dry_run: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=Path, required=True, help="configuration file (JSON)"
    )
    parser.add_argument("-s", "--service", required=True, choices=_SERVICES, help="which service")
    parser.add_argument(
        "-p", "--params", metavar="ARG", nargs="*", default=[], help="parameters of the service"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print exchange, key and body, send nothing"
    )


def fire(arguments: argparse.Namespace, settings: Settings) -> FireSummary:
    """Make the message and send it."""
    from altrepodb.uploaderd.fire import make_shot, publish, read_fire_settings

    fire_settings = read_fire_settings(arguments.config)
    shot = make_shot(fire_settings, arguments.service, arguments.params)
    summary = FireSummary(
        service=arguments.service,
        exchange=shot.exchange,
        routing_key=shot.routing_key,
        body=shot.body.decode(),
        dry_run=arguments.dry_run,
    )
    if arguments.dry_run:
        _print(arguments, f"{summary.exchange} {summary.routing_key} {summary.body}")
    else:
        publish(fire_settings, shot)
        _print(arguments, "OK")
    return summary


def _print(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.json and not arguments.quiet:
        print(line)


COMMAND = Command(
    name="amqpfire",
    description=_DESCRIPTION,
    run=fire,
    add_arguments=add_arguments,
    has_database=False,
    has_config=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
