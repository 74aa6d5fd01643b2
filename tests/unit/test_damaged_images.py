"""Damaged images of every format, each read in a process with tight limits."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from altrepodb.byte_source import ByteSource, open_file
from altrepodb.errors import SourceError
from altrepodb.image.disk import open_disk
from altrepodb.image.installed import read_installed
from altrepodb.image.limited import ProcessLimits, run_limited
from altrepodb.image.tar import open_tar
from tests.support.disk_images import (
    convert,
    make_btrfs,
    make_disk,
    make_ext,
    make_xfs,
    run,
    write_files,
)
from tests.support.rpm_databases import blobs_of, hash_file
from tests.support.rpm_file import RpmPackage
from tests.support.tar_images import COMPRESSIONS, OciLayout, tar

MIB = 1 << 20
LIMITS = ProcessLimits(memory_bytes=400 * MIB, cpu_s=60, wall_s=600.0)
"""What reading all damaged copies of one image may take together."""
COPIES = 60
PAGE_BYTES = 4096

DATABASE = hash_file(blobs_of([RpmPackage("one"), RpmPackage("two")]))
SYSTEM = {"var/lib/rpm/Packages": DATABASE, "etc/os-release": b"ID=altlinux\n"}


@dataclass(frozen=True, slots=True)
class PatchedSource:
    """A source with other bytes in some places, and an earlier end."""

    source: ByteSource
    size: int
    patches: dict[int, int]

    @property
    def name(self) -> str:
        return self.source.name

    def pread(self, count: int, offset: int) -> bytes:
        if offset + count > self.size:
            raise SourceError(f"{self.name}: truncated")
        data = bytearray(self.source.pread(count, offset))
        for place, value in self.patches.items():
            if offset <= place < offset + count:
                data[place - offset] = value
        return bytes(data)


class RecordingSource:
    """Notes which pages were read: only damage in these can matter."""

    def __init__(self, source: ByteSource) -> None:
        self.name, self.size = source.name, source.size
        self._source = source
        self.pages: set[int] = set()

    def pread(self, count: int, offset: int) -> bytes:
        self.pages.update(range(offset // PAGE_BYTES, (offset + count - 1) // PAGE_BYTES + 1))
        return self._source.pread(count, offset)


def read_image(source: ByteSource, directory: Path, is_tar: bool) -> int:
    """The number of packages."""
    opened = open_tar(source, directory, "x86_64") if is_tar else open_disk(source, directory)
    with opened as found:
        system = read_installed(found.tree, directory)
    return len(system.packages) if system else 0


def read_damaged(path: Path, directory: Path, is_tar: bool) -> tuple[int, int]:
    """How many damaged copies were read, and how many were refused."""
    chance = random.Random(20220811)
    read = refused = 0
    with ExitStack() as stack:
        source = stack.enter_context(open_file(path))
        recording = RecordingSource(source)
        assert read_image(recording, directory, is_tar) == 2
        pages = sorted(recording.pages)
        for number in range(COPIES):
            patches = {
                chance.choice(pages) * PAGE_BYTES + chance.randrange(PAGE_BYTES): chance.choice(
                    [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
                )
                for _ in range(chance.randrange(1, 40))
            }
            size = chance.randrange(source.size) if number % 10 == 9 else source.size
            try:
                read_image(PatchedSource(source, size, patches), directory, is_tar)
                read += 1
            except SourceError as error:
                assert "\n" not in str(error)
                refused += 1
            assert list(directory.iterdir()) == []
    return read, refused


def ext_image(directory: Path, root: Path) -> Path:
    make_ext(directory / "image", root, "-t", "ext4", "-b", "1024", size=MIB)
    return directory / "image"


def ext2_image(directory: Path, root: Path) -> Path:
    make_ext(directory / "image", root, "-t", "ext2", "-b", "1024", size=MIB)
    return directory / "image"


def xfs_image(directory: Path, root: Path) -> Path:
    make_xfs(directory / "image", root)
    return directory / "image"


def btrfs_image(directory: Path, root: Path) -> Path:
    make_btrfs(directory / "image", root)
    return directory / "image"


def qcow2_image(directory: Path, root: Path) -> Path:
    file_system = ext_image(directory, root)
    table = "label: gpt\nstart=2048,size=2048,type=linux\n"
    make_disk(directory / "disk", table, {2048: file_system}, 3 * MIB)
    convert(directory / "disk", directory / "qcow2", "-c", "-o", "cluster_size=4k")
    return directory / "qcow2"


def xz_image(directory: Path, root: Path) -> Path:
    image = ext_image(directory, root)
    run("xz", "-1", "--block-size=64KiB", image)
    return directory / "image.xz"


def tar_image(directory: Path, root: Path) -> Path:
    (directory / "image").write_bytes(tar(SYSTEM))
    return directory / "image"


def packed_tar_image(directory: Path, root: Path) -> Path:
    (directory / "image").write_bytes(COMPRESSIONS["zstd"](tar(SYSTEM)))
    return directory / "image"


def oci_image(directory: Path, root: Path) -> Path:
    layout = OciLayout()
    layers = [COMPRESSIONS["gzip"](tar({name: SYSTEM[name]})) for name in SYSTEM]
    (directory / "image").write_bytes(layout.archive([layout.image(layers, "amd64")]))
    return directory / "image"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "is_tar"),
    [
        (ext_image, False),
        (ext2_image, False),
        (xfs_image, False),
        (btrfs_image, False),
        (qcow2_image, False),
        (xz_image, False),
        (tar_image, True),
        (packed_tar_image, True),
        (oci_image, True),
    ],
)
def test_damaged_copies(tmp_path: Path, make: Callable[[Path, Path], Path], is_tar: bool) -> None:
    """Each is read or refused, none hangs, none takes the memory of the machine."""
    write_files(tmp_path / "root", SYSTEM)
    (tmp_path / "scratch").mkdir()
    path = make(tmp_path, tmp_path / "root")
    arguments = (path, tmp_path / "scratch", is_tar)
    read, refused = run_limited(read_damaged, *arguments, name="image", limits=LIMITS)
    assert read + refused == COPIES
    assert refused > COPIES // 10


def bomb(path: Path) -> int:
    """A tar archive of zeros in a small file, read to its end."""
    with open_file(path) as source, open_tar(source, path.parent, "x86_64") as found:
        return found.tree.root.size


def test_bomb(tmp_path: Path) -> None:
    """A terabyte of zeros in a few megabytes: the time is up, in little memory."""
    import tarfile

    import zstandard

    info = tarfile.TarInfo("x")
    info.size = 1 << 40
    compressor = zstandard.ZstdCompressor(level=1)
    zeros = compressor.compress(bytes(128 * MIB))
    path = tmp_path / "image.tar.zst"
    path.write_bytes(compressor.compress(info.tobuf(tarfile.GNU_FORMAT)) + zeros * 4000)
    limits = ProcessLimits(memory_bytes=400 * MIB, cpu_s=2, wall_s=600.0)
    with pytest.raises(SourceError, match="image damaged or too complex"):
        run_limited(bomb, path, name=str(path), limits=limits)
