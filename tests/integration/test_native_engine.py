"""Values into the real engine and back: every type, every byte, every extreme."""

from __future__ import annotations

import itertools
import math
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altrepodb.db.database import Database
from altrepodb.db.embedded import open_embedded
from altrepodb.errors import ConfigurationError, DatabaseError

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
ENUM = "Enum8('file' = 0, 'it\\'s' = -5, 'last' = 127)"
ALL_BYTES = bytes(range(256))
ALL_TEXT = ALL_BYTES.decode("utf-8", "surrogateescape")
SMALL_PARTS = 40
FEW_PARTS = 8
MERGE_TIMEOUT_S = 60.0
POLL_S = 0.05
ACTIVE_PARTS = "SELECT count() FROM system.parts WHERE active AND table = 'merged'"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all of these: each makes tables of its own."""
    directory = tmp_path_factory.mktemp("native") / "database"
    with open_embedded(directory, "native", with_schema=False) as database:
        yield database


def stored(engine: Database, type_name: str, values: Sequence[Any]) -> list[Any]:
    """The values of a column after they were in a table of the engine."""
    table = f"t{next(_numbers)}"
    engine.execute(f"CREATE TABLE {table} (n UInt32, c {type_name}) ENGINE = Memory")
    try:
        count = engine.insert(table, {"n": range(len(values)), "c": values})
        assert count == len(values)
        return [value for (value,) in engine.query(f"SELECT c FROM {table} ORDER BY n")]
    finally:
        engine.execute(f"DROP TABLE {table}")


EXTREMES: list[tuple[str, list[Any]]] = [
    ("UInt8", [0, 255]),
    ("Int8", [-128, 127]),
    ("UInt16", [0, 65535]),
    ("Int16", [-32768, 32767]),
    ("UInt32", [0, 2**32 - 1]),
    ("Int32", [-(2**31), 2**31 - 1]),
    ("UInt64", [0, 2**63, 2**64 - 1]),
    ("Int64", [-(2**63), 2**63 - 1]),
    ("Float64", [0.0, -1.5, 1e308, math.inf]),
    ("Float32", [0.5, -math.inf]),
    ("Bool", [0, 1]),
    ("Date", [0, 65535]),
    ("Date32", [-25567, 120529]),
    ("DateTime", [0, 1656936000, 2**32 - 1]),
    ("DateTime('Europe/Moscow')", [0, 1656936000, 2**32 - 1]),
    ("DateTime64(3, 'UTC')", [-1, 0, 1656936000123]),
    ("String", ["", "Привет", ALL_TEXT, "x" * 127, "x" * 128, "x" * 20000]),
    ("FixedString(3)", [b"\0\0\0", b"ab\0", b"\xff\xfe\0"]),
    ("UUID", [UUID(int=0), ID, UUID(int=2**128 - 1)]),
    (ENUM, ["file", "it's", "last"]),
    ("Enum16('a' = -32768, 'b' = 32767)", ["a", "b"]),
    ("LowCardinality(String)", ["", "a", "a", ALL_TEXT, ""]),
    ("LowCardinality(FixedString(2))", [b"ab", b"\0\0", b"ab"]),
    ("Nullable(String)", [None, "", "a"]),
    ("Nullable(UInt64)", [2**64 - 1, None]),
    ("Nullable(DateTime)", [None, 5]),
    ("Nullable(UUID)", [None, ID]),
    ("Nullable(FixedString(2))", [b"ab", None]),
    (f"Nullable({ENUM})", [None, "it's"]),
    ("Nullable(Enum8('only' = 5))", [None, "only"]),
    ("Array(UInt64)", [[], [0, 2**64 - 1], []]),
    ("Array(String)", [["", ALL_TEXT], []]),
    ("Array(Array(String))", [[[], ["a"]], [], [["b", ""], []]]),
    ("Array(Array(Array(UInt8)))", [[[[1, 2], []], []], []]),
    ("Array(LowCardinality(String))", [["a", "b", "a"], [], ["a"]]),
    ("Array(Nullable(String))", [[None, "a"], []]),
    ("Array(FixedString(2))", [[b"ab", b"cd"], []]),
    ("Array(UUID)", [[ID], []]),
    (f"Array({ENUM})", [["it's"], []]),
    ("Array(DateTime)", [[1656936000], []]),
]


@pytest.mark.parametrize(("type_name", "values"), EXTREMES, ids=[name for name, _ in EXTREMES])
def test_extremes_of_every_type(engine: Database, type_name: str, values: list[Any]) -> None:
    assert stored(engine, type_name, values) == values
    assert stored(engine, type_name, values[::-1]) == values[::-1]
    assert stored(engine, type_name, values[:1]) == values[:1]


def test_bytes_are_text(engine: Database) -> None:
    assert stored(engine, "String", [ALL_BYTES, b"", "a"]) == [ALL_TEXT, "", "a"]
    assert stored(engine, "FixedString(3)", [b"a", b""]) == [b"a\0\0", bytes(3)]
    assert stored(engine, "Array(String)", [[ALL_BYTES]]) == [[ALL_TEXT]]


def test_numbers_of_an_enum(engine: Database) -> None:
    assert stored(engine, ENUM, [0, "file", -5]) == ["file", "file", "it's"]


@pytest.mark.parametrize(
    ("type_name", "code"),
    [("UInt8", "B"), ("UInt16", "H"), ("UInt32", "I"), ("UInt64", "Q"), ("Int32", "i")],
)
def test_arrays_of_numbers(engine: Database, type_name: str, code: str) -> None:
    values = [array(code, [0, 1, 255 if code == "B" else 127]), array(code), array(code, [3])]
    found = stored(engine, f"Array({type_name})", values)
    assert found == [list(value) for value in values]


def test_nothing_is_inserted(engine: Database) -> None:
    assert stored(engine, "String", []) == []
    assert stored(engine, "Array(Array(String))", []) == []


def test_a_thousand_distinct_words(engine: Database) -> None:
    """The engine's dictionary then needs wider indexes."""
    for count in (200, 300, 70_000):
        words = [f"word {n}" for n in range(count)] * 2
        assert stored(engine, "LowCardinality(String)", words) == words


