"""LZO: our decoder, the system's library, and streams that are damaged."""

from __future__ import annotations

import ctypes
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.image import lzo
from altrepodb.image.lzo import decompress_lzo, decompress_lzo_here

LIBRARY = "liblzo2.so.2"
_WORK_BYTES = 1 << 20
TEXTS = (
    b"x",
    b"abc" * 5,
    b"a" * 100_000,
    os.urandom(3000),
    b"".join(b"%d " % (number * number) for number in range(9000)),
    os.urandom(500) * 40,
    os.urandom(20_000) * 3,
)


@pytest.fixture(scope="module")
def compress():
    """What mksquashfs compresses with; squashfs-tools brings the library."""
    library = ctypes.CDLL(LIBRARY)
    work = ctypes.create_string_buffer(_WORK_BYTES)

    def compressed(data):
        output = ctypes.create_string_buffer(len(data) + len(data) // 16 + 100)
        size = ctypes.c_size_t()
        arguments = (data, ctypes.c_size_t(len(data)), output, ctypes.byref(size), work)
        assert library.lzo1x_999_compress(*arguments) == 0
        return output.raw[: size.value]

    return compressed


@pytest.fixture(params=[decompress_lzo, decompress_lzo_here])
def decompress(request):
    return request.param


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_whole_streams(compress, decompress, text):
    assert decompress(compress(text), len(text)) == text
    assert decompress(compress(text), len(text) + 100) == text


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_more_than_allowed(compress, decompress, text):
    with pytest.raises(ValueError):
        decompress(compress(text), len(text) - 1)


def test_damaged_streams(compress, decompress):
    stream = compress(TEXTS[4])
    for damaged in (stream[:-1], stream[:20], stream + b"x", b"", b"\x00" * 500):
        with pytest.raises(ValueError):
            decompress(damaged, len(TEXTS[4]))


def test_long_run_of_zero_bytes_ends(decompress):
    """A length that is prolonged for ever."""
    with pytest.raises(ValueError):
        decompress(b"\x12ab\x20" + bytes(1 << 20), 1000)


@settings(max_examples=200, deadline=None)
@given(choice=st.data())
def test_both_decoders_agree(compress, choice):
    """Whatever the bytes are: the same output, or both refuse them."""
    stream = bytearray(compress(choice.draw(st.sampled_from([TEXTS[1], TEXTS[4][:3000]]))))
    for _ in range(choice.draw(st.integers(0, 3))):
        place = choice.draw(st.integers(0, len(stream) - 1))
        stream[place] = choice.draw(st.integers(0, 255))
    results = []
    for decompress in (decompress_lzo, decompress_lzo_here):
        try:
            results.append(decompress(bytes(stream), 4000))
        except ValueError:
            results.append(None)
    assert results[0] == results[1]


def test_without_the_library(compress, monkeypatch):
    monkeypatch.setattr(lzo, "_library", lambda: None)
    assert decompress_lzo(compress(TEXTS[4]), len(TEXTS[4])) == TEXTS[4]
