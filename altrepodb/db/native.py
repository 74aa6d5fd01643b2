"""ClickHouse's Native format: blocks of columns to bytes and back.

A block is the number of columns and of rows (variable-length integers) and, for each column,
its name, its type and its values; see https://clickhouse.com/docs/interfaces/formats/Native.
All numbers are little-endian. Python values: integers, floats, ``str``/``bytes`` for String,
``bytes`` for FixedString, ``uuid.UUID``, names or numbers for enums, sequences for arrays (an
``array.array`` of the element's type is copied as it is), whole seconds for DateTime.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any
from uuid import UUID

from altrepodb.db.parameters import text_bytes
from altrepodb.db.types import ColumnType, enum_values, parse_type
from altrepodb.errors import DatabaseError
from altrepodb.variable_integer import ONE_BYTE_INTEGERS, variable_integer

__all__ = ["NativeReader", "iter_blocks", "iter_encoded"]

_NUMBERS = {
    "UInt8": "B", "Int8": "b", "Bool": "B", "UInt16": "H", "Int16": "h", "Date": "H",
    "UInt32": "I", "Int32": "i", "DateTime": "I", "Date32": "i", "UInt64": "Q", "Int64": "q",
    "DateTime64": "q", "Float32": "f", "Float64": "d",
}  # fmt: skip
_ENUMS = {"Enum8": "b", "Enum16": "h"}
_INDEX_TYPES = ("UInt8", "UInt16", "UInt32", "UInt64")
# Encoding takes several times the memory of what is encoded.
_STRINGS_AT_ONCE = 10_000
_MISFITS = (struct.error, TypeError, AttributeError, OverflowError, UnicodeError)
_BLANKS = {"String": b"", "FixedString": b"", "UUID": UUID(int=0)}
_LOW_CARDINALITY = re.compile(r"LowCardinality\(((?:[^()]|\([^()]*\))*)\)")

Encoder = Callable[[Sequence[Any]], bytes]


def _little_endian(values: array[Any]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _numbers_encoder(code: str) -> Encoder:
    def encode(values: Sequence[Any]) -> bytes:
        return struct.pack(f"<{len(values)}{code}", *values)

    return encode


def _encode_strings(values: Sequence[str | bytes]) -> bytes:
    if len(values) > _STRINGS_AT_ONCE:
        starts = range(0, len(values), _STRINGS_AT_ONCE)
        return b"".join(_encode_strings(values[at : at + _STRINGS_AT_ONCE]) for at in starts)
    if set(map(type, values)) != {bytes}:
        values = list(map(text_bytes, values))
    lengths = list(map(len, values))
    if max(lengths, default=0) < 128:
        prefixes = list(map(ONE_BYTE_INTEGERS.__getitem__, lengths))
    else:
        prefixes = list(map(variable_integer, lengths))
    interleaved: list[Any] = [b""] * (2 * len(lengths))
    interleaved[::2] = prefixes
    interleaved[1::2] = values
    return b"".join(interleaved)


def _fixed_strings_encoder(width: int) -> Encoder:
    def encode(values: Sequence[bytes]) -> bytes:
        padded = b"".join([value.ljust(width, b"\0") for value in values])
        if len(padded) != width * len(values):
            raise DatabaseError(f"a value is longer than FixedString({width})")
        return padded

    return encode


def _encode_uuids(values: Sequence[UUID]) -> bytes:
    halves = chain.from_iterable((v.int >> 64, v.int & 0xFFFFFFFFFFFFFFFF) for v in values)
    return struct.pack(f"<{2 * len(values)}Q", *halves)


def _enums_encoder(column_type: ColumnType, code: str) -> Encoder:
    numbers = enum_values(column_type)
    pack = _numbers_encoder(code)

    def encode(values: Sequence[str | int]) -> bytes:
        try:
            return pack([numbers[v] if isinstance(v, str) else v for v in values])
        except KeyError as error:
            raise DatabaseError(f"{error} is no value of {column_type.arguments}") from None

    return encode


def _arrays_encoder(element: ColumnType) -> Encoder:
    encode_elements = _encoder(element)
    item_code = _NUMBERS.get(element.name)

    def encode(values: Sequence[Any]) -> bytes:
        ends = struct.pack(f"<{len(values)}Q", *accumulate(map(len, values)))
        if item_code and all(type(v) is array and v.typecode == item_code for v in values):
            return ends + b"".join(map(_little_endian, values))
        return ends + encode_elements(list(chain.from_iterable(values)))

    return encode


def _nullables_encoder(element: ColumnType) -> Encoder:
    encode_elements = _encoder(element)
    blank: Any = _BLANKS.get(element.name, 0)
    if element.name in _ENUMS:
        blank = min(enum_values(element).values())

    def encode(values: Sequence[Any]) -> bytes:
        nulls = bytes(value is None for value in values)
        return nulls + encode_elements([blank if v is None else v for v in values])

    return encode


def _encoder(column_type: ColumnType) -> Encoder:
    match column_type.name:
        case "String":
            return _encode_strings
        case "FixedString":
            return _fixed_strings_encoder(int(column_type.arguments))
        case "UUID":
            return _encode_uuids
        case "Array":
            return _arrays_encoder(column_type.nested[0])
        case "Nullable":
            return _nullables_encoder(column_type.nested[0])
        case "LowCardinality":
            return _encoder(column_type.nested[0])
        case name if name in _ENUMS:
            return _enums_encoder(column_type, _ENUMS[name])
        case name if name in _NUMBERS:
            return _numbers_encoder(_NUMBERS[name])
        case name:
            raise DatabaseError(f"columns of type {name} cannot be written")


@lru_cache(maxsize=4096)
def _plain_type(type_name: str) -> str:
    """The type under which a column is sent: the engine builds dictionaries itself."""
    return _LOW_CARDINALITY.sub(r"\1", type_name)


@lru_cache(maxsize=4096)
def _column_encoder(type_name: str) -> Encoder:
    return _encoder(parse_type(type_name))


def iter_encoded(types: Mapping[str, str], columns: Mapping[str, Sequence[Any]]) -> Iterator[bytes]:
    """The pieces of one block of the given columns; ``types`` names the type of each.

    Raises DatabaseError naming the column when a value does not fit its type or the columns
    differ in length.
    """
    rows = len(next(iter(columns.values()))) if columns else 0
    yield variable_integer(len(columns)) + variable_integer(rows)
    for name, values in columns.items():
        if len(values) != rows:
            raise DatabaseError(f"column {name} has {len(values)} values of {rows}")
        type_name = _plain_type(types[name])
        try:
            encoded = _column_encoder(type_name)(values)
        except _MISFITS as error:
            raise DatabaseError(f"column {name} of type {type_name}: {error}") from error
        yield _encode_strings([name, type_name])
        yield encoded


class NativeReader:
    """Reads values from the bytes of a Native stream, which the engine itself wrote."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def at_end(self) -> bool:
        return self._position >= len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises DatabaseError when there are fewer."""
        end = self._position + size
        if end > len(self._data):
            raise DatabaseError("the engine's answer ends in the middle of a value")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def integer(self) -> int:
        """A variable-length integer."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def strings(self, count: int) -> list[str]:
        """Length-prefixed texts."""
        data, position = self._data, self._position
        texts = []
        for _ in range(count):
            length = data[position] if position < len(data) else 128
            if length < 128:
                position += 1
            else:
                self._position = position
                length, position = self.integer(), self._position
            texts.append(data[position : position + length].decode("utf-8", "surrogateescape"))
            position += length
        self._position = position
        self.take(0)
        return texts

    def numbers(self, code: str, count: int) -> list[Any]:
        """Numbers of one width, given as a ``struct`` code."""
        return list(struct.unpack(f"<{count}{code}", self.take(struct.calcsize(code) * count)))

    def column(self, column_type: ColumnType, rows: int) -> list[Any]:
        """One column with the prefix that dictionaries have."""
        self._skip_prefix(column_type)
        return self._values(column_type, rows)

    def _skip_prefix(self, column_type: ColumnType) -> None:
        if column_type.name == "LowCardinality":
            self.take(8)
        for nested in column_type.nested if column_type.name != "LowCardinality" else ():
            self._skip_prefix(nested)

    def _values(self, column_type: ColumnType, rows: int) -> list[Any]:
        match column_type.name:
            case "String":
                return self.strings(rows)
            case "FixedString":
                width = int(column_type.arguments)
                return [self.take(width) for _ in range(rows)]
            case "UUID":
                halves = self.numbers("Q", 2 * rows)
                pairs = zip(halves[::2], halves[1::2], strict=True)
                return [UUID(int=high << 64 | low) for high, low in pairs]
            case "Nothing":
                self.take(rows)
                return [None] * rows
            case "Array":
                return self._arrays(column_type.nested[0], rows)
            case "Map":
                pair = ColumnType("Tuple", column_type.nested)
                return [dict(pairs) for pairs in self._arrays(pair, rows)]
            case "Tuple":
                elements = [self._values(nested, rows) for nested in column_type.nested]
                return list(zip(*elements, strict=True))
            case "Nullable":
                nulls = self.take(rows)
                values = self._values(column_type.nested[0], rows)
                return [None if null else v for null, v in zip(nulls, values, strict=True)]
            case "LowCardinality":
                return self._dictionary(column_type.nested[0]) if rows else []
            case name if name in _ENUMS:
                names = {number: text for text, number in enum_values(column_type).items()}
                return [names[number] for number in self.numbers(_ENUMS[name], rows)]
            case name if name in _NUMBERS:
                return self.numbers(_NUMBERS[name], rows)
            case name:
                raise DatabaseError(f"columns of type {name} cannot be read")

    def _arrays(self, element: ColumnType, rows: int) -> list[list[Any]]:
        ends = self.numbers("Q", rows)
        values = self._values(element, ends[-1] if ends else 0)
        return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _dictionary(self, keys_type: ColumnType) -> list[Any]:
        if keys_type.name == "Nullable":
            raise DatabaseError("columns of type LowCardinality(Nullable) cannot be read")
        flags, key_count = self.numbers("Q", 2)
        keys = self._values(keys_type, key_count)
        (rows,) = self.numbers("Q", 1)
        indexes = self.numbers(_NUMBERS[_INDEX_TYPES[flags & 0xFF]], rows)
        return [keys[index] for index in indexes]


def iter_blocks(data: bytes) -> Iterator[dict[str, list[Any]]]:
    """The blocks of a Native stream, each as column name -> values."""
    reader = NativeReader(data)
    while not reader.at_end():
        column_count, rows = reader.integer(), reader.integer()
        block: dict[str, list[Any]] = {}
        for _ in range(column_count):
            name, type_name = reader.strings(2)
            if name in block:
                raise DatabaseError(f"two columns of the answer are named {name!r}")
            block[name] = reader.column(parse_type(type_name), rows)
        yield block
