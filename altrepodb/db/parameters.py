"""Statement parameters: ``{name:Type}`` in a statement, a Python value beside it.

Both backends render a value with the same function. The embedded engine takes the text as a
query parameter; a server older than the protocol's own parameters (22.8) takes it as a typed
literal in which every byte that could mean something to a parser is written as ``\\xHH``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from altrepodb.errors import ConfigurationError, DatabaseError

__all__ = ["bind_literals", "parameter_text", "quoted_identifier", "text_bytes"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*):([A-Za-z0-9_(), ]+)\}")
_PLAIN_BYTES = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&()*+,-./:;<=>?@[]^_|~"
)
_ESCAPED = [chr(byte) if byte in _PLAIN_BYTES else f"\\x{byte:02X}" for byte in range(256)]


def quoted_identifier(name: str) -> str:
    """A name between backquotes. Raises ConfigurationError when it is no plain identifier."""
    if not _IDENTIFIER.match(name):
        raise ConfigurationError(f"{name!r} is not a name for a database or table")
    return f"`{name}`"


def text_bytes(value: str | bytes) -> bytes:
    """The bytes that stand for a text value: lone surrogates are undecodable bytes."""
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _escaped(value: str | bytes) -> str:
    return "".join(map(_ESCAPED.__getitem__, text_bytes(value)))


def _literal(value: Any) -> str:
    """A value as ClickHouse's SQL writes it."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int() | float():
            return repr(value)
        case str() | bytes():
            return f"'{_escaped(value)}'"
        case UUID():
            return f"'{value}'"
        case list() | tuple() | set() | frozenset():
            return "[" + ",".join(map(_literal, value)) + "]"
        case _:
            raise TypeError(f"a parameter cannot be a {type(value).__name__}")


def parameter_text(value: Any) -> str:
    """The text of a query parameter, in the escaped form that the engine parses."""
    match value:
        case None:
            return "\\N"
        case str() | bytes():
            return _escaped(value)
        case UUID():
            return str(value)
        case _:
            return _literal(value)


def bind_literals(statement: str, parameters: Mapping[str, Any]) -> str:
    """The statement with every placeholder replaced by a cast literal.

    Raises DatabaseError when the statement names a parameter that is not given.
    """

    def literal(found: re.Match[str]) -> str:
        name, type_name = found.groups()
        if name not in parameters:
            raise DatabaseError(f"statement names parameter {name!r} that is not given")
        return f"CAST({_literal(parameters[name])} AS {type_name})"

    return _PLACEHOLDER.sub(literal, statement)
