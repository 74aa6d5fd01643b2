"""A tree of files inside an image, whatever the file system.

Names are raw bytes. Links are followed here, inside the image, never by a reader and never on the
host: absolute targets start at the image's root.
"""

from __future__ import annotations

import stat
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError

__all__ = [
    "CaselessTree",
    "Entry",
    "EntryType",
    "Tree",
    "lookup",
    "read_file",
    "shown_name",
    "walk",
]

MAX_LINK_HOPS = 40
MAX_DEPTH = 256


class EntryType(Enum):
    """The kind of an inode; the values are those of ``file_class`` in the table Files."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "char"
    BLOCK_DEVICE = "block"
    FIFO = "fifo"
    SOCKET = "socket"

    @classmethod
    def of_mode(cls, mode: int) -> EntryType | None:
        """The kind that the upper bits of a ``st_mode`` say; None for bits that say none."""
        return _TYPE_OF_BITS.get(stat.S_IFMT(mode))


_TYPE_OF_BITS = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """An inode under one of its names.

    ``mode`` is the whole ``st_mode``; ``mtime`` is whole seconds since 1970 UTC; ``inode`` is
    equal for hard links to one file, and for a directory that is met again; ``location`` is the
    reader's own way to the content.
    """

    name: bytes
    type: EntryType
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    inode: Hashable
    rdev: int = 0
    link_target: bytes = b""
    location: Any = None


class Tree(Protocol):
    """A file system that is open for reading. All methods raise SourceError for damage."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def root(self) -> Entry: ...

    def entries(self, directory: Entry) -> Iterator[Entry]:
        """What a directory holds, without ``.`` and ``..``."""

    def open(self, file: Entry) -> ByteSource:
        """The content of a regular file."""


@runtime_checkable
class CaselessTree(Protocol):
    """What a tree has beside the rest when the case of its names means nothing."""

    @property
    def ignores_case(self) -> bool: ...


def shown_name(name: bytes) -> str:
    """A name for messages: on one line, whatever its bytes."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def lookup(tree: Tree, path: bytes, *, follow: bool = True) -> Entry | None:
    """The entry at a path from the root, or None; ``follow`` is about the last name only.

    Links are resolved inside the image. Raises SourceError for a loop of links or damage.
    """
    parents: list[Entry] = []
    current = tree.root
    names = path.split(b"/")[::-1]
    hops = 0
    while names:
        name = names.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            current = parents.pop() if parents else tree.root
            continue
        if current.type is not EntryType.DIRECTORY:
            return None
        found = _child(tree, current, name)
        if found is None:
            return None
        if found.type is not EntryType.SYMLINK or not (follow or any(names)):
            parents.append(current)
            current = found
            continue
        hops += 1
        if hops > MAX_LINK_HOPS:
            raise SourceError(f"{tree.name}: too many links on the way to {shown_name(path)}")
        names += found.link_target.split(b"/")[::-1]
        if found.link_target.startswith(b"/"):
            parents, current = [], tree.root
    return current


def _child(tree: Tree, directory: Entry, name: bytes) -> Entry | None:
    if isinstance(tree, CaselessTree) and tree.ignores_case:
        name = name.lower()
        return next(
            (entry for entry in tree.entries(directory) if entry.name.lower() == name), None
        )
    return next((entry for entry in tree.entries(directory) if entry.name == name), None)


def walk(tree: Tree) -> Iterator[tuple[bytes, Entry]]:
    """All entries below the root with their absolute paths, a directory before what it holds.

    Raises SourceError for a directory inside itself, too deep nesting, or damage.
    """
    open_directories = [(b"", tree.entries(tree.root))]
    seen = {tree.root.inode}
    while open_directories:
        path, entries = open_directories[-1]
        entry = next(entries, None)
        if entry is None:
            open_directories.pop()
            continue
        full_path = path + b"/" + entry.name
        yield full_path, entry
        if entry.type is EntryType.DIRECTORY:
            if entry.inode in seen:
                raise SourceError(f"{tree.name}: directory {shown_name(full_path)} is there twice")
            if len(open_directories) >= MAX_DEPTH:
                raise SourceError(f"{tree.name}: directories are nested too deeply")
            seen.add(entry.inode)
            open_directories.append((full_path, tree.entries(entry)))


def read_file(tree: Tree, path: bytes, limit_bytes: int) -> bytes | None:
    """The content of a small regular file, links followed; None when there is none.

    Raises SourceError when it is larger than the limit, or damaged.
    """
    entry = lookup(tree, path)
    if entry is None or entry.type is not EntryType.FILE:
        return None
    source = tree.open(entry)
    if source.size > limit_bytes:
        raise SourceError(f"{source.name}: {source.size} bytes, expected at most {limit_bytes}")
    return source.pread(source.size, 0)
