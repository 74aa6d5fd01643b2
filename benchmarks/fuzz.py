"""``python -m benchmarks.fuzz``: throw damaged input at every parser of packages and images.

Sound inputs are composed, changed at random, and read. Only a SourceError may come out; no input
may take more than a tenth of a second of processor time, nor more memory than four times its
size and a constant. Everything follows from ``--seed`` and the number of the input, so a failure
can be had again; the input that failed is written to a file beside it.
"""

from __future__ import annotations

import argparse
import io
import lzma
import multiprocessing
import os
import resource
import signal
import struct
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.image.iso9660 import open_iso
from altrepodb.image.squashfs import open_squashfs
from altrepodb.image.tree import EntryType, Tree, walk
from altrepodb.packages.batch import PackageBatch, PackageDigests, add_package
from altrepodb.packages.people import split_changelog_author, split_packager
from altrepodb.rpm.apt_lists import read_hash_list, read_package_list, read_release
from altrepodb.rpm.compression import compressor_of, iter_decompressed
from altrepodb.rpm.header import MAIN_HEADER_LIMITS, Header, parse_header
from altrepodb.rpm.package_file import open_package
from altrepodb.rpm.payload import read_spec_file
from tests.support.apt_lists import (
    ListedFile,
    ReleaseInfo,
    hash_list,
    list_entries,
    list_header,
    release_file,
)
from tests.support.compressors import COMPRESSORS, compress, xz_streams
from tests.support.content import BytesSource
from tests.support.iso_composer import IsoFile, compose_iso, rock_ridge_name, system_use
from tests.support.rpm_file import compose, fake_gpg_signature
from tests.support.rpm_package import (
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
from tests.support.squashfs_images import compose_squashfs

__all__ = ["CPU_LIMIT_S", "Failure", "Report", "Target", "fuzz", "main", "targets"]

CPU_LIMIT_S = 0.1
_MEMORY_FACTOR = 4
_MEMORY_CONSTANT_BYTES = 8 << 20
_DICTIONARY_BYTES = 1 << 28
"""LZMA-alone data may ask for a dictionary of nearly this size without being damaged."""
_HANGING_S = 3.0
_ADDRESS_SPACE_BYTES = 8 << 30
_MAX_INPUT_BYTES = 1 << 18
_ALWAYS_MEASURED_BYTES = 1 << 16
_MEASURED_EVERY = 64
_INPUTS_PER_TASK = 500
_READ_TAGS = 24
_READ_FILES = 20
_READ_FILE_BYTES = 1 << 16
_UNUSED_ISO_BYTES = 1 << 15
_DIGESTS = PackageDigests(bytes(16), bytes(32), bytes(64))

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000)
_LARGE_NUMBERS = (0x00FFFFFF, 0x0FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
_WORDS = (
    b"ffffffff", b"00000000", b"-0000001", b"7fffffff", b"99999999999999999999", b"\0", b"\n",
    b" ", b"/", b"..", b"<", b">", b" <", b"> ", b"- ", b"MD5Sum:\n ", b"Components: ", b"\xff\xfe",
)  # fmt: skip


class Target(NamedTuple):
    """A parser and sound inputs for it; ``run`` may raise SourceError."""

    seeds: tuple[bytes, ...]
    run: Callable[[bytes], None]
    memory_bytes: int = _MEMORY_CONSTANT_BYTES


class Failure(NamedTuple):
    """An input that a parser did not take as it should."""

    target: str
    number: int
    reason: str
    data: bytes


@dataclass
class Report:
    """What a number of inputs came to."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    slowest_s: tuple[float, str] = (0.0, "")
    most_memory: tuple[float, str] = (0.0, "")
    failures: list[Failure] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.read.total() + self.refused.total()

    def add(self, other: Report) -> None:
        self.read += other.read
        self.refused += other.refused
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.most_memory = max(self.most_memory, other.most_memory)
        self.failures += other.failures

    def summary(self, seconds: float) -> str:
        return (
            f"{self.inputs} inputs in {seconds:.0f} s: {self.read.total()} read,"
            f" {self.refused.total()} refused, {len(self.failures)} failed;"
            f" slowest {self.slowest_s[0] * 1000:.1f} ms ({self.slowest_s[1]}),"
            f" most memory {self.most_memory[0]:.0%} of its limit ({self.most_memory[1]})"
        )


# Sound inputs


def _packages() -> Iterator[tuple[RpmPackage, RpmLayout]]:
    binary = RpmPackage(
        "sample",
        epoch=5,
        summary={"C": "Plain", "ru_RU.UTF-8": "Просто"},
        disttag="sisyphus+303842.100.1.1",
        files=[
            directory("/usr/share/sample"),
            RpmFile("/usr/share/sample/one", b"1", inode=9),
            RpmFile("/usr/share/sample/two", b"1", inode=9),
            symlink("/usr/bin/link", "sample"),
        ],
        requires=[Dependency("libc.so.6"), Dependency("b", "1:2", 12)],
        provides=[Dependency("sample", "5:1.0-alt1", 8)],
        changelog=[
            ChangelogEntry(1_656_936_000, "Ivan <i@x> 5:1.0-alt1", "- New."),
            ChangelogEntry(1_656_849_600, "Иван <i@x> 0.9", "- Первая."),
        ],
        scripts={"postin": Script("echo", ["/bin/sh", "-e"])},
        gif=bytes(range(40)),
    )
    yield binary, RpmLayout(gpg=fake_gpg_signature(b"x", 1), reserved_space=100)
    yield binary, RpmLayout(style="upstream", padding=3)
    yield binary, RpmLayout(region=False, long_sizes=True)
    many = tuple(RpmFile(f"/usr/lib/many/{n % 40}/{n}") for n in range(900))
    yield RpmPackage("many", files=many), RpmLayout(compressor="zstd")
    for compressor in COMPRESSORS:
        if compressor != "lzma":
            yield _source(), RpmLayout(compressor=compressor)
    yield _source(), RpmLayout(cpio_format="07070X", long_sizes=True, compressor="none")


def _source() -> RpmPackage:
    return RpmPackage(
        "sample",
        source=True,
        files=[
            RpmFile("a.tar", b"contents" * 9),
            RpmFile("b.patch", b"linked", inode=7),
            RpmFile("c.patch", b"linked", inode=7),
            RpmFile("sample.spec", b"Name: sample\n", flags=FLAG_SPEC),
        ],
        requires=[Dependency("gcc")],
    )


def _listed(number: int) -> bytes:
    package = RpmPackage(f"package-{number}", requires=[Dependency("libc.so.6")])
    md5, blake2b = "0123456789abcdef" * 2, "0123456789abcdef" * 8
    listed = ListedFile(package.file_name, 1000, md5, blake2b)
    return list_header(list_entries(package, listed), "RPMS.classic")


def _payload_seeds(compressors: Sequence[str]) -> tuple[bytes, ...]:
    layouts = [RpmLayout(compressor=c) for c in compressors]  # type: ignore[arg-type]
    stripped = RpmLayout(cpio_format="07070X", long_sizes=True, compressor="none")
    return tuple(compose(_source(), layout).payload for layout in [*layouts, stripped])


def _iso_seeds() -> Iterator[bytes]:
    """Images without the unused bytes before their descriptors."""
    continued = rock_ridge_name(b"a long name")
    area = rock_ridge_name(b"live") + system_use(b"TF", b"\x02" + bytes([121, 12, 5, 1, 2, 3, 12]))
    mode = system_use(b"PX", struct.pack("<I28x", 0o100444))
    link = system_use(b"PX", struct.pack("<I28x", 0o120777))
    files = [
        IsoFile(b"LIVE.;1", b"live", area + mode),
        IsoFile(b"LINK.;1", b"", link + system_use(b"SL", b"\0\x08\0\0\x03usr\4\0")),
        IsoFile(b"LONG.;1", b"", system_use(b"CE", struct.pack("<I4xI4xI4x", 19, 0, 16))),
        IsoFile(b"PARTS.;1", b"1" * 2048, flags=0x80),
        IsoFile(b"PARTS.;1", b"2"),
    ]
    for skip in (0, None):
        image = compose_iso(files, continuation=continued, skip=skip)
        yield image[_UNUSED_ISO_BYTES:]


def _squashfs_seed(block_bytes: int) -> bytes:
    stored, no_fragment = 1 << 24, (1 << 32) - 1
    device, link = struct.pack("<III", 1, 0x801, 0), struct.pack("<II", 1, 4) + b"link"
    large = struct.pack("<QQQIIII", 96, block_bytes + 7, 0, 1, 0, 5, no_fragment)
    inodes = {
        b"directory": (1, struct.pack("<IIHHI", 0, 2, 3, 0, 0)),
        b"file": (2, struct.pack("<IIIII", 96, no_fragment, 0, 5, 5 | stored)),
        b"link": (3, link),
        b"device": (5, device[:8]),
        b"fifo": (6, device[:4]),
        b"large directory": (8, struct.pack("<IIIIHHI", 2, 3, 0, 0, 0, 0, no_fragment)),
        b"large file": (9, large + bytes(4)),
        b"another device": (11, device),
    }
    return compose_squashfs(
        inodes,
        contents=b"hellotail-fragment",
        fragments=[(101, 12 | stored)],
        block_bytes=block_bytes,
    )


# Parsers


def _run_header(data: bytes) -> None:
    header = parse_header(data, MAIN_HEADER_LIMITS, "input")
    readers = (
        Header.string,
        Header.translated,
        Header.strings,
        Header.integers,
        Header.binary,
        Header.text_of_any_type,
    )
    for tag in list(header.entries)[:_READ_TAGS]:
        for read in readers:
            _refusable(read, header, tag)


def _refusable(read: Callable[[Header, int], object], header: Header, tag: int) -> None:
    with suppress(SourceError):
        read(header, tag)


@lru_cache(maxsize=1)
def _memory_file(process: int) -> int:
    return os.memfd_create(f"fuzz-{process}")


def _as_file(data: bytes) -> Path:
    """A file of these bytes, which is in memory."""
    descriptor = _memory_file(os.getpid())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
    return Path(f"/proc/self/fd/{descriptor}")


def _run_package(data: bytes) -> None:
    batch = PackageBatch()
    with open_package(_as_file(data)) as package:
        spec = None
        if package.is_source:
            with suppress(SourceError):
                spec = read_spec_file(package)
        add_package(batch, package, _DIGESTS, spec)


@lru_cache(maxsize=1)
def _source_head() -> bytes:
    rpm = compose(_source())
    return rpm.data[: rpm.header_end]


def _run_payload(data: bytes) -> None:
    with open_package(_as_file(_source_head() + data)) as package:
        read_spec_file(package)


def _run_stream(data: bytes) -> None:
    for _ in iter_decompressed(io.BytesIO(data), compressor_of(data[:6]) or "lzma", "input"):
        pass


def _run_iso(data: bytes) -> None:
    tree = open_iso(BytesSource(bytes(_UNUSED_ISO_BYTES) + data))
    tree.description()
    _read_tree(tree)


def _run_squashfs(data: bytes) -> None:
    _read_tree(open_squashfs(BytesSource(data)))


def _read_tree(tree: Tree) -> None:
    files = [entry for _, entry in walk(tree) if entry.type is EntryType.FILE]
    for entry in files[:_READ_FILES]:
        with suppress(SourceError):
            file = tree.open(entry)
            file.pread(min(file.size, _READ_FILE_BYTES), 0)


def _run_packager(data: bytes) -> None:
    name, address = split_packager(data)
    author, evr = split_changelog_author(data)
    if not all(part in data for part in (name, author)) or len(address + evr) > 2 * len(data):
        raise ValueError("what was found is not in the text")


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_NONE, preset=0)


@lru_cache(maxsize=1)
def targets() -> dict[str, Target]:
    """All parsers by name."""
    files = [compose(package, layout) for package, layout in _packages()]
    listed = b"".join(map(_listed, range(3)))
    hashes = lzma.decompress(hash_list({f"{n}.rpm": "0123456789abcdef" * 4 for n in range(9)}))
    info = ReleaseInfo("x86_64", ["classic", "debuginfo"])
    release = release_file(info, {"base/pkglist.classic": b"x", "base/pkglist.classic.xz": b"y"})
    people = ("Ivan Petrov <ivan at altlinux.org>", 'Иван "x" (y) <i@x> 1:1.0-alt1', "A <b> - < c>")
    text = b"070701, and some text again and again\n" * 40
    others = [name for name in COMPRESSORS if name != "lzma"]
    large = _MEMORY_CONSTANT_BYTES + _DICTIONARY_BYTES
    return {
        "header": Target(tuple(file.main_header for file in files), _run_header),
        "package": Target(tuple(file.data for file in files), _run_package),
        "payload": Target(_payload_seeds(others), _run_payload),
        "lzma payload": Target(_payload_seeds(["lzma"])[:1], _run_payload, large),
        "stream": Target(tuple(compress(text, name) for name in COMPRESSORS), _run_stream, large),
        "list": Target((listed,), lambda data: _discard(read_package_list, _xz(data))),
        "compressed list": Target(
            (xz_streams(listed), xz_streams(listed, [700])),
            lambda data: _discard(read_package_list, data),
        ),
        "hashes": Target((hashes,), lambda data: _discard(read_hash_list, _xz(data))),
        "release": Target((release,), lambda data: _discard(read_release, data)),
        "iso": Target(tuple(_iso_seeds()), _run_iso),
        "squashfs": Target((_squashfs_seed(4096), _squashfs_seed(1 << 20)), _run_squashfs),
        "packager": Target(tuple(map(str.encode, people)), _run_packager),
    }


def _discard(read: Callable[[Path], object], data: bytes) -> None:
    read(_as_file(data))


# Changes


def _place(random: Random, data: bytearray) -> int:
    """Anywhere, and often near the beginning, where the sizes and counts are."""
    end = len(data) if random.random() < 0.5 else min(len(data), 200)
    return random.randrange(end) if end else 0


def _flip(random: Random, data: bytearray, other: bytes) -> None:
    for _ in range(random.randint(1, 6)):
        if data:
            data[_place(random, data)] ^= 1 << random.randrange(8)


def _truncate(random: Random, data: bytearray, other: bytes) -> None:
    del data[random.randrange(len(data) + 1) :]


def _splice(random: Random, data: bytearray, other: bytes) -> None:
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


def _overwrite_number(random: Random, data: bytearray, other: bytes) -> None:
    width = random.choice((1, 2, 4, 4, 4, 8))
    number = random.choice(_NUMBERS if random.random() < 0.5 else _LARGE_NUMBERS)
    number = min(number + random.randint(-1, 1), (1 << 8 * width) - 1)
    at = _place(random, data) // width * width
    data[at : at + width] = max(number, 0).to_bytes(width, "big")


def _overwrite_word(random: Random, data: bytearray, other: bytes) -> None:
    word = random.choice(_WORDS)
    at = _place(random, data)
    data[at : at + random.choice((0, len(word)))] = word


def _duplicate(random: Random, data: bytearray, other: bytes) -> None:
    start = _place(random, data)
    part = data[start : start + random.choice((1, 4, 16, 100, 5000))]
    at = random.choice((start, random.randrange(len(data) + 1)))
    data[at:at] = part * random.choice((1, 1, 2, 16, 300))


def _remove(random: Random, data: bytearray, other: bytes) -> None:
    start = _place(random, data)
    del data[start : start + random.choice((1, 2, 4, 16, 100))]


_CHANGES = (_flip, _truncate, _splice, _overwrite_number, _overwrite_word, _duplicate, _remove)
_CHANGE_WEIGHTS = (5, 1, 1, 6, 2, 2, 1)


def damaged_input(seed: int, number: int) -> tuple[str, bytes]:
    """The name of a target, and an input for it."""
    random = Random(seed << 40 | number)
    name, target = random.choice(list(targets().items()))
    data = bytearray(random.choice(target.seeds))
    for change in random.choices(_CHANGES, _CHANGE_WEIGHTS, k=random.choice((1, 1, 2, 3, 4))):
        change(random, data, random.choice(target.seeds))
    return name, bytes(data[:_MAX_INPUT_BYTES])


# Runs


class _HangingError(BaseException):
    """Not an Exception, so that no parser takes it for one of its own."""


def _give_up(*_: object) -> None:
    raise _HangingError


@contextmanager
def _ended_when_hanging() -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, _give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, _HANGING_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _outcome(run: Callable[[bytes], None], data: bytes) -> tuple[str, float]:
    """``read``, ``refused`` or what else came out, and the seconds that it took."""
    started = time.thread_time()
    try:
        with _ended_when_hanging():
            run(data)
        outcome = "read"
    except SourceError:
        outcome = "refused"
    except _HangingError:
        outcome = f"still running after {_HANGING_S} s"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    return outcome, time.thread_time() - started


def _peak_bytes(run: Callable[[bytes], None], data: bytes) -> int:
    tracemalloc.start()
    try:
        _outcome(run, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def check_input(report: Report, name: str, number: int, data: bytes) -> None:
    """Read one input and note what came of it."""
    target = targets()[name]
    outcome, seconds = _outcome(target.run, data)
    if seconds > CPU_LIMIT_S and outcome in ("read", "refused"):
        # A busy machine may be to blame: an input is slow that is so each time.
        seconds = min(seconds, *(_outcome(target.run, data)[1] for _ in range(3)))
    if outcome == "read":
        report.read[name] += 1
    else:
        report.refused[name] += 1
    reason = outcome if outcome not in ("read", "refused") else None
    if reason is None and seconds > CPU_LIMIT_S:
        reason = f"took {seconds:.3f} s of processor time, limit {CPU_LIMIT_S}"
    if reason is None and (number % _MEASURED_EVERY == 0 or len(data) > _ALWAYS_MEASURED_BYTES):
        reason = _check_memory(report, name, data)
    report.slowest_s = max(report.slowest_s, (seconds, name))
    if reason is not None:
        report.failures.append(Failure(name, number, reason, data))


def _check_memory(report: Report, name: str, data: bytes) -> str | None:
    target = targets()[name]
    limit = _MEMORY_FACTOR * len(data) + target.memory_bytes
    peak = _peak_bytes(target.run, data)
    report.most_memory = max(report.most_memory, (peak / limit, name))
    return f"took {peak} bytes of memory, limit {limit}" if peak > limit else None


def _check_range(task: tuple[int, int, int]) -> Report:
    seed, first, count = task
    report = Report()
    for number in range(first, first + count):
        check_input(report, *_numbered(seed, number))
    return report


def _numbered(seed: int, number: int) -> tuple[str, int, bytes]:
    name, data = damaged_input(seed, number)
    return name, number, data


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))


def fuzz(seed: int, count: int, limit_s: float, jobs: int) -> Report:
    """Read ``count`` inputs in ``jobs`` processes (1: in this one), or as many as there is time
    for. Stops early at a failure."""
    ends = time.monotonic() + limit_s
    starts = range(0, count, _INPUTS_PER_TASK)
    tasks = iter([(seed, first, min(_INPUTS_PER_TASK, count - first)) for first in starts])
    report = Report()
    if jobs == 1:
        for task in tasks:
            report.add(_check_range(task))
            if report.failures or time.monotonic() > ends:
                break
        return report
    # Fresh processes: what the caller has loaded must count neither as memory nor as time.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, fresh, initializer=_limit_memory) as pool:
        for result in _in_parallel(pool, tasks, jobs):
            report.add(result)
            if report.failures or time.monotonic() > ends:
                tasks = iter(())
                pool.shutdown(cancel_futures=True)
                break
    return report


def _in_parallel(
    pool: ProcessPoolExecutor, tasks: Iterator[tuple[int, int, int]], jobs: int
) -> Iterator[Report]:
    """Results as they come, with a few tasks on their way at a time."""
    running: set[Future[Report]] = set()
    while True:
        while len(running) < 2 * jobs and (task := next(tasks, None)) is not None:
            running.add(pool.submit(_check_range, task))
        if not running:
            return
        done = next(as_completed(running))
        running.discard(done)
        yield done.result()


def _write_failures(failures: Sequence[Failure], seed: int, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for failure in failures:
        file = place / f"{failure.target.replace(' ', '-')}-{seed}-{failure.number}.bin"
        file.write_bytes(failure.data)
        print(f"{failure.target}: {failure.reason}", file=sys.stderr)
        print(
            f"  again: python -m benchmarks.fuzz --target '{failure.target}' --input {file}",
            file=sys.stderr,
        )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=20_000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=1, help="what the inputs follow from")
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--output", type=Path, default=Path("build/fuzz"), help="for failures")
    parser.add_argument("--target", choices=list(targets()), help="what to give --input to")
    parser.add_argument("--input", type=Path, help="read this one file and nothing else")
    options = parser.parse_args(arguments)
    if (options.target is None) != (options.input is None):
        parser.error("--target and --input belong together")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the command line says; 1 when an input failed."""
    options = _arguments(arguments)
    started = time.monotonic()
    if options.input is not None:
        report = Report()
        check_input(report, options.target, 0, options.input.read_bytes())
    else:
        try:
            report = fuzz(options.seed, options.count, options.seconds, options.jobs)
        except BrokenProcessPool:
            print("a process crashed; --jobs 1 shows where", file=sys.stderr)
            return 1
    print(report.summary(time.monotonic() - started))
    if options.input is None:
        _write_failures(report.failures, options.seed, options.output)
    else:
        for failure in report.failures:
            print(f"{failure.target}: {failure.reason}", file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
