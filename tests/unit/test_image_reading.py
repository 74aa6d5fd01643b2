"""Reading an image in a limited process, packages inside other files, tags and texts of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from altrepodb.byte_source import Slice
from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError
from altrepodb.image import reading
from altrepodb.image.file_list import read_accounts
from altrepodb.image.gost import GostDigest
from altrepodb.image.limited import ByteCounter, ProcessLimits, limited_process
from altrepodb.image.options import ImageOptions
from altrepodb.image.package_set import utc_text
from altrepodb.image.scratch import scratch_file
from altrepodb.packages.batch import package_identity
from altrepodb.rpm import tags
from altrepodb.rpm.package_file import read_package
from tests.support.content import BytesSource
from tests.support.rpm_file import compose
from tests.support.rpm_package import RpmPackage

LIMITS = ProcessLimits(memory_bytes=1 << 30, cpu_s=60, wall_s=120.0)
OPTIONS = ImageOptions(
    Path("alt.iso"), "iso", "p10", "alt-server", (10, 1, 2), "rc", "x86_64", "install",
    "2022-08-18", "https://example.org/",
)  # fmt: skip


def test_tag() -> None:
    """Empty parts stay as empty fields; the day is no part."""
    assert OPTIONS.tag == "p10:alt-server:::rc.10.1.2:x86_64:install:iso"


def test_times_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert utc_text(1_650_123_456) == "2022-04-16T15:37:36+00:00"


# In a process


def two_results_and_an_error(counter: ByteCounter) -> Iterator[int]:
    counter.add(5)
    yield 1
    counter.add(7)
    yield 2
    raise SourceError("file: broken")


def nothing_more() -> Iterator[int]:
    yield from ()
    os._exit(3)


def test_results_come_one_by_one() -> None:
    counter = ByteCounter()
    with limited_process(two_results_and_an_error, counter, name="file", limits=LIMITS) as process:
        assert process.next_result() == 1
        assert process.next_result() == 2
        assert counter.value == 12
        with pytest.raises(SourceError, match=r"^file: broken$"):
            process.next_result()


def test_process_that_dies() -> None:
    with (
        limited_process(nothing_more, name="file", limits=LIMITS) as process,
        pytest.raises(SourceError, match=r"^file: image damaged or too complex$"),
    ):
        process.next_result()


def test_no_gost_is_said_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextmanager
    def no_gost() -> Iterator[GostDigest]:
        raise AltrepodbError("GOST cannot be computed")
        yield

    monkeypatch.setattr(reading, "open_gost", no_gost)
    with pytest.raises(AltrepodbError, match="GOST cannot be computed"):
        next(reading.read_image(OPTIONS, ByteCounter()))


def test_scratch_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made when it is needed, and what a reader leaves there is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for place in (tmp_path, None):
        with reading.scratch_directory(place) as scratch:
            assert os.listdir(tmp_path) == []
            with scratch_file([b"kept"], "image", scratch, 10) as source:
                assert source.pread(4, 0) == b"kept"
                (scratch / "left").write_bytes(b"x")
            assert os.listdir(tmp_path) == [scratch.name]
        assert os.listdir(tmp_path) == []
    with (
        pytest.raises(ConfigurationError, match="nowhere: no such directory"),
        reading.scratch_directory(tmp_path / "nowhere"),
    ):
        pass


# What is read


def test_package_inside_a_file() -> None:
    package = RpmPackage("hello", release="alt2")
    data = compose(package).data
    source = Slice(BytesSource(b"before" + data + b"behind"), 6, len(data), "disc: hello.rpm")
    found = read_package(source, b"ALTLinux/RPMS.main/hello.rpm")
    assert found.header.string(tags.RELEASE) == b"alt2"
    assert package_identity(found) >> 32 == (package.buildtime or 0) - 1_000_000_000


@pytest.mark.parametrize("size", [0, 50, 96, 100, 300, 700])
def test_truncated_package_inside_a_file(size: int) -> None:
    data = compose(RpmPackage("hello")).data
    assert len(data) > size
    with pytest.raises(SourceError, match=r"^disc: hello\.rpm: truncated"):
        read_package(BytesSource(data[:size], "disc: hello.rpm"), b"hello.rpm")


def test_accounts() -> None:
    """The first name of a number counts; malformed lines say nothing."""
    text = b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0\nbroken\n:x:5:\nodd:x:no:\nold\xff:x:7\n"
    assert read_accounts(text) == {0: b"root", 7: b"old\xff"}
    assert read_accounts(b"huge:x:" + b"9" * 5000 + b":\n") == {}
