"""Package headers -> rows: what each column takes, and what odd headers become."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.packages import batch as batch_module
from altrepodb.packages.batch import (
    DEPENDS_COLUMNS,
    DIGEST_COLUMNS,
    FILE_COLUMNS,
    PACKAGE_COLUMNS,
    SPECFILE_COLUMNS,
    PackageBatch,
    PackageDigests,
    add_package,
)
from altrepodb.rpm import header as header_module
from altrepodb.rpm.package_file import open_package
from altrepodb.rpm.payload import SpecFile, read_spec_file
from tests.support.identity import package_hash, text_hash
from tests.support.rpm_file import compose, compose_rpm
from tests.support.rpm_header import (
    Entry,
    binary,
    int8,
    int16,
    int32,
    int64,
    string,
    string_array,
)
from tests.support.rpm_package import (
    FLAG_GHOST,
    FLAG_SPEC,
    ChangelogEntry,
    Dependency,
    RpmFile,
    RpmLayout,
    RpmPackage,
    Script,
    directory,
    symlink,
)

TIME = 1_656_936_000
ALL_BYTES = bytes(range(256))
DIGESTS = PackageDigests(b"m" * 16, b"s" * 32, b"b" * 64)
FILES = (RpmFile("/usr/bin/a", b"a"), RpmFile("/usr/bin/b", b"b"), RpmFile("/etc/c", b"c"))
Row = dict[str, Any]


def added(
    tmp_path: Path,
    package: RpmPackage,
    layout: RpmLayout | None = None,
    name: str | None = None,
) -> PackageBatch:
    """A batch of one package, which was written to a file and read back."""
    path = tmp_path / (name or package.file_name)
    path.write_bytes(compose_rpm(package, layout))
    batch = PackageBatch()
    with open_package(path) as opened:
        spec = read_spec_file(opened) if opened.is_source else None
        add_package(batch, opened, DIGESTS, spec)
    return batch


def package_row(batch: PackageBatch) -> Row:
    """The row of Packages by column."""
    (row,), (link,) = batch.packages, batch.links
    return {**dict(zip(PACKAGE_COLUMNS, row, strict=True)), "pkg_srcrpm_hash": link}


def file_rows(batch: PackageBatch) -> Row:
    """The columns of the files, taken apart as the database does."""
    (row,) = batch.files
    columns = dict(zip(FILE_COLUMNS, row, strict=True))
    return {
        name: value.split(b"\0") if isinstance(value, bytes) else list(value)
        for name, value in columns.items()
        if name != "pkg_hash"
    }


def depends_rows(batch: PackageBatch, kind: str | None = None) -> list[tuple[bytes, bytes, int]]:
    """Names, versions and flags of one kind of dependency."""
    rows = zip(*batch.depends, strict=True)
    return [(name, version, flag) for _, name, version, flag, k in rows if kind in (None, k)]


def refused(
    tmp_path: Path, words: str, package: RpmPackage, layout: RpmLayout | None = None
) -> None:
    """The package must end in one error that names its file."""
    with pytest.raises(SourceError, match=words) as caught:
        added(tmp_path, package, layout)
    assert str(caught.value).startswith(f"{tmp_path}/{package.file_name}: ")


# Packages

FULL = RpmPackage(
    name="sample",
    version="1.2",
    release="alt3",
    epoch=5,
    arch="i586",
    summary={"C": "Plain", "ru_RU.UTF-8": "Просто"},
    description="Two\nlines.",
    group={"C": "Other", "ru_RU.UTF-8": "Прочее"},
    url="https://sample.example.org/",
    vcs="https://git.example.org/sample.git",
    disttag="sisyphus+303842.100.1.1",
    disturl="https://dist.example.org/",
    optflags="-O2",
    platform="i586-alt-linux",
    size=12345,
    gif=ALL_BYTES,
    xpm=ALL_BYTES[::-1],
    icon=b"\0\0icon\0",
    scripts={
        "prein": Script("echo prein", "/bin/sh"),
        "postin": Script("echo postin", ["/bin/bash", "-e"]),
        "preun": Script("echo preun", None),
        "postun": Script("echo postun"),
        "verify": Script("echo verify", ["/bin/sh"]),
        "pretrans": Script("-- pretrans", "<lua>"),
        "posttrans": Script("echo posttrans"),
    },
    prefixes=["/usr", "/opt"],
    instprefixes=["/usr/local"],
    buildarchs=["noarch"],
    files=FILES,
    changelog=[ChangelogEntry(TIME, "Ivan <i@x> 5:1.2-alt3", "- New.")],
)


def test_every_column_of_a_binary_package(tmp_path: Path) -> None:
    rpm = compose(FULL)
    identity = package_hash(1_660_176_000, rpm.header_sha1, rpm.body_md5, b"")
    assert package_row(added(tmp_path, FULL, name="any name.rpm")) == {
        "pkg_hash": identity,
        "pkg_cs": rpm.header_sha1,
        "pkg_packager": b"Ivan Petrov",
        "pkg_packager_email": b"ivan@altlinux.org",
        "pkg_name": b"sample",
        "pkg_arch": b"i586",
        "pkg_version": b"1.2",
        "pkg_release": b"alt3",
        "pkg_epoch": 5,
        "pkg_serial_": 5,
        "pkg_buildtime": 1_660_176_000,
        "pkg_buildhost": b"builder.example.org",
        "pkg_size": 12345,
        "pkg_archivesize": 504,
        "pkg_filesize": len(rpm.data),
        "pkg_rpmversion": b"4.0.4",
        "pkg_cookie": b"builder.example.org 1660176000",
        "pkg_sourcepackage": 0,
        "pkg_disttag": b"sisyphus+303842.100.1.1",
        "pkg_sourcerpm": b"sample-1.2-alt3.src.rpm",
        "pkg_srcrpm_hash": 0,
        "pkg_filename": b"any name.rpm",
        "pkg_summary": b"Plain",
        "pkg_description": b"Two\nlines.",
        "pkg_changelog.date": [TIME],
        "pkg_changelog.name": [b"Ivan <i@x>"],
        "pkg_changelog.evr": [b"5:1.2-alt3"],
        "pkg_changelog.hash": [text_hash(b"- New.")],
        "pkg_distribution": b"ALT",
        "pkg_vendor": b"ALT Linux Team",
        "pkg_gif": ALL_BYTES,
        "pkg_xpm": ALL_BYTES[::-1],
        "pkg_license": b"GPL-2.0-or-later",
        "pkg_group_": b"Other",
        "pkg_url": b"https://sample.example.org/",
        "pkg_os": b"linux",
        "pkg_prein": b"echo prein",
        "pkg_postin": b"echo postin",
        "pkg_preun": b"echo preun",
        "pkg_postun": b"echo postun",
        "pkg_pretrans": b"-- pretrans",
        "pkg_posttrans": b"echo posttrans",
        "pkg_icon": b"\0\0icon\0",
        "pkg_preinprog": [b"/bin/sh"],
        "pkg_postinprog": [b"/bin/bash", b"-e"],
        "pkg_preunprog": [],
        "pkg_postunprog": [b"/bin/sh"],
        "pkg_buildarchs": [b"noarch"],
        "pkg_verifyscript": b"echo verify",
        "pkg_verifyscriptprog": [b"/bin/sh"],
        "pkg_prefixes": [b"/usr", b"/opt"],
        "pkg_instprefixes": [b"/usr/local"],
        "pkg_optflags": b"-O2",
        "pkg_disturl": b"https://dist.example.org/",
        "pkg_payloadformat": b"cpio",
        "pkg_payloadcompressor": b"xz",
        "pkg_payloadflags": b"5",
        "pkg_platform": b"i586-alt-linux",
        "pkg_vcs": b"https://git.example.org/sample.git",
    }


def test_package_that_says_nothing(tmp_path: Path) -> None:
    """Every tag is absent; every column has its empty value."""
    tags = [100, *range(1000, 1200), 5034, 5062]
    layout = RpmLayout(main=dict.fromkeys(tags))
    row = package_row(added(tmp_path, RpmPackage("empty"), layout, name="empty.rpm"))
    stated = {"pkg_hash", "pkg_cs", "pkg_filesize", "pkg_filename"}
    assert {name for name, value in row.items() if value not in (b"", 0, [])} == stated


def test_source_package(tmp_path: Path) -> None:
    """Its source package is itself."""
    package = RpmPackage(
        "sample",
        epoch=3,
        source=True,
        files=[RpmFile("sample.spec", b"Name: \xff\n", mtime=TIME, flags=FLAG_SPEC)],
        requires=[Dependency("gcc")],
    )
    batch = added(tmp_path, package)
    row = package_row(batch)
    assert row["pkg_sourcepackage"] == 1
    assert row["pkg_sourcerpm"] == row["pkg_filename"] == b"sample-1.0-alt1.src.rpm"
    assert row["pkg_srcrpm_hash"] == row["pkg_hash"] != 0
    (spec,) = batch.specfiles
    assert dict(zip(SPECFILE_COLUMNS, spec, strict=True)) == {
        "pkg_hash": row["pkg_hash"],
        "pkg_name": b"sample",
        "pkg_epoch": 3,
        "pkg_version": b"1.0",
        "pkg_release": b"alt1",
        "specfile_name": b"sample.spec",
        "specfile_date": TIME,
        "specfile_content": b"Name: \xff\n",
    }
    assert depends_rows(batch, "require") == [(b"gcc", b"", 0)]
    assert file_rows(batch)["names"] == [b"sample.spec"]


@pytest.mark.parametrize(
    ("lead_type", "main", "is_source", "source_rpm"),
    [
        (1, {1044: None, 1106: None}, 1, b"sample-1.0-alt1.x86_64.rpm"),
        (1, {1044: None, 1106: int32(1106, 1)}, 1, b"sample-1.0-alt1.x86_64.rpm"),
        (0, {1044: None, 1106: None}, 0, b""),
    ],
)
def test_kinds_of_packages(
    tmp_path: Path,
    lead_type: int,
    main: Mapping[int, Entry | None],
    is_source: int,
    source_rpm: bytes,
) -> None:
    row = package_row(
        added(tmp_path, RpmPackage("sample"), RpmLayout(lead_type=lead_type, main=main))
    )
    assert (row["pkg_sourcepackage"], row["pkg_sourcerpm"]) == (is_source, source_rpm)
    assert row["pkg_srcrpm_hash"] == is_source * row["pkg_hash"]


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (RpmLayout(main={1046: int32(1046, 9)}), 9),
        (RpmLayout(main={1046: None}, signature={1007: int32(1007, 8)}), 8),
        (RpmLayout(main={1046: None}, signature={271: int64(271, 2**40)}), 2**40),
        (RpmLayout(main={1046: None}), 0),
    ],
)
def test_archive_size(tmp_path: Path, layout: RpmLayout, size: int) -> None:
    assert package_row(added(tmp_path, RpmPackage("x"), layout))["pkg_archivesize"] == size


@pytest.mark.parametrize(
    ("main", "size"),
    [
        ({1009: int32(1009, 4294967295)}, 4294967295),
        ({1009: None, 5009: int64(5009, 2**40)}, 2**40),
        ({1009: None}, 0),
    ],
)
def test_installed_size(tmp_path: Path, main: Mapping[int, Entry | None], size: int) -> None:
    row = package_row(added(tmp_path, RpmPackage("x"), RpmLayout(main=main)))
    assert row["pkg_size"] == size


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (None, 0),
        (int32(1003, 0), 0),
        (int32(1003, 5), 5),
        (int32(1003, 4294967295), 4294967295),
        (int64(1003, 2**32), 4294967295),
        (int32(1003), 0),
    ],
)
def test_epoch(tmp_path: Path, epoch: Entry | None, expected: int) -> None:
    """In both of its columns; more than they can hold becomes the most they can."""
    row = package_row(added(tmp_path, RpmPackage("x"), RpmLayout(main={1003: epoch})))
    assert row["pkg_epoch"] == row["pkg_serial_"] == expected


@pytest.mark.parametrize(
    ("build_time", "expected"),
    [
        (None, 0),
        (int32(1006, 0), 0),
        (int32(1006, 4294967295), 4294967295),
        (int64(1006, 2**63), 4294967295),
    ],
)
def test_build_time(tmp_path: Path, build_time: Entry | None, expected: int) -> None:
    row = package_row(added(tmp_path, RpmPackage("x"), RpmLayout(main={1006: build_time})))
    assert row["pkg_buildtime"] == expected


@pytest.mark.parametrize(
    ("name", "arch", "expected"),
    [
        ("i586-libfoo", string(1022, "i586"), b"x86_64-i586"),
        ("i586-libfoo", None, b"x86_64-i586"),
        ("i586", string(1022, "i586"), b"i586"),
        ("libfoo-i586-x", string(1022, "i586"), b"i586"),
        ("libfoo", None, b""),
        ("libfoo", int8(1022, 3), b"3"),
        ("libfoo", int32(1022, 16), b"16"),
    ],
)
def test_architecture(tmp_path: Path, name: str, arch: Entry | None, expected: bytes) -> None:
    row = package_row(added(tmp_path, RpmPackage(name), RpmLayout(main={1022: arch})))
    assert row["pkg_arch"] == expected


def test_system_as_a_number(tmp_path: Path) -> None:
    layout = RpmLayout(main={1021: int8(1021, 1)})
    assert package_row(added(tmp_path, RpmPackage("x"), layout))["pkg_os"] == b"1"


@pytest.mark.parametrize("tag", [1085, 1086, 1087, 1088, 1089, 1091, 1098, 1099])
def test_lists_stored_as_one_text(tmp_path: Path, tag: int) -> None:
    columns = {
        1085: "preinprog", 1086: "postinprog", 1087: "preunprog", 1088: "postunprog",
        1089: "buildarchs", 1091: "verifyscriptprog", 1098: "prefixes", 1099: "instprefixes",
    }  # fmt: skip
    for entry in (string(tag, "one"), string_array(tag, ["one"])):
        row = package_row(added(tmp_path, RpmPackage("x"), RpmLayout(main={tag: entry})))
        assert row[f"pkg_{columns[tag]}"] == [b"one"]


@pytest.mark.parametrize("text", ["Привет".encode(), b"\xcf\xf0\xe8\xe2\xe5\xf2", b"\xff\xfe"])
def test_texts_are_the_bytes_of_the_header(tmp_path: Path, text: bytes) -> None:
    package = RpmPackage(
        "x",
        summary=text,
        vendor=text,
        packager=text + b" <i@x>",
        requires=[Dependency(text, text)],
        changelog=[ChangelogEntry(TIME, text + b" <i@x> 1.0", text)],
        files=[RpmFile(b"/usr/" + text, owner=text, linkto=text)],
    )
    batch = added(tmp_path, package)
    row = package_row(batch)
    assert row["pkg_summary"] == row["pkg_vendor"] == text
    assert row["pkg_changelog.name"] == [text + b" <i@x>"]
    assert row["pkg_changelog.hash"] == [text_hash(text)]
    assert batch.changelog == {text_hash(text): text}
    assert depends_rows(batch, "require") == [(text, text, 0)]
    files = file_rows(batch)
    assert files["names"] == [b"/usr/" + text]
    assert files["usernames"] == files["linktos"] == [text]
    known = text == "Привет".encode()
    assert row["pkg_packager"] == (text if known else text + b" <i@x>")
    assert row["pkg_packager_email"] == (b"i@x" if known else b"")


# Identity

S1 = "6919806204ce5dd6fc80dbfe6f56151270d6d8ca"
M1 = bytes.fromhex("096d53db0606f055b63e5673ef9a9016")
G1 = bytes.fromhex("885d0400110a001d1621000000000000")


@pytest.mark.parametrize(
    ("build_time", "sha1", "md5", "gpg", "expected"),
    [
        (1660176000, S1, M1, [G1], 2835434330123940842),
        (1660176000, S1, M1, [], 2835434331197826841),
        (1660176000, S1, None, [], 2835434330771346775),
        (1660176000, None, M1, [G1], 2835434333174708531),
        (1660176000, S1, M1, [G1 + b"\1\2"], 2835434329829322511),
        (1660176000, S1, M1, [G1, b"\1\2"], 2835434330123940842),
        (1660176000, S1, M1, [bytes(20000)], 2835434331197826841),
        (4294967295, "00" * 20, b"\xff" * 16, [bytes(range(64))], 14151776774732554369),
        (946684800, "00" * 20, None, [], 18217757037333129546),
    ],
)
def test_identities_of_files(
    tmp_path: Path,
    build_time: int,
    sha1: str | None,
    md5: bytes | None,
    gpg: list[bytes],
    expected: int,
) -> None:
    """The vectors that other systems rely on, through package files."""
    signature = {
        269: string(269, sha1) if sha1 else None,
        1004: binary(1004, md5) if md5 else None,
    }
    layout = RpmLayout(signature=signature, signature_extra=[binary(1005, item) for item in gpg])
    batch = added(tmp_path, RpmPackage("x", buildtime=build_time), layout)
    row = package_row(batch)
    assert row["pkg_hash"] == expected
    (digests,) = batch.digests
    assert dict(zip(DIGEST_COLUMNS, digests, strict=True)) == {
        "pkgh_mmh": expected,
        "pkgh_md5": DIGESTS.md5,
        "pkgh_sha1": bytes.fromhex(sha1 or ""),
        "pkgh_sha256": DIGESTS.sha256,
        "pkgh_blake2b": DIGESTS.blake2b,
    }


def test_identity_zero_is_an_error(tmp_path: Path) -> None:
    layout = RpmLayout(signature={269: None, 1004: None})
    refused(tmp_path, "no identity", RpmPackage("x", buildtime=1_000_000_000), layout)


def test_broken_sha1_is_an_error(tmp_path: Path) -> None:
    layout = RpmLayout(signature={269: string(269, "nonsense")})
    refused(tmp_path, "tag 269", RpmPackage("x"), layout)


# Files


def test_files_of_every_kind(tmp_path: Path) -> None:
    """Modes, devices and flags go on as they are; the database makes classes of the modes."""
    files = [
        directory("/d"),
        RpmFile("/dev/char", mode=0o020620, rdev=1281),
        RpmFile("/dev/block", mode=0o060660, rdev=65535),
        RpmFile("/fifo", mode=0o010644),
        RpmFile("/ghost", flags=FLAG_GHOST),
        symlink("/link", "target"),
        RpmFile("/nothing", mode=0),
        RpmFile("/socket", mode=0o140755, verify=0, device=7, lang="ru", group="adm"),
        RpmFile("/x", b"x", flags=0x1001, mtime=TIME),
    ]
    columns = file_rows(added(tmp_path, RpmPackage("x", files=files)))
    assert columns["names"] == [str(file.path).encode() for file in files]
    assert columns["modes"] == [file.mode for file in files]
    assert columns["rdevs"] == [file.rdev for file in files]
    assert columns["mtimes"] == [file.mtime for file in files]
    assert columns["flags"] == [file.flags for file in files]
    assert columns["verifyflags"] == [file.verify for file in files]
    assert columns["devices"] == [file.device for file in files]
    assert columns["sizes"] == [file.declared_size for file in files]
    assert columns["linktos"] == [str(file.linkto).encode() for file in files]
    assert columns["langs"] == [str(file.lang).encode() for file in files]
    assert columns["usernames"] == [b"root"] * 9
    assert columns["groupnames"] == [str(file.group).encode() for file in files]
    assert columns["digests"] == [b""] * 8 + [b"9dd4e461268c8034f5c8564e155c67a6"]


def test_package_without_files(tmp_path: Path) -> None:
    batch = added(tmp_path, RpmPackage("x"))
    assert batch.files == []
    assert batch.file_count == 0


def test_full_paths_of_very_old_packages(tmp_path: Path) -> None:
    triple = dict.fromkeys([1116, 1117, 1118])
    names = string_array(1027, ["/usr/bin/a", "/usr/bin/b", "/x"])
    batch = added(tmp_path, RpmPackage("x", files=FILES), RpmLayout(main={**triple, 1027: names}))
    assert file_rows(batch)["names"] == [b"/usr/bin/a", b"/usr/bin/b", b"/x"]
    assert batch.file_count == 3


def test_digests_of_another_algorithm(tmp_path: Path) -> None:
    """The column holds MD5, so there is none."""
    batch = added(tmp_path, RpmPackage("x", files=FILES), RpmLayout(style="upstream"))
    assert file_rows(batch)["digests"] == [b""] * 3
    assert batch.warnings == []


@pytest.mark.parametrize("algorithm", [None, int32(5011, 1), int32(5011, 0)])
def test_digests_of_md5(tmp_path: Path, algorithm: Entry | None) -> None:
    batch = added(tmp_path, RpmPackage("x", files=FILES), RpmLayout(main={5011: algorithm}))
    assert [len(digest) for digest in file_rows(batch)["digests"]] == [32] * 3


_TEXT_ARRAYS = {
    1035: "digests", 1036: "linktos", 1039: "usernames", 1040: "groupnames", 1097: "langs",
}  # fmt: skip
_NUMBER_ARRAYS = {
    1028: "sizes", 1030: "modes", 1033: "rdevs", 1034: "mtimes", 1037: "flags",
    1045: "verifyflags", 1095: "devices",
}  # fmt: skip


@pytest.mark.parametrize("tag", [*_TEXT_ARRAYS, *_NUMBER_ARRAYS])
def test_missing_array(tmp_path: Path, tag: int) -> None:
    """All rows stay, with nothing in that column."""
    batch = added(tmp_path, RpmPackage("x", files=FILES), RpmLayout(main={tag: None}))
    columns = file_rows(batch)
    blank: object = b"" if tag in _TEXT_ARRAYS else 0
    assert columns[{**_TEXT_ARRAYS, **_NUMBER_ARRAYS}[tag]] == [blank] * 3
    assert {len(column) for column in columns.values()} == {3}
    assert batch.warnings == []


@pytest.mark.parametrize(
    ("stored", "expected"), [([b"1"], [b"1", b"", b""]), ([b"1"] * 5, [b"1"] * 3)]
)
@pytest.mark.parametrize("tag", _TEXT_ARRAYS)
def test_text_array_of_another_length(
    tmp_path: Path, tag: int, stored: list[bytes], expected: list[bytes]
) -> None:
    layout = RpmLayout(main={tag: string_array(tag, stored)})
    batch = added(tmp_path, RpmPackage("x", files=FILES), layout)
    assert file_rows(batch)[_TEXT_ARRAYS[tag]] == expected
    (warning,) = batch.warnings
    assert warning.endswith(f"x-1.0-alt1.x86_64.rpm: tag {tag}: {len(stored)} values for 3 files")


@pytest.mark.parametrize(("stored", "expected"), [([7], [7, 0, 0]), ([7] * 5, [7] * 3)])
@pytest.mark.parametrize("tag", sorted(set(_NUMBER_ARRAYS) - {1030}))
def test_number_array_of_another_length(
    tmp_path: Path, tag: int, stored: list[int], expected: list[int]
) -> None:
    make = int16 if tag == 1033 else int32
    layout = RpmLayout(main={tag: make(tag, *stored)})
    batch = added(tmp_path, RpmPackage("x", files=FILES), layout)
    assert file_rows(batch)[_NUMBER_ARRAYS[tag]] == expected
    (warning,) = batch.warnings
    assert warning.endswith(f": tag {tag}: {len(stored)} values for 3 files")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ({1030: int16(1030, 1, 2)}, "3 file names with 2 modes"),
        ({1030: int16(1030, 1, 2, 3, 4)}, "3 file names with 4 modes"),
        ({1116: int32(1116, 0, 0)}, "3 file names with 2 directories"),
        ({1116: None}, "3 file names with 0 directories"),
        ({1116: int32(1116, 0, 0, 2)}, "tag 1116: no such directory"),
        ({1118: None}, "tag 1116: no such directory"),
        ({1116: int32(1116, 0, 0, 4294967295)}, "tag 1116: no such directory"),
    ],
)
def test_names_without_their_modes_or_directories(
    tmp_path: Path, main: Mapping[int, Entry | None], words: str
) -> None:
    refused(tmp_path, words, RpmPackage("x", files=FILES), RpmLayout(main=main))


def test_sizes_that_need_64_bits(tmp_path: Path) -> None:
    """They become the largest that the column can hold, and are counted."""
    files = [RpmFile("/a", size=5 << 30), RpmFile("/b", size=4294967295), RpmFile("/c", size=3)]
    batch = added(tmp_path, RpmPackage("x", files=files), RpmLayout(long_sizes=True))
    assert file_rows(batch)["sizes"] == [4294967295, 4294967295, 3]
    assert batch.saturated == 1
    assert batch.file_count == 3


def test_flags_beyond_16_bits_are_counted(tmp_path: Path) -> None:
    """The database makes them the largest there is."""
    files = [RpmFile("/a", flags=0x10000), RpmFile("/b", flags=0xFFFF), RpmFile("/c")]
    batch = added(tmp_path, RpmPackage("x", files=files))
    assert file_rows(batch)["flags"] == [0x10000, 0xFFFF, 0]
    assert batch.saturated == 1


@pytest.mark.parametrize(
    ("entry", "column", "expected"),
    [
        (int8(1034, 1, 2, 3), "mtimes", [1, 2, 3]),
        (int64(1034, 1, 2**32, 2**64 - 1), "mtimes", [1, 4294967295, 4294967295]),
        (int32(1033, 1, 65535, 65536), "rdevs", [1, 65535, 65535]),
        (int32(1030, 0o100644, 65536, 1), "modes", [0o100644, 65535, 1]),
    ],
)
def test_numbers_of_another_width(
    tmp_path: Path, entry: Entry, column: str, expected: list[int]
) -> None:
    layout = RpmLayout(main={entry.tag: entry})
    batch = added(tmp_path, RpmPackage("x", files=FILES), layout)
    assert file_rows(batch)[column] == expected
    assert isinstance(batch.files[0][FILE_COLUMNS.index(column)], array)


def with_long_names(count: int, directory_bytes: int) -> tuple[RpmPackage, RpmLayout]:
    """A package whose files share one long directory name."""
    main = {
        1116: int32(1116, *[0] * count),
        1117: string_array(1117, [""] * count),
        1118: string_array(1118, ["d" * directory_bytes]),
        1030: None,
    }
    return RpmPackage("long"), RpmLayout(main=main)


@pytest.mark.parametrize("length", [9, 10, 11])
def test_names_of_files_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Just below, at and above: the sum of all, directories repeated, with a NUL for each."""
    count = 1000
    monkeypatch.setattr(batch_module, "_MAX_NAMES_BYTES", 11 * count)
    package, layout = with_long_names(count, length)
    if length > 10:
        refused(tmp_path, "the names of its files are too long", package, layout)
    else:
        assert file_rows(added(tmp_path, package, layout))["names"] == [b"d" * length] * count


