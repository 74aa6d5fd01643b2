"""ClickHouse type names taken apart: ``Array(FixedString(16))`` and its like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from altrepodb.errors import DatabaseError

__all__ = ["ColumnType", "enum_values", "parse_type"]

_MAX_NESTED_TYPES = 16
_NAME = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*")
_ENUM_ITEM = re.compile(r"'((?:[^'\\]|\\.)*)'\s*=\s*(-?\d+)")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type: its name, the types it holds, and the text between its brackets."""

    name: str
    nested: tuple[ColumnType, ...] = ()
    arguments: str = ""


def _split_arguments(text: str) -> list[str]:
    """The comma-separated arguments, commas in quotes and inner brackets left alone."""
    parts, depth, start, quoted, position = [], 0, 0, False, 0
    while position < len(text):
        character = text[position]
        if quoted:
            if character == "\\":
                position += 1
            quoted = character != "'"
        elif character == "'":
            quoted = True
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _parse(text: str, depth: int) -> ColumnType:
    found = _NAME.match(text)
    if found is None or depth > _MAX_NESTED_TYPES:
        raise DatabaseError(f"unreadable column type {text!r}")
    name, rest = found.group(1), text[found.end() :].strip()
    if not rest:
        return ColumnType(name)
    if not (rest.startswith("(") and rest.endswith(")")):
        raise DatabaseError(f"unreadable column type {text!r}")
    arguments = rest[1:-1]
    match name:
        case "Array" | "Nullable" | "LowCardinality" | "Map":
            nested = tuple(_parse(part, depth + 1) for part in _split_arguments(arguments))
        case "Tuple":
            parts = _split_arguments(arguments)
            nested = tuple(_parse(_without_element_name(part), depth + 1) for part in parts)
        case "SimpleAggregateFunction":
            return _parse(_split_arguments(arguments)[1], depth + 1)
        case _:
            nested = ()
    return ColumnType(name, nested, arguments)


def _without_element_name(part: str) -> str:
    """``name String`` and ``String`` are both elements of a tuple."""
    first, _, rest = part.strip().partition(" ")
    return rest if rest and "(" not in first else part


@lru_cache(maxsize=4096)
def parse_type(text: str) -> ColumnType:
    """Take a type name apart. Raises DatabaseError when it is not one."""
    return _parse(text, 0)


def enum_values(column_type: ColumnType) -> dict[str, int]:
    """The names of an enum with their numbers."""
    items = _ENUM_ITEM.findall(column_type.arguments)
    return {re.sub(r"\\(.)", r"\1", name): int(number) for name, number in items}
