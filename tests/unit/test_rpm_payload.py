"""Spec files out of payloads: every archive format, hard links, bombs, and broken archives."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.rpm import payload as payload_module
from altrepodb.rpm.package_file import open_package
from altrepodb.rpm.payload import MAX_SPEC_BYTES, SpecFile, read_spec_file
from tests.support.compressors import COMPRESSORS, Compressor, compress
from tests.support.cpio import CpioEntry, CpioFormat, build_cpio
from tests.support.rpm_file import compose, compose_rpm
from tests.support.rpm_header import int32, int64, string
from tests.support.rpm_package import (
    FLAG_SPEC,
    RpmFile,
    RpmLayout,
    RpmPackage,
    directory,
)

MIB = 1024 * 1024
FORMATS: list[CpioFormat] = ["070701", "070702", "07070X"]
TIME = 1_656_936_000
SPEC = RpmFile("sample.spec", b"Name: sample\n", mtime=TIME, flags=FLAG_SPEC)
FOUND = SpecFile(b"sample.spec", TIME, b"Name: sample\n")


def source(*files: RpmFile) -> RpmPackage:
    """A source package of these files."""
    return RpmPackage("sample", source=True, files=files)


def spec_of(tmp_path: Path, data: bytes) -> SpecFile | None:
    """The spec file of a package with these bytes."""
    path = tmp_path / "sample.src.rpm"
    path.write_bytes(data)
    with open_package(path) as package:
        return read_spec_file(package)


def with_archive(archive: bytes, package: RpmPackage | None = None) -> bytes:
    """A package whose payload is this, whatever its header says."""
    rpm = compose(package or source(SPEC), RpmLayout(compressor="none"))
    return rpm.data[: rpm.header_end] + archive


def refused(tmp_path: Path, data: bytes, words: str) -> None:
    """Reading the spec file must end in one error that names the package."""
    with pytest.raises(SourceError, match=words) as caught:
        spec_of(tmp_path, data)
    assert str(caught.value).startswith(f"{tmp_path}/sample.src.rpm: ")


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """What is done inside takes less memory than that at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# Formats


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_payload(tmp_path: Path, compressor: Compressor, archive_format: CpioFormat) -> None:
    files = [RpmFile("a.tar", bytes(range(256)) * 700), SPEC, RpmFile("z.patch", b"diff")]
    long_sizes = archive_format == "07070X"
    layout = RpmLayout(compressor=compressor, cpio_format=archive_format, long_sizes=long_sizes)
    assert spec_of(tmp_path, compose_rpm(source(*files), layout)) == FOUND


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("length", range(9))
def test_names_and_contents_of_any_length(
    tmp_path: Path, archive_format: CpioFormat, length: int
) -> None:
    """Both are padded to four bytes, each in its own way."""
    files = [RpmFile("a" * (length + 1), b"x" * (8 - length)), RpmFile("b", b"y" * length), SPEC]
    layout = RpmLayout(cpio_format=archive_format)
    assert spec_of(tmp_path, compose_rpm(source(*files), layout)) == FOUND


@pytest.mark.parametrize("tag", ["gzip", "xz", "unheard-of", None])
def test_magic_counts_before_the_tag(tmp_path: Path, tag: str | None) -> None:
    layout = RpmLayout(compressor="zstd", main={1125: string(1125, tag) if tag else None})
    assert spec_of(tmp_path, compose_rpm(source(SPEC), layout)) == FOUND


def lzma_of_another_dictionary() -> bytes:
    """LZMA-alone data that does not begin with the usual bytes."""
    import lzma

    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 0, "lp": 0, "pb": 0}]
    archive = build_cpio([CpioEntry(b"sample.spec", b"Name: sample\n", mtime=TIME)])
    return lzma.compress(archive, lzma.FORMAT_ALONE, filters=filters)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("lzma", None),
        ("unheard-of", "unknown compressor 'unheard-of'"),
        (None, "damaged gzip data"),
        ("П", "unknown compressor"),
    ],
)
def test_tag_counts_where_there_is_no_magic(
    tmp_path: Path, tag: str | None, words: str | None
) -> None:
    layout = RpmLayout(main={1125: string(1125, tag) if tag else None})
    rpm = compose(source(SPEC), layout)
    data = rpm.data[: rpm.header_end] + lzma_of_another_dictionary()
    if words is None:
        assert spec_of(tmp_path, data) == FOUND
    else:
        refused(tmp_path, data, words)


