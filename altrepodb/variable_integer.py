"""Integers in groups of seven bits, the lowest first (LEB128): of ClickHouse's native format and
of xz files."""

from __future__ import annotations

__all__ = ["ONE_BYTE_INTEGERS", "variable_integer"]

ONE_BYTE_INTEGERS = [bytes([value]) for value in range(128)]
"""The bytes of the integers below 128, to be looked up in loops that must be fast."""


def variable_integer(value: int) -> bytes:
    """The bytes of an integer that is not negative."""
    if value < 128:
        return ONE_BYTE_INTEGERS[value]
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
