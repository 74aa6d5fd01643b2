"""repodb_schema: create, check and migrate the database schema, print rights, add seed rows."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from altrepodb.cli.command import Command, run_command
from altrepodb.config import Settings
from altrepodb.db import open_database
from altrepodb.errors import AltrepodbError, ConfigurationError, DatabaseError

__all__ = ["COMMAND", "SchemaSummary", "main"]

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Create, check and migrate the schema of the database.

  init      create the database when it is missing, and its schema
  status    name every difference from the schema; exit code 1 when there are any
  migrate   apply what is pending
  grants    print the statements that give a user the rights a loader needs
  seed      add licence aliases and checked vulnerabilities that are missing
"""


@dataclass(frozen=True)
class SchemaSummary:
    """What a run found or did."""

    applied: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    inserted: dict[str, int] = field(default_factory=dict)
    exit_code: int = 0
    error: str = ""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=list(_ACTIONS), help="see above")
    parser.add_argument("grantee", metavar="USER", nargs="?", help="grants: who gets the rights")
    parser.add_argument("--dry-run", action="store_true", help="migrate: only list what is pending")
    parser.add_argument("--reader", action="store_true", help="grants: rights to read only")
    # Options may stand between the words, as in "grants --reader USER".
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]


def _run(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    _check_words(arguments)
    return _ACTIONS[arguments.action](arguments, settings)


def _check_words(arguments: argparse.Namespace) -> None:
    """Words and options that the action does not know are refused, not ignored."""
    action = arguments.action
    if (action == "grants") != (arguments.grantee is not None):
        needs = "needs a USER" if action == "grants" else f"takes no argument {arguments.grantee!r}"
        raise ConfigurationError(f"{action} {needs}")
    if arguments.dry_run and action != "migrate":
        raise ConfigurationError(f"{action} takes no --dry-run")
    if arguments.reader and action != "grants":
        raise ConfigurationError(f"{action} takes no --reader")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _init(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    from altrepodb.db.schema import migrate

    if settings.database.embedded is None:
        _create_database(settings)
    with open_database(settings.database, with_schema=False) as database:
        return SchemaSummary(applied=migrate(database))


def _create_database(settings: Settings) -> None:
    """Create a missing database on a server.

    A user who may not look elsewhere may still have been given an empty database, so a refusal
    here is left to the attempt to open it.
    """
    from altrepodb.db.parameters import quoted_identifier

    name = settings.database.dbname
    elsewhere = dataclasses.replace(settings.database, dbname="default")
    try:
        with open_database(elsewhere) as database:
            if (name,) not in database.query("SELECT name FROM system.databases"):
                database.execute(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(name)}")
    except DatabaseError as error:
        logger.debug("%s: not created: %s", name, error)


def _status(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    from altrepodb.db.schema_difference import schema_differences

    with open_database(settings.database, with_schema=False) as database:
        differences = [str(difference) for difference in schema_differences(database)]
    _print_lines(differences)
    if not differences:
        return SchemaSummary()
    return SchemaSummary(
        differences=differences,
        exit_code=AltrepodbError.exit_code,
        error=f"{settings.database.dbname}: {len(differences)} differences from the schema",
    )


def _migrate(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    from altrepodb.db.schema import migrate, pending_migrations

    with open_database(settings.database, with_schema=False) as database:
        if not arguments.dry_run:
            return SchemaSummary(applied=migrate(database))
        pending = [migration.name for migration in pending_migrations(database)]
    _print_lines(pending)
    return SchemaSummary(pending=pending)


def _grants(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    from altrepodb.db.schema import grants

    name = settings.database.dbname
    statements = grants(name, arguments.grantee, reader=arguments.reader)
    _print_lines(f"{statement};" for statement in statements)
    return SchemaSummary(statements=statements)


def _seed(arguments: argparse.Namespace, settings: Settings) -> SchemaSummary:
    from altrepodb.db.schema import load_seed

    with open_database(settings.database) as database:
        return SchemaSummary(inserted=load_seed(database))


_ACTIONS: dict[str, Callable[[argparse.Namespace, Settings], SchemaSummary]] = {
    "init": _init,
    "status": _status,
    "migrate": _migrate,
    "grants": _grants,
    "seed": _seed,
}

COMMAND = Command(
    name="repodb_schema",
    description=_DESCRIPTION,
    run=_run,
    add_arguments=_add_arguments,
    # What it does is recorded in SchemaMigrations, and status leaves no trace.
    has_ledger=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
