"""LZO1X decompression that never gives more than it is allowed to.

By the system's ``liblzo2`` where it is installed, and by the decoder below where not, which is
some thirty times slower. Source of the format: "LZO stream format as understood by Linux' LZO
decompressor" in the Linux documentation.
"""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["decompress_lzo", "decompress_lzo_here"]

_LIBRARY = "liblzo2.so.2"
_OK = 0


def decompress_lzo(data: bytes, limit: int) -> bytes:
    """The output of an LZO1X stream, ``limit`` bytes at most; ValueError for damage."""
    library = _library()
    if library is None:
        return decompress_lzo_here(data, limit)
    output = ctypes.create_string_buffer(limit)
    size = ctypes.c_size_t(limit)
    status = library.lzo1x_decompress_safe(
        data, ctypes.c_size_t(len(data)), output, ctypes.byref(size), None
    )
    if status != _OK:
        raise ValueError(f"LZO error {status}")
    return ctypes.string_at(output, size.value)


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def decompress_lzo_here(data: bytes, limit: int) -> bytes:
    """The same without the library."""
    try:
        return bytes(_Decoder(data, limit).run())
    except IndexError as error:
        raise ValueError("LZO data is cut off") from error


class _Decoder:
    """Instructions read one by one. A copy of literals or of earlier output follows each."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._data = data
        self._position = 0
        self._limit = limit
        self._output = bytearray()

    def run(self) -> bytearray:
        instruction = self._byte()
        # How many literals the instruction before copied, as far as the next one depends on it.
        state = 0
        if instruction > 17:
            state = min(instruction - 17, 4)
            self._literals(instruction - 17)
            instruction = self._byte()
        while True:
            if instruction < 16 and state == 0:
                self._literals(self._length(instruction, 15) + 3)
                state = 4
            else:
                if self._match(instruction, state):
                    break
                # The low bits of the last but one byte of a long instruction, or of a short one.
                state = self._trailing
                self._literals(state)
            instruction = self._byte()
        if self._position != len(self._data):
            raise ValueError("bytes follow the LZO stream")
        return self._output

    def _match(self, instruction: int, state: int) -> bool:
        """Copy earlier output; True for the end mark."""
        self._trailing = instruction & 3
        if instruction >= 64:
            length = (instruction >> 5) + 1
            distance = (self._byte() << 3) + (instruction >> 2 & 7) + 1
        elif instruction >= 32:
            length = self._length(instruction & 31, 31) + 2
            distance = self._far() + 1
        elif instruction >= 16:
            length = self._length(instruction & 7, 7) + 2
            distance = 0x4000 + ((instruction & 8) << 11) + self._far()
            if distance == 0x4000:
                return True
        elif state == 4:
            length = 3
            distance = (self._byte() << 2) + (instruction >> 2) + 0x801
        else:
            length = 2
            distance = (self._byte() << 2) + (instruction >> 2) + 1
        self._copy(distance, length)
        return False

    def _far(self) -> int:
        """A distance of 14 bits; its last two bits say how many literals follow."""
        low = self._byte()
        self._trailing = low & 3
        return (self._byte() << 6) + (low >> 2)

    def _length(self, short: int, most: int) -> int:
        """A length that zero bytes prolong by 255 each."""
        if short:
            return short
        length = most
        while not (byte := self._byte()):
            length += 255
            if length > self._limit:
                raise ValueError(f"becomes more than {self._limit} bytes")
        return length + byte

    def _byte(self) -> int:
        byte = self._data[self._position]
        self._position += 1
        return byte

    def _literals(self, count: int) -> None:
        end = self._position + count
        if end > len(self._data):
            raise ValueError("LZO data is cut off")
        self._check(count)
        self._output += self._data[self._position : end]
        self._position = end

    def _copy(self, distance: int, length: int) -> None:
        start = len(self._output) - distance
        if start < 0:
            raise ValueError("LZO data refers to what is before its start")
        self._check(length)
        if distance >= length:
            self._output += self._output[start : start + length]
        else:
            pattern = bytes(self._output[start:])
            self._output += (pattern * (length // distance + 1))[:length]

    def _check(self, count: int) -> None:
        if len(self._output) + count > self._limit:
            raise ValueError(f"becomes more than {self._limit} bytes")
