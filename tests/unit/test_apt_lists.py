"""Header lists, hash lists and release files: sound ones, damaged ones, hostile ones."""

from __future__ import annotations

import hashlib
import lzma
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.rpm import apt_lists as lists_module
from altrepodb.rpm.apt_lists import (
    ListedPackage,
    read_hash_list,
    read_package_list,
    read_release,
)
from tests.support.apt_lists import (
    ListedFile,
    ReleaseInfo,
    hash_list,
    list_entries,
    list_header,
    release_file,
)
from tests.support.compressors import compress, xz_blocks, xz_streams
from tests.support.rpm_header import MAGIC, Entry, build_header, int32, string
from tests.support.rpm_package import ChangelogEntry, Dependency, RpmFile, RpmPackage

MIB = 1024 * 1024
MD5 = hashlib.md5(b"file").hexdigest()
SHA256 = hashlib.sha256(b"file").hexdigest()
BLAKE2B = hashlib.blake2b(b"file").hexdigest()
NAME, SIZE, MD5_TAG, SHA256_TAG, BLAKE2B_TAG = 1000000, 1000001, 1000005, 1000007, 1000009


def header(*entries: Entry) -> bytes:
    """One header of a list: a sound one in which these entries replace others."""
    usual = {NAME: string(NAME, "a-1-alt1.noarch.rpm"), MD5_TAG: string(MD5_TAG, MD5)}
    usual |= {entry.tag: entry for entry in entries}
    return build_header(usual.values(), region=None)


def without(tag: int) -> bytes:
    """One header of a list that lacks a tag."""
    entries = [string(NAME, "a.rpm"), int32(SIZE, 5), string(MD5_TAG, MD5)]
    return build_header([entry for entry in entries if entry.tag != tag], region=None)


def realistic(number: int) -> bytes:
    """One header with all that genbasedir writes."""
    package = RpmPackage(
        f"package-{number}",
        files=[RpmFile(f"/usr/bin/{number}", b"x")],
        requires=[Dependency("libc.so.6")],
        changelog=[ChangelogEntry(1, "Ivan <i@x> 1.0-alt1", "- Built.")],
    )
    listed = ListedFile(package.file_name, 1000 + number, MD5, BLAKE2B)
    return list_header(list_entries(package, listed), "RPMS.classic")


def write_list(tmp_path: Path, content: bytes) -> Path:
    """A compressed list."""
    path = tmp_path / "pkglist.classic.xz"
    path.write_bytes(xz_streams(content))
    return path


