"""The Native format: known bytes, every type there and back, values that do not fit."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.db.native import NativeReader, iter_blocks, iter_encoded
from altrepodb.errors import DatabaseError

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
ENUM = "Enum8('file' = 0, 'it\\'s' = -5, 'x' = 127)"


def whole_block(types: dict[str, str], columns: dict[str, Sequence[Any]]) -> bytes:
    return b"".join(iter_encoded(types, columns))


def block(type_name: str, values: Sequence[Any]) -> bytes:
    """One block of one column."""
    return whole_block({"c": type_name}, {"c": values})


def round_trip(type_name: str, values: Sequence[Any]) -> list[Any]:
    """The values after they were written and read."""
    blocks = list(iter_blocks(block(type_name, values)))
    assert [list(one) for one in blocks] == [["c"]]
    return blocks[0]["c"]


# Known bytes


@pytest.mark.parametrize(
    ("type_name", "values", "encoded"),
    [
        ("UInt8", [0, 255], "00ff"),
        ("Int8", [-1, 127], "ff7f"),
        ("UInt16", [1, 65535], "0100ffff"),
        ("UInt32", [1], "01000000"),
        ("Int32", [-2], "feffffff"),
        ("UInt64", [2**64 - 1, 1], "ffffffffffffffff0100000000000000"),
        ("DateTime", [1656936000], "40d6c262"),
        ("Float64", [1.0], "000000000000f03f"),
        ("String", [b"", b"a\xff", "П"], "00" + "0261ff" + "02d09f"),
        ("String", [b"x" * 128], "8001" + "78" * 128),
        ("String", [b"x" * 16384], "808001" + "78" * 16384),
        ("FixedString(3)", [b"", b"ab", b"abc"], "000000" + "616200" + "616263"),
        ("UUID", [ID], "7766554433221100" + "ffeeddccbbaa9988"),
        (ENUM, ["it's", "x", 0], "fb7f00"),
        (
            "Array(UInt8)",
            [[1, 2], [], [3]],
            "0200000000000000" + "0200000000000000" + "0300000000000000" + "010203",
        ),
        (
            "Array(Array(UInt8))",
            [[[1], []], []],
            "02" + "00" * 7 + "02" + "00" * 7 + "01" + "00" * 7 + "01" + "00" * 7 + "01",
        ),
        ("Nullable(UInt8)", [None, 5], "0100" + "0005"),
        ("Nullable(String)", [None, b"a"], "0100" + "00" + "0161"),
    ],
)
def test_known_bytes(type_name: str, values: list[Any], encoded: str) -> None:
    head = bytes([1, len(values), 1]) + b"c" + bytes([len(type_name)]) + type_name.encode()
    assert block(type_name, values).hex() == head.hex() + encoded


def test_blocks_of_several_columns() -> None:
    data = whole_block({"a": "UInt8", "b": "String"}, {"a": [1, 2], "b": ["x", "y"]})
    assert list(iter_blocks(data + data)) == [{"a": [1, 2], "b": ["x", "y"]}] * 2


def test_many_strings() -> None:
    """They are encoded in parts, which do not show."""
    texts = ["x" * (number % 200) for number in range(25_001)]
    assert list(iter_blocks(block("String", texts))) == [{"c": texts}]


def test_nothing() -> None:
    assert list(iter_blocks(b"")) == []
    assert whole_block({}, {}) == b"\0\0"
    assert list(iter_blocks(block("String", []))) == [{"c": []}]


@pytest.mark.parametrize(
    ("type_name", "sent"),
    [
        ("LowCardinality(String)", "String"),
        ("Array(LowCardinality(String))", "Array(String)"),
        ("LowCardinality(FixedString(2))", "FixedString(2)"),
        ("LowCardinality(Nullable(String))", "Nullable(String)"),
    ],
)
def test_dictionaries_are_left_to_the_engine(type_name: str, sent: str) -> None:
    values: list[Any] = [["ab", "cd"], []] if type_name.startswith("Array") else [b"ab", b"cd"]
    assert block(type_name, values) == block(sent, values)


def low_cardinality(keys: Sequence[bytes], indexes: Sequence[int]) -> bytes:
    """A column with a dictionary, as the engine sends it."""
    name = b"LowCardinality(String)"
    return b"".join(
        [
            bytes([1, len(indexes), 1]) + b"c" + bytes([len(name)]) + name,
            struct.pack("<Q", 1),
            struct.pack("<QQ", 0x600, len(keys)),
            b"".join(bytes([len(key)]) + key for key in keys),
            struct.pack("<Q", len(indexes)),
            bytes(indexes),
        ]
    )


def test_dictionaries_are_read() -> None:
    assert list(iter_blocks(low_cardinality([b"", b"a", b"\xff"], [1, 2, 1, 0]))) == [
        {"c": ["a", "\udcff", "a", ""]}
    ]


@pytest.mark.parametrize("values", [[array("H", [1, 65535]), array("H")], [[1, 65535], []]])
def test_arrays_of_numbers_are_copied(values: list[Any]) -> None:
    assert round_trip("Array(UInt16)", values) == [[1, 65535], []]
    mixed = [array("H", [7]), [8]]
    assert round_trip("Array(UInt16)", mixed) == [[7], [8]]


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("Array(UInt16)", array("h", [-1])),
        ("Array(UInt32)", array("i", [-1])),
        ("Array(UInt32)", array("f", [1.5])),
        ("Array(UInt64)", array("d", [1.5])),
        ("Array(UInt16)", array("I", [65536])),
    ],
)
def test_arrays_of_other_numbers_are_not(type_name: str, value: array[Any]) -> None:
    """Of the same width, but what its bits mean is something else."""
    with pytest.raises(DatabaseError, match="column c of type Array"):
        block(type_name, [value])


def test_arrays_of_the_caller_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of the other byte order must turn the bytes, but not those of its caller."""
    values = array("H", [1, 2])
    usual = block("Array(UInt16)", [values])
    monkeypatch.setattr(sys, "byteorder", "big")
    turned = block("Array(UInt16)", [values])
    assert values == array("H", [1, 2])
    assert turned != usual and turned[-4:].hex() == "00010002"


