"""Compress payloads and lists in every way that RPM files and repositories do.

Output depends on the input alone, so that composed trees can be compared byte by byte.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

Compressor = Literal["gzip", "bzip2", "xz", "xz-blocks", "lzma", "zstd", "none"]
COMPRESSORS: tuple[Compressor, ...] = (
    "gzip",
    "bzip2",
    "xz",
    "xz-blocks",
    "lzma",
    "zstd",
    "none",
)
# Values of the tags PAYLOADCOMPRESSOR and PAYLOADFLAGS; an uncompressed payload has neither.
PAYLOAD_TAGS: dict[Compressor, tuple[str, str] | None] = {
    "gzip": ("gzip", "9"),
    "bzip2": ("bzip2", "9"),
    "xz": ("xz", "5"),
    "xz-blocks": ("xz", "2T"),
    "lzma": ("lzma", "2"),
    "zstd": ("zstd", "3"),
    "none": None,
}
_BLOCK_SIZE = 4096
_XZ_STREAM_HEADER_SIZE = 12


def compress(data: bytes, compressor: Compressor, level: int | None = None) -> bytes:
    """The data in the given format; `level` is the compressor's own, its default is fast."""
    return _FUNCTIONS[compressor](data, level)


def xz_streams(data: bytes, cuts: Sequence[int] = (), preset: int = 1) -> bytes:
    """One xz stream for each part of the data between the cuts, one after the other."""
    edges = [0, *cuts, len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(edges)]
    return b"".join([lzma.compress(part, preset=preset) for part in parts])


def xz_blocks(data: bytes, block_size: int = _BLOCK_SIZE, preset: int = 0) -> bytes:
    """One xz stream of several blocks, as multi-threaded compressors write it."""
    if not data:
        return lzma.compress(data, preset=preset)
    chunks = [data[i : i + block_size] for i in range(0, len(data), block_size)]
    streams = [lzma.compress(chunk, preset=preset) for chunk in chunks]
    blocks, records = zip(*[_split_stream(stream) for stream in streams], strict=True)
    index = b"\0" + _multibyte(len(records)) + b"".join(records)
    index += bytes(-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    flags = streams[0][6:8]
    footer = struct.pack("<I", len(index) // 4 - 1) + flags
    tail = struct.pack("<I", zlib.crc32(footer)) + footer + b"YZ"
    return streams[0][:_XZ_STREAM_HEADER_SIZE] + b"".join(blocks) + index + tail


def _split_stream(stream: bytes) -> tuple[bytes, bytes]:
    """The block of a one-block xz stream, and its index record."""
    index_size = (struct.unpack("<I", stream[-8:-4])[0] + 1) * 4
    start = len(stream) - _XZ_STREAM_HEADER_SIZE - index_size
    block = stream[_XZ_STREAM_HEADER_SIZE:start]
    # An index is: 0, number of records (one byte here), the records, padding, CRC32.
    record = stream[start + 2 : start + index_size - 4]
    return block, record[: _numbers_length(record, 2)]


def _numbers_length(data: bytes, count: int) -> int:
    """Length of that many variable-length integers at the start of the data."""
    position = 0
    for _ in range(count):
        while data[position] & 0x80:
            position += 1
        position += 1
    return position


def _multibyte(number: int) -> bytes:
    """Variable-length integer of the xz format."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _zstd(data: bytes, level: int | None) -> bytes:
    import zstandard  # only tests of zstd payloads need it

    return bytes(zstandard.ZstdCompressor(level=level or 3).compress(data))


_FUNCTIONS: dict[Compressor, Callable[[bytes, int | None], bytes]] = {
    "gzip": lambda data, level: gzip.compress(data, level or 6, mtime=0),
    "bzip2": lambda data, level: bz2.compress(data, level or 9),
    "xz": lambda data, level: lzma.compress(data, preset=level or 0),
    "xz-blocks": lambda data, level: xz_blocks(data, preset=level or 0),
    "lzma": lambda data, level: lzma.compress(data, lzma.FORMAT_ALONE, preset=level or 0),
    "zstd": _zstd,
    "none": lambda data, level: data,
}
