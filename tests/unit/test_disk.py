"""The root of disk images, whatever their table, format and file system."""

from __future__ import annotations

import io
import lzma
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.byte_source import open_file
from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError
from altrepodb.image import disk as disk_module
from altrepodb.image import filesystems, library, qcow2, scratch, xz_blocks
from altrepodb.image.disk import open_disk
from altrepodb.image.filesystems import open_file_system
from altrepodb.image.installed import InstalledSystem, read_installed
from altrepodb.image.kept_tree import BytesSource
from altrepodb.image.partitions import read_partitions
from altrepodb.image.tree import EntryType, lookup, read_file, walk
from altrepodb.image.xz_blocks import XzSource
from tests.support.disk_images import (
    convert,
    gpt_disk,
    make_btrfs,
    make_disk,
    make_ext,
    make_fat,
    make_xfs,
    place_volumes,
    run,
    write_files,
)
from tests.support.rpm_databases import blobs_of, hash_file
from tests.support.rpm_file import RpmPackage

DATABASE = hash_file(blobs_of([RpmPackage("one"), RpmPackage("two")]))
NAMES = ["one-1.0-alt1 x86_64", "two-1.0-alt1 x86_64"]
OS_RELEASE = b"ID=altlinux\n"
SYSTEM = {"var/lib/rpm/Packages": DATABASE, "usr/lib/os-release": OS_RELEASE}
LINKS = {"etc/os-release": "/usr/lib/os-release"}
EXT_BYTES = 8 << 20
EXT_SECTORS = EXT_BYTES // 512


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def root(images: Path) -> Path:
    write_files(images / "root", SYSTEM, LINKS)
    return images / "root"


@pytest.fixture(scope="session")
def ext4(images: Path, root: Path) -> Path:
    make_ext(images / "root.ext4", root, "-t", "ext4", size=EXT_BYTES)
    return images / "root.ext4"


@pytest.fixture(scope="session")
def disk(images: Path, ext4: Path) -> Path:
    """As ALT builds it: EFI, BIOS boot, root."""
    make_fat(images / "efi.fat")
    table = (
        "label: gpt\n"
        "start=2048,size=4096,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
        "start=6144,size=2048,type=21686148-6449-6E6F-744E-656564454649\n"
        f"start=8192,size={EXT_SECTORS},type=linux\n"
    )
    path = images / "disk.img"
    make_disk(path, table, {2048: images / "efi.fat", 8192: ext4}, EXT_BYTES + (6 << 20))
    return path


def read(path: Path, tmp_path: Path, partition: int | None = None) -> InstalledSystem:
    with open_file(path) as source, open_disk(source, tmp_path, partition) as found:
        system = read_installed(found.tree)
    assert system is not None
    return system


def assert_read(path: Path, tmp_path: Path, partition: int | None = None) -> None:
    system = read(path, tmp_path, partition)
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == OS_RELEASE
    assert list(tmp_path.iterdir()) == []


def refuse(path: Path, tmp_path: Path, message: str, partition: int | None = None) -> str:
    scratch_directory = tmp_path / "scratch"
    scratch_directory.mkdir(exist_ok=True)
    with pytest.raises(AltrepodbError, match=message) as caught:
        read(path, scratch_directory, partition)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert list(scratch_directory.iterdir()) == []
    return str(caught.value)


# Partition tables


def test_gpt(disk: Path, tmp_path: Path) -> None:
    assert_read(disk, tmp_path)
    with open_file(disk) as source:
        partitions = read_partitions(source)
    assert partitions is not None
    assert [(one.number, one.type, one.offset, one.size) for one in partitions] == [
        (1, "EFI system", 1 << 20, 2 << 20),
        (2, "BIOS boot", 3 << 20, 1 << 20),
        (3, "Linux", 4 << 20, EXT_BYTES),
    ]


def test_bare_file_system(ext4: Path, tmp_path: Path) -> None:
    assert_read(ext4, tmp_path)