# Which file it is


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ([RpmFile("aaa-extra.spec"), RpmFile("foo.spec", flags=FLAG_SPEC)], b"foo.spec"),
        ([RpmFile("aaa-extra.spec"), RpmFile("foo.spec")], b"aaa-extra.spec"),
        ([RpmFile("a.patch"), RpmFile("spec")], b"spec"),
        ([RpmFile("unusual", flags=FLAG_SPEC), RpmFile("foo.spec")], b"unusual"),
        (
            [RpmFile("a.spec", flags=FLAG_SPEC), RpmFile("b.spec", flags=FLAG_SPEC)],
            b"a.spec",
        ),
        ([RpmFile("a.spec", mode=0o120777), RpmFile("b.spec")], b"b.spec"),
        ([RpmFile("a.spec", flags=FLAG_SPEC | 16)], b"a.spec"),
        ([RpmFile("a.tar"), RpmFile("not-a-spec"), RpmFile("spec.txt")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("archive_format", FORMATS)
def test_which_file_is_the_spec(
    tmp_path: Path, files: list[RpmFile], name: bytes | None, archive_format: CpioFormat
) -> None:
    data = compose_rpm(source(*files), RpmLayout(cpio_format=archive_format))
    found = spec_of(tmp_path, data)
    assert (found and found.name) == name


def test_leading_directory_is_removed(tmp_path: Path) -> None:
    archive = build_cpio([CpioEntry(b"./sample.spec", b"Name: sample\n", mtime=TIME)])
    assert spec_of(tmp_path, with_archive(archive)) == FOUND


@pytest.mark.parametrize("content", [b"", b"\xcf\xf0\xe8\xe2\xe5\xf2 \xff\0\xfe", b"x" * 200_000])
def test_contents_are_the_bytes(tmp_path: Path, content: bytes) -> None:
    files = [RpmFile("a.tar", b"a"), SPEC._replace(content=content), RpmFile("z", b"z")]
    assert spec_of(tmp_path, compose_rpm(source(*files))) == SpecFile(b"sample.spec", TIME, content)


# Hard links


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("names", [("a", "b"), ("a", "z.patch")])
def test_linked_files_around_the_spec(
    tmp_path: Path, names: tuple[str, str], archive_format: CpioFormat
) -> None:
    links = [RpmFile(name, b"linked contents", inode=77) for name in names]
    files = sorted([*links, SPEC], key=lambda file: str(file.path))
    layout = RpmLayout(cpio_format=archive_format, long_sizes=True)
    assert spec_of(tmp_path, compose_rpm(source(*files), layout)) == FOUND


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("content", [b"Name: sample\n", b""])
def test_spec_that_is_linked_itself(
    tmp_path: Path, archive_format: CpioFormat, content: bytes
) -> None:
    """Its contents come with the last of its names, or never when there are none."""
    spec = SPEC._replace(content=content, inode=5)
    files = [
        RpmFile("other-1", b"other", inode=6),
        spec,
        RpmFile("other-2", b"other", inode=6),
        spec._replace(path="zzz", flags=0, mtime=1),
    ]
    layout = RpmLayout(cpio_format=archive_format)
    assert spec_of(tmp_path, compose_rpm(source(*files), layout)) == SpecFile(
        b"sample.spec", TIME, content
    )


def test_stripped_entries_of_directories_have_no_data(tmp_path: Path) -> None:
    """Although the header states a size for them, as upstream's builder does."""
    files = [directory("adir")._replace(size=4096), SPEC]
    layout = RpmLayout(cpio_format="07070X")
    assert spec_of(tmp_path, compose_rpm(source(*files), layout)) == FOUND


# Limits


@pytest.mark.parametrize("archive_format", FORMATS)
def test_size_of_a_spec_file(tmp_path: Path, archive_format: CpioFormat) -> None:
    """Just below, at and above the limit."""
    for size in (MAX_SPEC_BYTES - 1, MAX_SPEC_BYTES, MAX_SPEC_BYTES + 1):
        spec = SPEC._replace(content=bytes(size))
        layout = RpmLayout(cpio_format=archive_format, compressor="none")
        data = compose_rpm(source(spec), layout)
        if size > MAX_SPEC_BYTES:
            refused(tmp_path, data, f"spec file of {size} bytes")
        else:
            found = spec_of(tmp_path, data)
            assert found is not None and len(found.content) == size


def test_announced_size_is_checked_before_memory_is_taken(tmp_path: Path) -> None:
    entry = cpio_header(size=b"ffffffff", name_size=b"0000000c") + b"sample.spec\0\0\0"
    with memory_below(MIB):
        refused(tmp_path, with_archive(entry), "spec file of 4294967295 bytes")


def cpio_header(magic: bytes = b"070701", **fields: bytes) -> bytes:
    """A header of an entry, its fields being any bytes; the name follows."""
    names = "inode mode uid gid links mtime size major minor rmajor rminor name_size check"
    usual = {"mode": b"000081a4", "links": b"00000001", "name_size": b"00000002"}
    return magic + b"".join(
        fields.get(name, usual.get(name, b"00000000")) for name in names.split()
    )


@pytest.mark.parametrize(
    ("name_size", "words"),
    [
        (0, "file name of 0 bytes"),
        (1, None),
        (4095, None),
        (4096, None),
        (4097, "file name of 4097 bytes"),
        (0xFFFFFFFF, "file name of 4294967295 bytes"),
    ],
)
def test_length_of_a_name(tmp_path: Path, name_size: int, words: str | None) -> None:
    header = cpio_header(name_size=b"%08x" % name_size)
    name = (b"n" * (name_size - 1) + b"\0") if 0 < name_size < 5000 else b""
    entry = header + name + bytes(-(len(header) + len(name)) % 4)
    data = with_archive(entry + build_cpio([CpioEntry(b"sample.spec", b"x", mtime=1)]))
    if words:
        refused(tmp_path, data, words)
    else:
        assert spec_of(tmp_path, data) == SpecFile(b"sample.spec", 1, b"x")


@pytest.mark.parametrize(("slack", "fits"), [(-1, False), (0, True), (1, True)])
def test_payload_may_not_exceed_what_is_stated(
    tmp_path: Path, slack: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_module, "_PAYLOAD_SLACK_BYTES", 0)
    archive = build_cpio([CpioEntry(b"a", b"x" * 1000), CpioEntry(b"sample.spec", b"y" * 9)])
    needed = archive.index(b"y") + 9
    rpm = compose(
        source(SPEC), RpmLayout(compressor="none", main={1046: int32(1046, needed + slack)})
    )
    data = rpm.data[: rpm.header_end] + archive
    if fits:
        assert spec_of(tmp_path, data) is not None
    else:
        refused(tmp_path, data, f"payload is larger than {needed + slack} bytes")


def bomb(tmp_path: Path, layout: RpmLayout, megabytes: int) -> bytes:
    """A package whose payload is that much of nothing in front of the spec file."""
    archive = b"".join(
        [
            cpio_header(size=b"%08x" % (megabytes * MIB)) + b"a\0",
            bytes(megabytes * MIB),
            build_cpio([CpioEntry(b"sample.spec", b"x")]),
        ]
    )
    rpm = compose(source(SPEC), layout)
    return rpm.data[: rpm.header_end] + compress(archive, "xz")


def test_payload_bomb_stops_at_the_stated_size(tmp_path: Path) -> None:
    """The header of the entry is enough to see it; nothing of it is decompressed."""
    data = bomb(tmp_path, RpmLayout(), 64)
    started = time.process_time()
    with memory_below(4 * MIB):
        refused(tmp_path, data, "payload is larger than")
    assert time.process_time() - started < 1


def test_payload_bomb_that_states_its_size(tmp_path: Path) -> None:
    """Many megabytes before the spec are passed over in the memory of a chunk."""
    layout = RpmLayout(main={1046: None}, signature={271: int64(271, 65 * MIB)})
    data = bomb(tmp_path, layout, 64)
    with memory_below(4 * MIB):
        assert spec_of(tmp_path, data) == SpecFile(b"sample.spec", 0, b"x")


def test_whatever_is_stated_there_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_module, "_MAX_PAYLOAD_BYTES", 10 * MIB)
    layout = RpmLayout(main={1046: None}, signature={271: int64(271, 2**64 - 1)})
    refused(tmp_path, bomb(tmp_path, layout, 16), f"payload is larger than {10 * MIB} bytes")


def test_unstated_size_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_module, "_UNSTATED_PAYLOAD_BYTES", 0)
    layout = RpmLayout(main={1046: None})
    refused(tmp_path, bomb(tmp_path, layout, 2), f"payload is larger than {MIB} bytes")


