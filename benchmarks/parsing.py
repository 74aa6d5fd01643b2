"""How fast package files are parsed, on one core and without a database.

Files are read once beforehand, so that they come from the page cache. Rates are per second of
processor time: another busy process on the machine does not slow them down much. The best of a
few rounds counts. Each round collects its rows and throws them away, as a worker does.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from altrepodb.packages import batch as mapping
from altrepodb.packages.batch import PackageBatch, PackageDigests, add_package
from altrepodb.rpm import tags
from altrepodb.rpm.header import (
    HEADER_INTRO_BYTES,
    MAIN_HEADER_LIMITS,
    SIGNATURE_LIMITS,
    Header,
    header_size,
    parse_header,
)
from altrepodb.rpm.package_file import PackageFile, open_package
from altrepodb.rpm.payload import read_spec_file
from benchmarks.repository import benchmark_tree

__all__ = ["headers_per_second", "measure_parsing", "packages_per_second", "specs_per_second"]

_LEAD_BYTES = 96
_ROUNDS = 5
_PACKAGES_PER_BATCH = 48
_GARBAGE_THRESHOLD = 100_000
_DIGESTS = PackageDigests(bytes(16), bytes(32), bytes(64))


def measure_parsing(directory: Path) -> dict[str, float]:
    """Rates of parsing; ``directory`` keeps the tree between runs."""
    tree = benchmark_tree(directory)
    return {
        "headers_per_s": headers_per_second(tree),
        "specs_per_s": specs_per_second(tree),
    }


def package_paths(directory: Path, kind: str) -> list[bytes]:
    """The package files of a tree: ``RPMS`` for binary packages, ``SRPMS`` for sources."""
    found = [path for path in directory.rglob(f"{kind}/*.rpm") if not path.is_symlink()]
    if not found:
        raise SystemExit(f"{directory}: no packages in any {kind}")
    for path in found:
        path.read_bytes()
    return sorted(map(os.fsencode, found))


@contextmanager
def _as_in_a_worker() -> Iterator[None]:
    """Garbage is looked for as rarely as worker processes do."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _rate(count: int, work: Callable[[], None]) -> float:
    best = float("inf")
    with _as_in_a_worker():
        for _ in range(_ROUNDS):
            started = time.process_time()
            work()
            best = min(best, time.process_time() - started)
    return count / best


def _raw_header(package: PackageFile) -> bytes:
    """The main header as it lies in the file, from the end of the padded signature header on."""
    intro = os.pread(package.descriptor, HEADER_INTRO_BYTES, _LEAD_BYTES)
    start = _LEAD_BYTES + (header_size(intro, SIGNATURE_LIMITS, package.name) + 7) // 8 * 8
    return os.pread(package.descriptor, package.payload_offset - start, start)


def _read_values(header: Header) -> None:
    """Every tag that becomes a column, read as the mapping to rows reads it."""
    mapping._header_values(header)
    for tag in (tags.BUILD_TIME, tags.EPOCH, tags.ARCHIVE_SIZE, tags.SOURCE_PACKAGE):
        header.integer(tag)
    for tag in (tags.ARCH, tags.SOURCE_RPM):
        header.string(tag)
    for tag in (tags.CHANGELOG_NAMES, tags.CHANGELOG_TEXTS, tags.FILE_DIGESTS):
        header.joined_strings(tag)
    for tag in mapping._FILE_TEXTS.values():
        header.joined_strings(tag)
    for tag in (tags.BASE_NAMES, tags.DIRECTORY_NAMES):
        header.strings(tag)
    for tag in (tags.CHANGELOG_TIMES, tags.DIRECTORY_INDEXES, tags.FILE_FLAGS, tags.FILE_SIZES):
        header.integers(tag)
    for _, tag in mapping._FILE_NUMBERS.values():
        header.integers(tag)
    for names, versions, flags in mapping._DEPENDENCIES.values():
        header.strings(names)
        header.strings(versions)
        header.integers(flags)


def headers_per_second(directory: Path) -> float:
    """Header parsing alone: main headers of the tree's binary packages, which are in memory.

    Per header: its index, and the values of every tag that becomes a column, split and decoded
    but not joined into rows.
    """
    headers = []
    for path in package_paths(directory, "RPMS"):
        with open_package(path) as package:
            headers.append(_raw_header(package))

    def work() -> None:
        for raw in headers:
            _read_values(parse_header(raw, MAIN_HEADER_LIMITS, "benchmark"))

    return _rate(len(headers), work)


def packages_per_second(directory: Path) -> float:
    """Binary packages of the tree from their files to finished rows.

    Opening, reading and digesting of the header region is part of it; digests of whole files,
    which a repository's lists state, are not.
    """
    return _whole_packages(package_paths(directory, "RPMS"))


def specs_per_second(directory: Path) -> float:
    """Source packages of the tree from their files to finished rows, with their spec files.

    A payload is decompressed up to its spec file; those of a composed tree are small.
    """
    return _whole_packages(package_paths(directory, "SRPMS"))


def _whole_packages(paths: list[bytes]) -> float:
    def work() -> None:
        batch = PackageBatch()
        for path in paths:
            if len(batch.packages) == _PACKAGES_PER_BATCH:
                batch = PackageBatch()
            with open_package(path) as package:
                spec = read_spec_file(package) if package.is_source else None
                add_package(batch, package, _DIGESTS, spec)

    return _rate(len(paths), work)
