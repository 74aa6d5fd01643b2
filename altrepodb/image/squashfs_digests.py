"""MD5 of all files of a squashfs image at once.

Blocks are read and decompressed in the order in which they stand in the image, by several threads,
and digested here in that same order; each fragment block, which holds the ends of many files, is
decompressed once, or twice when it stands before other parts of its files. Files that share their
blocks are digested once. What is decompressed ahead is bounded, whatever the sizes of the files.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol

from altrepodb.errors import SourceError
from altrepodb.image.squashfs import FileLayout, SquashfsTree
from altrepodb.image.squashfs_metadata import SIZE_MASK, Blocks
from altrepodb.image.tree import Entry, EntryType
from altrepodb.workers import default_workers

__all__ = ["file_md5s"]

_STEP_BYTES = 512 << 10
_STEPS_AHEAD_PER_WORKER = 3
_WORK_CONSTANT_BYTES = 1 << 30
_WORK_FACTOR = 200
"""Whole systems shrink to a third. An image that says far more makes us work for nothing."""


@dataclass(slots=True)
class _Content:
    """What one or more inodes hold, and its digest as far as it got."""

    layout: FileLayout
    inodes: list[Hashable] = field(default_factory=list)
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))


class _Step(Protocol):
    """Something to decompress in a thread, and to use afterwards in order."""

    def load(self, blocks: Blocks) -> list[bytes]: ...
    def use(self, pieces: list[bytes]) -> None: ...


@dataclass(frozen=True, slots=True)
class _BlockStep:
    """Some blocks of a file, the first of which has the number ``first``."""

    content: _Content
    first: int
    end: int

    def load(self, blocks: Blocks) -> list[bytes]:
        layout = self.content.layout
        pieces = []
        for index in range(self.first, self.end):
            length = min(blocks.block_bytes, layout.size - index * blocks.block_bytes)
            word = layout.size_words[index]
            data = blocks.data(layout.places[index], word, length) if word else bytes(length)
            if len(data) != length:
                raise blocks.damaged(f"a block of {len(data)} bytes instead of {length}")
            pieces.append(data)
        return pieces

    def use(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.content.md5.update(piece)


@dataclass(frozen=True, slots=True)
class _FragmentStep:
    """A fragment block, and the files whose ends are in it."""

    place: int
    size_word: int
    contents: Sequence[_Content]

    def load(self, blocks: Blocks) -> list[bytes]:
        data = blocks.data(self.place, self.size_word, blocks.block_bytes)
        tails = []
        for layout in (content.layout for content in self.contents):
            length = layout.size - len(layout.places) * blocks.block_bytes
            tail = data[layout.fragment_offset : layout.fragment_offset + length]
            if len(tail) != length:
                raise blocks.damaged(f"a file reaches beyond the fragment block at {self.place}")
            tails.append(tail)
        return tails

    def use(self, pieces: list[bytes]) -> None:
        for content, tail in zip(self.contents, pieces, strict=True):
            content.md5.update(tail)


def file_md5s(
    tree: SquashfsTree, files: Iterable[Entry], workers: int | None = None
) -> dict[Hashable, bytes]:
    """The MD5 of every regular file among the entries, by inode; others are passed over.

    Raises SourceError for damage, and for images that would become far larger than images do.
    """
    contents = _contents(tree, files)
    fragments = _Fragments(tree, contents)
    steps = _steps(tree.blocks, contents, fragments)
    threads = workers or default_workers()
    with _thread_pool(threads) as pool:
        running: deque[tuple[Future[list[bytes]], _Step]] = deque()

        def start(count: int) -> None:
            for step in islice(steps, count):
                running.append((pool.submit(step.load, tree.blocks), step))

        start(_STEPS_AHEAD_PER_WORKER * threads)
        while running:
            future, step = running.popleft()
            step.use(future.result())
            start(1)
    return {inode: content.md5.digest() for content in contents for inode in content.inodes}


@contextmanager
def _thread_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that after an error does not do what was asked of it before."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _contents(tree: SquashfsTree, files: Iterable[Entry]) -> list[_Content]:
    """Different contents: hard links have one inode, and equal files may share their blocks."""
    seen: set[Hashable] = set()
    contents: dict[Hashable, _Content] = {}
    work = 0
    for file in files:
        if file.type is not EntryType.FILE or file.inode in seen:
            continue
        seen.add(file.inode)
        layout = tree.layout(file)
        start = layout.places[0] if layout.places else None
        words = layout.size_words.tobytes()
        key = (layout.size, start, words, layout.fragment, layout.fragment_offset)
        if key not in contents:
            contents[key] = _Content(layout)
            work += layout.size + sum(word & SIZE_MASK for word in layout.size_words)
            _check_work(tree.blocks, work)
        contents[key].inodes.append(file.inode)
    return list(contents.values())


def _check_work(blocks: Blocks, work: int) -> None:
    """Refuse what would keep us busy for hours: both what is read and what it becomes count."""
    if work > _WORK_CONSTANT_BYTES + _WORK_FACTOR * blocks.bytes_used:
        raise SourceError(f"{blocks.name}: {blocks.bytes_used} bytes would become {work} and more")


class _Fragments:
    """The fragment blocks that files need, by place and size word, each with these files.

    ``late`` has the files of which a fragment block stands before other blocks of theirs.
    """

    def __init__(self, tree: SquashfsTree, contents: Sequence[_Content]) -> None:
        self.early: dict[tuple[int, int], list[_Content]] = {}
        self.late: dict[tuple[int, int], list[_Content]] = {}
        for content in contents:
            if content.layout.fragment is not None:
                place = tree.fragment(content.layout.fragment)
                blocks = content.layout.places
                is_late = bool(blocks) and blocks[0] >= place[0]
                fragments = self.late if is_late else self.early
                fragments.setdefault(place, []).append(content)
        _check_work(tree.blocks, (len(self.early) + len(self.late)) * tree.blocks.block_bytes)


def _steps(blocks: Blocks, contents: Sequence[_Content], fragments: _Fragments) -> Iterator[_Step]:
    """In the order of places, so that a file's tail comes after its blocks; late tails at last."""
    places: list[tuple[int, Iterable[_Step]]] = [
        (content.layout.places[0], _block_steps(blocks, content))
        for content in contents
        if content.layout.places
    ]
    places += [
        (place, [_FragmentStep(place, word, users)])
        for (place, word), users in fragments.early.items()
    ]
    for _, steps in sorted(places, key=itemgetter(0)):
        yield from steps
    for (place, word), users in sorted(fragments.late.items(), key=itemgetter(0)):
        yield _FragmentStep(place, word, users)


def _block_steps(blocks: Blocks, content: _Content) -> Iterator[_Step]:
    count = len(content.layout.places)
    per_step = max(1, _STEP_BYTES // blocks.block_bytes)
    for first in range(0, count, per_step):
        yield _BlockStep(content, first, min(first + per_step, count))
