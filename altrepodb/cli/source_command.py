"""What the commands of the web sources share: their options and how they are run.

    def load(arguments, settings, shared, database):
        from altrepodb.sources.acl import AclOptions, load_acl

        return load_acl(AclOptions(**shared), database)

    COMMAND = source_command(
        "acl_loader", "Load the maintainers' ACLs of all branches.", load, url_setting="acl_url"
    )

``shared`` holds the values of ``SourceOptions`` by name, from the command line, else from
[SOURCES] of the configuration file, else None or False.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.cli.command import Command, dated_log_file
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.sources.run import SourceSummary

__all__ = ["LoadSource", "source_command"]

LoadSource = Callable[
    [argparse.Namespace, Settings, "Mapping[str, Any]", "Database"], "SourceSummary"
]
"""Arguments, settings and the shared options -> the loader of the source, called."""


def source_command(
    name: str,
    description: str,
    load: LoadSource,
    *,
    url_setting: str,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    has_timezone: bool = False,
    takes_url: bool = False,
    is_web: bool = True,
) -> Command:
    """The command of a source.

    ``url_setting`` is its key in [SOURCES]; ``has_timezone`` gives it ``--source-timezone``,
    ``takes_url`` a URL as its argument; ``is_web`` False is for addresses that are not of the
    web. The log file is named like the command without ``_loader``. The lock of the run is
    taken before the database is opened, so that a second run ends at once.
    """

    def add_all_arguments(parser: argparse.ArgumentParser) -> None:
        if takes_url:
            parser.add_argument("url_argument", metavar="URL", nargs="?", help="where to read")
        if add_arguments is not None:
            add_arguments(parser)
        _add_shared_options(parser, has_timezone)

    def run(arguments: argparse.Namespace, settings: Settings) -> SourceSummary:
        from altrepodb.db import open_database
        from altrepodb.sources.run import SourceOptions
        from altrepodb.sources.state import run_lock

        shared = _shared_options(arguments, settings, url_setting)
        options = SourceOptions(**(shared if is_web else {**shared, "url": None}))
        options.check()
        with (
            run_lock(name, options.state_directory, options.database_key),
            open_database(settings.database) as database,
        ):
            return load(arguments, settings, shared, database)

    return Command(
        name=name,
        description=description,
        add_arguments=add_all_arguments,
        log_file=lambda _: dated_log_file(f"{name.removesuffix('_loader')}-load"),
        run=run,
    )


def _add_shared_options(parser: argparse.ArgumentParser, has_timezone: bool) -> None:
    group = parser.add_argument_group("source")
    group.add_argument("--url", metavar="URL", help="where to read")
    group.add_argument(
        "--timeout", metavar="S", type=_seconds, help="seconds to wait for each part of an answer"
    )
    if has_timezone:
        group.add_argument(
            "--source-timezone",
            metavar="ZONE",
            help="zone of times without one, such as Europe/Moscow (that of this host)",
        )
    group.add_argument(
        "--dry-run", action="store_true", help="do all but insert; say how many rows it would be"
    )
    group.add_argument(
        "--force", action="store_true", help="load what seems to be loaded, or has shrunk"
    )
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        help="where locks and marks stand (~/.local/state/altrepodb)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return seconds


def _shared_options(
    arguments: argparse.Namespace, settings: Settings, url_setting: str
) -> dict[str, Any]:
    """The values of SourceOptions. Raises ConfigurationError when two URLs are given."""
    from altrepodb.errors import ConfigurationError

    argument = getattr(arguments, "url_argument", None)
    if argument and arguments.url and argument != arguments.url:
        raise ConfigurationError("command line: --url: expected no URL argument beside it")
    sources = settings.sources
    zone = getattr(arguments, "source_timezone", None)
    return {
        "url": arguments.url or argument or getattr(sources, url_setting),
        "timeout_s": arguments.timeout or sources.timeout,
        "force": arguments.force,
        "dry_run": arguments.dry_run,
        "state_dir": arguments.state_dir or sources.state_dir,
        "database_key": settings.database.key,
        "source_timezone": zone or sources.source_timezone,
    }
