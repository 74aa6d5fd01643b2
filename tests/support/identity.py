"""Identities of packages and texts, written out plainly as an oracle for the fast versions."""

from __future__ import annotations

import struct

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF
_IDENTITY_EPOCH = 1_000_000_000


def package_hash(buildtime: int, header_sha1: bytes, body_md5: bytes, gpg: bytes) -> int:
    """Identity of a package: build time above, hash of its digests and signature below."""
    low = murmur3_32(header_sha1 + body_md5 + gpg)
    return ((buildtime - _IDENTITY_EPOCH << 32) + low) & _M64


def text_hash(text: bytes) -> int:
    """Identity of a file name, a directory or a changelog text."""
    first, second = murmur3_128(text)
    return first ^ second


def murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0."""
    state = 0
    whole = len(data) // 4
    for block in struct.unpack_from(f"<{whole}I", data):
        state ^= _scramble_32(block)
        state = (_rotate(state, 13, 32) * 5 + 0xE6546B64) & _M32
    tail = data[whole * 4 :]
    if tail:
        state ^= _scramble_32(int.from_bytes(tail, "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _M32
    state = (state ^ state >> 13) * 0xC2B2AE35 & _M32
    return state ^ state >> 16


def murmur3_128(data: bytes) -> tuple[int, int]:
    """MurmurHash3_x64_128 with seed 0, as its two halves."""
    first = second = 0
    whole = len(data) // 16
    words = struct.unpack_from(f"<{whole * 2}Q", data)
    for low, high in zip(words[::2], words[1::2], strict=True):
        first ^= _scramble_low(low)
        first = ((_rotate(first, 27, 64) + second) * 5 + 0x52DCE729) & _M64
        second ^= _scramble_high(high)
        second = ((_rotate(second, 31, 64) + first) * 5 + 0x38495AB5) & _M64
    tail = data[whole * 16 :]
    second ^= _scramble_high(int.from_bytes(tail[8:], "little"))
    first ^= _scramble_low(int.from_bytes(tail[:8], "little"))
    first ^= len(data)
    second ^= len(data)
    first = (first + second) & _M64
    second = (second + first) & _M64
    first, second = _finish_64(first), _finish_64(second)
    first = (first + second) & _M64
    return first, (second + first) & _M64


def _rotate(value: int, by: int, width: int) -> int:
    return (value << by | value >> width - by) & (1 << width) - 1


def _scramble_32(block: int) -> int:
    return _rotate(block * 0xCC9E2D51 & _M32, 15, 32) * 0x1B873593 & _M32


def _scramble_low(block: int) -> int:
    return _rotate(block * 0x87C37B91114253D5 & _M64, 31, 64) * 0x4CF5AD432745937F & _M64


def _scramble_high(block: int) -> int:
    return _rotate(block * 0x4CF5AD432745937F & _M64, 33, 64) * 0x87C37B91114253D5 & _M64


def _finish_64(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _M64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _M64
    return value ^ value >> 33
