"""Bring a database to the schema that the loaders and the readers expect.

The numbered files of ``sql/`` are applied in order. A file is recorded in SchemaMigrations only
after its last statement ran, and every statement may run again, so a run that was killed is
finished by the next one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from altrepodb import __version__
from altrepodb.db.database import Columns, Database
from altrepodb.db.schema_files import (
    Condition,
    Migration,
    Statement,
    read_migrations,
    schema_directory,
)
from altrepodb.errors import ConfigurationError, DatabaseError

__all__ = [
    "applied_migrations",
    "apply_statements",
    "create_schema",
    "grants",
    "load_seed",
    "migrate",
    "missing_features",
    "missing_license_aliases",
    "pending_migrations",
]

logger = logging.getLogger(__name__)

_NEEDED_TYPES = ("DateTime64", "Enum8", "LowCardinality", "Map", "SimpleAggregateFunction", "UUID")
_NEEDED_FUNCTIONS = (
    "arrayReverseSort",
    "base64Decode",
    "murmurHash3_64",
    "now64",
    "toUInt32OrZero",
)
_COMPLETE_SINCE = (23,)
"""From this version on the engine need not be asked what it knows."""
_LOADER_PRIVILEGES = ("SELECT", "INSERT", "OPTIMIZE", "ALTER DELETE")
_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f]+")


# --- migrations


def missing_features(database: Database) -> list[str]:
    """The column types and functions of the schema that the engine does not know."""
    types = database.query(
        "SELECT name FROM system.data_type_families WHERE has({names:Array(String)}, name)",
        {"names": list(_NEEDED_TYPES)},
    )
    functions = database.query(
        "SELECT name FROM system.functions WHERE has({names:Array(String)}, name)",
        {"names": list(_NEEDED_FUNCTIONS)},
    )
    known = {name for (name,) in types + functions}
    return [name for name in _NEEDED_TYPES + _NEEDED_FUNCTIONS if name not in known]


def _require_features(database: Database) -> None:
    if database.version >= _COMPLETE_SINCE:
        return
    lacking = missing_features(database)
    if lacking:
        version = ".".join(map(str, database.version))
        raise DatabaseError(
            f"{database.name}: ClickHouse {version} cannot hold the schema: "
            f"it lacks {', '.join(lacking)}"
        )


def applied_migrations(database: Database) -> dict[str, str]:
    """The files applied to the database, with the checksums they had then."""
    ((exists,),) = database.query("EXISTS TABLE SchemaMigrations")
    if not exists:
        return {}
    rows = database.query("SELECT migration, checksum FROM SchemaMigrations ORDER BY applied")
    return dict(rows)


def pending_migrations(database: Database) -> list[Migration]:
    """The files that are not applied yet, in order."""
    return read_migrations(leave_out=applied_migrations(database).keys())


def migrate(database: Database) -> list[str]:
    """Apply all pending files and return their names.

    Raises DatabaseError when the engine is too old or refuses a statement; what ran before
    stays, and the next call goes on from the beginning of that file.
    """
    pending = pending_migrations(database)
    if pending:
        _require_features(database)
    for migration in pending:
        logger.debug("%s: applying %s", database.name, migration.name)
        apply_statements(database, migration.statements)
        _record(database, migration)
    return [migration.name for migration in pending]


def create_schema(database: Database) -> None:
    """Give the database the full schema. Costs two small queries when it has it already."""
    migrate(database)


def apply_statements(database: Database, statements: Iterable[Statement]) -> None:
    """Run statements in the current database, leaving out those whose condition is not met."""
    for statement in statements:
        if statement.condition is None or _is_met(database, statement.condition):
            database.execute(statement.text)


def _is_met(database: Database, condition: Condition) -> bool:
    columns = database.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase()"
        " AND table = {table:String} AND name = {column:String}",
        {"table": condition.table, "column": condition.column},
    )
    return bool(columns) and not (condition.only_empty and _has_rows(database, condition.table))


def _has_rows(database: Database, table: str) -> bool:
    return bool(database.query(f"SELECT 1 FROM {_backquoted(table)} LIMIT 1"))


def _record(database: Database, migration: Migration) -> None:
    database.insert(
        "SchemaMigrations",
        {
            "migration": [migration.name],
            "checksum": [migration.checksum],
            "program_version": [__version__],
        },
    )


# --- rights


def _backquoted(name: str) -> str:
    """A name as an identifier. Raises ConfigurationError when it is empty or has controls."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ConfigurationError(f"not a name: {name!r}")
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def grants(database_name: str, user: str, *, reader: bool = False) -> list[str]:
    """The GRANT statements that a loader (or a mere reader) of the database needs.

    Readers get temporary tables too: the web service joins its arguments through them.
    """
    privileges = ("SELECT",) if reader else _LOADER_PRIVILEGES
    who = _backquoted(user)
    return [
        f"GRANT {', '.join(privileges)} ON {_backquoted(database_name)}.* TO {who}",
        f"GRANT CREATE TEMPORARY TABLE ON *.* TO {who}",
    ]


# --- seed data


def load_seed(database: Database, directory: Path | None = None) -> dict[str, int]:
    """Add the seed rows that the database does not have; return the added rows by table.

    A row that an operator has changed since stays as it is.
    """
    source = directory or schema_directory() / "seed"
    verdicts = _read_rows(source / "cve_checked.json")
    for verdict in verdicts:
        verdict["cc_checkdate"] = _seconds(verdict["cc_checkdate"])
    return {
        "LicenseAliases": database.insert(
            "LicenseAliases", missing_license_aliases(database, source)
        ),
        "CveChecked": database.insert(
            "CveChecked", _missing(database, "CveChecked", ("cve_id", "pkg_name"), verdicts)
        ),
    }


def missing_license_aliases(database: Database, directory: Path | None = None) -> Columns:
    """Rows for LicenseAliases: the aliases that the database does not have, whatever they mean."""
    source = directory or schema_directory() / "seed"
    aliases = _read_rows(source / "license_aliases.json")
    return _missing(database, "LicenseAliases", ("alias",), aliases)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file: a JSON array, or one object per line."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=timezone.utc).timestamp())


def _missing(
    database: Database, table: str, key: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> Columns:
    """The rows, as columns, whose key is not in the table."""
    stored = database.query(f"SELECT DISTINCT {', '.join(key)} FROM {_backquoted(table)}")
    known = set(stored)
    new = [row for row in rows if tuple(row[column] for column in key) not in known]
    columns = list(new[0]) if new else []
    return {name: [row[name] for row in new] for name in columns}