def test_a_long_header_may_have_long_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for small headers that stand for much; it never is below the header's size."""
    monkeypatch.setattr(batch_module, "_MAX_NAMES_BYTES", 10)
    assert added(tmp_path, RpmPackage("x", files=FILES)).file_count == 3


def test_small_header_with_gigabytes_of_names(tmp_path: Path) -> None:
    package, layout = with_long_names(20_000, 100_000)
    path = tmp_path / "bomb.rpm"
    path.write_bytes(compose_rpm(package, layout))
    tracemalloc.start()
    try:
        with open_package(path) as opened, pytest.raises(SourceError, match="too long"):
            add_package(PackageBatch(), opened, DIGESTS, None)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_number_of_files_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "_MAX_TEXTS", 3)
    added(tmp_path, RpmPackage("x", files=FILES))
    package = RpmPackage("x", files=[*FILES, RpmFile("/etc/d")])
    refused(tmp_path, "tag 1117: 4 texts, limit 3", package)


# Dependencies


def test_dependencies(tmp_path: Path) -> None:
    package = RpmPackage(
        "x",
        requires=[Dependency("a", "1", 268435464), Dependency("b"), Dependency("b")],
        conflicts=[Dependency("c", "2:3-alt1", 2)],
        obsoletes=[Dependency("d", "4", 4294967295)],
        provides=[Dependency("x", "1.0-alt1", 8), Dependency("libx.so.1()(64bit)", "", 32768)],
    )
    batch = added(tmp_path, package)
    rows = list(zip(*batch.depends, strict=True))
    identity = package_row(batch)["pkg_hash"]
    assert [dict(zip(DEPENDS_COLUMNS, row, strict=True)) for row in rows[:1]] == [
        {
            "pkg_hash": identity,
            "dp_name": b"a",
            "dp_version": b"1",
            "dp_flag": 268435464,
            "dp_type": "require",
        }
    ]
    assert {row[0] for row in rows} == {identity}
    assert depends_rows(batch, "require") == [
        (b"a", b"1", 268435464),
        (b"b", b"", 0),
        (b"b", b"", 0),
    ]
    assert depends_rows(batch, "conflict") == [(b"c", b"2:3-alt1", 2)]
    assert depends_rows(batch, "obsolete") == [(b"d", b"4", 4294967295)]
    assert depends_rows(batch, "provide") == [
        (b"x", b"1.0-alt1", 8),
        (b"libx.so.1()(64bit)", b"", 32768),
    ]


