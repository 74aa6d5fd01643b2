"""Byte sources: every range is checked, and what stands on them gives the same bytes."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb.byte_source import Extents, Slice, SourceStream, open_file
from altrepodb.errors import SourceError
from tests.support.content import BytesSource

DATA = bytes(range(256)) * 8


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("count", "offset"), [(1, len(DATA)), (len(DATA) + 1, 0), (-1, 5), (1, -1), (1 << 62, 1)]
)
def test_ranges_outside_are_refused(path, count, offset):
    with open_file(path) as source:
        sources = [source, Slice(source, 0, len(DATA), "part"), Extents(source, [(0, 2048)], "x")]
        for each in sources:
            with pytest.raises(SourceError, match=f"{each.name}: truncated or damaged"):
                each.pread(count, offset)


def test_file_is_read_by_several_threads(path):
    with open_file(path) as source, ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda offset: source.pread(7, offset), range(0, 2040, 7))
        assert b"".join(parts) == DATA[:2044]


def test_file_that_becomes_shorter(path):
    with open_file(path) as source:
        os.truncate(path, 100)
        assert source.pread(100, 0) == DATA[:100]
        with pytest.raises(SourceError, match="became shorter while it was read"):
            source.pread(101, 0)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(SourceError, match="not a regular file"), open_file(tmp_path / name):
            pass
    with pytest.raises(SourceError, match=r"none: cannot be opened"), open_file(tmp_path / "none"):
        pass


@pytest.mark.parametrize(("offset", "size"), [(0, 2049), (2048, 1), (-1, 5), (5, -1)])
def test_parts_outside_are_refused(offset, size):
    with pytest.raises(SourceError, match="part: reaches beyond the end of image"):
        Slice(BytesSource(DATA), offset, size, "part")
    if size:
        with pytest.raises(SourceError, match="part: reaches beyond the end of image"):
            Extents(BytesSource(DATA), [(0, 1), (offset, size)], "part")


@given(
    ranges=st.lists(st.tuples(st.integers(0, 1024), st.integers(0, 1024)), max_size=6),
    place=st.tuples(st.integers(0, 7000), st.integers(0, 7000)),
)
def test_extents_are_their_parts_one_behind_the_other(ranges, place):
    whole = b"".join(DATA[offset : offset + size] for offset, size in ranges)
    extents = Extents(BytesSource(DATA), ranges, "file")
    assert extents.size == len(whole)
    start, end = sorted(position % (len(whole) + 1) for position in place)
    assert extents.pread(end - start, start) == whole[start:end]


@given(st.lists(st.tuples(st.sampled_from("rsce"), st.integers(-300, 3000)), max_size=20))
def test_stream_behaves_like_a_file(steps):
    stream, file = SourceStream(BytesSource(DATA)), io.BytesIO(DATA)
    for step, number in steps:
        if step == "r":
            assert stream.read(abs(number)) == file.read(abs(number))
        else:
            whence = {"s": io.SEEK_SET, "c": io.SEEK_CUR, "e": io.SEEK_END}[step]
            base = {"s": 0, "c": file.tell(), "e": len(DATA)}[step]
            if base + number < 0:
                with pytest.raises(ValueError):
                    stream.seek(number, whence)
            else:
                assert stream.seek(number, whence) == file.seek(base + number)
        assert stream.tell() == file.tell()


def test_stream_under_a_buffer():
    stream = io.BufferedReader(SourceStream(BytesSource(DATA)))
    stream.seek(100)
    assert stream.read(10) == DATA[100:110]
    assert stream.read() == DATA[110:]
    assert stream.seekable() and stream.readable() and not stream.writable()
