"""A package repository on disk: its architectures, components, lists, and their members.

Everything that can be wrong with a repository short of its package files is found here, before
anything is written. Layout and meaning of the files: ALT's repository builder (girar, apt-rpm).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.regular_file import read_regular_file
from altrepodb.rpm.apt_lists import (
    ListedPackage,
    Release,
    read_hash_list,
    read_package_list,
    read_release,
)
from altrepodb.rpm.package_file import printable

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ListContent",
    "ListFile",
    "RepositoryTree",
    "read_list",
    "read_lists",
    "read_tree",
]

SOURCE_HASH_LIST = "src"
ARCHITECTURES = (
    "aarch64", "armh", "i586", "ppc64le", "x86_64", "x86_64-i586", "noarch", "mipsel",
    "riscv64", "loongarch64", "e2k", "e2kv4", "e2kv5", "e2kv6",
)  # fmt: skip
"""Directories that are architectures, in the order in which a repository names them."""

_SOURCE_LIST = "srclist.classic.xz"
_MAX_TASK_INFO_BYTES = 1024 * 1024


class ListFile(NamedTuple):
    """A list to read, of ``size`` bytes: ``kind`` is source, binary or hash."""

    path: Path
    kind: str
    arch: str
    component: str
    size: int


class ListContent(NamedTuple):
    """What a list holds: packages of a header list, or digests of a hash list."""

    file: ListFile
    packages: list[ListedPackage]
    digests: dict[bytes, bytes]


def read_lists(files: Iterable[ListFile]) -> list[ListContent]:
    """Read some lists (in a worker). Raises SourceError that names the one it is about."""
    return [read_list(file) for file in files]


def read_list(file: ListFile) -> ListContent:
    """Read one list. Raises SourceError that names it."""
    if file.kind == "hash":
        return ListContent(file, [], read_hash_list(file.path))
    return ListContent(file, read_package_list(file.path), {})


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture directory; ``release`` is None when it has no ``base``."""

    name: str
    release: Release | None

    @property
    def components(self) -> list[str]:
        return sorted(self.release.components) if self.release else []


@dataclass(frozen=True, slots=True)
class RepositoryTree:
    """A repository before its lists are read."""

    root: Path
    architectures: list[Architecture]
    list_files: list[ListFile]
    task_info: list[tuple[str, str]]
    warnings: list[str] = field(default_factory=list)

    @property
    def components(self) -> list[str]:
        return sorted({name for arch in self.architectures for name in arch.components})

    @property
    def source_directory(self) -> bytes:
        """Where the source packages lie."""
        return os.fsencode(self.root / "files" / "SRPMS")

    def list_shares(self, count: int) -> list[list[ListFile]]:
        """All lists in ``count`` shares that are about as much to read each."""
        shares: list[list[ListFile]] = [[] for _ in range(count)]
        for file in sorted(self.list_files, key=lambda file: file.size, reverse=True):
            min(shares, key=lambda share: sum(other.size for other in share)).append(file)
        return shares

    def binary_directory(self, arch: str, component: str) -> bytes:
        """Where the packages of a component lie, or links to them."""
        return os.fsencode(self.root / arch / f"RPMS.{component}")


def read_tree(root: Path, accept_bad_checksums: bool = False) -> RepositoryTree:
    """Find what a repository consists of and check its lists against ``release``.

    With ``accept_bad_checksums`` a list that does not match is a warning. Raises SourceError
    when the directory is no repository, a list is missing, or does not match its checksum.
    """
    try:
        return _read_tree(root, accept_bad_checksums)
    except OSError as error:
        raise SourceError(
            f"{printable(error.filename or os.fspath(root))}: {error.strerror}"
        ) from error


def _read_tree(root: Path, accept_bad_checksums: bool) -> RepositoryTree:
    name = printable(os.fspath(root))
    if not _has_directory(root / "files" / "list"):
        raise SourceError(f"{name}: not a package repository: no directory files/list")
    names = [arch for arch in ARCHITECTURES if _has_directory(root / arch)]
    if not names:
        raise SourceError(f"{name}: not a package repository: no architecture directory")
    warnings = list(_unknown_architectures(root))
    task_info = _read_task_info(root / "files" / "list" / "task.info", warnings)
    architectures = [_read_architecture(root, arch) for arch in names]
    header_lists = [file for arch in architectures for file in _header_lists(root, arch)]
    releases = {arch.name: arch.release for arch in architectures}
    for file in header_lists:
        release = releases[file.arch]
        if release is not None:
            _check_list(release, file, accept_bad_checksums, warnings)
    list_files = [*header_lists, *_hash_lists(root, names, warnings)]
    return RepositoryTree(root, architectures, list_files, task_info, warnings)