# Values that do not fit


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("UInt8", 256),
        ("UInt8", -1),
        ("UInt64", 2**64),
        ("Int8", 128),
        ("UInt32", "5"),
        ("UInt32", None),
        ("DateTime", 2**32),
        ("DateTime", -1),
        ("String", None),
        ("String", 5),
        ("String", "\ud800"),
        ("FixedString(2)", "ab"),
        ("FixedString(2)", None),
        ("UUID", "00112233-4455-6677-8899-aabbccddeeff"),
        ("Array(UInt8)", 5),
        ("Array(UInt8)", [256]),
        ("Array(String)", [None]),
        (ENUM, None),
    ],
)
def test_values_that_do_not_fit(type_name: str, value: Any) -> None:
    with pytest.raises(DatabaseError, match=r"^column c of type "):
        block(type_name, [value])


def test_fixed_strings_that_are_too_long() -> None:
    """Also where another value is shorter by as much."""
    with pytest.raises(DatabaseError, match=r"longer than FixedString\(2\)"):
        block("FixedString(2)", [b"a", b"abc"])


@pytest.mark.parametrize("value", ["unheard-of", "FILE"])
def test_names_that_an_enum_lacks(value: str) -> None:
    with pytest.raises(DatabaseError, match=f"'{value}' is no value of"):
        block(ENUM, [value])


def test_columns_of_different_length() -> None:
    with pytest.raises(DatabaseError, match="column b has 1 values of 2"):
        whole_block({"a": "UInt8", "b": "UInt8"}, {"a": [1, 2], "b": [1]})


@pytest.mark.parametrize("type_name", ["Decimal(9, 2)", "Map(String, String)", "Tuple(UInt8)"])
def test_types_that_cannot_be_written(type_name: str) -> None:
    with pytest.raises(DatabaseError, match="cannot be written"):
        block(type_name, [])


# Answers


def test_answer_cut_at_every_byte() -> None:
    data = whole_block(
        {"a": "String", "b": "Array(UInt16)", "d": "Nullable(UUID)"},
        {"a": [b"x" * 130, b""], "b": [[1], [2, 3]], "d": [ID, None]},
    )
    assert len(list(iter_blocks(data))) == 1
    for length in range(1, len(data)):
        with pytest.raises(DatabaseError, match="ends in the middle of a value"):
            list(iter_blocks(data[:length]))


