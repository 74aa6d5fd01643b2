"""Type names of ClickHouse: what they are made of, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.db.types import ColumnType, enum_values, parse_type
from altrepodb.errors import DatabaseError

STRING = ColumnType("String")
UINT64 = ColumnType("UInt64")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UInt64", UINT64),
        ("  UInt64 ", UINT64),
        ("FixedString(16)", ColumnType("FixedString", (), "16")),
        ("DateTime('Europe/Moscow')", ColumnType("DateTime", (), "'Europe/Moscow'")),
        ("DateTime64(3, 'UTC')", ColumnType("DateTime64", (), "3, 'UTC'")),
        ("Array(String)", ColumnType("Array", (STRING,), "String")),
        (
            "Array(Array(Nullable(UInt64)))",
            ColumnType(
                "Array",
                (
                    ColumnType(
                        "Array",
                        (ColumnType("Nullable", (UINT64,), "UInt64"),),
                        "Nullable(UInt64)",
                    ),
                ),
                "Array(Nullable(UInt64))",
            ),
        ),
        ("LowCardinality(String)", ColumnType("LowCardinality", (STRING,), "String")),
        ("Map(String, UInt64)", ColumnType("Map", (STRING, UINT64), "String, UInt64")),
        ("Tuple(String, UInt64)", ColumnType("Tuple", (STRING, UINT64), "String, UInt64")),
        ("Tuple(a String, b UInt64)", ColumnType("Tuple", (STRING, UINT64), "a String, b UInt64")),
        ("SimpleAggregateFunction(max, UInt64)", UINT64),
    ],
)
def test_names_of_types(text: str, expected: ColumnType) -> None:
    assert parse_type(text) == expected


def test_tuple_of_types_with_arguments() -> None:
    parsed = parse_type("Tuple(Enum8('a b' = 1, 'c,d' = 2), x DateTime64(3, 'UTC'), Array(String))")
    assert [nested.name for nested in parsed.nested] == ["Enum8", "DateTime64", "Array"]
    assert enum_values(parsed.nested[0]) == {"a b": 1, "c,d": 2}
    parsed = parse_type("Tuple(Enum8('it\\'s, x' = 1, '\\\\' = 2), String)")
    assert [nested.name for nested in parsed.nested] == ["Enum8", "String"]
    assert enum_values(parsed.nested[0]) == {"it's, x": 1, "\\": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "(",
        "UInt64)",
        "Array(",
        "Array(String",
        "Array()",
        "Array(String))x",
        "1UInt",
        "'a'",
    ],
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(DatabaseError, match="unreadable column type"):
        parse_type(text)


@pytest.mark.parametrize(("depth", "fits"), [(15, True), (16, True), (17, False), (5000, False)])
def test_depth_has_a_limit(depth: int, fits: bool) -> None:
    text = "Array(" * depth + "String" + ")" * depth
    if fits:
        parse_type(text)
    else:
        with pytest.raises(DatabaseError, match="unreadable column type"):
            parse_type(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Enum8('file' = 0, 'directory' = 1)", {"file": 0, "directory": 1}),
        ("Enum8('a'=-128,'b'=127)", {"a": -128, "b": 127}),
        ("Enum16('it\\'s' = 1, 'back\\\\slash' = 2)", {"it's": 1, "back\\slash": 2}),
        ("Enum8('' = 0, 'a = 5' = 1, '(x), y' = 2)", {"": 0, "a = 5": 1, "(x), y": 2}),
        ("Enum8('имя' = 1)", {"имя": 1}),
        ("Enum8()", {}),
    ],
)
def test_values_of_enums(text: str, values: dict[str, int]) -> None:
    assert enum_values(parse_type(text)) == values


_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=0, max_size=8)


@settings(deadline=None)
@given(st.dictionaries(_names, st.integers(-128, 127), min_size=1, max_size=6))
def test_any_names_of_an_enum(values: dict[str, int]) -> None:
    items = []
    for name, number in values.items():
        escaped = name.replace("\\", "\\\\").replace("'", "\\'")
        items.append(f"'{escaped}' = {number}")
    assert enum_values(parse_type(f"Enum8({', '.join(items)})")) == values


@settings(deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("Array(,String') \\", max_size=40)))
def test_any_text(text: str) -> None:
    """A type, or one error."""
    try:
        assert parse_type(text).name
    except DatabaseError as error:
        assert "unreadable column type" in str(error)