def _has_directory(path: Path) -> bool:
    return _has(path, stat.S_ISDIR, "directory")


def _has_file(path: Path) -> bool:
    return _has(path, stat.S_ISREG, "regular file")


def _has(path: Path, is_right: Callable[[int], bool], kind: str) -> bool:
    """Whether something is there, links followed.

    Raises SourceError when it is of another kind, a link to nothing, or out of reach: only what
    is not there at all may be left out in silence.
    """
    name = printable(os.fspath(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise SourceError(f"{name}: link to nothing") from error
        return False
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error
    if not is_right(mode):
        raise SourceError(f"{name}: not a {kind}")
    return True


def _unknown_architectures(root: Path) -> Iterator[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise SourceError(f"{printable(os.fspath(root))}: {error.strerror}") from error
    for name in names:
        is_known = name in ARCHITECTURES or name == "files"
        # What cannot be looked at, such as lost+found, is no architecture.
        if not is_known and os.path.isfile(root / name / "base" / "release"):
            yield f"{printable(os.fspath(root / name))}: unknown architecture, left out"


def _read_task_info(path: Path, warnings: list[str]) -> list[tuple[str, str]]:
    """The pairs of task.info in file order; what is no pair is left out with a warning."""
    name = printable(path.as_posix())
    content = read_regular_file(path, _MAX_TASK_INFO_BYTES) if _has_file(path) else b""
    pairs = []
    for number, line in enumerate(content.splitlines(), 1):
        words = line.decode("utf-8", "surrogateescape").split()
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            warnings.append(f"{name}: line {number}: not a key and a value, left out")
    if not any(key == "task" and value.isdecimal() for key, value in pairs):
        warnings.append(f"{name}: no task number, 0 is stored")
        pairs = [pair for pair in pairs if pair[0] != "task"] + [("task", "0")]
    return pairs


def _read_architecture(root: Path, name: str) -> Architecture:
    base = root / name / "base"
    return Architecture(name, read_release(base / "release") if _has_directory(base) else None)


def _list_file(path: Path, kind: str, arch: str, component: str) -> ListFile:
    return ListFile(path, kind, arch, component, path.stat().st_size)


def _header_lists(root: Path, arch: Architecture) -> Iterator[ListFile]:
    """The header lists that an architecture must have."""
    base = root / arch.name / "base"
    source_list = base / _SOURCE_LIST
    if arch.release is not None and _has_file(source_list):
        yield _list_file(source_list, "source", arch.name, "classic")
    elif arch.release is not None and f"base/{_SOURCE_LIST}" in arch.release.checksums:
        raise SourceError(f"{printable(source_list.as_posix())}: the list of sources is missing")
    for component in arch.components:
        path = base / f"pkglist.{component}.xz"
        if not _has_file(path):
            raise SourceError(f"{printable(path.as_posix())}: the list of a component is missing")
        yield _list_file(path, "binary", arch.name, component)


def _hash_lists(root: Path, names: Sequence[str], warnings: list[str]) -> Iterator[ListFile]:
    for name in (SOURCE_HASH_LIST, *names):
        path = root / "files" / "list" / f"{name}.hash.xz"
        if _has_file(path):
            yield _list_file(path, "hash", name, "")
        elif name == SOURCE_HASH_LIST:
            warnings.append(
                f"{printable(os.fspath(path))}: missing, so sources that are in no list of an"
                " architecture are left out"
            )


def _check_list(
    release: Release, file: ListFile, accept_bad_checksums: bool, warnings: list[str]
) -> None:
    try:
        warning = release.check(file.path, f"base/{file.path.name}")
    except SourceError as error:
        if not accept_bad_checksums:
            raise
        warning = str(error)
    if warning:
        warnings.append(warning)