def test_no_dependencies(tmp_path: Path) -> None:
    assert depends_rows(added(tmp_path, RpmPackage("x"))) == []


@pytest.mark.parametrize(
    ("names", "versions", "flags"),
    [(1049, 1050, 1048), (1054, 1055, 1053), (1090, 1115, 1114), (1047, 1113, 1112)],
)
def test_versions_and_flags_of_another_number(
    tmp_path: Path, names: int, versions: int, flags: int
) -> None:
    """No dependency is dropped; what is missing is empty, what is too much is left out."""
    for main, expected in (
        ({}, [(b"a", b"", 0), (b"b", b"", 0)]),
        (
            {versions: string_array(versions, ["1"]), flags: int32(flags, 8)},
            [(b"a", b"1", 8), (b"b", b"", 0)],
        ),
        (
            {versions: string_array(versions, ["1", "2", "3"]), flags: int64(flags, 1, 2**40, 3)},
            [(b"a", b"1", 1), (b"b", b"2", 4294967295)],
        ),
    ):
        entries = {names: string_array(names, ["a", "b"]), **main}
        batch = added(tmp_path, RpmPackage("x"), RpmLayout(main=entries))
        assert depends_rows(batch) == expected


@pytest.mark.parametrize(
    ("provides", "epoch", "expected"),
    [
        ([], None, [("x", "1.0-alt1", 8)]),
        ([], 0, [("x", "0:1.0-alt1", 8)]),
        ([], 5, [("x", "5:1.0-alt1", 8)]),
        ([("x", "1.0-alt1", 8)], None, [("x", "1.0-alt1", 8)]),
        ([("x", "1.0-alt1", 12)], None, [("x", "1.0-alt1", 12)]),
        ([("x", "1.0-alt1", 4)], None, [("x", "1.0-alt1", 4), ("x", "1.0-alt1", 8)]),
        ([("x", "1.0-alt1", 8)], 5, [("x", "1.0-alt1", 8), ("x", "5:1.0-alt1", 8)]),
        ([("y", "1.0-alt1", 8)], None, [("y", "1.0-alt1", 8), ("x", "1.0-alt1", 8)]),
    ],
)
@pytest.mark.parametrize("region", [False, True])
def test_very_old_packages_provide_themselves(
    tmp_path: Path,
    provides: list[tuple[str, str, int]],
    epoch: int | None,
    expected: list[tuple[str, str, int]],
    region: bool,
) -> None:
    """A header without a region is that of a very old package; newer ones say it themselves."""
    package = RpmPackage("x", epoch=epoch, provides=[Dependency(*p) for p in provides])
    batch = added(tmp_path, package, RpmLayout(region=region))
    found = [(n.decode(), v.decode(), f) for n, v, f in depends_rows(batch, "provide")]
    assert found == (provides if region else expected)


