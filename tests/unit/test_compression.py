"""Compressed streams: every format, every kind of damage, and bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.rpm.compression import CHUNK_BYTES, compressor_of, iter_decompressed
from tests.support.compressors import COMPRESSORS, Compressor, compress, xz_blocks, xz_streams

MIB = 1024 * 1024
NAMES = {name: name.removesuffix("-blocks") for name in COMPRESSORS}
CHECKED: list[Compressor] = ["gzip", "bzip2", "xz", "xz-blocks"]
"""Formats that hold a checksum of their contents, so that no damage goes unnoticed."""
CUT_NOTICED: list[Compressor] = [*CHECKED, "lzma"]
TEXT = b"".join(b"%d: some text, repeated again and again\n" % n for n in range(300))


def decompressed(data: bytes, compressor: str) -> bytes:
    """All that the stream gives."""
    return b"".join(iter_decompressed(io.BytesIO(data), NAMES.get(compressor, compressor), "input"))  # type: ignore[call-overload]


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize(
    "data", [b"", b"x", TEXT, TEXT * 100, bytes(3 * MIB)], ids=["", "x", "text", "long", "zeros"]
)
def test_every_compressor(compressor: Compressor, data: bytes) -> None:
    assert decompressed(compress(data, compressor), compressor) == data


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_compressor_is_told_by_its_magic(compressor: Compressor) -> None:
    data = compress(b"070701" + TEXT, compressor)
    assert compressor_of(data) == NAMES[compressor]
    assert compressor_of(data[:6]) == NAMES[compressor]


@pytest.mark.parametrize("start", [b"", b"\x1f", b"BZ", b"\xfd7zXZ", b"\x5d\0", b"PK\3\4", b"0707"])
def test_magic_that_tells_nothing(start: bytes) -> None:
    assert compressor_of(start) is None


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_chunks_are_bounded(compressor: Compressor) -> None:
    stream = io.BytesIO(compress(bytes(MIB) + TEXT, compressor))
    chunks = list(iter_decompressed(stream, NAMES[compressor], "input"))
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert min(map(len, chunks)) > 0


# Several streams in a row


@pytest.mark.parametrize("compressor", ["gzip", "bzip2", "xz", "xz-blocks", "zstd"])
@pytest.mark.parametrize("cut", [0, 1, CHUNK_BYTES, len(TEXT)])
def test_streams_in_a_row(compressor: Compressor, cut: int) -> None:
    parts = [TEXT[:cut], TEXT[cut:], b"", TEXT]
    joined = b"".join([compress(part, compressor) for part in parts])
    assert decompressed(joined, compressor) == TEXT + TEXT


def test_a_thousand_empty_streams() -> None:
    """Each begins anew where the last ended; none of them gives anything."""
    assert decompressed(compress(b"", "xz") * 1000 + compress(b"x", "xz"), "xz") == b"x"


@pytest.mark.parametrize("padding", [1, 4, 64, CHUNK_BYTES + 4, 3 * CHUNK_BYTES])
def test_zeros_between_and_after_streams(padding: int) -> None:
    stream = compress(TEXT, "xz")
    zeros = bytes(padding)
    assert decompressed(stream + zeros + stream + zeros, "xz") == TEXT + TEXT


@pytest.mark.parametrize("compressor", CUT_NOTICED)
def test_garbage_after_the_stream(compressor: Compressor) -> None:
    with pytest.raises(SourceError, match=r"^input: damaged"):
        decompressed(compress(TEXT, compressor) + b"\1garbage of some length", compressor)


def test_blocks_and_streams_that_lie_across_reads() -> None:
    data = bytes(range(256)) * 4096
    assert decompressed(xz_blocks(data, block_size=70_000), "xz") == data
    assert decompressed(xz_streams(data, [100_000, 100_001, 500_000]), "xz") == data


# Damage


@pytest.mark.parametrize("compressor", CUT_NOTICED)
def test_truncation_at_every_byte(compressor: Compressor) -> None:
    data = compress(TEXT[:300], compressor)
    for length in range(len(data)):
        with pytest.raises(SourceError, match=r"^input: damaged"):
            decompressed(data[:length], compressor)


def test_truncated_zstd_gives_no_more_than_was_there() -> None:
    """It does not tell a cut from an end; the archive inside does."""
    data = compress(TEXT, "zstd")
    for length in range(len(data)):
        assert TEXT.startswith(decompressed(data[:length], "zstd"))


@pytest.mark.parametrize("compressor", CHECKED)
def test_changed_bytes_are_noticed(compressor: Compressor) -> None:
    """Save those that mean nothing, such as the time in a gzip header: no other text comes out."""
    data = compress(TEXT[:300], compressor)
    noticed = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        try:
            assert decompressed(bytes(damaged), compressor) == TEXT[:300]
        except SourceError as error:
            assert str(error).startswith("input: damaged")
            noticed += 1
    assert noticed >= len(data) - 8


@pytest.mark.parametrize("compressor", ["lzma", "zstd"])
def test_changed_bytes_without_a_checksum(compressor: Compressor) -> None:
    data = compress(TEXT[:300], compressor)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        try:
            decompressed(bytes(damaged), compressor)
        except SourceError as error:
            assert str(error).startswith("input: damaged")


def test_unknown_compressor() -> None:
    with pytest.raises(SourceError, match="input: unknown compressor 'lzip'"):
        decompressed(b"", "lzip")


def test_source_that_cannot_be_read() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    for compressor in set(NAMES.values()):
        with pytest.raises(SourceError, match=r"input: .*Input/output error"):
            list(iter_decompressed(Broken(), compressor, "input"))


# Memory that the input asks for


def xz_with_dictionary(code: int) -> bytes:
    """An xz stream whose block says that it needs a dictionary of that (coded) size."""
    data = bytearray(lzma.compress(b"some text", preset=0))
    assert data[12:17] == b"\x02\x00\x21\x01\x0c", "a plain block header"
    data[16] = code
    data[20:24] = struct.pack("<I", zlib.crc32(data[12:20]))
    return bytes(data)


def lzma_with_dictionary(size: int) -> bytes:
    """An LZMA-alone stream that says it needs a dictionary of that size."""
    data = lzma.compress(b"some text", lzma.FORMAT_ALONE, preset=0)
    return data[:1] + struct.pack("<I", size) + data[5:]


def zstd_with_window(log: int) -> bytes:
    """A zstd frame of one raw block that says it needs a window of 2 ** log bytes."""
    text = b"some text"
    block = (len(text) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\0" + bytes([log - 10 << 3]) + block + text


@pytest.mark.parametrize(
    ("make", "compressor", "accepted", "refused"),
    [
        (xz_with_dictionary, "xz", [12, 31], [32, 36, 40]),
        (lzma_with_dictionary, "lzma", [1 << 18, 3 << 26], [1 << 28, 1 << 30, 0xFFFFFFFF]),
        (zstd_with_window, "zstd", [10, 26, 27], [28, 31, 41]),
    ],
    ids=["xz", "lzma", "zstd"],
)
def test_dictionaries_have_a_limit(
    make: Callable[[int], bytes], compressor: str, accepted: list[int], refused: list[int]
) -> None:
    """Below 256 MiB for xz and LZMA, whose presets take 64 at most; 128 MiB for zstd."""
    for size in accepted:
        assert decompressed(make(size), compressor) == b"some text"
    for size in refused:
        with pytest.raises(SourceError, match=f"^input: damaged {compressor} data"):
            decompressed(make(size), compressor)


def bomb_of(compressor: str, megabytes: int) -> bytes:
    """Zeros, compressed as well as can be without holding them in memory."""
    zeros = bytes(MIB)
    makers: dict[str, Callable[[], object]] = {
        "gzip": lambda: zlib.compressobj(9, wbits=31),
        "bzip2": lambda: bz2.BZ2Compressor(9),
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "lzma": lambda: lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0),
        "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    }
    packer: object = makers[compressor]()
    parts = [packer.compress(zeros) for _ in range(megabytes)]  # type: ignore[attr-defined]
    return b"".join([*parts, packer.flush()])  # type: ignore[attr-defined]


@pytest.mark.parametrize("compressor", ["gzip", "bzip2", "xz", "lzma", "zstd"])
def test_bombs_give_a_chunk_at_a_time(compressor: str) -> None:
    """However much comes out, memory is that of a chunk and the compressed input."""
    bomb = bomb_of(compressor, 48)
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        total = sum(map(len, iter_decompressed(io.BytesIO(bomb), compressor, "input")))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert total == 48 * MIB


@pytest.mark.parametrize("compressor", ["gzip", "bzip2", "xz", "lzma", "zstd"])
def test_what_is_not_wanted_is_not_decompressed(compressor: str) -> None:
    """Whoever stops reading stops the work; the input is taken in pieces as well."""
    bomb = bomb_of(compressor, 8) * 40
    stream = io.BytesIO(bomb)
    chunks: Iterator[bytes] = iter_decompressed(stream, compressor, "input")
    assert len(next(chunks)) <= CHUNK_BYTES
    assert stream.tell() <= 2 * CHUNK_BYTES


# Properties


@settings(deadline=None)
@given(st.sampled_from(COMPRESSORS), st.binary(max_size=2000), st.integers(0, 2000))
def test_any_content_comes_back(compressor: Compressor, data: bytes, cut: int) -> None:
    packed = compress(data, compressor)
    assert decompressed(packed, compressor) == data
    if compressor in CUT_NOTICED and cut < len(packed):
        with pytest.raises(SourceError):
            decompressed(packed[:cut], compressor)


@settings(deadline=None)
@given(st.sampled_from(sorted(set(NAMES.values()))), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(compressor: str, data: bytes) -> None:
    for stream in (data, gzip.compress(b"x")[:10] + data, compress(b"x", "xz")[:12] + data):
        try:
            decompressed(stream, compressor)
        except SourceError as error:
            assert str(error).startswith("input: damaged")