def test_mbr(ext4: Path, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    table = f"label: dos\nstart=32768,size={EXT_SECTORS},type=83\n"
    make_disk(path, table, {32768: ext4}, EXT_BYTES + (16 << 20))
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


def test_logical_partitions(ext4: Path, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    table = (
        "label: dos\n"
        "start=2048,size=2048,type=c\n"
        "start=4096,type=5\n"
        "start=6144,size=2048,type=82\n"
        f"start=10240,size={EXT_SECTORS},type=83\n"
    )
    make_disk(path, table, {10240: ext4}, EXT_BYTES + (6 << 20))
    with open_file(path) as source:
        partitions = read_partitions(source)
    assert partitions is not None
    assert [(one.number, one.offset // 512, one.type) for one in partitions] == [
        (1, 2048, "FAT32"),
        (5, 6144, "Linux swap"),
        (6, 10240, "Linux"),
    ]
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")
    assert_read(path, tmp_path / "scratch", partition=6)


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_gpt_of_any_sector(ext4: Path, tmp_path: Path, sector_bytes: int) -> None:
    """The file system fills its partition to the last sector."""
    path = tmp_path / "disk.img"
    size = EXT_BYTES + (2 << 20)
    first = (1 << 20) // sector_bytes
    last = first + EXT_BYTES // sector_bytes - 1
    path.write_bytes(gpt_disk([(first, last)], sector_bytes=sector_bytes, size=size))
    with path.open("r+b") as file:
        file.truncate(size)
    place_volumes(path, {1 << 20: ext4})
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


def test_data_in_the_last_sector(tmp_path: Path) -> None:
    """The last sector of a GPT partition is the partition's."""
    data = bytearray(gpt_disk([(8, 9)], size=1 << 20).ljust(1 << 20, b"\0"))
    data[9 * 4096 : 10 * 4096] = b"x" * 4096
    source = BytesSource(bytes(data), "disk")
    (partition,) = read_partitions(source) or []
    assert partition.source(source).pread(4096, 4096) == b"x" * 4096


def gpt_with(change: Mapping[int, int], size: int = 1 << 20) -> BytesSource:
    data = bytearray(gpt_disk([(8, 9)], size=1 << 20).ljust(1 << 20, b"\0"))
    for offset, value in change.items():
        data[offset] = value
    return BytesSource(bytes(data[:size]), "disk")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (gpt_with({4096 + 30: 1}), "wrong checksum of the header"),
        (gpt_with({4096 + 13: 1}), "a header of 348 bytes|wrong checksum of the header"),
        (gpt_with({4096 + 12: 10}), "a header of 10 bytes"),
        (gpt_with({8192 + 30: 7}), "wrong checksum of the entries"),
        (gpt_with({}, 36 * 1024), "truncated: partition 1 ends at 40960, the disk at 36864"),
        (gpt_with({}, 16 * 1024), "truncated or damaged"),
    ],
)
def test_damaged_gpt(source: BytesSource, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_partitions(source)


@pytest.mark.parametrize(
    ("count", "entry_bytes", "first", "last", "message"),
    [
        (2000, 128, 8, 9, "2000 entries"),
        (128, 100, 8, 9, "entries of 100 bytes"),
        (128, 128, 9, 8, "partition 1 ends before it begins"),
        (128, 128, 8, 1 << 60, "truncated: partition 1"),
    ],
)
def test_hostile_gpt(count: int, entry_bytes: int, first: int, last: int, message: str) -> None:
    """With right checksums."""
    import zlib

    data = bytearray(gpt_disk([(first, last)], size=1 << 20).ljust(1 << 20, b"\0"))
    header = bytearray(data[4096 : 4096 + 92])
    struct.pack_into("<II", header, 80, count, entry_bytes)
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    data[4096 : 4096 + 92] = header
    with pytest.raises(SourceError, match=message):
        read_partitions(BytesSource(bytes(data), "disk"))


def mbr_sector(*records: tuple[int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<B3xB3xII", 0, *record) for record in records)
    return bytes(446) + entries.ljust(64, b"\0") + b"\x55\xaa"


def test_loop_of_logical_partitions() -> None:
    first = mbr_sector((5, 1, 8))
    record = mbr_sector((0x83, 1, 1), (5, 0, 2))
    with pytest.raises(SourceError, match="damaged chain of logical partitions"):
        read_partitions(BytesSource(first + record + bytes(4096), "disk"))


def test_long_chain_of_logical_partitions() -> None:
    first = mbr_sector((5, 1, 8))
    records = [mbr_sector((0x83, 0, 1), (5, number, 1)) for number in range(1, 200)]
    with pytest.raises(SourceError, match="damaged chain of logical partitions"):
        read_partitions(BytesSource(first + b"".join(records) + bytes(4096), "disk"))


def test_empty_extended_partition() -> None:
    """It may hold nothing yet; the others are there."""
    disk = BytesSource(mbr_sector((5, 1, 8), (0x83, 3, 2)) + bytes(8192), "disk")
    assert [one.number for one in read_partitions(disk) or []] == [2]


def test_broken_chain_of_logical_partitions() -> None:
    first = mbr_sector((5, 1, 8))
    record = mbr_sector((0x83, 1, 1), (5, 1, 2))
    with pytest.raises(SourceError, match="damaged chain of logical partitions"):
        read_partitions(BytesSource(first + record + bytes(4096), "disk"))


def test_partition_beyond_the_end() -> None:
    with pytest.raises(SourceError, match="truncated: partition 1 ends at 1025024"):
        read_partitions(BytesSource(mbr_sector((0x83, 2, 2000)) + bytes(4096), "disk"))


def test_boot_sector_is_no_table(tmp_path: Path) -> None:
    """A FAT boot sector ends as an MBR does."""
    make_fat(tmp_path / "efi.fat")
    with open_file(tmp_path / "efi.fat") as source:
        assert read_partitions(source) is None


# File systems

EXT_VARIANTS: dict[str, tuple[str, ...]] = {
    "ext2": ("-t", "ext2"),
    "ext3": ("-t", "ext3"),
    "ext4 of 1 KiB blocks": ("-t", "ext4", "-b", "1024"),
    "ext4 without 64bit": ("-t", "ext4", "-O", "^64bit,^metadata_csum"),
    "ext4 of 4 KiB blocks": ("-t", "ext4", "-b", "4096"),
}


@pytest.mark.parametrize("variant", EXT_VARIANTS)
def test_ext(root: Path, tmp_path: Path, variant: str) -> None:
    path = tmp_path / "image.img"
    make_ext(path, root, *EXT_VARIANTS[variant])
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        (("-O", "inline_data"), "inline_data"),
        (("-O", "bigalloc"), "bigalloc"),
        (("-O", "meta_bg,^resize_inode"), "meta_bg"),
        (("-O", "encrypt"), "encryption"),
    ],
)
def test_ext_features_that_are_not_read(
    root: Path, tmp_path: Path, options: tuple[str, ...], feature: str
) -> None:
    path = tmp_path / "image.img"
    make_ext(path, root, "-t", "ext4", *options)
    message = refuse(path, tmp_path, f"ext file system with {feature}: not read")
    assert "no rpm database; whole disk: 8 MiB, ext" in message


def with_bits(path: Path, target: Path, offset: int, bits: int) -> Path:
    data = bytearray(path.read_bytes())
    (value,) = struct.unpack_from("<I", data, 1024 + offset)
    struct.pack_into("<I", data, 1024 + offset, value | bits)
    target.write_bytes(data)
    return target


def test_unknown_feature_of_ext(ext4: Path, tmp_path: Path) -> None:
    path = with_bits(ext4, tmp_path / "image.img", 0x60, 1 << 30)
    refuse(path, tmp_path, "ext file system with feature 0x40000000: not read")


def test_ext_that_needs_recovery(ext4: Path, tmp_path: Path) -> None:
    path = with_bits(ext4, tmp_path / "image.img", 0x60, 4)
    with open_file(path) as source, open_disk(source, tmp_path) as found:
        assert found.warnings == (
            f"{path}: the journal was not replayed, the newest changes are not seen",
        )


def test_ext_files_are_exact(tmp_path: Path) -> None:
    """Holes, many files in a directory, long links, odd names; against the tool's own reader."""
    files = {f"many/{number:04}": b"%d" % number for number in range(600)}
    files |= {"large": bytes(range(256)) * 4096, "empty": b"", "a\udcff": b"odd"}
    write_files(tmp_path / "root", files, {"short": "x", "long": "y" * 200})
    with (tmp_path / "root/sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    make_ext(tmp_path / "image", tmp_path / "root", "-t", "ext4", "-b", "1024", size=16 << 20)
    with open_file(tmp_path / "image") as source:
        tree = open_file_system(source)
        assert tree is not None
        for name, data in files.items():
            assert read_file(tree, name.encode("utf-8", "surrogateescape"), 1 << 21) == data
        assert read_file(tree, b"sparse", 1 << 22) == bytes(3 << 20) + b"end"
        entries = dict(walk(tree))
    assert len(entries) == len(files) + 5
    assert entries[b"/long"].link_target == b"y" * 200
    assert entries[b"/short"].type is EntryType.SYMLINK
    assert entries[b"/large"].mode == 0o100644 and entries[b"/large"].uid == os.getuid()


def test_unwritten_extents(tmp_path: Path) -> None:
    """Allocated and never written: zeros, not what lies there."""
    write_files(tmp_path / "root", {"file": b"\xff" * 65536})
    path = tmp_path / "image"
    make_ext(path, tmp_path / "root", "-t", "ext4", "-b", "1024")
    data = bytearray(path.read_bytes())
    # A header of one extent at depth 0, then block 0, 64 blocks.
    place = data.find(struct.pack("<HHHHIIH", 0xF30A, 1, 4, 0, 0, 0, 64))
    assert place > 0
    struct.pack_into("<H", data, place + 16, 64 + 0x8000)
    tree = open_file_system(BytesSource(bytes(data), "image"))
    assert tree is not None
    assert read_file(tree, b"file", 1 << 20) == bytes(65536)


def test_last_inode_and_last_entry(tmp_path: Path) -> None:
    """The library leaves them out; we read directories ourselves."""
    files = {f"{number:03}": b"x" for number in range(5)}
    write_files(tmp_path / "root", files)
    path = tmp_path / "image"
    make_ext(
        path, tmp_path / "root", "-t", "ext2", "-N", "16", "-b", "1024", "-I", "128", size=1 << 20
    )
    data = bytearray(path.read_bytes())
    (count,) = struct.unpack_from("<I", data, 1024)
    with open_file(path) as source:
        tree = open_file_system(source)
        assert tree is not None
        numbers = [entry.inode for entry in tree.entries(tree.root)]
    assert count in numbers, "the last inode is not used; the test needs more files"
    assert len(numbers) == len(files) + 1


@pytest.fixture(scope="session")
def xfs(images: Path, root: Path) -> Path:
    make_xfs(images / "root.xfs", root)
    return images / "root.xfs"


@pytest.fixture(scope="session")
def btrfs(images: Path, root: Path) -> Path:
    make_btrfs(images / "root.btrfs", root)
    return images / "root.btrfs"


def test_xfs(xfs: Path, tmp_path: Path) -> None:
    assert_read(xfs, tmp_path)


def test_btrfs(btrfs: Path, tmp_path: Path) -> None:
    assert_read(btrfs, tmp_path)


@pytest.mark.parametrize(
    ("image", "module"),
    [
        ("ext4", "dissect.extfs.extfs"),
        ("xfs", "dissect.xfs.xfs"),
        ("btrfs", "dissect.btrfs.btrfs"),
        ("deflated", "dissect.hypervisor.disk.qcow2"),
    ],
)
def test_without_the_extra(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: str,
    module: str,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    path: Path = request.getfixturevalue(image)
    message = refuse(path, tmp_path, r"install altrepodb\[images\]")
    assert module.rpartition(".")[0] in message
    with pytest.raises(ConfigurationError):
        read(path, tmp_path / "scratch")


# Which file system is the root


def two_volumes(path: Path, first: Path, second: Path) -> Path:
    start = 2048 + EXT_SECTORS
    size = f"size={EXT_SECTORS},type=83"
    table = f"label: dos\nstart=2048,{size}\nstart={start},{size}\n"
    make_disk(path, table, {2048: first, start: second}, 2 * EXT_BYTES + (1 << 20))
    return path


def make_volume(directory: Path, files: Mapping[str, bytes]) -> Path:
    write_files(directory / "root", files)
    make_ext(directory / "volume.ext4", directory / "root", "-t", "ext4", size=EXT_BYTES)
    return directory / "volume.ext4"


def test_var_of_its_own(tmp_path: Path) -> None:
    system = make_volume(tmp_path / "1", {"etc/os-release": OS_RELEASE, "var/keep": b""})
    var = make_volume(tmp_path / "2", {"lib/rpm/Packages": DATABASE})
    path = two_volumes(tmp_path / "disk.img", system, var)
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")
    assert_read(path, tmp_path / "scratch", partition=1)
    assert_read(two_volumes(path, var, system), tmp_path / "scratch")


def test_two_systems(ext4: Path, tmp_path: Path) -> None:
    path = two_volumes(tmp_path / "disk.img", ext4, ext4)
    message = refuse(path, tmp_path, "several systems")
    assert "(partition 1, partition 2): choose one with --partition" in message
    assert "partition 1 (Linux): 8 MiB, ext; partition 2 (Linux): 8 MiB, ext" in message
    (tmp_path / "empty").mkdir()
    assert_read(path, tmp_path / "empty", partition=2)
    refuse(path, tmp_path, "no partition 3; partition 1", partition=3)


def test_the_one_with_os_release_is_the_system(ext4: Path, tmp_path: Path) -> None:
    other = make_volume(tmp_path / "1", {"var/lib/rpm/Packages": DATABASE, "x": b"y" * 5000})
    path = two_volumes(tmp_path / "disk.img", other, ext4)
    assert read(path, tmp_path).os_release == OS_RELEASE
    assert read(path, tmp_path, partition=1).os_release == b""


def test_two_vars(tmp_path: Path) -> None:
    var = make_volume(tmp_path / "1", {"lib/rpm/Packages": DATABASE})
    system = make_volume(tmp_path / "2", {"etc/os-release": OS_RELEASE})
    table = "label: dos\n" + "".join(
        f"start={2048 + EXT_SECTORS * number},size={EXT_SECTORS},type=83\n" for number in range(3)
    )
    volumes = {2048: var, 2048 + EXT_SECTORS: system, 2048 + 2 * EXT_SECTORS: var}
    make_disk(tmp_path / "disk.img", table, volumes, 3 * EXT_BYTES + (1 << 20))
    refuse(tmp_path / "disk.img", tmp_path, r"several systems \(partition 1, partition 3\)")


SIGNATURES = {
    "LVM2": (512, b"LABELONE"),
    "LUKS": (0, b"LUKS\xba\xbe"),
    "swap": (4086, b"SWAPSPACE2"),
    "f2fs": (1024, b"\x10\x20\xf5\xf2"),
    "jfs": (32768, b"JFS1"),
    "squashfs": (0, b"hsqs"),
}


def test_no_system(images: Path, disk: Path, tmp_path: Path) -> None:
    """All that is there is named."""
    table = "label: dos\nstart=2048,size=4096,type=ef\nstart=8192,type=5\n" + "".join(
        f"start={10240 + 4096 * number},size=2048,type=8e\n" for number in range(len(SIGNATURES))
    )
    path = tmp_path / "disk.img"
    make_disk(path, table, {2048: images / "efi.fat"}, 24 << 20)
    with path.open("r+b") as file:
        for number, (offset, magic) in enumerate(SIGNATURES.values()):
            file.seek((10240 + 4096 * number) * 512 + offset)
            file.write(magic)
    message = refuse(path, tmp_path, "no rpm database")
    assert "partition 1 (EFI system): 2 MiB, FAT;" in message
    for number, name in enumerate(SIGNATURES):
        assert f"partition {5 + number} (Linux LVM): 1 MiB, {name}" in message


def test_empty_disk(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(1 << 20))
    refuse(
        tmp_path / "disk.img", tmp_path, "no rpm database; whole disk: 1 MiB, no known signature"
    )
    (tmp_path / "disk.img").write_bytes(b"")
    refuse(tmp_path / "disk.img", tmp_path, "no rpm database")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"KDMV", "a VMDK disk is not read; qemu-img convert makes a qcow2 of it"),
        (b"\x1f\x8b", "no disk image but compressed with gzip"),
        (bytes(257) + b"ustar", "no disk image but a tar archive"),
        (bytes(32769) + b"CD001", "no disk image but an ISO image"),
    ],
)
def test_what_is_no_disk(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(data.ljust(1 << 16, b"\0"))
    refuse(path, tmp_path, message)


# qcow2


@pytest.fixture(scope="session")
def deflated(images: Path, disk: Path) -> Path:
    convert(disk, images / "disk.qcow2c", "-c")
    return images / "disk.qcow2c"


QCOW2_VARIANTS: dict[str, tuple[str, ...]] = {
    "version 2": ("-o", "compat=0.10"),
    "version 3": ("-o", "compat=1.1"),
    "deflate": ("-c",),
    "zstd": ("-c", "-o", "compression_type=zstd"),
    "small clusters": ("-o", "cluster_size=512"),
    "large clusters": ("-o", "cluster_size=2M"),
}


@pytest.mark.parametrize("variant", QCOW2_VARIANTS)
def test_qcow2(disk: Path, tmp_path: Path, variant: str) -> None:
    """The name says nothing; the content does."""
    path = tmp_path / "disk.img"
    convert(disk, path, *QCOW2_VARIANTS[variant])
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")
    with open_file(path) as packed, open_file(disk) as raw:
        opened = qcow2.open_qcow2(packed)
        assert opened.size == raw.size
        assert opened.pread(raw.size, 0) == raw.pread(raw.size, 0)


def test_raw_disk_of_any_name(disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.symlink_to(disk)
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "extended_l2=on,cluster_size=128k"), "qcow2 with extended L2: not read"),
        (("-o", "data_file=data.raw"), "qcow2 with external data file: not read"),
        (
            ("--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s"),
            "qcow2 with encryption: not read",
        ),
    ],
)
def test_qcow2_that_is_not_read(
    ext4: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, tmp_path / "disk.qcow2", "8M")
    refuse(tmp_path / "disk.qcow2", tmp_path, message)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_backing_file_is_never_opened(disk: Path, tmp_path: Path, is_absolute: bool) -> None:
    """A named pipe in its place: whoever opened it would wait for ever."""
    backing = tmp_path / "backing.raw"
    backing.write_bytes(bytes(1 << 20))
    name = str(backing) if is_absolute else backing.name
    path = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", path)
    backing.unlink()
    run("mkfifo", backing)
    refuse(path, tmp_path, "qcow2 with a backing file: not read")


