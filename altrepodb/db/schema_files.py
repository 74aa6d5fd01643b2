"""The schema files: numbered SQL files, read and taken apart into single statements.

A statement may carry a condition in the comment above it, for what SQL alone cannot decide:

    -- only when TaskProgress has column tp_action
    -- only when TaskProgress has column tp_action and no rows

Other programs that run the files see a plain comment there.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from altrepodb.errors import ConfigurationError

__all__ = [
    "Condition",
    "Migration",
    "Statement",
    "iter_statements",
    "read_migrations",
    "schema_directory",
]

_MIGRATION_FILES = "[0-9][0-9][0-9][0-9]_*.sql"
_CHECKOUT = Path(__file__).resolve().parents[2] / "sql"
_INSTALLED = Path(sys.prefix) / "share" / "altrepodb" / "sql"

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  '(?:[^'\\]|\\.)*' | `(?:[^`\\]|\\.)*` | "(?:[^"\\]|\\.)*" )
    | (?P<end>     ; )
    | (?P<broken>  ['`"] | /\* )
    | (?P<text>    [^-/'`";]+ | [-/] )
    """,
    re.VERBOSE | re.DOTALL,
)
_CONDITION = re.compile(r"--\s*only when (\w+) has column (\w+)( and no rows)?\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """Run the statement only when the table has the column (and holds no rows)."""

    table: str
    column: str
    only_empty: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement without its comments and without the semicolon."""

    text: str
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file: its name without suffix, the sha256 of its bytes, its statements."""

    name: str
    checksum: str
    statements: tuple[Statement, ...]


def _condition(comment: str) -> Condition | None:
    found = _CONDITION.fullmatch(comment)
    if found is None:
        return None
    table, column, only_empty = found.groups()
    return Condition(table, column, only_empty is not None)


def iter_statements(sql: str) -> Iterator[Statement]:
    """The statements of a text, in order.

    Semicolons in quotes and in comments do not end a statement. Raises ConfigurationError with
    the line when a quote or a comment is not closed.
    """
    parts: list[str] = []
    condition = None
    for token in _TOKEN.finditer(sql):
        match token.lastgroup:
            case "comment":
                condition = _condition(token.group()) or condition
                parts.append(" ")
            case "broken":
                line = sql.count("\n", 0, token.start()) + 1
                raise ConfigurationError(f"line {line}: {token.group()} is not closed")
            case "end":
                yield from _statement(parts, condition)
                parts, condition = [], None
            case _:
                parts.append(token.group())
    yield from _statement(parts, condition)


def _statement(parts: list[str], condition: Condition | None) -> Iterator[Statement]:
    text = "".join(parts).strip()
    if text:
        yield Statement(text, condition)


def schema_directory() -> Path:
    """Where the schema files are: in the checkout, else where the package installed them.

    Raises ConfigurationError when they are in neither place.
    """
    for directory in (_CHECKOUT, _INSTALLED):
        if next(directory.glob(_MIGRATION_FILES), None) is not None:
            return directory
    raise ConfigurationError(f"no schema files in {_CHECKOUT} or {_INSTALLED}")


def _read_migration(path: Path) -> Migration:
    content = path.read_bytes()
    try:
        statements = tuple(iter_statements(content.decode()))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return Migration(path.stem, hashlib.sha256(content).hexdigest(), statements)


def read_migrations(
    directory: Path | None = None, leave_out: Collection[str] = ()
) -> list[Migration]:
    """The schema files of a directory (the project's own by default), in order of number.

    Files whose names (without suffix) are to be left out are not even opened.
    """
    files = (directory or schema_directory()).glob(_MIGRATION_FILES)
    return [_read_migration(path) for path in sorted(files) if path.stem not in leave_out]
