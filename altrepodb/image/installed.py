"""What is installed in a system: the packages of its rpm database, and its os-release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.hashing import package_hash
from altrepodb.image.tree import EntryType, Tree, lookup, read_file
from altrepodb.rpm import tags
from altrepodb.rpm.database import DATABASE_FILES, database_files, iter_header_blobs
from altrepodb.rpm.header import Header, parse_header_blob
from altrepodb.rpm.package_file import package_arch

__all__ = [
    "DATABASE_DIRECTORIES",
    "OS_RELEASE_PATHS",
    "InstalledPackage",
    "InstalledSystem",
    "SystemRoot",
    "find_database",
    "installed_package",
    "iter_installed",
    "read_installed",
    "read_os_release",
]

DATABASE_DIRECTORIES = (b"var/lib/rpm", b"usr/lib/sysimage/rpm", b"usr/share/rpm")
OS_RELEASE_PATHS = (b"etc/os-release", b"usr/lib/os-release")

_MAX_OS_RELEASE_BYTES = 64 * 1024
_MAX_EPOCH = 0xFFFFFFFF
_PUBLIC_KEY = b"gpg-pubkey"


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package as a database knows it; ``hash`` is its identity, that of the package file.

    Texts are for messages: bytes that are not UTF-8 are shown escaped.
    """

    hash: int
    name: str
    epoch: int
    version: str
    release: str
    arch: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}-{self.release} {self.arch}"


@dataclass(frozen=True, slots=True)
class InstalledSystem:
    """``os_release`` is the file as it is, empty when there is none."""

    packages: tuple[InstalledPackage, ...]
    os_release: bytes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SystemRoot:
    """The root of an installed system in an image, and what a user should know about it."""

    tree: Tree
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    """The files of a database, by name, and the one that holds the headers."""

    files: dict[str, ByteSource]
    database_file: str


def read_installed(tree: Tree, scratch_directory: Path | None = None) -> InstalledSystem | None:
    """The packages and the os-release of a system; None when it has no rpm database.

    Raises SourceError for a damaged one.
    """
    found = find_database(tree)
    if found is None:
        return None
    blobs = iter_header_blobs(found.files, found.database_file, scratch_directory)
    with closing(blobs):
        packages = tuple(iter_installed(blobs, found.files[found.database_file].name))
    return InstalledSystem(packages, read_os_release(tree))


def find_database(
    tree: Tree, directories: Iterable[bytes] = DATABASE_DIRECTORIES
) -> FoundDatabase | None:
    """The first directory with a database file, by its content; None when there is none.

    Raises SourceError when files of two formats are in one directory.
    """
    for directory in directories:
        files = dict(_database_sources(tree, directory))
        names = database_files(files)
        if len(names) > 1:
            raise SourceError(f"{tree.name}: several rpm databases: {', '.join(names)}")
        if names:
            return FoundDatabase(files, names[0])
    return None


def _database_sources(tree: Tree, directory: bytes) -> Iterator[tuple[str, ByteSource]]:
    for name in DATABASE_FILES:
        entry = lookup(tree, directory + b"/" + name.encode())
        if entry is not None and entry.type is EntryType.FILE:
            yield name, tree.open(entry)


def read_os_release(tree: Tree) -> bytes:
    """The os-release file, links followed; empty when there is none.

    Raises SourceError when it is larger than any.
    """
    for path in OS_RELEASE_PATHS:
        content = read_file(tree, path, _MAX_OS_RELEASE_BYTES)
        if content is not None:
            return content
    return b""


def iter_installed(blobs: Iterable[bytes], name: str) -> Iterator[InstalledPackage]:
    """The packages that headers describe. Public keys, which rpm keeps there too, are none."""
    for number, blob in enumerate(blobs, 1):
        header = parse_header_blob(blob, f"{name}: package {number}")
        if header.string(tags.NAME) != _PUBLIC_KEY:
            yield installed_package(header)


def installed_package(header: Header) -> InstalledPackage:
    """The package that a header with merged signature tags describes. Raises SourceError."""
    name = header.string(tags.NAME)
    if not name:
        raise SourceError(f"{header.name}: a package without a name")
    return InstalledPackage(
        hash=_identity(header),
        name=_text(name),
        epoch=min(header.integer(tags.EPOCH), _MAX_EPOCH),
        version=_text(header.string(tags.VERSION)),
        release=_text(header.string(tags.RELEASE)),
        arch=_text(package_arch(header)),
    )


def _identity(header: Header) -> int:
    """As that of the package file: a digest that is absent there too counts as empty."""
    build_time = header.integer(tags.BUILD_TIME)
    md5, gpg = header.binary(tags.MERGED_MD5), header.binary(tags.MERGED_GPG)
    try:
        return package_hash(build_time, header.sha1(tags.MERGED_SHA1), md5, gpg)
    except SourceError as error:
        raise SourceError(f"{header.name}: {error}") from None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
