"""All digests of an image and of members in it, from one reading.

One thread reads and three compute behind short queues: GOST, the slowest by far, sets the pace, and
the digests of the image and those of its members keep up with it on another processor. They leave
the interpreter's lock while they work; chunks are large, so that they seldom wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from queue import Queue
from typing import NamedTuple

from altrepodb.byte_source import ByteSource, Extents
from altrepodb.errors import AltrepodbError
from altrepodb.hashing import Digester, FileDigests
from altrepodb.image.gost import open_gost

__all__ = ["ImageDigests", "background_digests", "image_digests"]

CHUNK_BYTES = 4 << 20
_QUEUE_CHUNKS = 2
_MAX_RANGES = 1024
_MEMBER_DIGESTS = ("md5", "sha1", "sha256", "blake2b")

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageDigests:
    """Digests of a whole image, and of each member under the name that it was given."""

    size: int
    md5: bytes
    sha256: bytes
    gost12: bytes
    members: Mapping[str, FileDigests]


class _Chunk(NamedTuple):
    """A part of the image, and the parts of it that belong to members."""

    data: bytes
    pieces: Sequence[tuple[str, memoryview]]


Update = Callable[[_Chunk], None]


def image_digests(
    source: ByteSource,
    members: Mapping[str, Sequence[Range]],
    stop: threading.Event | None = None,
    only_sha1: Collection[str] = (),
) -> ImageDigests:
    """MD5, SHA-256 and GOST of an image; MD5, SHA-1, SHA-256 and BLAKE2b of each member.

    Of the members in ``only_sha1`` nothing else is computed. Members are given as (offset, size)
    in bytes. Raises SourceError when the image does not hold them or cannot be read,
    AltrepodbError when nothing here computes GOST or ``stop`` is set.
    """
    contents = {name: Extents(source, ranges, name) for name, ranges in members.items()}
    in_order = {name: ranges for name, ranges in members.items() if _is_in_order(ranges)}
    whole = Digester(("md5", "sha256"))
    parts = {
        name: Digester(("sha1",) if name in only_sha1 else _MEMBER_DIGESTS) for name in members
    }

    def update_members(chunk: _Chunk) -> None:
        for name, piece in chunk.pieces:
            parts[name].update(piece)

    with open_gost() as gost:
        updates: list[Update] = [
            lambda chunk: gost.update(chunk.data),
            lambda chunk: whole.update(chunk.data),
            update_members,
        ]
        _feed(updates, _iter_chunks(source, in_order, stop))
        gost12 = gost.digest()
    for name in members.keys() - in_order.keys():
        content = contents[name]
        _feed([update_members], _iter_chunks(content, {name: [(0, content.size)]}, stop))
    digests = whole.digests()
    assert digests.md5 is not None and digests.sha256 is not None
    return ImageDigests(
        source.size,
        digests.md5,
        digests.sha256,
        gost12,
        {name: digester.digests() for name, digester in parts.items()},
    )


@contextmanager
def background_digests(
    source: ByteSource,
    members: Mapping[str, Sequence[Range]],
    only_sha1: Collection[str] = (),
) -> Iterator[Future[ImageDigests]]:
    """``image_digests`` beside what is done inside; take the result there.

    Whoever leaves earlier, with an error for one, does not wait for the rest of the image.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(image_digests, source, members, stop, only_sha1)
        finally:
            stop.set()


def _is_in_order(ranges: Sequence[Range]) -> bool:
    """Whether one reading from beginning to end meets the ranges as they are listed."""
    ends = (start + size <= following for (start, size), (following, _) in pairwise(ranges))
    return len(ranges) <= _MAX_RANGES and all(ends)


def _iter_chunks(
    source: ByteSource, members: Mapping[str, Sequence[Range]], stop: threading.Event | None
) -> Iterator[_Chunk]:
    ranges = sorted(
        (start, start + size, name) for name, parts in members.items() for start, size in parts
    )
    for offset in range(0, source.size, CHUNK_BYTES):
        if stop is not None and stop.is_set():
            raise AltrepodbError(f"{source.name}: computing digests was broken off")
        data = source.pread(min(CHUNK_BYTES, source.size - offset), offset)
        view = memoryview(data)
        pieces = [
            (name, view[max(start - offset, 0) : end - offset])
            for start, end, name in ranges
            if start < offset + len(data) and end > offset
        ]
        yield _Chunk(data, pieces)


def _feed(updates: Sequence[Update], chunks: Iterable[_Chunk]) -> None:
    """Give every chunk to every update, each in a thread of its own."""
    failed = threading.Event()
    queues: list[Queue[_Chunk | None]] = [Queue(_QUEUE_CHUNKS) for _ in updates]
    with ThreadPoolExecutor(len(updates)) as pool:
        work = [
            pool.submit(_consume, update, queue, failed)
            for update, queue in zip(updates, queues, strict=True)
        ]
        try:
            for chunk in chunks:
                if failed.is_set():
                    break
                for queue in queues:
                    queue.put(chunk)
        finally:
            for queue in queues:
                queue.put(None)
    for future in work:
        future.result()


def _consume(update: Update, queue: Queue[_Chunk | None], failed: threading.Event) -> None:
    try:
        while (chunk := queue.get()) is not None:
            update(chunk)
    except BaseException:
        failed.set()
        # Whoever fills the queue must not wait for room in it.
        while queue.get() is not None:
            pass
        raise