def test_dictionary_cut_at_every_byte() -> None:
    data = low_cardinality([b"a", b"b"], [0, 1])
    for length in range(1, len(data)):
        with pytest.raises(DatabaseError, match="ends in the middle of a value"):
            list(iter_blocks(data[:length]))


def test_types_that_cannot_be_read() -> None:
    for type_name in ("Decimal(9, 2)", "IPv4", "AggregateFunction(sum, UInt8)"):
        head = bytes([1, 1, 1]) + b"c" + bytes([len(type_name)]) + type_name.encode()
        with pytest.raises(DatabaseError, match="cannot be read"):
            list(iter_blocks(head + bytes(16)))


def test_columns_of_the_same_name() -> None:
    """The second would take the place of the first."""
    one = block("UInt8", [1])[2:]
    with pytest.raises(DatabaseError, match="two columns of the answer are named 'c'"):
        list(iter_blocks(b"\2\1" + one + one))


def test_long_numbers() -> None:
    reader = NativeReader(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x7f\x80\x01")
    assert [reader.integer() for _ in range(3)] == [2**64 - 1, 127, 128]
    assert reader.at_end()


# Properties

_INTEGERS = {
    "UInt8": (0, 2**8 - 1), "Int8": (-(2**7), 2**7 - 1), "UInt16": (0, 2**16 - 1),
    "Int16": (-(2**15), 2**15 - 1), "UInt32": (0, 2**32 - 1), "Int32": (-(2**31), 2**31 - 1),
    "UInt64": (0, 2**64 - 1), "Int64": (-(2**63), 2**63 - 1), "DateTime": (0, 2**32 - 1),
    "Date": (0, 2**16 - 1), "Date32": (-(2**31), 2**31 - 1), "DateTime64(3)": (-(2**63), 2**63 - 1),
    "Bool": (0, 1),
}  # fmt: skip
_any_bytes = st.binary(max_size=200)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.integers(*limits) for name, limits in _INTEGERS.items()},
    "String": _any_bytes,
    "FixedString(5)": st.binary(min_size=5, max_size=5),
    "UUID": st.uuids(),
    ENUM: st.sampled_from(["file", "it's", "x"]),
    "Enum16('a' = -32768, 'b' = 32767)": st.sampled_from(["a", "b"]),
    "Float64": st.floats(allow_nan=False),
    "Float32": st.floats(width=32, allow_nan=False),
}


def as_read(value: Any, type_name: str) -> Any:
    """What a value becomes: texts come back as str with escapes for bytes that are no UTF-8."""
    if isinstance(value, list):
        return [as_read(item, type_name) for item in value]
    if isinstance(value, bytes) and "FixedString" not in type_name:
        return value.decode("utf-8", "surrogateescape")
    return value


@st.composite
def columns(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """A type, and values of it."""
    name = draw(st.sampled_from(sorted(SCALARS)))
    values = SCALARS[name]
    for wrapper in draw(st.lists(st.sampled_from(["Array", "Nullable"]), max_size=3)):
        if wrapper == "Nullable" and not name.startswith(("Array", "Nullable")):
            name, values = f"Nullable({name})", st.none() | values
        elif wrapper == "Array":
            name, values = f"Array({name})", st.lists(values, max_size=4)
    return name, draw(st.lists(values, max_size=6))


@settings(deadline=None, max_examples=400)
@given(columns())
def test_any_value_of_any_type(column: tuple[str, list[Any]]) -> None:
    type_name, values = column
    assert round_trip(type_name, values) == as_read(values, type_name)


@settings(deadline=None)
@given(st.lists(st.one_of(_any_bytes, st.text(max_size=60)), max_size=20))
def test_any_text(values: list[str | bytes]) -> None:
    found = round_trip("String", values)
    for value, text in zip(values, found, strict=True):
        raw = value if isinstance(value, bytes) else value.encode()
        assert text.encode("utf-8", "surrogateescape") == raw


@settings(deadline=None)
@given(columns(), st.integers(0, 1000))
def test_any_cut(column: tuple[str, list[Any]], cut: int) -> None:
    """An answer that ends too early is noticed."""
    data = block(*column)
    if 0 < cut < len(data):
        with pytest.raises(DatabaseError):
            list(iter_blocks(data[:cut]))