# Damage


@pytest.mark.parametrize(
    "field", "inode mode uid gid links mtime size major minor rmajor rminor name_size".split()
)
@pytest.mark.parametrize(
    "digits", [b"-0000070", b"+0000001", b" 0000001", b"0_000001", b"0x000001", b"  000001"]
)
def test_fields_are_hexadecimal_digits(tmp_path: Path, field: str, digits: bytes) -> None:
    """Nothing that Python's own reading of numbers would take; a negative size goes backwards."""
    archive = cpio_header(**{field: digits}) + b"a\0" + build_cpio([])
    refused(tmp_path, with_archive(archive), "no hexadecimal digits")


@pytest.mark.parametrize("digits", [b"-0000001", b"+0000000", b" 0000000", b"0_000000"])
def test_indexes_are_hexadecimal_digits(tmp_path: Path, digits: bytes) -> None:
    refused(tmp_path, with_archive(b"07070X" + digits + b"\0\0" + bytes(16)), "no hexadecimal")


@pytest.mark.parametrize("index", [1, 2, 0xFFFFFFFF])
def test_index_beyond_the_files(tmp_path: Path, index: int) -> None:
    data = with_archive(b"07070X%08x\0\0" % index + bytes(100))
    refused(tmp_path, data, f"payload names file {index}, which the header lacks")