def test_several_blocks_of_an_answer(engine: Database) -> None:
    """The engine sends what is large in parts."""
    rows = engine.query("SELECT number, toString(number) FROM numbers(200000)")
    assert rows == [(n, str(n)) for n in range(200_000)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("NULL", None),
        ("[]", []),
        ("[NULL]", [None]),
        ("map('a', 1)", {"a": 1}),
        ("CAST(map(), 'Map(String, UInt8)')", {}),
        ("map(toLowCardinality('a'), [1])", {"a": [1]}),
        ("(1, 'a')", (1, "a")),
        ("[(1, 'a'), (2, 'b')]", [(1, "a"), (2, "b")]),
        ("CAST((1, 'a'), 'Tuple(x UInt8, y String)')", (1, "a")),
        ("toDateTime('2022-07-04 12:00:00', 'UTC')", 1656936000),
        ("toDateTime('2022-07-04 15:00:00', 'Europe/Moscow')", 1656936000),
        ("unhex('ff00')", "\udcff\0"),
        ("toFixedString('a', 2)", b"a\0"),
        ("toUUID('00112233-4455-6677-8899-aabbccddeeff')", ID),
        ("groupArray(toLowCardinality('x'))", ["x"]),
    ],
)
def test_answers_of_other_types(engine: Database, expression: str, value: Any) -> None:
    assert engine.query(f"SELECT {expression}") == [(value,)]


@pytest.mark.parametrize(
    "expression",
    [
        "toDecimal32('1.5', 2)",
        "toIPv4('127.0.0.1')",
        "CAST('a', 'LowCardinality(Nullable(String))')",
    ],
)
def test_answers_that_cannot_be_read(engine: Database, expression: str) -> None:
    with pytest.raises(DatabaseError, match="cannot be read"):
        engine.query(f"SELECT {expression}")


def test_values_that_do_not_fit_leave_no_rows(engine: Database) -> None:
    engine.execute("CREATE TABLE misfits (a UInt8, b String) ENGINE = Memory")
    misfits: list[dict[str, list[Any]]] = [
        {"a": [1, 256], "b": ["", ""]},
        {"a": [1], "b": ["", ""]},
        {"a": [1, 2], "b": ["", None]},
    ]
    for columns in misfits:
        with pytest.raises(DatabaseError, match=r"column [ab] "):
            engine.insert("misfits", columns)
    assert engine.query("SELECT count() FROM misfits") == [(0,)]


