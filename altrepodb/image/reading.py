"""Reading an image while the database is opened: content and digests, in a process of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from altrepodb.byte_source import ByteSource, open_file
from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.image.contents import read_system
from altrepodb.image.digests import ImageDigests, background_digests
from altrepodb.image.gost import open_gost
from altrepodb.image.iso import open_disc, read_disc
from altrepodb.image.limited import ByteCounter, LimitedProcess, ProcessLimits, limited_process
from altrepodb.image.options import ISO_TYPE, ImageOptions
from altrepodb.image.records import ImageContent
from altrepodb.progress import Progress

__all__ = ["ImageReading", "read_image", "scratch_directory", "start_reading"]

_MEMORY_BYTES = 600 << 20
_WALL_PER_CPU = 60.0
_BASE_CPU_S = 8
_BYTES_PER_CPU_S = 4 << 20
"""The slowest there is: a squashfs whose files are digested, on a slow processor."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much there is to read; of a squashfs whose files are listed, everything twice."""

    total_bytes: int


class ImageReading:
    """An image that is being read; each method waits for its part, and they are called in order."""

    def __init__(
        self, process: LimitedProcess, counter: ByteCounter, progress: Progress, ending: ExitStack
    ) -> None:
        self._process = process
        self._counter = counter
        self._progress = progress
        self._ending = ending

    def content(self) -> ImageContent:
        """Raises SourceError when the image is not what it should be, or damaged anywhere."""
        plan: _Plan = self._process.next_result()
        self._progress.total = plan.total_bytes // _MIB
        content: ImageContent = self._process.next_result(self._show)
        return content

    def digests(self) -> ImageDigests:
        """Of the image and of the squashfs images on it. Raises as ``content``."""
        digests: ImageDigests = self._process.next_result(self._show)
        self._show()
        self._ending.close()
        return digests

    def _show(self) -> None:
        self._progress.advance(self._counter.value // _MIB - self._progress.count)


@contextmanager
def start_reading(options: ImageOptions) -> Iterator[ImageReading]:
    """Let a process begin to read an image; it ends with the block.

    Start it before an embedded database is opened: a process with that cannot be forked. Raises
    SourceError when the image is no regular file or cannot be opened.
    """
    name = str(options.path)
    with open_file(options.path) as source:
        cpu_s = _BASE_CPU_S + source.size // _BYTES_PER_CPU_S
        limits = ProcessLimits(_MEMORY_BYTES, cpu_s, wall_s=_WALL_PER_CPU * cpu_s)
    counter = ByteCounter()
    with (
        scratch_directory(options.scratch_directory) as scratch,
        limited_process(
            read_image,
            replace(options, scratch_directory=scratch),
            counter,
            name=name,
            limits=limits,
        ) as process,
        ExitStack() as ending,
    ):
        progress = ending.enter_context(Progress(f"{name}: reading", unit="MiB"))
        yield ImageReading(process, counter, progress, ending)


@contextmanager
def scratch_directory(parent: Path | None) -> Iterator[Path]:
    """The name of a directory that a reader makes if it needs one, and that is removed with all
    that the reader, however it ends, has left there.

    ``parent`` defaults to the system's place for such. Raises ConfigurationError when nothing can
    be written to one that was named.
    """
    if parent is not None and not os.access(parent, os.W_OK | os.X_OK):
        reason = "cannot be written to" if parent.is_dir() else "no such directory"
        raise ConfigurationError(f"{parent}: {reason}")
    path = (parent or _default_place()) / f"altrepodb-{uuid4().hex}"
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _default_place() -> Path:
    """Where nothing can be written, few images need it, and these say so then."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path("/tmp")


# In the process that reads


class _CountedSource:
    """A source that counts the bytes that are read of it."""

    def __init__(self, source: ByteSource, counter: ByteCounter) -> None:
        self.name = source.name
        self.size = source.size
        self._source = source
        self._counter = counter

    def pread(self, count: int, offset: int) -> bytes:
        self._counter.add(count)
        return self._source.pread(count, offset)


_Results = Iterator[_Plan | ImageContent | ImageDigests]
"""One of each, in this order."""


def read_image(options: ImageOptions, counter: ByteCounter) -> _Results:
    """Read an image completely; ``counter`` follows the bytes.

    Raises SourceError, and AltrepodbError at once when GOST cannot be computed here.
    """
    with open_gost(), open_file(options.path) as file:
        source = _CountedSource(file, counter)
        if not source.size:
            raise SourceError(f"{source.name}: an empty file")
        mtime = int(os.stat(options.path).st_mtime)
        if options.type == ISO_TYPE:
            yield from _read_iso(options, source, mtime)
        else:
            yield from _read_system(options, source, mtime)


def _read_iso(options: ImageOptions, source: ByteSource, mtime: int) -> _Results:
    disc = open_disc(source, options.scratch_directory)
    twice = sum(member.size for member in disc.members if not member.has_packages)
    yield _Plan(source.size + twice)
    ranges = {member.name: member.ranges for member in disc.members}
    # The other digests are for the meta packages of those without packages.
    only_sha1 = {member.name for member in disc.members if member.has_packages}
    with background_digests(source, ranges, only_sha1) as digests:
        yield read_disc(disc, options, mtime)
        yield digests.result()


def _read_system(options: ImageOptions, source: ByteSource, mtime: int) -> _Results:
    assert options.scratch_directory is not None
    yield _Plan(source.size)
    with background_digests(source, {}) as digests:
        system = read_system(
            source,
            options.type,
            options.arch,
            options.partition,
            options.scratch_directory,
        )
        yield ImageContent(
            system.packages, mtime, os_release=system.os_release, warnings=system.warnings
        )
        yield digests.result()
