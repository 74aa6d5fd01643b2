"""The root file system of a disk image: raw, in .xz, or qcow2, whatever its name says.

The root is the file system with an rpm database. When ``/var`` is a partition of its own, it is
put in its place in the file system that has an os-release. Never is one of several picked silently.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from altrepodb.byte_source import ByteSource, SourceStream
from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.image.filesystems import FileSystem, open_file_system
from altrepodb.image.installed import OS_RELEASE_PATHS, SystemRoot, find_database
from altrepodb.image.partitions import Partition, read_partitions
from altrepodb.image.qcow2 import is_qcow2, open_qcow2
from altrepodb.image.scratch import scratch_file
from altrepodb.image.signatures import signature_of
from altrepodb.image.tree import Entry, EntryType, Tree, lookup
from altrepodb.image.xz_blocks import XzSource, is_xz
from altrepodb.rpm.compression import iter_decompressed

__all__ = ["open_disk"]

_MAX_DISK_BYTES = 1 << 40
_VAR_DATABASE_DIRECTORY = b"lib/rpm"
_OTHER_DISKS = ("VMDK", "VDI", "VHD", "VHDX")
_NO_DISKS = {
    "tar": "a tar archive (--type tar reads it)",
    "gzip": "compressed with gzip",
    "bzip2": "compressed with bzip2",
    "zstd": "compressed with zstd",
    "lz4": "compressed with lz4",
    "ISO 9660": "an ISO image (iso_loader reads it)",
}


@dataclass(frozen=True, slots=True)
class _Volume:
    """A partition, or a whole disk without partitions (number 0), and what is on it.

    ``tree`` is None when it holds no file system that is read here; ``problem`` says why.
    """

    number: int
    size: int
    type: str
    signature: str | None
    tree: FileSystem | None
    problem: SourceError | ConfigurationError | None = None

    def __str__(self) -> str:
        place = f"partition {self.number} ({self.type})" if self.number else "whole disk"
        content = f"{self.signature or 'no known signature'}"
        problem = f" [{self.problem}]" if self.problem else ""
        return f"{place}: {_shown_size(self.size)}, {content}{problem}"


@contextmanager
def open_disk(
    source: ByteSource, scratch_directory: Path, partition: int | None = None
) -> Iterator[SystemRoot]:
    """Find the root of a disk image; ``partition`` is the number of the one to take.

    An .xz file that cannot be read in place is unpacked into ``scratch_directory``. Raises
    SourceError, with a list of the partitions, when there is no root or more than one.
    """
    with _unpacked(source, scratch_directory) as stored:
        disk = open_qcow2(stored) if is_qcow2(stored) else stored
        volumes = _volumes(disk)
        root = _choose_root(disk.name, volumes, partition)
        warnings = tuple(text for one in volumes if one.tree for text in one.tree.warnings)
        yield SystemRoot(root, warnings)


@contextmanager
def _unpacked(source: ByteSource, scratch_directory: Path) -> Iterator[ByteSource]:
    if not is_xz(source):
        yield source
        return
    content = XzSource(source)
    if content.is_seekable:
        yield content
        return
    with io.BufferedReader(SourceStream(source)) as stream:
        chunks = iter_decompressed(stream, "xz", source.name)
        with scratch_file(chunks, source.name, scratch_directory, _MAX_DISK_BYTES) as unpacked:
            yield unpacked


def _volumes(disk: ByteSource) -> list[_Volume]:
    partitions = read_partitions(disk)
    if partitions is not None:
        return [_volume(one.source(disk), one) for one in partitions]
    signature = signature_of(disk)
    if signature in _OTHER_DISKS:
        raise SourceError(
            f"{disk.name}: a {signature} disk is not read; qemu-img convert makes a qcow2 of it"
        )
    if signature in _NO_DISKS:
        raise SourceError(f"{disk.name}: no disk image but {_NO_DISKS[signature]}")
    return [_volume(disk, Partition(0, 0, disk.size, "whole disk"))]


def _volume(source: ByteSource, partition: Partition) -> _Volume:
    tree, problem = None, None
    try:
        tree = open_file_system(source)
    except (SourceError, ConfigurationError) as error:
        problem = error
    signature = signature_of(source)
    return _Volume(partition.number, source.size, partition.type, signature, tree, problem)


def _choose_root(name: str, volumes: Sequence[_Volume], partition: int | None) -> Tree:
    candidates = volumes if partition is None else [v for v in volumes if v.number == partition]
    if not candidates:
        raise SourceError(f"{name}: no partition {partition}; {_listed(volumes)}")
    trees = [volume.tree for volume in candidates if volume.tree is not None]
    roots = [tree for tree in trees if find_database(tree) is not None]
    if not roots:
        return _root_with_var(name, volumes, trees)
    if len(roots) > 1:
        roots = [tree for tree in roots if _has_os_release(tree)] or roots
    return _only(name, roots, volumes)


def _root_with_var(name: str, volumes: Sequence[_Volume], trees: Sequence[FileSystem]) -> Tree:
    """The root among ``trees``, with the file system for ``/var`` from all volumes in it."""
    roots = [tree for tree in trees if _has_os_release(tree)]
    vars_ = [
        volume.tree
        for volume in volumes
        if volume.tree is not None
        and volume.tree not in roots
        and find_database(volume.tree, [_VAR_DATABASE_DIRECTORY]) is not None
    ]
    if not roots or not vars_:
        _raise_problem(volumes)
        raise SourceError(f"{name}: no rpm database; {_listed(volumes)}")
    return MountedTree(_only(name, roots, volumes), b"var", _only(name, vars_, volumes))


def _raise_problem(volumes: Sequence[_Volume]) -> None:
    """Only a missing package hides the system: say so, and which."""
    for volume in volumes:
        if isinstance(volume.problem, ConfigurationError):
            raise volume.problem


def _only(name: str, trees: Sequence[FileSystem], volumes: Sequence[_Volume]) -> FileSystem:
    if len(trees) > 1:
        names = ", ".join(tree.name.removeprefix(f"{name}: ") for tree in trees)
        raise SourceError(
            f"{name}: several systems ({names}): choose one with --partition; {_listed(volumes)}"
        )
    return trees[0]


def _has_os_release(tree: Tree) -> bool:
    entries = (lookup(tree, path) for path in OS_RELEASE_PATHS)
    return any(entry is not None and entry.type is EntryType.FILE for entry in entries)


def _listed(volumes: Sequence[_Volume]) -> str:
    return "; ".join(map(str, volumes)) or "no partitions"


def _shown_size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"


class MountedTree:
    """A file system with another one in the place of a directory of its root."""

    def __init__(self, base: Tree, mount_name: bytes, mounted: Tree) -> None:
        self.name = base.name
        self._trees = (base, mounted)
        self._mount_name = mount_name
        self.root = self._own(0, base.root)

    def _own(self, index: int, entry: Entry) -> Entry:
        return replace(entry, inode=(index, entry.inode), location=(index, entry))

    def entries(self, directory: Entry) -> Iterator[Entry]:
        index, inner = directory.location
        for entry in self._trees[index].entries(inner):
            if directory.inode == self.root.inode and entry.name == self._mount_name:
                continue
            yield self._own(index, entry)
        if directory.inode == self.root.inode:
            yield self._own(1, replace(self._trees[1].root, name=self._mount_name))

    def open(self, file: Entry) -> ByteSource:
        index, inner = file.location
        return self._trees[index].open(inner)