def test_source_packages_do_not_provide_themselves(tmp_path: Path) -> None:
    batch = added(tmp_path, RpmPackage("x", source=True), RpmLayout(region=False))
    assert depends_rows(batch) == []


def test_names_of_very_old_provides_have_no_versions(tmp_path: Path) -> None:
    layout = RpmLayout(region=False, main={1047: string_array(1047, ["x", "y"])})
    batch = added(tmp_path, RpmPackage("x"), layout)
    assert depends_rows(batch) == [(b"x", b"", 0), (b"y", b"", 0), (b"x", b"1.0-alt1", 8)]


# Changelog


@pytest.mark.parametrize(
    ("line", "name", "evr"),
    [
        ("Ivan <i@x> 1.0-alt1", "Ivan <i@x>", "1.0-alt1"),
        ("Ivan <i@x> 2:1.0-alt1", "Ivan <i@x>", "2:1.0-alt1"),
        ("Ivan <i@x>", "Ivan <i@x>", ""),
        ("Ivan <i@x>  - 1.0-alt1 ", "Ivan <i@x>", "- 1.0-alt1"),
        ("Ivan <i@x> 1.0 > 2.0", "Ivan <i@x> 1.0 > 2.0", ""),
        ("No Email", "No Email", ""),
    ],
)
def test_authors(tmp_path: Path, line: str, name: str, evr: str) -> None:
    package = RpmPackage("x", changelog=[ChangelogEntry(TIME, line, "- Text.")])
    row = package_row(added(tmp_path, package))
    assert row["pkg_changelog.date"] == [TIME]
    assert row["pkg_changelog.name"] == [name.encode()]
    assert row["pkg_changelog.evr"] == [evr.encode()]


