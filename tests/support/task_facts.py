"""Hashes and log rows of build tasks, written out plainly as an oracle for the loader."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.support.identity import text_hash

_M64 = 0xFFFFFFFFFFFFFFFF


def array_hash(values: Sequence[int]) -> int:
    """ClickHouse's murmurHash3_64 of an Array(UInt64): AH of the specification."""
    state = _integer_hash(len(values))
    for value in values:
        state = _integer_hash(state) ^ text_hash(struct.pack("<Q", value))
    return state


def _integer_hash(value: int) -> int:
    value ^= 0x4CF2D2BAAE6DA887
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _M64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _M64
    return value ^ value >> 33
