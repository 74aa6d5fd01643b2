"""What is needed of an archive of a root directory: the rpm database, os-release, links to them.

An archive is read once from start to end and nothing else is kept. Where a link leads to a place
that was not asked for, it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.installed import DATABASE_DIRECTORIES, OS_RELEASE_PATHS
from altrepodb.image.kept_tree import (
    BytesSource,
    KeptTree,
    directory_entry,
    file_entry,
    link_entry,
)
from altrepodb.image.scratch import scratch_file
from altrepodb.image.tar_stream import Member, TarReader, normal_path
from altrepodb.image.tree import EntryType
from altrepodb.rpm.database import DATABASE_FILES

__all__ = ["Layer", "Spool", "WantedPaths", "read_layer", "read_until_complete"]

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_MAX_PASSES = 8
_MAX_WANTED = 1000
_MAX_PATH_BYTES = 4096
_MAX_PATH_DEPTH = 64
_MAX_MEMORY_BYTES = 1 << 20
_MAX_KEPT_BYTES = 8 << 30


def _ancestors(path: bytes) -> Iterator[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


class WantedPaths:
    """Paths of the files to keep, and of all that is on the way to them."""

    def __init__(self) -> None:
        self._files: set[bytes] = set()
        self._ways: set[bytes] = set()
        self.add(OS_RELEASE_PATHS)
        names = [name.encode() for name in DATABASE_FILES]
        self.add(path + b"/" + name for path in DATABASE_DIRECTORIES for name in names)

    def add(self, paths: Iterable[bytes]) -> bool:
        """Want more paths; whether there was a new one among them."""
        new = set(paths) - self._files
        if len(self._files) + len(new) > _MAX_WANTED:
            raise SourceError("too many links")
        self._files |= new
        self._ways.update(chain(new, *map(_ancestors, new)))
        return bool(new)

    def is_file(self, path: bytes) -> bool:
        return path in self._files

    def is_way(self, path: bytes) -> bool:
        """Whether it is a wanted file or a directory above one."""
        return path in self._ways

    def behind_link(self, path: bytes, target: bytes) -> Iterator[bytes]:
        """Where the wanted files are when the link at ``path`` leads to ``target``."""
        place = _target_path(path, target)
        if place is None:
            return
        for file in list(self._files):
            if file == path or file.startswith(path + b"/"):
                found = (place + file[len(path) :]).lstrip(b"/")
                if len(found) <= _MAX_PATH_BYTES and found.count(b"/") < _MAX_PATH_DEPTH:
                    yield found


def _target_path(path: bytes, target: bytes) -> bytes | None:
    """The path that a link means, by its text alone; None above the sizes of paths."""
    parts = [] if target.startswith(b"/") else path.split(b"/")[:-1]
    if len(target) > _MAX_PATH_BYTES:
        return None
    for part in target.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


class Spool:
    """Contents that are kept: small ones in memory, others in files of a scratch directory."""

    def __init__(self, directory: Path, files: ExitStack) -> None:
        self._directory = directory
        self._files = files
        self._left_bytes = _MAX_KEPT_BYTES

    def keep(self, chunks: Iterator[bytes], size: int, name: str) -> ByteSource:
        """A copy of what the chunks hold. Raises SourceError when it is all too much."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise SourceError(f"{name}: more than {_MAX_KEPT_BYTES} bytes to keep")
        if size <= _MAX_MEMORY_BYTES:
            return BytesSource(b"".join(chunks), name)
        opened: AbstractContextManager[ByteSource]
        opened = scratch_file(chunks, name, self._directory, size)
        return self._files.enter_context(opened)


@dataclass(slots=True)
class Layer:
    """What was kept of an archive, and what it removes from the layers below it."""

    tree: KeptTree
    removed: set[bytes] = field(default_factory=set)
    emptied: set[bytes] = field(default_factory=set)
    top_names: set[bytes] = field(default_factory=set)
    missing: set[bytes] = field(default_factory=set)
    """Targets of hard links that were not kept."""

    def put_on(self, base: KeptTree) -> None:
        """Apply this layer to those below."""
        for path in self.removed:
            base.remove(path)
        for path in self.emptied:
            base.clear(path)
        for path, entry in list(self.tree.paths()):
            base.add(path, entry)