def changed_qcow2(source: Path, target: Path, offset: int, format_: str, value: int) -> Path:
    data = bytearray(source.read_bytes())
    struct.pack_into(format_, data, offset, value)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("offset", "format_", "value", "message"),
    [
        (4, ">I", 1, "not a qcow2 file of version 2 or 3"),
        (4, ">I", 4, "not a qcow2 file of version 2 or 3"),
        (20, ">I", 8, r"clusters of 2\^8 bytes"),
        (20, ">I", 22, r"clusters of 2\^22 bytes"),
        (24, ">Q", 1 << 60, "qcow2 disk of 1152921504606846976 bytes"),
        (24, ">Q", 1 << 39, "L1 table of 1 entries"),
        (32, ">I", 1, "encryption"),
        (36, ">I", 0, "L1 table of 0 entries"),
        (36, ">I", 0x7FFFFFFF, "L1 table of 2147483647 entries"),
        (40, ">Q", 1 << 62, "L1 table of 1 entries at 4611686018427387904"),
        (72, ">Q", 2, "corrupt mark"),
        (72, ">Q", 1 << 20, "feature 0x100000"),
        (100, ">I", 72, "a header of 72 bytes"),
        (104, "B", 2, "compression 2"),
    ],
)
def test_qcow2_guard(
    deflated: Path, tmp_path: Path, offset: int, format_: str, value: int, message: str
) -> None:
    path = changed_qcow2(deflated, tmp_path / "disk.qcow2", offset, format_, value)
    refuse(path, tmp_path, message)


