"""All digests of an image in one pass: right, bounded, and over when something fails."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import tracemalloc
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.byte_source import open_file
from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.hashing import squashfs_hash
from altrepodb.image import digests as digests_module
from altrepodb.image.digests import background_digests, image_digests
from altrepodb.image.gost import GostDigest, open_gost
from tests.support.content import BytesSource

DATA = os.urandom(300_000)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(digests_module, "CHUNK_BYTES", 1 << 16)


def gost_of(data):
    with open_gost() as gost:
        gost.update(data)
        return gost.digest()


def check(source, data, members):
    found = image_digests(source, members)
    assert found.size == len(data)
    assert found.md5 == hashlib.md5(data).digest()
    assert found.sha256 == hashlib.sha256(data).digest()
    assert found.gost12 == gost_of(data)
    assert found.members.keys() == members.keys()
    for name, ranges in members.items():
        part = b"".join(data[start : start + size] for start, size in ranges)
        member = found.members[name]
        assert member.size == len(part)
        assert member.md5 == hashlib.md5(part).digest()
        assert member.sha1 == hashlib.sha1(part).digest()
        assert member.sha256 == hashlib.sha256(part).digest()
        assert member.blake2b == hashlib.blake2b(part).digest()


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 300_000])
def test_image_without_members(size):
    check(BytesSource(DATA[:size]), DATA[:size], {})


@pytest.mark.parametrize(
    "members",
    [
        {"live": [(2048, 100_000)]},
        {"live": [(0, 300_000)], "rescue": [(65_536, 65_536)], "empty": [], "zero": [(5, 0)]},
        {"several": [(10, 70_000), (70_010, 1), (100_000, 200_000)]},
        {"backwards": [(200_000, 100_000), (0, 100)], "live": [(1, 2)]},
        {"only backwards": [(200_000, 100_000), (0, 100)]},
        {"twice": [(0, 1000), (0, 1000)]},
        {"overlapping": [(0, 1000), (500, 1000)], "beside": [(0, 1500)]},
    ],
)
def test_members(members):
    check(BytesSource(DATA), DATA, members)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 100_000)), max_size=5),
        max_size=3,
    )
)
def test_members_anywhere(members):
    check(BytesSource(DATA), DATA, members)


def test_file_on_disk(tmp_path):
    (tmp_path / "image").write_bytes(DATA)
    with open_file(tmp_path / "image") as source:
        check(source, DATA, {"live": [(4096, 200_000)]})


def test_known_identity_of_a_member():
    """The digests lead to the identity of a squashfs image, which is a test vector."""
    sha1 = bytes.fromhex("322228816250034e57a9eff868b1a4a8cf9a06b3")
    assert squashfs_hash(sha1, 1_638_699_630, 380_100_608) == 2_743_194_023_967_622_743


def test_member_beyond_the_end_is_an_error():
    with pytest.raises(SourceError, match="live: reaches beyond the end of image"):
        image_digests(BytesSource(DATA), {"live": [(299_999, 2)]})


class FailingSource(BytesSource):
    """Breaks in the middle, as a disk does."""

    def pread(self, count, offset):
        if offset > 150_000:
            raise SourceError(f"{self.name}: cannot be read: Input/output error")
        return super().pread(count, offset)


def test_error_of_the_source_is_told():
    with pytest.raises(SourceError, match="Input/output error"):
        image_digests(FailingSource(DATA), {})


def test_error_of_a_digest_is_told(monkeypatch):
    """The reader neither waits for a digest that has ended, nor goes on to read."""

    @contextmanager
    def broken():
        def fail(chunk):
            raise AltrepodbError("gost: broke")

        yield GostDigest(fail, lambda: bytes(32))

    monkeypatch.setattr(digests_module, "open_gost", broken)
    source = CountingSource(bytes(100 << 16))
    with pytest.raises(AltrepodbError, match="gost: broke"):
        image_digests(source, {"live": [(0, 1000)]})
    assert source.reads < 50


class CountingSource(BytesSource):
    """Counts how often it is read."""

    reads = 0

    def pread(self, count, offset):
        self.reads += 1
        return super().pread(count, offset)


def test_result_in_the_background():
    with background_digests(BytesSource(DATA), {"live": [(0, 10)]}) as digests:
        assert digests.result() == image_digests(BytesSource(DATA), {"live": [(0, 10)]})


def test_who_fails_does_not_wait_for_the_digests(monkeypatch):
    reached = threading.Event()

    class WaitingSource(CountingSource):
        def pread(self, count, offset):
            reached.set()
            # All of it takes forty seconds: more than anybody needs to leave the block.
            time.sleep(0.02)
            return super().pread(count, offset)

    source = WaitingSource(bytes(2000 << 16))
    with pytest.raises(ZeroDivisionError), background_digests(source, {}) as digests:
        assert reached.wait(120)
        _ = 1 / 0
    assert source.reads < 2000
    with pytest.raises(AltrepodbError, match="image: computing digests was broken off"):
        digests.result()


def test_memory_does_not_follow_the_size():
    class Endless(BytesSource):
        """Eight megabytes that are not in memory."""

        def __init__(self):
            super().__init__(b"")
            self.size = 8 << 20

        def pread(self, count, offset):
            return bytes(count)

    tracemalloc.start()
    try:
        image_digests(Endless(), {"live": [(0, 4 << 20)]})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
