"""Package files: where their parts lie, what they state, and how they may be broken."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from altrepodb.errors import SourceError
from altrepodb.rpm.package_file import PackageFile, open_package, printable
from tests.support.damage import rpm_cuts
from tests.support.descriptors import open_below
from tests.support.rpm_file import ComposedRpm, compose, compose_rpm
from tests.support.rpm_header import MAGIC, Entry, binary, int32, int64, string
from tests.support.rpm_package import Dependency, RpmFile, RpmLayout, RpmPackage

SAMPLE = RpmPackage("sample", files=[RpmFile("/usr/bin/sample", b"body")])
SOURCE = RpmPackage("sample", source=True, files=[RpmFile("sample.spec", b"Name: sample\n")])
MIB = 1024 * 1024


def write(path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path.write_bytes(data)
    return path


def refused(path: Path, words: str) -> str:
    """The one error that opening the file must end in."""
    with pytest.raises(SourceError, match=words) as caught, open_package(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def with_intro(entries: int, data_bytes: int, of_main: bool, total: int) -> bytes:
    """A package that announces a header of some size, filled up to ``total`` bytes."""
    intro = MAGIC + struct.pack(">II", entries, data_bytes)
    start = compose(SAMPLE).data[:96]
    signature = MAGIC + struct.pack(">II", 0, 0)
    return (start + (signature + intro if of_main else intro)).ljust(total, b"\0")


# Where things are


def test_parts_of_a_package(tmp_path: Path) -> None:
    rpm = compose(SAMPLE, RpmLayout(gpg=b"signature"))
    path = write(tmp_path / "sample.rpm", rpm.data)
    with open_package(path) as package:
        assert package.name == str(path)
        assert package.path == os.fsencode(path)
        assert package.file_size == len(rpm.data)
        assert package.header.string(1000) == b"sample"
        assert package.header_sha1 == package.signed_sha1 == rpm.header_sha1
        assert package.signed_md5 == rpm.body_md5
        assert package.gpg_signature == b"signature"
        assert package.payload_offset == rpm.header_end
        assert not package.is_source


@pytest.mark.parametrize("padding", range(8))
def test_main_header_is_found_behind_any_padding(tmp_path: Path, padding: int) -> None:
    rpm = compose(SAMPLE, RpmLayout(padding=padding))
    with open_package(write(tmp_path / "sample.rpm", rpm.data)) as package:
        assert package.header.string(1000) == b"sample"
        assert package.header_sha1 == rpm.header_sha1


@pytest.mark.parametrize("size", [4128, 40_000, 2 * MIB])
def test_reserved_space_is_passed_over(tmp_path: Path, size: int) -> None:
    """Also where it is larger than what is read at first."""
    rpm = compose(SAMPLE, RpmLayout(reserved_space=size))
    with open_package(write(tmp_path / "sample.rpm", rpm.data)) as package:
        assert package.header_sha1 == rpm.header_sha1
        assert package.payload_offset == rpm.header_end


def test_header_larger_than_the_first_read(tmp_path: Path) -> None:
    many = RpmPackage("sample", provides=[Dependency(f"provide-{n}") for n in range(20_000)])
    rpm = compose(many)
    with open_package(write(tmp_path / "sample.rpm", rpm.data)) as package:
        assert package.header.strings(1047)[-1] == b"provide-19999"
        assert package.header_sha1 == rpm.header_sha1


def test_links_are_followed(tmp_path: Path) -> None:
    data = compose_rpm(SAMPLE)
    link = tmp_path / "link.rpm"
    link.symlink_to(write(tmp_path / "sample.rpm", data))
    with open_package(link) as package:
        assert package.file_size == len(data)
        assert package.path == os.fsencode(link)


@pytest.mark.parametrize("kind", [str, bytes, Path])
def test_any_kind_of_path(tmp_path: Path, kind: type) -> None:
    path = write(tmp_path / "sample.rpm", compose_rpm(SAMPLE))
    with open_package(os.fsencode(path) if kind is bytes else kind(path)) as package:
        assert package.name == str(path)


# What is stated


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (RpmLayout(main={1046: int32(1046, 11)}, signature={1007: int32(1007, 12)}), 11),
        (RpmLayout(main={1046: None}, signature={1007: int32(1007, 12)}), 12),
        (RpmLayout(main={1046: None}, signature={271: int64(271, 6 << 30)}), 6 << 30),
        (RpmLayout(main={1046: None, 271: int64(271, 6 << 30)}), 6 << 30),
        (RpmLayout(main={1046: None}), 0),
        (RpmLayout(main={1046: int32(1046)}), 0),
    ],
    ids=["main", "signature", "long in signature", "long in main", "nowhere", "no value"],
)
def test_archive_size(tmp_path: Path, layout: RpmLayout, size: int) -> None:
    with open_package(write(tmp_path / "x.rpm", compose_rpm(SAMPLE, layout))) as package:
        assert package.archive_size == size


def test_archive_size_of_both_styles(tmp_path: Path) -> None:
    """ALT states it in the main header, upstream among the signatures; it is the same."""
    sizes = []
    for style in ("alt", "upstream"):
        data = compose_rpm(SAMPLE, RpmLayout(style=style))
        with open_package(write(tmp_path / "x.rpm", data)) as package:
            sizes.append(package.archive_size)
    assert sizes[0] == sizes[1] > 0


@pytest.mark.parametrize(
    ("lead_type", "main", "expected"),
    [
        (1, {1044: None, 1106: None}, True),
        (1, {1044: None, 1106: int32(1106, 1)}, True),
        (0, {1044: None, 1106: int32(1106, 1)}, True),
        (0, {1044: None, 1106: int32(1106, 0)}, False),
        (0, {1044: None, 1106: None}, False),
        (0, {1044: string(1044, "x.src.rpm"), 1106: None}, False),
        (1, {1044: string(1044, "x.src.rpm"), 1106: None}, False),
    ],
)
def test_what_is_a_source_package(
    tmp_path: Path, lead_type: int, main: Mapping[int, Entry | None], expected: bool
) -> None:
    layout = RpmLayout(lead_type=lead_type, main=main)
    with open_package(write(tmp_path / "x.rpm", compose_rpm(SAMPLE, layout))) as package:
        assert package.is_source is expected


@pytest.mark.parametrize("style", ["alt", "upstream"])
def test_sources_of_both_styles(tmp_path: Path, style: str) -> None:
    layout = RpmLayout(style=style)  # type: ignore[arg-type]
    with open_package(write(tmp_path / "x.src.rpm", compose_rpm(SOURCE, layout))) as package:
        assert package.is_source


DIGEST = hashlib.sha1(b"header").hexdigest()


@pytest.mark.parametrize(
    "layout",
    [
        RpmLayout(signature={269: string(269, DIGEST)}),
        RpmLayout(signature={269: string(269, DIGEST.upper())}),
        RpmLayout(signature={269: string(269, "0" * 40)}, main={269: string(269, DIGEST)}),
    ],
    ids=["in the signature", "in capitals", "in the main header too"],
)
def test_stated_sha1(tmp_path: Path, layout: RpmLayout) -> None:
    with open_package(write(tmp_path / "x.rpm", compose_rpm(SAMPLE, layout))) as package:
        assert package.signed_sha1.hex() == DIGEST


@pytest.mark.parametrize(
    "text",
    [DIGEST[:-1], DIGEST[:-2], DIGEST + "00", DIGEST[:-1] + "g", "x", "П" * 40, " " + DIGEST],
)
def test_stated_sha1_that_is_none(tmp_path: Path, text: str) -> None:
    path = write(
        tmp_path / "x.rpm", compose_rpm(SAMPLE, RpmLayout(signature={269: string(269, text)}))
    )
    with (
        open_package(path) as package,
        pytest.raises(SourceError, match=f"{path}: signature header: tag 269: .* is no SHA-1"),
    ):
        _ = package.signed_sha1


def test_digests_and_signature_may_be_absent(tmp_path: Path) -> None:
    layout = RpmLayout(signature={269: None, 1004: None, 1005: None})
    with open_package(write(tmp_path / "x.rpm", compose_rpm(SAMPLE, layout))) as package:
        assert package.signed_sha1 == package.signed_md5 == package.gpg_signature == b""


def test_first_of_two_gpg_signatures(tmp_path: Path) -> None:
    layout = RpmLayout(gpg=b"first", signature_extra=[binary(1005, b"second")])
    with open_package(write(tmp_path / "x.rpm", compose_rpm(SAMPLE, layout))) as package:
        assert package.gpg_signature == b"first"


@pytest.mark.parametrize(
    ("size", "counted"), [(16382, True), (16383, True), (16384, False), (20000, False)]
)
def test_large_gpg_signatures_do_not_count(tmp_path: Path, size: int, counted: bool) -> None:
    """As librpm drops them; identities must be those of librpm."""
    data = compose_rpm(SAMPLE, RpmLayout(gpg=bytes(size)))
    with open_package(write(tmp_path / "x.rpm", data)) as package:
        assert package.gpg_signature == (bytes(size) if counted else b"")


# The lead


@pytest.mark.parametrize("major", [3, 4])
def test_majors_that_are_read(tmp_path: Path, major: int) -> None:
    data = bytearray(compose_rpm(SAMPLE))
    data[4] = major
    with open_package(write(tmp_path / "x.rpm", bytes(data))) as package:
        assert package.header.string(1000) == b"sample"


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (0, 0xEE, "not an rpm package"),
        (3, 0, "not an rpm package"),
        (4, 2, "unknown major version 2"),
        (4, 5, "unknown major version 5"),
        (7, 2, "unknown package type 2"),
        (6, 1, "unknown package type 256"),
        (79, 4, "unknown signature type 4"),
        (78, 1, "unknown signature type 261"),
    ],
)
def test_lead_is_checked(tmp_path: Path, position: int, value: int, words: str) -> None:
    data = bytearray(compose_rpm(SAMPLE))
    data[position] = value
    refused(write(tmp_path / "x.rpm", bytes(data)), words)


def test_rest_of_the_lead_is_ignored(tmp_path: Path) -> None:
    data = bytearray(compose_rpm(SAMPLE))
    for position in (5, 8, 9, *range(10, 76), 76, 77, *range(80, 96)):
        data[position] ^= 0xFF
    with open_package(write(tmp_path / "x.rpm", bytes(data))) as package:
        assert package.header.string(1000) == b"sample"


# Limits


@pytest.mark.parametrize(
    ("of_main", "entries", "data_bytes"),
    [(False, 32, 64 * MIB), (True, 65535, 0x0FFFFFFF)],
    ids=["signature", "main"],
)
def test_announced_sizes_are_checked_before_memory_is_taken(
    tmp_path: Path, of_main: bool, entries: int, data_bytes: int
) -> None:
    """What is within the limits must be in the file; what is above is not even looked for."""
    part = "main header" if of_main else "signature header"
    cases = [
        (entries, data_bytes - 1, f"truncated in the {part}"),
        (entries, data_bytes, f"truncated in the {part}"),
        (entries, data_bytes + 1, f"{part}: header has {data_bytes + 1} bytes"),
        (entries + 1, 16, f"{part}: header has {entries + 1} entries"),
        (0xFFFFFFFF, 0xFFFFFFFF, f"{part}: header has 4294967295 entries"),
    ]
    for count, size, words in cases:
        path = write(tmp_path / "x.rpm", with_intro(count, size, of_main, 200))
        tracemalloc.start()
        try:
            refused(path, words)
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(("extra", "words"), [(0, None), (1, "33 entries, limit 32")])
def test_number_of_signature_entries(tmp_path: Path, extra: int, words: str | None) -> None:
    """A real one at the limit, and above it."""
    present = 4  # region, SHA-1, size, MD5
    entries = [binary(2000 + n, b"x") for n in range(32 - present + extra)]
    data = compose_rpm(SAMPLE, RpmLayout(signature_extra=entries))
    path = write(tmp_path / "x.rpm", data)
    if words:
        refused(path, words)
    else:
        with open_package(path) as package:
            assert len(package.signature.entries) == 32


def test_main_header_of_20_mib(tmp_path: Path) -> None:
    package = RpmPackage("large", description="x" * (20 * MIB))
    with open_package(write(tmp_path / "x.rpm", compose_rpm(package))) as opened:
        assert len(opened.header.translated(1005)) == 20 * MIB


# Damage


@pytest.fixture(scope="module")
def small() -> ComposedRpm:
    """A package with headers of a few hundred bytes."""
    removed = dict.fromkeys([1004, 1005, 1016, 1011, 1010, 1014, 1015, 1094, 1126, 1007])
    return compose(RpmPackage("s"), RpmLayout(main=removed, compressor="none"))


def test_truncation_at_every_byte(tmp_path: Path, small: ComposedRpm) -> None:
    """Whatever is cut off before the payload: one error that names the file."""
    path = tmp_path / "cut.rpm"
    for length in range(small.header_end):
        write(path, small.data[:length])
        refused(path, "truncated in the")
    write(path, small.data[: small.header_end])
    with open_package(path) as package:
        assert package.header.string(1000) == b"s"


def test_truncation_in_every_part(tmp_path: Path) -> None:
    data = compose_rpm(SAMPLE, RpmLayout(reserved_space=50_000))
    for part, length in rpm_cuts(data).items():
        path = write(tmp_path / "cut.rpm", data[:length])
        if part == "payload":
            with open_package(path) as package:
                assert package.file_size == length
        else:
            refused(path, "truncated in the")


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Ends a test that hangs."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("directory", "Is a directory"),
        ("pipe", "Illegal seek"),
        ("missing", "No such file"),
        ("zero", "not an rpm package"),
        ("file/below", "Not a directory"),
    ],
)
def test_what_is_no_regular_file(tmp_path: Path, name: str, words: str, no_waiting: None) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    write(tmp_path / "file", b"")
    refused(tmp_path / name, words)


def test_empty_file(tmp_path: Path) -> None:
    refused(write(tmp_path / "empty.rpm", b""), "truncated in the lead")


def test_descriptors_are_closed(tmp_path: Path) -> None:
    good = write(tmp_path / "good.rpm", compose_rpm(SAMPLE))
    bad = write(tmp_path / "bad.rpm", compose_rpm(SAMPLE)[:200])
    with open_package(good) as package:
        opened: PackageFile = package
        assert open_below(tmp_path) == [str(good)]
    refused(bad, "truncated")
    assert open_below(tmp_path) == []
    with pytest.raises(OSError):
        os.fstat(opened.descriptor)


def test_names_are_shown_escaped(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"odd-\xff.rpm")
    with pytest.raises(SourceError, match=r"/odd-\\xff\.rpm: No such file"), open_package(path):
        pass
    assert printable("Привет") == "Привет"
    assert printable(b"\xffx") == r"\xffx"