def test_same_text_twice_is_one_text(tmp_path: Path) -> None:
    entries = [
        ChangelogEntry(3, "c", "- Same."),
        ChangelogEntry(2, "b", "- Other."),
        ChangelogEntry(1, "a", "- Same."),
        ChangelogEntry(0, "", ""),
    ]
    batch = added(tmp_path, RpmPackage("x", changelog=entries))
    same, other = text_hash(b"- Same."), text_hash(b"- Other.")
    assert batch.changelog == {same: b"- Same.", other: b"- Other.", 0: b""}
    row = package_row(batch)
    assert row["pkg_changelog.hash"] == [same, other, same, 0]
    assert row["pkg_changelog.date"] == [3, 2, 1, 0]


def test_no_changelog(tmp_path: Path) -> None:
    batch = added(tmp_path, RpmPackage("x"))
    row = package_row(batch)
    for part in ("date", "name", "evr", "hash"):
        assert row[f"pkg_changelog.{part}"] == []
    assert batch.changelog == {}


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("tag", [1080, 1081, 1082])
def test_lists_of_different_length(tmp_path: Path, tag: int, kept: int) -> None:
    """The shortest one counts, and there is a warning."""
    entries = [ChangelogEntry(n, f"author {n}", f"- Text {n}.") for n in range(3)]
    cut: dict[int, Entry | None] = {
        1080: int32(1080, *range(kept)),
        1081: string_array(1081, [f"author {n}" for n in range(kept)]),
        1082: string_array(1082, [f"- Text {n}." for n in range(kept)]),
    }
    layout = RpmLayout(main={tag: cut[tag]})
    batch = added(tmp_path, RpmPackage("x", changelog=entries), layout)
    row = package_row(batch)
    assert row["pkg_changelog.date"] == list(range(kept))
    assert row["pkg_changelog.name"] == [f"author {n}".encode() for n in range(kept)]
    assert len(row["pkg_changelog.hash"]) == len(row["pkg_changelog.evr"]) == kept
    assert list(batch.changelog.values()) == [f"- Text {n}.".encode() for n in range(kept)]
    (warning,) = batch.warnings
    assert f"is cut to {kept} entries" in warning and "x-1.0-alt1.x86_64.rpm: " in warning


