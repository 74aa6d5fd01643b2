"""``repodb_notify_telegram``: forward the notices of the daemon to a Telegram chat."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, run_command
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.uploaderd.bot import BotSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=Path, required=True, help="configuration file (INI)"
    )


def forward(arguments: argparse.Namespace, settings: Settings) -> BotSummary:
    """Run the bot until SIGTERM or SIGINT, which are its normal end."""
    from altrepodb.uploaderd.bot import Bot, read_bot_settings

    bot = Bot(read_bot_settings(arguments.config))
    with _stopping_by_signal(bot.stop):
        return bot.run()


@contextmanager
def _stopping_by_signal(stop: Callable[[], None]) -> Iterator[None]:
    """A first signal asks for the end, a second one ends the process at once."""

    def obey(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [(number, signal.signal(number, obey)) for number in wanted]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


COMMAND = Command(
    name="repodb_notify_telegram",
    description="Forward the notices of uploaderd from a queue to a Telegram chat.",
    run=forward,
    add_arguments=add_arguments,
    has_database=False,
    has_config=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