def read_layer(
    reader: TarReader, name: str, wanted: WantedPaths, spool: Spool, *, is_layer: bool
) -> Layer:
    """Read an archive once.

    A layer of a container has whiteouts; another archive may have all its members in one
    directory, whatever its name.
    """
    layer = Layer(KeptTree(name))
    for member in reader.members():
        path = normal_path(member.name)
        if not path:
            continue
        if b"/" not in path:
            layer.top_names.add(path)
            if len(layer.top_names) > _MAX_WANTED:
                layer.top_names.clear()
        if is_layer and b"/.wh." in b"/" + path:
            _note_whiteout(layer, path, wanted)
            continue
        inner = path if is_layer or wanted.is_way(path) else _without_prefix(path)
        if wanted.is_way(inner):
            _keep(layer, reader, member, path, inner, wanted, spool)
    return layer


def _without_prefix(path: bytes) -> bytes:
    return path.partition(b"/")[2]


def _note_whiteout(layer: Layer, path: bytes, wanted: WantedPaths) -> None:
    directory, _, name = path.rpartition(b"/")
    if name == _OPAQUE:
        if wanted.is_way(directory):
            layer.emptied.add(directory)
        return
    removed = (directory + b"/" + name.removeprefix(_WHITEOUT)).lstrip(b"/")
    if name.startswith(_WHITEOUT) and wanted.is_way(removed):
        layer.removed.add(removed)


def _keep(
    layer: Layer,
    reader: TarReader,
    member: Member,
    path: bytes,
    inner: bytes,
    wanted: WantedPaths,
    spool: Spool,
) -> None:
    tree = layer.tree
    if member.isdir():
        tree.add(path, directory_entry(path))
    elif member.issym():
        tree.add(path, link_entry(path, member.linkname.encode("utf-8", "surrogateescape")))
    elif member.isreg() and wanted.is_file(inner):
        name = f"{tree.name}: {member.name}"
        tree.add(path, file_entry(path, spool.keep(reader.content(member), member.size, name)))
    elif member.islnk():
        _keep_hard_link(layer, member, path, inner)


def _keep_hard_link(layer: Layer, member: Member, path: bytes, inner: bytes) -> None:
    """A hard link shares what was kept before, or asks for it."""
    target = normal_path(member.linkname)
    if not target:
        return
    found = layer.tree.get(target)
    if found is not None and found.type is EntryType.FILE:
        layer.tree.add(path, file_entry(path, found.location))
    elif found is not None and found.type is EntryType.SYMLINK:
        layer.tree.add(path, link_entry(path, found.link_target))
    else:
        layer.missing.add(target if path == inner else _without_prefix(target))


def read_until_complete(
    read: Callable[[WantedPaths], tuple[KeptTree, set[bytes]]], name: str, *, has_prefix: bool
) -> KeptTree:
    """Read until every link on the way to a wanted file leads to something that was wanted.

    ``read`` reads all there is and returns what was kept, and what else is needed.
    """
    wanted = WantedPaths()
    for _ in range(_MAX_PASSES):
        tree, missing = read(wanted)
        try:
            if not wanted.add([*missing, *_behind_links(tree, wanted, has_prefix)]):
                return tree
        except SourceError as error:
            raise SourceError(f"{name}: {error} on the way to the rpm database") from None
    raise SourceError(f"{name}: too many links on the way to the rpm database")


def _behind_links(tree: KeptTree, wanted: WantedPaths, has_prefix: bool) -> Iterator[bytes]:
    for path, entry in tree.paths():
        if entry.type is EntryType.SYMLINK:
            inner = path if wanted.is_way(path) or not has_prefix else _without_prefix(path)
            yield from wanted.behind_link(inner, entry.link_target)