def test_long_changelogs_are_not_kept_for_later(tmp_path: Path) -> None:
    """Packages of one source share what was made of their changelog, unless it is huge."""
    limit = batch_module._MAX_CACHED_CHANGELOG_BYTES
    for size, cached in ((limit, True), (limit + 1, False)):
        text = "x" * size
        package = RpmPackage("x", changelog=[ChangelogEntry(TIME, f"author {size}", text)])
        before = batch_module._changelog.cache_info().misses
        row = package_row(added(tmp_path, package))
        assert row["pkg_changelog.hash"] == [text_hash(text.encode())]
        assert batch_module._changelog.cache_info().misses - before == cached


# Batches


def test_batches_are_joined(tmp_path: Path) -> None:
    packages = [
        RpmPackage("a", files=FILES, requires=[Dependency("b")]),
        RpmPackage("b", source=True, files=[RpmFile("b.spec", flags=FLAG_SPEC)]),
        RpmPackage("c", changelog=[ChangelogEntry(1, "c", "c")]),
    ]
    whole, parts = PackageBatch(), PackageBatch()
    for package in packages:
        parts.extend(added(tmp_path, package))
        with open_package(tmp_path / package.file_name) as opened:
            spec = SpecFile(b"b.spec", 1_660_176_000, b"") if package.source else None
            identity = add_package(whole, opened, DIGESTS, spec)
        assert whole.packages[-1][0] == identity
    assert parts == whole
    assert whole.column("pkg_name") == [b"a", b"b", b"c"]
    assert whole.file_count == 4


