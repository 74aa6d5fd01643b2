"""Compare a database with the schema files, by asking the engine itself.

The files are run in a scratch database of the same engine, and the engine's own description of
both is compared. So nothing here has to understand SQL, and a difference in how versions of
the engine print types or statements cannot be mistaken for a difference in the schema.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import Enum

from altrepodb.db.database import Database
from altrepodb.db.schema import applied_migrations, apply_statements, missing_features
from altrepodb.db.schema_files import Migration, Statement, read_migrations

__all__ = ["Difference", "DifferenceKind", "schema_differences"]

# Rows of an older shape that a migration put aside; having them is no difference.
_SET_ASIDE = frozenset({"TaskProgress_2022"})
_FUNCTION = re.compile(r"CREATE\s+FUNCTION\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)\s+AS\s+", re.IGNORECASE)
_TARGET = re.compile(r"^CREATE MATERIALIZED VIEW \S+ TO (\S+)")


class DifferenceKind(Enum):
    """What is different; the values are the words of the report."""

    ENGINE_TOO_OLD = "the engine lacks"
    PENDING = "migration not applied"
    CHANGED = "migration changed since it was applied"
    MISSING = "missing"
    EXTRA = "not in the schema"
    ENGINE = "engine"
    SORTING_KEY = "sorting key"
    PRIMARY_KEY = "primary key"
    PARTITION_KEY = "partition key"
    COLUMN_MISSING = "column missing"
    COLUMN_EXTRA = "column not in the schema"
    COLUMN_TYPE = "column type"
    COLUMN_DEFAULT = "column default"
    COLUMN_POSITION = "column in another position"
    INDEX = "index"
    TARGET = "target"
    DEFINITION = "definition"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the object (and its column), and what was expected and found."""

    kind: DifferenceKind
    subject: str
    column: str = ""
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        name = f"{self.subject}.{self.column}" if self.column else self.subject
        text = f"{name}: {self.kind.value}"
        if self.expected or self.found:
            text += f": expected {self.expected or 'none'}, found {self.found or 'none'}"
        return text


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    default: str


@dataclass(frozen=True, slots=True)
class _Object:
    """One table or view as the engine describes it, free of the database's name."""

    engine: str
    sorting_key: str
    primary_key: str
    partition_key: str
    target: str
    definition: str
    columns: dict[str, _Column] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)


def schema_differences(database: Database) -> list[Difference]:
    """Everything in which the database differs from the schema files; empty when it is equal.

    Needs the right to create a database beside this one, for a moment. Changes nothing.
    """
    lacking = missing_features(database)
    if lacking:
        version = ".".join(map(str, database.version))
        subject = f"ClickHouse {version}"
        return [Difference(DifferenceKind.ENGINE_TOO_OLD, subject, name) for name in lacking]
    migrations = read_migrations()
    expected = _expected_objects(database, migrations)
    found = _describe(database, database.name)
    return [
        *_migration_differences(database, migrations),
        *_object_differences(expected, found),
        *_function_differences(database, migrations),
    ]


# --- what is expected


@contextmanager
def _scratch_database(database: Database) -> Iterator[str]:
    """An empty database, current within the block, gone after it."""
    name = f"altrepodb_expected_{os.getpid()}_{secrets.token_hex(4)}"
    database.execute(f"CREATE DATABASE `{name}` ENGINE = Atomic")
    try:
        database.execute(f"USE `{name}`")
        yield name
    finally:
        database.execute(f"USE `{database.name}`")
        database.execute(f"DROP DATABASE IF EXISTS `{name}` SYNC")


def _expected_objects(database: Database, migrations: list[Migration]) -> dict[str, _Object]:
    with _scratch_database(database) as name:
        for migration in migrations:
            apply_statements(database, _without_functions(migration.statements))
        return _describe(database, name)


def _without_functions(statements: tuple[Statement, ...]) -> Iterator[Statement]:
    """Functions belong to the whole server, so they cannot be tried in a scratch database."""
    return (one for one in statements if not _FUNCTION.match(one.text))


# --- what the engine says


def _unqualified(text: str, database_name: str) -> str:
    """The text without the database's name, which the engine puts before every table."""
    name = re.escape(database_name)
    text = re.sub(rf"(?<![\w`'.])(?:`{name}`|{name})\.", "", text)
    return text.replace(f"Buffer('{database_name}',", "Buffer(")


def _key(text: str) -> str:
    """A key without the brackets that a single column may have been written in."""
    return text[1:-1] if re.fullmatch(r"\([\w.`]+\)", text) else text


def _describe(database: Database, name: str) -> dict[str, _Object]:
    rows = database.query(
        "SELECT name, engine, engine_full, sorting_key, primary_key, partition_key,"
        " create_table_query, as_select FROM system.tables"
        " WHERE database = {database:String} AND NOT is_temporary ORDER BY name",
        {"database": name},
    )
    columns, indexes = _columns(database, name), _indexes(database, name)
    objects = {}
    for table, engine, engine_full, sorting, primary, partition, create, select in rows:
        create = _unqualified(create, name)
        target = _TARGET.match(create)
        objects[table] = _Object(
            engine=_unqualified(engine_full, name) if engine == "Buffer" else engine,
            sorting_key=_key(sorting),
            primary_key=_key(primary),
            partition_key=_key(partition),
            target=target.group(1) if target else "",
            definition=_unqualified(select, name),
            columns=columns.get(table, {}),
            indexes=indexes.get(table, {}),
        )
    return objects