def refused(read: Callable[[Path], object], path: Path, words: str) -> None:
    """Reading must end in one error that names the file."""
    with pytest.raises(SourceError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """What is done inside takes less memory than that at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# Header lists


def test_what_a_header_tells(tmp_path: Path) -> None:
    full = header(int32(SIZE, 77), string(SHA256_TAG, SHA256), string(BLAKE2B_TAG, BLAKE2B))
    md5, sha256, blake2b = map(bytes.fromhex, (MD5, SHA256, BLAKE2B))
    assert read_package_list(write_list(tmp_path, full + header())) == [
        ListedPackage(b"a-1-alt1.noarch.rpm", 77, md5, sha256, blake2b),
        ListedPackage(b"a-1-alt1.noarch.rpm", None, md5, None, None),
    ]


def test_real_shape_of_a_list(tmp_path: Path) -> None:
    listed = read_package_list(write_list(tmp_path, b"".join(map(realistic, range(50)))))
    assert [package.size for package in listed] == list(range(1000, 1050))
    assert listed[7].file_name == b"package-7-1.0-alt1.x86_64.rpm"
    assert {package.blake2b for package in listed} == {bytes.fromhex(BLAKE2B)}


def test_size_zero_is_a_size(tmp_path: Path) -> None:
    """And not one that is unknown."""
    assert read_package_list(write_list(tmp_path, header(int32(SIZE, 0))))[0].size == 0


def test_capital_digits_are_digits(tmp_path: Path) -> None:
    path = write_list(tmp_path, header(string(MD5_TAG, MD5.upper())))
    assert read_package_list(path)[0].md5 == bytes.fromhex(MD5)


@pytest.mark.parametrize("content", [xz_streams(b""), xz_streams(b"") * 3], ids=["one", "three"])
def test_empty_list_is_legal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pkglist.classic.xz"
    path.write_bytes(content)
    assert read_package_list(path) == []


def test_streams_cut_inside_headers(tmp_path: Path) -> None:
    """A header lies across the boundary of two streams, anywhere in it."""
    content = b"".join(map(realistic, range(3)))
    path = tmp_path / "pkglist.classic.xz"
    expected = read_package_list(write_list(tmp_path, content))
    for cut in range(0, len(content), 37):
        path.write_bytes(xz_streams(content, [cut]))
        assert read_package_list(path) == expected
    path.write_bytes(xz_blocks(content, block_size=100) + bytes(8))
    assert read_package_list(path) == expected


def test_list_of_many_chunks(tmp_path: Path) -> None:
    """Headers lie across the pieces in which the list is decompressed, and are larger than one."""
    large = header(string(1005, "x" * 500_000))
    content = b"".join([realistic(n) for n in range(2000)] + [large, realistic(2000)])
    listed = read_package_list(write_list(tmp_path, content))
    assert len(listed) == 2002
    assert listed[-1].size == 3000


@pytest.mark.parametrize(
    "damaged",
    [
        header() + b"garbage of sixteen bytes or more" + header(),
        header() + b"\x8e\xad\xe8\x02" + header()[4:],
        b"\0" * 16 + header(),
    ],
    ids=["garbage", "magic", "zeros"],
)
def test_garbage_between_headers(tmp_path: Path, damaged: bytes) -> None:
    refused(
        read_package_list, write_list(tmp_path, damaged), r"header at byte \d+: no header magic"
    )


@pytest.mark.parametrize("count", [1, 5, 15])
def test_trailing_bytes(tmp_path: Path, count: int) -> None:
    path = write_list(tmp_path, header() + b"\x8e" * count)
    refused(read_package_list, path, f"{count} bytes left over at byte {len(header())}$")


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    """Of the list that was compressed: a list may only end where a header does."""
    content = header() + header()
    for length in range(1, len(content)):
        path = write_list(tmp_path, content[:length])
        if length == len(header()):
            assert len(read_package_list(path)) == 1
        else:
            refused(read_package_list, path, "bytes left over at byte")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (without(NAME), "b'' is no file name"),
        (without(MD5_TAG), "no MD5 of a.rpm"),
        (header(string(MD5_TAG, "")), "no MD5 of"),
        (header(string(MD5_TAG, MD5[:31])), "tag 1000005: .* is no digest of 16 bytes"),
        (header(string(MD5_TAG, MD5 + "0")), "no digest of 16 bytes"),
        (header(string(MD5_TAG, MD5[:-1] + "g")), "no digest of 16 bytes"),
        (header(string(MD5_TAG, " " + MD5)), "no digest of 16 bytes"),
        (header(string(MD5_TAG, "П" * 16)), "no digest of 16 bytes"),
        (header(string(SHA256_TAG, MD5)), "tag 1000007: .* is no digest of 32 bytes"),
        (header(string(BLAKE2B_TAG, SHA256)), "tag 1000009: .* is no digest of 64 bytes"),
        (header(int32(MD5_TAG, 5)), "tag 1000005: type 4 where text is needed"),
        (header(string(SIZE, "5")), "tag 1000001: type 6 where numbers are needed"),
    ],
)
def test_headers_that_lack_what_we_need(tmp_path: Path, content: bytes, words: str) -> None:
    refused(read_package_list, write_list(tmp_path, realistic(1) + content), words)


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "../x.rpm", "a/b", "a" * 256])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """No name may lead out of its directory."""
    path = write_list(tmp_path, header(string(NAME, name)))
    refused(read_package_list, path, "is no file name")
    line = f"{SHA256}  {name or '/'}\n".encode()
    refused(read_hash_list, write_list(tmp_path, line), "line 1: .* is no file name")


@pytest.mark.parametrize("name", [b"a" * 254, b"a" * 255, b"...", b"\xff\xfe.rpm", "имя".encode()])
def test_names_that_are_names(tmp_path: Path, name: bytes) -> None:
    listed = read_package_list(write_list(tmp_path, header(string(NAME, name))))
    assert listed[0].file_name == name
    line = SHA256.encode() + b"  " + name
    assert list(read_hash_list(write_list(tmp_path, line))) == [name]


def test_nul_is_in_no_name(tmp_path: Path) -> None:
    """A text of a header ends there; in a list of lines it may stand anywhere."""
    line = SHA256.encode() + b"  a\0b.rpm\n"
    refused(read_hash_list, write_list(tmp_path, line), "line 1: .* is no file name")


def test_number_of_packages_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists_module, "_MAX_LIST_PACKAGES", 3)
    lines = [f"{SHA256}  {n}.rpm\n".encode() for n in range(4)]
    for count in (2, 3):
        assert len(read_package_list(write_list(tmp_path, header() * count))) == count
        assert len(read_hash_list(write_list(tmp_path, b"".join(lines[:count])))) == count
    refused(read_package_list, write_list(tmp_path, header() * 4), "more than 3 packages")
    refused(read_hash_list, write_list(tmp_path, b"".join(lines)), "more than 3 files")


@pytest.mark.parametrize("read", [read_package_list, read_hash_list])
def test_decompressed_size_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    unit = header() if read is read_package_list else f"{SHA256}  a.rpm\n".encode()
    monkeypatch.setattr(lists_module, "_MAX_LIST_BYTES", 2 * len(unit))
    for count in (1, 2):
        read(write_list(tmp_path, unit * count))
    refused(read, write_list(tmp_path, unit * 3), f"more than {2 * len(unit)} bytes decompressed")


@pytest.mark.parametrize(
    ("entries", "size"), [(0x10000, 16), (0xFFFFFFFF, 0xFFFFFFFF), (1, 0x02000000)]
)
def test_announced_sizes_are_checked_before_memory_is_taken(
    tmp_path: Path, entries: int, size: int
) -> None:
    path = write_list(tmp_path, MAGIC + struct.pack(">II", entries, size) + bytes(100))
    with memory_below(2 * MIB):
        refused(read_package_list, path, "header at byte 0: header has")


@pytest.mark.parametrize(
    ("read", "words"), [(read_package_list, "no header"), (read_hash_list, "line")]
)
def test_bomb(tmp_path: Path, read: Callable[[Path], object], words: str) -> None:
    """A hundred megabytes of nothing end at their first piece."""
    packer = lzma.LZMACompressor(preset=0)
    parts = [packer.compress(bytes(MIB)) for _ in range(100)]
    path = tmp_path / "bomb.xz"
    path.write_bytes(b"".join([*parts, packer.flush()]))
    with memory_below(4 * MIB):
        refused(read, path, words)


@pytest.mark.parametrize("read", [read_package_list, read_hash_list])
@pytest.mark.parametrize("compressor", ["gzip", "bzip2", "lzma", "zstd", "none"])
def test_lists_are_xz(tmp_path: Path, read: Callable[[Path], object], compressor: str) -> None:
    path = tmp_path / "pkglist.classic.xz"
    path.write_bytes(compress(header(), compressor))  # type: ignore[arg-type]
    refused(read, path, "not an xz file")


@pytest.mark.parametrize("read", [read_package_list, read_hash_list])
def test_damaged_xz(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Truncated anywhere, or any byte changed: no list is accepted in part."""
    unit = header() if read is read_package_list else f"{SHA256}  a.rpm\n".encode()
    content = xz_streams(unit)
    path = tmp_path / "list.xz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(read, path, "not an xz file|damaged xz data")
        path.write_bytes(content[:length] + bytes([content[length] ^ 1]) + content[length + 1 :])
        refused(read, path, "not an xz file|damaged xz data")


@pytest.mark.parametrize("read", [read_package_list, read_hash_list, read_release])
def test_files_that_cannot_be_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    refused(read, tmp_path / "missing", "No such file")
    refused(read, tmp_path, "Is a directory")


# Hash lists


def test_hash_list(tmp_path: Path) -> None:
    path = tmp_path / "src.hash.xz"
    path.write_bytes(hash_list({"a.rpm": SHA256, "имя-1.rpm": "0" * 64}))
    assert read_hash_list(path) == {
        b"a.rpm": bytes.fromhex(SHA256),
        "имя-1.rpm".encode(): bytes(32),
    }


@pytest.mark.parametrize(
    "content",
    [
        f"{SHA256}  a.rpm",
        f"{SHA256}\ta.rpm\n",
        f"\n\n  \n{SHA256}  a.rpm\n\n",
        f"{SHA256.upper()} a.rpm further words\r\n",
    ],
)
def test_shapes_of_lines(tmp_path: Path, content: str) -> None:
    digests = read_hash_list(write_list(tmp_path, content.encode()))
    assert digests == {b"a.rpm": bytes.fromhex(SHA256)}


@pytest.mark.parametrize("line", [SHA256, MD5 + "  a", SHA256 + "00 a", SHA256[:-1] + "g a", "П a"])
def test_lines_that_are_none(tmp_path: Path, line: str) -> None:
    path = write_list(tmp_path, f"{SHA256}  good.rpm\n{line}\n".encode())
    refused(read_hash_list, path, "line 2: not a SHA-256 and a file name")


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n" + b"x" * 200_000])
def test_length_of_lines(tmp_path: Path, ending: bytes) -> None:
    """Wherever the pieces end in which the list is decompressed."""
    line = f"{SHA256}  a.rpm".encode()
    for length in (4095, 4096):
        path = write_list(tmp_path, line.ljust(length))
        assert len(read_hash_list(path)) == 1
    path = write_list(tmp_path, line.ljust(4097) + ending)
    refused(read_hash_list, path, "line of more than 4096 bytes")


def test_hash_list_of_many_chunks(tmp_path: Path) -> None:
    names = [f"package-{n}.rpm" for n in range(20_000)]
    path = tmp_path / "src.hash.xz"
    path.write_bytes(hash_list(dict.fromkeys(names, SHA256)))
    assert sorted(read_hash_list(path)) == sorted(name.encode() for name in names)


# Release files


def write_release(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "release"
    path.write_bytes(content)
    return path


INFO = ReleaseInfo("x86_64", ["classic", "debuginfo"], label="Сизиф")
CONTENTS = {"base/pkglist.classic": b"list", "base/pkglist.classic.xz": b"compressed list"}


@pytest.mark.parametrize("blake2b", [True, False])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_release(tmp_path: Path, blake2b: bool, line_end: bytes) -> None:
    info = ReleaseInfo("x86_64", ["classic", "debuginfo"], label=b"\xd1\xff", blake2b=blake2b)
    content = release_file(info, CONTENTS).replace(b"\n", line_end)
    release = read_release(write_release(tmp_path, content))
    assert release.components == ["classic", "debuginfo"]
    assert release.has_blake2b is blake2b
    assert set(release.checksums) == set(CONTENTS)
    checksum = release.checksums["base/pkglist.classic"]
    algorithm = "blake2b" if blake2b else "md5"
    assert checksum == (algorithm, hashlib.new(algorithm, b"list").hexdigest(), 4)


def test_release_without_components(tmp_path: Path) -> None:
    content = release_file(ReleaseInfo("x86_64", None), {})
    release = read_release(write_release(tmp_path, content))
    assert release.components == []
    assert release.checksums == {}
    assert read_release(write_release(tmp_path, b"")).components == []


@pytest.mark.parametrize(
    ("line", "components"),
    [
        (b"Components:", []),
        (b"Components: classic classic  gostcrypto\t", ["classic", "gostcrypto"]),
        (b"Components: a\nComponents: b", ["a"]),
        ("Components: имя".encode(), ["имя"]),
        (b"Components: \xff", ["\udcff"]),
    ],
)
def test_components(tmp_path: Path, line: bytes, components: list[str]) -> None:
    assert read_release(write_release(tmp_path, line)).components == components


@pytest.mark.parametrize("name", [b"..", b"a/b", b"/", b"a\0b", b"a" * 256])
def test_components_that_are_none(tmp_path: Path, name: bytes) -> None:
    path = write_release(tmp_path, b"Origin: x\nComponents: classic " + name + b"\n")
    refused(read_release, path, "line 2: .* is no file name")


def test_both_sections_whatever_their_order(tmp_path: Path) -> None:
    md5 = f" {MD5} 4 list".encode()
    blake2b = f" {BLAKE2B} 4 list".encode()
    for lines in (
        [b"MD5Sum:", md5, b"BLAKE2b:", blake2b],
        [b"BLAKE2b:", blake2b, b"MD5Sum:", md5],
    ):
        release = read_release(write_release(tmp_path, b"\n".join(lines)))
        assert release.checksums["list"] == ("blake2b", BLAKE2B, 4)


@pytest.mark.parametrize(
    "line",
    [
        f"{MD5} 4",
        f"{MD5} 4 list more",
        f"{MD5[:-1]} 4 list",
        f"{MD5[:-1]}g 4 list",
        f"{BLAKE2B} 4 list",
        f"{MD5} -4 list",
        f"{MD5} 0x4 list",
        f"{MD5} 1234567890123456789 list",
        "",
    ],
)
def test_checksums_that_are_none(tmp_path: Path, line: str) -> None:
    path = write_release(tmp_path, f"Origin: x\nMD5Sum:\n {line}\n".encode())
    refused(read_release, path, "line 3: not a md5 checksum")


def test_other_sections_are_left_alone(tmp_path: Path) -> None:
    """Whatever their lines look like, up to the next section that we know."""
    content = f"SHA256:\n some thing\nMD5Sum:\n {MD5} 4 list\nSHA512:\n x\n".encode()
    release = read_release(write_release(tmp_path, content))
    assert list(release.checksums) == ["list"]


def test_size_of_a_release_file(tmp_path: Path) -> None:
    """Just below, at and above the limit."""
    limit = lists_module._MAX_RELEASE_BYTES
    content = b"Origin: something\n" * (limit // 18 + 1)
    for size in (limit - 1, limit):
        read_release(write_release(tmp_path, content[:size]))
    refused(read_release, write_release(tmp_path, content[: limit + 1]), f"more than {limit} bytes")


@pytest.mark.parametrize("line", [b"\n", b"ab\n", b"Components: a\n"])
def test_memory_for_a_release(tmp_path: Path, line: bytes) -> None:
    """A line is an object of its own, so the limit on the file is what bounds them."""
    limit = lists_module._MAX_RELEASE_BYTES
    path = write_release(tmp_path, line * (limit // len(line)))
    with memory_below(32 * MIB):
        read_release(path)


@pytest.mark.parametrize("size", [4095, 4096, 4097])
def test_length_of_release_lines(tmp_path: Path, size: int) -> None:
    path = write_release(tmp_path, b"Origin: x\n" + b"y" * size)
    if size > 4096:
        refused(read_release, path, "line of more than 4096 bytes")
    else:
        read_release(path)


@pytest.mark.parametrize("blake2b", [True, False])
def test_lists_are_held_against_the_release(tmp_path: Path, blake2b: bool) -> None:
    info = ReleaseInfo("x86_64", ["classic"], blake2b=blake2b)
    path = write_release(tmp_path, release_file(info, {"base/list": b"content"}))
    release = read_release(path)
    listed = tmp_path / "list"
    listed.write_bytes(b"content")
    assert release.check(listed, "base/list") is None
    assert release.check(listed, "base/other") == f"{path}: base/other is not mentioned"
    for wrong, words in (
        (b"c0ntent", "(blake2b|md5) does not match"),
        (b"content+", f"8 bytes where {path} says 7"),
        (b"", f"0 bytes where {path} says 7"),
    ):
        listed.write_bytes(wrong)
        refused(lambda file: release.check(file, "base/list"), listed, words)
    refused(lambda file: release.check(file, "base/list"), tmp_path / "gone", "No such file")


# Properties


@settings(deadline=None)
@given(content=st.binary(max_size=200), start=st.sampled_from([b"", header(), header()[:16]]))
def test_any_list(tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes) -> None:
    """Whatever is in a list, it is read or refused."""
    path = tmp_path_factory.getbasetemp() / "any.xz"
    for data in (xz_streams(start + content), start + content):
        path.write_bytes(data)
        for read in (read_package_list, read_hash_list, read_release):
            try:
                read(path)
            except SourceError as error:
                assert str(error).startswith(f"{path}: ")


_words = st.sampled_from(
    [
        b"MD5Sum:",
        b"BLAKE2b:",
        b"Components:",
        b" ",
        b"\n",
        b"\n ",
        MD5.encode(),
        b"4",
        b"list",
        b"\0",
    ]
)


@settings(deadline=None)
@given(st.lists(st.one_of(_words, st.binary(max_size=4)), max_size=20))
def test_any_release(tmp_path_factory: pytest.TempPathFactory, words: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "release"
    path.write_bytes(b"".join(words))
    try:
        release = read_release(path)
    except SourceError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert not any("/" in name or "\0" in name for name in release.components)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3000), max_size=4), st.integers(1, 400))
def test_pieces_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], block_size: int
) -> None:
    """Streams and blocks may end anywhere."""
    content = b"".join(map(realistic, range(3)))
    path = tmp_path_factory.getbasetemp() / "pieces.xz"
    path.write_bytes(xz_streams(content))
    expected = read_package_list(path)
    path.write_bytes(xz_streams(content, sorted(cut % len(content) for cut in cuts)))
    assert read_package_list(path) == expected
    path.write_bytes(xz_blocks(content, block_size))
    assert read_package_list(path) == expected
