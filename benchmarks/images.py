"""``iso_loader`` beside a lone GOST digest of the same image, and the digests of a squashfs.

The ISO has 1 GiB: one squashfs with the rpm database of 1,500 packages and a large file that
cannot be compressed. No load can be faster than the GOST digest of the image, which cannot be
computed in parts. The squashfs whose files are digested is made of programs and texts of this
machine as ALT's images are: xz, blocks of 256 KiB.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from altrepodb.byte_source import open_file
from altrepodb.image.squashfs import open_squashfs
from altrepodb.image.squashfs_digests import file_md5s
from altrepodb.image.tree import walk
from altrepodb.rpm.package_file import open_package
from benchmarks.processes import peak_memory_mib, seconds
from benchmarks.repository import benchmark_tree
from tests.support.iso_images import make_iso
from tests.support.rpm_databases import hash_file, package_file_blob
from tests.support.squashfs_images import make_squashfs

__all__ = ["measure_images"]

_ROUNDS = 3
_ISO_BYTES = 1 << 30
_PACKAGES = 1500
_CHUNK_BYTES = 4 << 20
_UNPACKED_BYTES = 120 << 20
_LARGEST_FILE_BYTES = 8 << 20
_SYSTEM_DIRECTORIES = ("/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/share", "/usr/lib")
_WORKERS = 2
_DAY = "2024-05-06"
_PRODUCT = (
    "--edition alt-workstation --version 10.0 --release release --variant live --arch x86_64"
    " --branch bench --url https://example.org/bench.iso"
).split()
# The same provider, chunk size and way of reading as the loader's.
_LONE_GOST = f"""
import sys
from altrepodb.byte_source import open_file
from altrepodb.image.gost import open_gost
with open_file(sys.argv[1]) as source, open_gost() as gost:
    for offset in range(0, source.size, {_CHUNK_BYTES}):
        gost.update(source.pread(min({_CHUNK_BYTES}, source.size - offset), offset))
    gost.digest()
"""


def _blobs(tree: Path) -> Iterator[bytes]:
    """Headers of binary packages as a database of installed packages holds them."""
    for path in sorted(tree.glob("files/*/RPMS/*.rpm")):
        with open_package(path) as package:
            yield package_file_blob(path.read_bytes(), package)


def _compose_iso(place: Path, tree: Path) -> None:
    root = place.with_name("bench-root")
    (root / "var/lib/rpm").mkdir(parents=True)
    blobs = list(islice(_blobs(tree), _PACKAGES))
    (root / "var/lib/rpm/Packages").write_bytes(hash_file(blobs))
    rest = _ISO_BYTES - (root / "var/lib/rpm/Packages").stat().st_size
    with (root / "large").open("wb") as file:
        for _ in range(rest // _CHUNK_BYTES):
            file.write(os.urandom(_CHUNK_BYTES))
    directory = place.with_name("bench-disc")
    (directory / ".disk").mkdir(parents=True)
    (directory / ".disk/arch").write_text("x86_64\n")
    make_squashfs(directory / "live", root, options=("-noD", "-noI", "-noF"))
    shutil.rmtree(root)
    make_iso(place, directory)
    shutil.rmtree(directory)


def _compose_squashfs(place: Path) -> None:
    root = place.with_name("bench-system")
    left = _UNPACKED_BYTES
    for number, path in enumerate(_system_files()):
        if left < 0:
            break
        target = root / f"{number % 100:02}" / f"{number}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        left -= target.stat().st_size
    make_squashfs(place, root)
    shutil.rmtree(root)


def _system_files() -> Iterator[Path]:
    for directory in _SYSTEM_DIRECTORIES:
        for path in sorted(Path(directory).rglob("*")):
            is_readable = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
            if is_readable and path.stat().st_size <= _LARGEST_FILE_BYTES:
                yield path


def _digest_rate_mb_s(path: Path) -> float:
    """Packed megabytes a second."""
    with open_file(path) as source:
        started = time.perf_counter()
        tree = open_squashfs(source)
        file_md5s(tree, [entry for _, entry in walk(tree)], _WORKERS)
        return source.size / (time.perf_counter() - started) / 1e6


def _load_command(path: Path, database: Path, number: int) -> Sequence[str]:
    """Each round loads the image of another day."""
    loader = str(Path(sys.executable).with_name("iso_loader"))
    where = ["--embedded", str(database), "--date", f"2024-06-{number + 1:02}"]
    return [loader, "--quiet", *where, *_PRODUCT, str(path)]


def measure_images(directory: Path) -> dict[str, float]:
    """All figures of the image loaders; ``directory`` keeps what was composed between runs."""
    tree = benchmark_tree(directory)
    iso, squashfs = directory / "bench.iso", directory / "bench.squashfs"
    if not iso.exists():
        _compose_iso(directory / "new.iso", tree)
        (directory / "new.iso").rename(iso)
    if not squashfs.exists():
        _compose_squashfs(directory / "new.squashfs")
        (directory / "new.squashfs").rename(squashfs)
    database = directory / "image-database"
    shutil.rmtree(database, ignore_errors=True)
    loader = str(Path(sys.executable).with_name("repo_loader"))
    seconds([loader, "--quiet", "-e", str(database), "--date", _DAY, "bench", str(tree)])
    lone = [sys.executable, "-c", _LONE_GOST, str(iso)]
    seconds(lone)
    rounds = [
        (seconds(lone), seconds(_load_command(iso, database, number))) for number in range(_ROUNDS)
    ]
    return {
        "iso_load_s": statistics.median(load_s for _, load_s in rounds),
        "gost_s": statistics.median(gost_s for gost_s, _ in rounds),
        "iso_vs_gost": statistics.median(gost_s / load_s for gost_s, load_s in rounds),
        "squashfs_digest_mb_s": max(_digest_rate_mb_s(squashfs) for _ in range(_ROUNDS)),
        "image_peak_mib": peak_memory_mib(_load_command(iso, database, _ROUNDS)),
    }