# Parameters

PARAMETERS: list[tuple[str, Any]] = [
    ("String", ALL_TEXT),
    ("String", ""),
    ("String", "'; DROP TABLE x --"),
    ("String", "\\N"),
    ("String", "{other:String}"),
    ("String", "a\\x27b"),
    ("UInt64", 2**64 - 1),
    ("Int64", -(2**63)),
    ("Float64", -1.5),
    ("UUID", ID),
    ("Nullable(String)", None),
    ("Nullable(String)", "NULL"),
    ("Nullable(UInt8)", None),
    ("Array(String)", ["", "it's", ALL_TEXT, "]", "\\"]),
    ("Array(UInt64)", [0, 2**64 - 1]),
    ("Array(UInt64)", []),
    ("Array(UUID)", [ID]),
    ("Array(Array(String))", [["a'"], []]),
    ("DateTime", 1656936000),
]


@pytest.mark.parametrize(("type_name", "value"), PARAMETERS)
def test_parameters(engine: Database, type_name: str, value: Any) -> None:
    statement = f"SELECT {{value:{type_name}}}"
    assert engine.query(statement, {"value": value}) == [(value,)]


def test_several_parameters(engine: Database) -> None:
    statement = "SELECT {a:String} AS x, {b:UInt8} AS y, {a:String} AS z"
    row = engine.query(statement, {"a": "{b:UInt8}", "b": 7})
    assert row == [("{b:UInt8}", 7, "{b:UInt8}")]


def test_parameter_that_is_not_given(engine: Database) -> None:
    with pytest.raises(DatabaseError):
        engine.query("SELECT {a:String}", {"b": 1})


# Properties: many rows at a time, since a statement takes a millisecond or more

_any_bytes = st.binary(max_size=40)
_some = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


@_some
@given(st.lists(_any_bytes, min_size=1, max_size=40))
def test_any_bytes(engine: Database, values: list[bytes]) -> None:
    assert stored(engine, "String", values) == as_text(values)
    assert stored(engine, "LowCardinality(String)", values) == as_text(values)
    joined = {"value": values}
    assert engine.query("SELECT {value:Array(String)}", joined) == [(as_text(values),)]
    assert engine.query("SELECT {value:String}", {"value": values[0]}) == [(as_text(values[0]),)]


@_some
@given(st.lists(st.lists(st.lists(_any_bytes, max_size=3), max_size=3), max_size=12))
def test_any_nested_arrays(engine: Database, values: list[list[list[bytes]]]) -> None:
    assert stored(engine, "Array(Array(String))", values) == as_text(values)


@_some
@given(st.lists(st.lists(st.none() | st.integers(0, 2**64 - 1), max_size=4), max_size=12))
def test_any_arrays_with_nulls(engine: Database, values: list[list[int | None]]) -> None:
    assert stored(engine, "Array(Nullable(UInt64))", values) == values


@_some
@given(st.lists(st.tuples(st.uuids(), st.integers(0, 2**32 - 1)), max_size=20))
def test_any_uuids_and_times(engine: Database, values: list[tuple[UUID, int]]) -> None:
    assert stored(engine, "UUID", [value for value, _ in values]) == [u for u, _ in values]
    assert stored(engine, "DateTime", [time for _, time in values]) == [t for _, t in values]


def test_directory_that_the_engine_would_take_for_another(tmp_path: Path) -> None:
    directory = tmp_path / "data?base"
    with (
        pytest.raises(ConfigurationError, match="question mark"),
        open_embedded(directory, "native", with_schema=False),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_small_parts_do_not_pile_up(engine: Database) -> None:
    """Every load makes some, and a deletion takes time for each that is there."""
    engine.execute("CREATE TABLE merged (n UInt32) ENGINE = MergeTree ORDER BY n")
    for number in range(SMALL_PARTS):
        engine.insert("merged", {"n": [number]})
    deadline = time.monotonic() + MERGE_TIMEOUT_S
    while engine.query(ACTIVE_PARTS) > [(FEW_PARTS,)]:
        assert time.monotonic() < deadline, "parts are not merged"
        time.sleep(POLL_S)
    assert engine.query("SELECT count(), max(n) FROM merged") == [(SMALL_PARTS, SMALL_PARTS - 1)]
