"""An ISO of ALT Linux: its texts, the package files on it, and the file systems in it.

The layout is that of ALT's image builder: texts in ``.disk``, package files in
``ALTLinux/RPMS.*``, squashfs images in the root under fixed names. All of it is read in place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.file_list import list_files
from altrepodb.image.installed import (
    InstalledPackage,
    find_database,
    iter_installed,
    read_installed,
)
from altrepodb.image.iso9660 import IsoTree, open_iso
from altrepodb.image.options import ImageOptions
from altrepodb.image.records import DiscInfo, ImageContent, SquashfsContent
from altrepodb.image.squashfs import SquashfsTree, open_squashfs
from altrepodb.image.tree import Entry, EntryType, lookup, read_file
from altrepodb.packages.batch import package_identity
from altrepodb.rpm import tags
from altrepodb.rpm.database import iter_header_blobs
from altrepodb.rpm.package_file import package_arch, read_package

__all__ = ["Disc", "Member", "open_disc", "read_disc"]

logger = logging.getLogger("altrepodb.iso")

SQUASHFS_NAMES = ("live", "rescue", "altinst")
_INFO_DIRECTORY = b".disk"
_PACKAGES_DIRECTORY = b"ALTLinux"
_COMPONENT_PREFIX = b"rpms."
_PACKAGE_SUFFIX = b".rpm"
_MAX_INFO_BYTES = 64 * 1024
_MAX_LIST_BYTES = 16 * 1024 * 1024
_MAX_EPOCH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A squashfs on the disc, open. ``ranges`` are (offset, size) in the image."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    size: int
    mtime: int
    tree: SquashfsTree
    has_packages: bool


@dataclass(frozen=True, slots=True)
class Disc:
    """An open ISO and the squashfs images on it."""

    tree: IsoTree
    members: tuple[Member, ...]


def open_disc(source: ByteSource, scratch_directory: Path | None = None) -> Disc:
    """Open an ISO and its squashfs images, and see which of these have an rpm database.

    Raises SourceError for what is no ISO, or damaged.
    """
    tree = open_iso(source)
    return Disc(tree, tuple(_members(tree, scratch_directory)))


def _members(tree: IsoTree, scratch_directory: Path | None) -> Iterator[Member]:
    for name in SQUASHFS_NAMES:
        entry = lookup(tree, name.encode(), follow=False)
        if entry is None or entry.type is not EntryType.FILE:
            continue
        squashfs = open_squashfs(tree.open(entry))
        has_packages = _has_packages(squashfs, scratch_directory)
        yield Member(name, tree.extents(entry), entry.size, entry.mtime, squashfs, has_packages)


def _has_packages(tree: SquashfsTree, scratch_directory: Path | None) -> bool:
    """Whether there is an rpm database with any package; no more than the first is read."""
    found = find_database(tree)
    if found is None:
        return False
    blobs = iter_header_blobs(found.files, found.database_file, scratch_directory)
    with closing(blobs):
        return next(iter_installed(blobs, tree.name), None) is not None


def read_disc(disc: Disc, options: ImageOptions, mtime: int) -> ImageContent:
    """All that is stored of an ISO; files are listed of a squashfs without packages.

    ``mtime`` is that of the image's file.

    Raises SourceError for damage anywhere.
    """
    warnings: list[str] = []
    info = _read_info(disc.tree, options.arch, warnings)
    squashfs = tuple(
        _read_installed(member, options.scratch_directory)
        if member.has_packages
        else _read_files(disc.tree, member, options.jobs)
        for member in disc.members
    )
    packages = _read_packages(disc.tree)
    return ImageContent(packages, mtime, info, squashfs=squashfs, warnings=tuple(warnings))


# Texts


def _read_info(tree: IsoTree, arch: str, warnings: list[str]) -> DiscInfo:
    if lookup(tree, _INFO_DIRECTORY) is None:
        warnings.append(f"{tree.name}: there is no directory .disk")
    texts = {name: _read_text(tree, name) for name in ("arch", "date", "info", "commit")}
    if texts["arch"] not in ("", arch):
        warnings.append(f"{tree.name}: its .disk/arch says {texts['arch']}, not {arch}")
    return DiscInfo(**texts, description=tree.description())


def _read_text(tree: IsoTree, name: str) -> str:
    content = read_file(tree, _INFO_DIRECTORY + b"/" + name.encode(), _MAX_INFO_BYTES)
    return (content or b"").rstrip(b"\r\n").decode("utf-8", "surrogateescape")


# Squashfs images


def _read_installed(member: Member, scratch_directory: Path | None) -> SquashfsContent:
    system = read_installed(member.tree, scratch_directory)
    packages = system.packages if system else ()
    return SquashfsContent(member.name, member.size, member.mtime, packages)


def _read_files(tree: IsoTree, member: Member, jobs: int | None) -> SquashfsContent:
    files = list_files(member.tree, jobs)
    listed = _read_package_list(tree, member.name)
    return SquashfsContent(member.name, member.size, member.mtime, files=files, listed=listed)


def _read_package_list(tree: IsoTree, name: str) -> frozenset[bytes]:
    """File names of the packages that were in a squashfs before its database was removed."""
    path = f".disk/pkglists/{name}/image/rpm.txt".encode()
    content = read_file(tree, path, _MAX_LIST_BYTES)
    return frozenset((content or b"").split())


# Package files


def _read_packages(tree: IsoTree) -> tuple[InstalledPackage, ...] | None:
    """The packages of all components; None when the disc has no package files."""
    packages = [
        _read_package(tree, component, entry)
        for component in _components(tree)
        for entry in sorted(tree.entries(component), key=lambda entry: entry.name)
        if entry.type is EntryType.FILE and entry.name.lower().endswith(_PACKAGE_SUFFIX)
    ]
    return tuple(packages) if packages else None


def _components(tree: IsoTree) -> list[Entry]:
    directory = lookup(tree, _PACKAGES_DIRECTORY)
    if directory is None or directory.type is not EntryType.DIRECTORY:
        return []
    return sorted(
        (
            entry
            for entry in tree.entries(directory)
            if entry.type is EntryType.DIRECTORY
            and entry.name.lower().startswith(_COMPONENT_PREFIX)
        ),
        key=lambda entry: entry.name,
    )


def _read_package(tree: IsoTree, component: Entry, entry: Entry) -> InstalledPackage:
    path = b"/".join((_PACKAGES_DIRECTORY, component.name, entry.name))
    package = read_package(tree.open(entry), path)
    header = package.header
    name, version, release = map(header.string, (tags.NAME, tags.VERSION, tags.RELEASE))
    if not name:
        raise SourceError(f"{package.name}: a package without a name")
    return InstalledPackage(
        package_identity(package),
        _text(name),
        min(header.integer(tags.EPOCH), _MAX_EPOCH),
        _text(version),
        _text(release),
        _text(package_arch(header)),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
