"""Parameters of statements: no value can become a part of the statement."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.db.parameters import (
    bind_literals,
    parameter_text,
    quoted_identifier,
    text_bytes,
)
from altrepodb.errors import ConfigurationError, DatabaseError

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
_ESCAPE = re.compile(rb"\\x([0-9A-F]{2})")


def unescaped(text: str) -> bytes:
    """What the engine makes of an escaped text."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found.group(1).decode()), text.encode())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\\N"),
        (True, "1"),
        (False, "0"),
        (-5, "-5"),
        (2**64 - 1, "18446744073709551615"),
        (1.5, "1.5"),
        ("plain text", "plain text"),
        ("it's", "it\\x27s"),
        ("a\\N", "a\\x5CN"),
        (b"\0\t\n\xff", "\\x00\\x09\\x0A\\xFF"),
        ("Привет"[:1], "\\xD0\\x9F"),
        ("\udcff", "\\xFF"),
        (ID, "00112233-4455-6677-8899-aabbccddeeff"),
        ([], "[]"),
        ([1, 2], "[1,2]"),
        (("a'", b"\xff"), "['a\\x27','\\xFF']"),
        ([[1], []], "[[1],[]]"),
        ([ID, None], "['00112233-4455-6677-8899-aabbccddeeff',NULL]"),
    ],
)
def test_texts_of_parameters(value: Any, text: str) -> None:
    assert parameter_text(value) == text


def test_sets_are_arrays() -> None:
    assert parameter_text({5}) == parameter_text(frozenset([5])) == "[5]"


@pytest.mark.parametrize("value", [object(), {"a": 1}, 1j, [object()]])
def test_values_that_are_no_parameters(value: Any) -> None:
    with pytest.raises(TypeError, match="a parameter cannot be a"):
        parameter_text(value)


@pytest.mark.parametrize(
    ("statement", "parameters", "bound"),
    [
        ("SELECT {a:String}", {"a": "x"}, "SELECT CAST('x' AS String)"),
        ("SELECT {a:UInt8}, {a:UInt8}", {"a": 5}, "SELECT CAST(5 AS UInt8), CAST(5 AS UInt8)"),
        (
            "IN {ids:Array(UInt64)}",
            {"ids": [1, 2]},
            "IN CAST([1,2] AS Array(UInt64))",
        ),
        ("{a:Nullable(String)}", {"a": None}, "CAST(NULL AS Nullable(String))"),
        ("SELECT 1", {"unused": 1}, "SELECT 1"),
        ("SELECT '{}', {a:String}", {"a": "{b:String}"}, None),
    ],
)
def test_literals(statement: str, parameters: dict[str, Any], bound: str | None) -> None:
    """What a value looks like is never looked at again."""
    if bound is None:
        bound = "SELECT '{}', CAST('\\x7Bb:String\\x7D' AS String)"
    assert bind_literals(statement, parameters) == bound


def test_parameter_that_is_not_given() -> None:
    with pytest.raises(DatabaseError, match="parameter 'b' that is not given"):
        bind_literals("SELECT {a:String}, {b:String}", {"a": ""})


@pytest.mark.parametrize("name", ["repodb", "_x", "Packages_buffer", "a1"])
def test_identifiers(name: str) -> None:
    assert quoted_identifier(name) == f"`{name}`"


@pytest.mark.parametrize("name", ["", "1a", "a b", "a`b", "a;b", "a.b", "имя", "a\n", "a-b"])
def test_names_that_are_no_identifiers(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a name"):
        quoted_identifier(name)


_QUOTES = {ord(character) for character in "'\"`\\{}%\0\t\r\n"}


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=40)))
def test_any_text(value: str | bytes) -> None:
    """Nothing that a parser could stop at, and every byte comes back."""
    text = parameter_text(value)
    assert text.isascii() and text.isprintable()
    assert not {ord(character) for character in text.replace("\\x", "")} & _QUOTES
    assert unescaped(text) == text_bytes(value)
    bound = bind_literals("{a:String}", {"a": value})
    assert bound == f"CAST('{text}' AS String)"


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=9), st.integers(), st.none()), max_size=5))
def test_any_list(values: list[Any]) -> None:
    text = parameter_text(values)
    assert text.isascii() and text.isprintable()
    assert text.count("'") == 2 * sum(isinstance(value, bytes) for value in values)