@pytest.mark.parametrize("tag", [1117, 1030, 1034, 1028])
def test_index_without_a_value(tmp_path: Path, tag: int) -> None:
    layout = RpmLayout(cpio_format="07070X", main={tag: None})
    refused(tmp_path, compose_rpm(source(SPEC), layout), "payload names file 0, which the header")


@pytest.mark.parametrize("magic", [b"070703", b"070707", b"\0\0\0\0\0\0", b"070701"[::-1]])
def test_entry_of_another_format(tmp_path: Path, magic: bytes) -> None:
    first = build_cpio([CpioEntry(b"a", b"x")])[:-124]
    data = with_archive(first + cpio_header(magic) + b"b\0")
    refused(tmp_path, data, "where a cpio entry should be")


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_truncation(tmp_path: Path, compressor: Compressor) -> None:
    """At every byte of the payload: an error, or the spec file when it is out already."""
    files = [RpmFile("a.tar", b"contents" * 3), SPEC]
    rpm = compose(source(*files), RpmLayout(compressor=compressor))
    outcomes = set()
    for length in range(rpm.header_end, len(rpm.data)):
        try:
            found = spec_of(tmp_path, rpm.data[:length])
        except SourceError as error:
            assert str(error).startswith(f"{tmp_path}/sample.src.rpm: ")
            outcomes.add("error")
        else:
            assert found == FOUND
            outcomes.add("found")
    assert "error" in outcomes


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_changed_bytes(tmp_path: Path, compressor: Compressor) -> None:
    """Every byte of the payload in turn: nothing but a SourceError comes out."""
    rpm = compose(source(RpmFile("a.tar", b"contents"), SPEC), RpmLayout(compressor=compressor))
    errors = 0
    for position in range(rpm.header_end, len(rpm.data)):
        damaged = bytearray(rpm.data)
        damaged[position] ^= 0xFF
        try:
            spec_of(tmp_path, bytes(damaged))
        except SourceError as error:
            assert str(error).startswith(f"{tmp_path}/sample.src.rpm: ")
            errors += 1
    assert errors > 10


def test_no_payload(tmp_path: Path) -> None:
    refused(tmp_path, with_archive(b""), "sample.src.rpm: ")


@settings(deadline=None)
@given(archive=st.binary(max_size=300), magic=st.sampled_from([b"070701", b"07070X", b""]))
def test_any_payload(
    tmp_path_factory: pytest.TempPathFactory, archive: bytes, magic: bytes
) -> None:
    try:
        spec_of(tmp_path_factory.getbasetemp(), with_archive(magic + archive))
    except SourceError as error:
        assert "sample.src.rpm: " in str(error)


_FIELDS = st.sampled_from([0, 1, 2, 3, 4, 7, 110, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


@settings(deadline=None)
@given(entries=st.lists(st.tuples(_FIELDS, _FIELDS, _FIELDS, st.binary(max_size=20)), max_size=4))
def test_entries_of_any_sizes(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, int, int, bytes]]
) -> None:
    parts = [
        cpio_header(size=b"%08x" % size, name_size=b"%08x" % length, links=b"%08x" % links) + data
        for size, length, links, data in entries
    ]
    try:
        spec_of(tmp_path_factory.getbasetemp(), with_archive(b"".join(parts) + build_cpio([])))
    except SourceError as error:
        assert "sample.src.rpm: " in str(error)


def test_known_archive_is_what_we_think() -> None:
    """The helper above writes what the composer writes."""
    header = cpio_header(size=b"%08x" % 1, links=b"00000001", minor=b"00000001")
    assert build_cpio([CpioEntry(b"a", b"x")]).startswith(header + b"a\0x")