def test_every_row_is_as_long_as_its_columns(tmp_path: Path) -> None:
    batch = added(tmp_path, RpmPackage("x", source=True, files=[RpmFile("x.spec")]))
    rows: Iterable[tuple[list[tuple[Any, ...]], tuple[str, ...]]] = (
        (batch.packages, PACKAGE_COLUMNS),
        (batch.files, FILE_COLUMNS),
        (batch.specfiles, SPECFILE_COLUMNS),
        (batch.digests, DIGEST_COLUMNS),
    )
    for table, columns in rows:
        assert [len(row) for row in table] == [len(columns)]
        assert len(set(columns)) == len(columns)


# Properties

_text = st.binary(max_size=8).map(lambda text: text.replace(b"\0", b""))
_any_entry = st.one_of(
    st.builds(lambda n: int32(0, *n), st.lists(st.integers(0, 2**32 - 1), max_size=5)),
    st.builds(lambda n: int64(0, *n), st.lists(st.integers(0, 2**64 - 1), max_size=5)),
    st.builds(lambda n: int16(0, *n), st.lists(st.integers(0, 2**16 - 1), max_size=5)),
    st.builds(lambda t: string(0, t), _text),
    st.builds(lambda t: string_array(0, t), st.lists(_text, max_size=5)),
    st.builds(lambda b: binary(0, b), st.binary(max_size=9)),
    st.none(),
)
_TAGS = [
    100,
    *range(1000, 1030),
    *range(1030, 1060),
    1064,
    *range(1079, 1132),
    1155,
    5008,
    5009,
    5011,
]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(_TAGS), _any_entry, max_size=12), st.booleans())
def test_any_tag_of_any_type(
    tmp_path_factory: pytest.TempPathFactory, main: dict[int, Entry | None], region: bool
) -> None:
    """Rows of equal length, or one error; columns never hold what does not fit them."""
    entries = {tag: entry and entry._replace(tag=tag) for tag, entry in main.items()}
    package = RpmPackage("any", files=FILES, changelog=[ChangelogEntry(1, "a", "t")])
    layout = RpmLayout(main=entries, region=region)
    try:
        batch = added(tmp_path_factory.getbasetemp(), package, layout)
    except SourceError as error:
        assert "any-1.0-alt1.x86_64.rpm: " in str(error)
        return
    row = package_row(batch)
    assert 0 < row["pkg_hash"] < 2**64
    assert max(row["pkg_epoch"], row["pkg_buildtime"]) < 2**32
    assert len({len(row[f"pkg_changelog.{part}"]) for part in ("date", "name", "evr", "hash")}) == 1
    for _ in batch.files:
        assert {len(column) for column in file_rows(batch).values()} == {batch.file_count}
    assert len({len(column) for column in batch.depends}) == 1
    assert all(0 <= flag < 2**32 for _, _, flag in depends_rows(batch))