def test_l1_table_is_limited(deflated: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(qcow2, "_MAX_L1_ENTRIES", 0)
    refuse(deflated, tmp_path, "L1 table of 1 entries")


def test_dirty_qcow2(deflated: Path, tmp_path: Path) -> None:
    path = changed_qcow2(deflated, tmp_path / "disk.qcow2", 72, ">Q", 1)
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


def test_truncated_qcow2(deflated: Path, disk: Path, tmp_path: Path) -> None:
    """Whatever is cut, nothing shifts: an error, never other bytes."""
    with open_file(disk) as raw:
        content = raw.pread(raw.size, 0)
    data = deflated.read_bytes()
    plain = tmp_path / "plain.qcow2"
    convert(disk, plain)
    for whole in (data, plain.read_bytes()):
        for part in range(40):
            source = BytesSource(whole[: len(whole) * part // 40], "disk")
            with pytest.raises(SourceError):
                assert qcow2.open_qcow2(source).pread(len(content), 0) == content


def test_damaged_compressed_cluster(deflated: Path, tmp_path: Path) -> None:
    """Deflate data that ends early gives less than a cluster, and no error of its own."""
    data = bytearray(deflated.read_bytes())
    (l1,) = struct.unpack_from(">Q", data, 40)
    (l2,) = struct.unpack_from(">Q", data, l1)
    l2 &= (1 << 56) - 512
    (entry,) = struct.unpack_from(">Q", data, l2)
    place = entry & ((1 << 54) - 1)
    # One last stored block of one byte.
    data[place : place + 6] = b"\x01\x01\x00\xfe\xffx"
    with pytest.raises(SourceError, match="a compressed cluster of 1 bytes"):
        qcow2.open_qcow2(BytesSource(bytes(data), "disk")).pread(100, 0)


# .img.xz


def packed(path: Path, target: Path, *options: str) -> Path:
    result = subprocess.run(
        ["xz", "-1", "-c", *options, str(path)], capture_output=True, check=True
    )
    target.write_bytes(result.stdout)
    return target


@pytest.fixture(scope="session")
def packed_disk(images: Path, disk: Path) -> Path:
    return packed(disk, images / "disk.img.xz", "--block-size=1MiB")


def test_xz_of_many_blocks(packed_disk: Path, disk: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """In place: nothing is written."""
    monkeypatch.setattr(disk_module, "scratch_file", None)
    assert_read(packed_disk, tmp_path)
    with open_file(packed_disk) as source, open_file(disk) as raw:
        content = XzSource(source)
        assert content.size == raw.size
        assert content.pread(raw.size, 0) == raw.pread(raw.size, 0)
        assert content.pread(10, (1 << 20) - 5) == raw.pread(10, (1 << 20) - 5)


def test_xz_of_one_block(disk: Path, tmp_path: Path) -> None:
    path = packed(disk, tmp_path / "disk.img.xz")
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


def test_xz_of_large_blocks(packed_disk: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(xz_blocks, "MAX_BLOCK_BYTES", (1 << 20) - 1)
    with open_file(packed_disk) as source:
        assert not XzSource(source).is_seekable
    assert_read(packed_disk, tmp_path)


def test_scratch_file_is_sparse(disk: Path, tmp_path: Path) -> None:
    chunks = [bytes(1 << 20)] * 10 + [b"x" * 100]
    with scratch.scratch_file(chunks, "disk", tmp_path, 1 << 30) as source:
        (path,) = tmp_path.iterdir()
        assert path.stat().st_blocks * 512 < 1 << 20
        assert source.size == (10 << 20) + 100
        assert source.pread(100, 10 << 20) == b"x" * 100
    assert list(tmp_path.iterdir()) == []


def test_not_enough_scratch_space(disk: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = packed(disk, tmp_path / "disk.img.xz")
    monkeypatch.setattr(scratch, "_SPACE_LEFT_BYTES", 1 << 62)
    refuse(path, tmp_path, "not enough space to unpack it in")


def test_unpacked_size_is_limited(disk: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = packed(disk, tmp_path / "disk.img.xz")
    monkeypatch.setattr(disk_module, "_MAX_DISK_BYTES", 1 << 20)
    refuse(path, tmp_path, "unpacks to more than 1048576 bytes")


def streams(disk: Path, *padding: int) -> bytes:
    data = disk.read_bytes()
    middle = len(data) // 2 // 512 * 512
    parts = [lzma.compress(part, preset=0) for part in (data[:middle], data[middle:])]
    return b"".join(part + bytes(count) for part, count in zip(parts, padding, strict=True))


@pytest.mark.parametrize("padding", [(0, 0), (4, 8), (0, 128 * 1024)])
def test_xz_of_two_streams(disk: Path, tmp_path: Path, padding: tuple[int, int]) -> None:
    path = tmp_path / "disk.img.xz"
    path.write_bytes(streams(disk, *padding))
    with open_file(path) as source:
        assert XzSource(source).is_seekable
    (tmp_path / "scratch").mkdir()
    assert_read(path, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("padding", "message"), [((2, 0), "2 bytes of padding"), ((0, 5), "5 bytes of padding")]
)
def test_wrong_padding(disk: Path, tmp_path: Path, padding: tuple[int, int], message: str) -> None:
    path = tmp_path / "disk.img.xz"
    path.write_bytes(streams(disk, *padding))
    refuse(path, tmp_path, message)


def xz_number(value: int) -> bytes:
    result = b""
    while value >= 0x80:
        result += bytes([value & 0x7F | 0x80])
        value >>= 7
    return result + bytes([value])


def xz_with_index(numbers: list[int], count: int | None = None) -> bytes:
    """A stream with an index that says what it likes, checksums right."""
    import zlib

    block = lzma.compress(b"x" * 1000, check=lzma.CHECK_CRC32)
    index = b"\0" + xz_number(len(numbers) // 2 if count is None else count)
    index += b"".join(map(xz_number, numbers))
    index += bytes(-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    footer = struct.pack("<I2s", len(index) // 4 - 1, block[6:8])
    (backward,) = struct.unpack("<I", block[-8:-4])
    stored = block[: len(block) - 12 - (backward + 1) * 4]
    return stored + index + struct.pack("<I", zlib.crc32(footer)) + footer + b"YZ"


@pytest.mark.parametrize(
    ("numbers", "count", "message"),
    [
        ([56, 1000, 56, 1 << 41], None, "blocks before its begin|unpacks to"),
        ([0, 1000], None, "an empty block"),
        ([1 << 40, 1000], None, "blocks before its begin"),
        ([56, 1000], 1 << 40, "an index of 1099511627776 blocks"),
        ([56, 1 << 70], None, "a number in its index"),
        ([8, 1000], None, "header and footer of a stream differ"),
    ],
)
def test_hostile_xz_index(numbers: list[int], count: int | None, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        XzSource(BytesSource(xz_with_index(numbers, count), "disk"))


def test_xz_block_of_another_size() -> None:
    sound = lzma.compress(b"x" * 1000, check=lzma.CHECK_CRC32)
    (backward,) = struct.unpack("<I", sound[-8:-4])
    index = sound[len(sound) - 12 - (backward + 1) * 4 :]
    stored = index[2]
    for size in (999, 1001, 1 << 39):
        source = XzSource(BytesSource(xz_with_index([stored, size]), "disk"))
        with pytest.raises(SourceError, match="disk: damaged xz block at 12: "):
            source.pread(10, 0)


def test_damaged_xz(packed_disk: Path, tmp_path: Path) -> None:
    data = packed_disk.read_bytes()
    path = tmp_path / "disk.img.xz"
    for size in (len(data) - 1, len(data) - 4, len(data) // 2, 30, 24):
        path.write_bytes(data[:size])
        refuse(path, tmp_path, "damaged xz file")
    path.write_bytes(data[:-30] + b"\xff" + data[-29:])
    refuse(path, tmp_path, "damaged xz file: index")
    path.write_bytes(data[:40] + b"\xff" * 8 + data[48:])
    refuse(path, tmp_path, "damaged xz block at 12")


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("_MAX_INDEX_BYTES", 20, "an index of [0-9]+ bytes"),
        ("_MAX_TOTAL_BYTES", 1 << 20, "unpacks to 14680064 bytes, limit 1048576"),
        ("_DICTIONARY_LIMIT_BYTES", 1 << 16, "damaged xz block at 12: Memory usage limit"),
    ],
)
def test_limits_of_xz(
    packed_disk: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    monkeypatch.setattr(xz_blocks, limit, value)
    with open_file(packed_disk) as source, pytest.raises(SourceError, match=message):
        XzSource(source).pread(10, 0)


def test_cache_of_blocks_is_limited(packed_disk: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(xz_blocks, "_CACHE_BYTES", 2 << 20)
    with open_file(packed_disk) as source:
        content = XzSource(source)
        content.pread(content.size, 0)
        assert sum(map(len, content._cache.values())) <= 2 << 20


# Damage


@pytest.fixture(scope="session")
def tiny_ext(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("tiny")
    write_files(directory / "root", SYSTEM, LINKS)
    make_ext(directory / "tiny", directory / "root", "-t", "ext4", "-b", "1024", size=1 << 20)
    return (directory / "tiny").read_bytes()


def places(data: bytes) -> Iterator[int]:
    """Bytes of the metadata: what is not zero outside the database."""
    hole = data.find(DATABASE[:512])
    for offset, value in enumerate(data):
        if value and not hole <= offset < hole + len(DATABASE):
            yield offset


def test_any_damage_of_ext(tiny_ext: bytes, tmp_path: Path) -> None:
    """A result or an error, and soon; a few hundred single bytes of the metadata."""
    candidates = list(places(tiny_ext))
    refused = 0
    for offset in candidates[:: max(1, len(candidates) // 250)]:
        data = bytearray(tiny_ext)
        data[offset] ^= 0xFF
        try:
            with open_disk(BytesSource(bytes(data), "disk"), tmp_path) as found:
                read_installed(found.tree)
        except SourceError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 3


def test_streams_for_libraries_do_not_end_early() -> None:
    stream = library.StrictStream(BytesSource(b"0123456789", "disk"))
    assert (stream.read(4), stream.tell(), stream.read()) == (b"0123", 4, b"456789")
    stream.seek(8)
    with pytest.raises(SourceError, match="disk: truncated or damaged: 3 bytes at 8"):
        stream.read(3)
    with pytest.raises(SourceError, match="disk: truncated or damaged: 3 bytes at 8"):
        stream.readinto(bytearray(3))
    stream.seek(1)
    buffer = bytearray(2)
    assert (stream.readinto(buffer), buffer) == (2, b"12")


def test_streams_of_libraries_do_not_end_early() -> None:
    source = library.LibrarySource(io.BytesIO(b"0123456789"), 20, "disk")
    assert source.pread(4, 6) == b"6789"
    with pytest.raises(SourceError, match="disk: damaged: 4 of 5 bytes at 6"):
        source.pread(5, 6)
    with pytest.raises(SourceError, match="disk: truncated or damaged"):
        source.pread(5, 16)


def test_scratch_directory_is_made_when_it_can_be(tmp_path: Path) -> None:
    with scratch.scratch_file([b"x"], "disk", tmp_path / "scratch", 10) as source:
        assert source.pread(1, 0) == b"x"
        assert len(os.listdir(tmp_path / "scratch")) == 1
    assert os.listdir(tmp_path / "scratch") == []
    with (
        pytest.raises(AltrepodbError, match="nowhere/scratch: cannot be written: No such file"),
        scratch.scratch_file([b"x"], "disk", tmp_path / "nowhere" / "scratch", 10),
    ):
        pass


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_of_partition_tables(data: st.DataObject) -> None:
    first = mbr_sector((5, 1, 8), (0x83, 20, 4))
    records = [mbr_sector((0x83, 0, 1), (5, number, 1)) for number in range(1, 5)]
    logical = first + b"".join(records) + bytes(16384)
    table = bytearray(data.draw(st.sampled_from([logical, gpt_disk([(8, 8)], size=1 << 16)])))
    table = table.ljust(1 << 16, b"\0")
    places = st.integers(440, 520) | st.integers(0, 8 * 512) | st.integers(4096, 4096 + 100)
    for _ in range(data.draw(st.integers(1, 5))):
        table[data.draw(places)] = data.draw(st.integers(0, 255))
    try:
        for partition in read_partitions(BytesSource(bytes(table), "disk")) or []:
            assert 0 <= partition.offset <= partition.offset + partition.size <= len(table)
    except SourceError as error:
        assert "\n" not in str(error)


XZ_CONTENTS = [bytes([byte]) * 5000 for byte in b"abc"]
XZ_SEED = b"".join(lzma.compress(content, preset=0) for content in XZ_CONTENTS)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_of_xz(data: st.DataObject) -> None:
    """Checksums are everywhere: the right content, or an error.

    What is cut off where a stream ends cannot be missed: the rest is a whole file.
    """
    damaged = bytearray(XZ_SEED)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))
    try:
        source = XzSource(BytesSource(bytes(damaged[:size]), "disk"))
        content = source.pread(source.size, 0)
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert content in [b"".join(XZ_CONTENTS[:count]) for count in range(4)]
        assert size < len(damaged) or len(content) == 15_000


def test_xz_block_that_ends_before_its_check() -> None:
    """Other content, and the end of the content made the begin of more, which never comes."""
    content = os.urandom(1000)
    damaged = bytearray(lzma.compress(content))
    start = damaged.index(content)
    end = start + len(content)
    damaged[start] ^= 0xFF
    # The mark of the end and the check become a compressed chunk of 21 bytes.
    damaged[end : end + 9] = bytes((0xE0, 0, 0, 0, 20, 0x5D, 0, 0, 0))
    source = XzSource(BytesSource(bytes(damaged), "disk"))
    with pytest.raises(SourceError, match="disk: damaged xz block at 12"):
        source.pread(1000, 0)


def test_library_errors_keep_lack_of_memory() -> None:
    with pytest.raises(MemoryError), library.library_errors("disk"):
        raise MemoryError
    with (
        pytest.raises(SourceError, match="disk: damaged: KeyError: 3"),
        library.library_errors("disk"),
    ):
        raise KeyError(3)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sif etc/os-release size 5000", "link 'os-release' of 5000 bytes"),
        ("sif etc/os-release mode 0", "inode .* of 'os-release'"),
        ("sif usr/lib/os-release size 1099511627776", "more than the file system has"),
        ("sif etc size 4294967296", "a directory of 4294967296 bytes"),
    ],
)
def test_damaged_inode(ext4: Path, tmp_path: Path, command: str, message: str) -> None:
    path = tmp_path / "image.img"
    path.write_bytes(ext4.read_bytes())
    run("debugfs", "-w", "-R", command, path)
    refuse(path, tmp_path, message)


def test_damaged_directory(ext4: Path, tmp_path: Path) -> None:
    """The library takes the first bad entry for the end, and says nothing."""
    path = tmp_path / "image.img"
    path.write_bytes(ext4.read_bytes())
    run("debugfs", "-w", "-R", "sif etc size 3000", path)
    with open_file(path) as source:
        tree = open_file_system(source)
        assert tree is not None
        etc = lookup(tree, b"etc")
        assert etc is not None
        with pytest.raises(SourceError, match="damaged: ValueError: directory entry of 0 bytes"):
            list(tree.entries(etc))


def test_entries_of_a_directory_are_limited(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "_MAX_DIRECTORY_ENTRIES", 3)
    refuse(ext4, tmp_path, "a directory without end")


def test_block_size_of_ext(ext4: Path, tmp_path: Path) -> None:
    """A power of two of any size would be a number of any size."""
    path = with_bits(ext4, tmp_path / "image.img", 0x18, 1 << 30)
    refuse(path, tmp_path, r"blocks of 2\^1073741824 KiB")


def test_directory_is_limited(ext4: Path) -> None:
    with open_file(ext4) as source:
        tree = open_file_system(source)
        assert tree is not None
        etc = lookup(tree, b"etc")
        assert etc is not None
        from dataclasses import replace

        with pytest.raises(SourceError, match="a directory of 1073741824 bytes"):
            list(tree.entries(replace(etc, size=1 << 30)))