def _columns(database: Database, name: str) -> dict[str, dict[str, _Column]]:
    rows = database.query(
        "SELECT table, name, type, default_kind, default_expression FROM system.columns"
        " WHERE database = {database:String} ORDER BY table, position",
        {"database": name},
    )
    tables: dict[str, dict[str, _Column]] = {}
    for table, column, type_name, kind, expression in rows:
        tables.setdefault(table, {})[column] = _Column(type_name, f"{kind} {expression}".strip())
    return tables


def _indexes(database: Database, name: str) -> dict[str, dict[str, str]]:
    rows = database.query(
        "SELECT table, name, type_full, expr, granularity FROM system.data_skipping_indices"
        " WHERE database = {database:String} ORDER BY table, name",
        {"database": name},
    )
    tables: dict[str, dict[str, str]] = {}
    for table, index, type_name, expression, granularity in rows:
        tables.setdefault(table, {})[index] = f"{expression} {type_name} {granularity}"
    return tables


# --- comparison


def _migration_differences(database: Database, migrations: list[Migration]) -> Iterator[Difference]:
    applied = applied_migrations(database)
    for migration in migrations:
        if migration.name not in applied:
            yield Difference(DifferenceKind.PENDING, migration.name)
        elif applied[migration.name] != migration.checksum:
            yield Difference(DifferenceKind.CHANGED, migration.name)


def _object_differences(
    expected: Mapping[str, _Object], found: Mapping[str, _Object]
) -> Iterator[Difference]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield Difference(DifferenceKind.MISSING, name)
        elif name in expected:
            yield from _property_differences(name, expected[name], found[name])
            yield from _column_differences(name, expected[name].columns, found[name].columns)
            yield from _index_differences(name, expected[name].indexes, found[name].indexes)
        elif name not in _SET_ASIDE and not name.startswith(".inner"):
            yield Difference(DifferenceKind.EXTRA, name)


def _property_differences(name: str, expected: _Object, found: _Object) -> Iterator[Difference]:
    for kind, wanted, actual in (
        (DifferenceKind.ENGINE, expected.engine, found.engine),
        (DifferenceKind.SORTING_KEY, expected.sorting_key, found.sorting_key),
        (DifferenceKind.PRIMARY_KEY, expected.primary_key, found.primary_key),
        (DifferenceKind.PARTITION_KEY, expected.partition_key, found.partition_key),
        (DifferenceKind.TARGET, expected.target, found.target),
    ):
        if wanted != actual:
            yield Difference(kind, name, expected=wanted, found=actual)
    if expected.definition != found.definition:
        yield Difference(DifferenceKind.DEFINITION, name)


def _column_differences(
    name: str, expected: Mapping[str, _Column], found: Mapping[str, _Column]
) -> Iterator[Difference]:
    for column in expected:
        if column not in found:
            yield Difference(DifferenceKind.COLUMN_MISSING, name, column)
    for column in found:
        if column not in expected:
            yield Difference(DifferenceKind.COLUMN_EXTRA, name, column)
    for column in (one for one in expected if one in found):
        for kind, wanted, actual in (
            (DifferenceKind.COLUMN_TYPE, expected[column].type, found[column].type),
            (DifferenceKind.COLUMN_DEFAULT, expected[column].default, found[column].default),
        ):
            if wanted != actual:
                yield Difference(kind, name, column, wanted, actual)
    for column in _moved_columns(expected, found):
        yield Difference(DifferenceKind.COLUMN_POSITION, name, column)


def _moved_columns(expected: Mapping[str, _Column], found: Mapping[str, _Column]) -> list[str]:
    """The columns that stand elsewhere among those that both have."""
    wanted = [column for column in expected if column in found]
    actual = [column for column in found if column in expected]
    matcher = SequenceMatcher(None, wanted, actual, autojunk=False)
    return [
        column
        for tag, start, end, _, _ in matcher.get_opcodes()
        if tag in ("delete", "replace")
        for column in wanted[start:end]
    ]


def _index_differences(
    name: str, expected: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[Difference]:
    for index in sorted(expected.keys() | found.keys()):
        wanted, actual = expected.get(index, ""), found.get(index, "")
        if wanted != actual:
            yield Difference(DifferenceKind.INDEX, name, index, wanted, actual)


def _function_differences(database: Database, migrations: list[Migration]) -> Iterator[Difference]:
    rows = database.query(
        "SELECT name, create_query FROM system.functions WHERE origin = 'SQLUserDefined'"
    )
    found = {name: _function_body(query) for name, query in rows}
    for name, text in _expected_functions(migrations).items():
        if name not in found:
            yield Difference(DifferenceKind.FUNCTION, name, expected="a function", found="none")
        elif found[name] != _formatted_body(database, text):
            yield Difference(DifferenceKind.FUNCTION, name, found="another definition")


def _expected_functions(migrations: list[Migration]) -> dict[str, str]:
    functions = {}
    for statement in (one for migration in migrations for one in migration.statements):
        named = _FUNCTION.match(statement.text)
        if named:
            functions[named.group(1)] = statement.text
    return functions


def _formatted_body(database: Database, statement: str) -> str:
    """The function's body as the engine prints it."""
    ((text,),) = database.query(
        "SELECT formatQuerySingleLine({statement:String})", {"statement": statement}
    )
    return _function_body(text)


def _function_body(create_query: str) -> str:
    named = _FUNCTION.match(create_query)
    return create_query[named.end() :] if named else create_query
