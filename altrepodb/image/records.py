"""What reading an image finds, before the database is asked anything."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from altrepodb.image.installed import InstalledPackage

__all__ = ["DiscInfo", "FileList", "ImageContent", "SquashfsContent"]


@dataclass(frozen=True, slots=True)
class DiscInfo:
    """The texts of ``.disk`` on an ISO and of its descriptors; empty where there are none."""

    arch: str = ""
    date: str = ""
    info: str = ""
    commit: str = ""
    description: str = ""


@dataclass(slots=True)
class FileList:
    """Everything in a file system but its directories, in columns.

    Paths are absolute. ``md5`` is 16 bytes, zero for what is no regular file; ``mtimes`` are
    seconds since 1970 UTC. Numbers have the width of their columns in the table Files.
    """

    paths: list[bytes] = field(default_factory=list)
    md5: list[bytes] = field(default_factory=list)
    link_targets: list[bytes] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    modes: array[int] = field(default_factory=lambda: array("H"))
    rdevs: array[int] = field(default_factory=lambda: array("H"))
    mtimes: array[int] = field(default_factory=lambda: array("I"))
    sizes: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True)
class SquashfsContent:
    """A squashfs on an ISO: its packages, or its files when it has no rpm database.

    ``listed`` are names of package files that the disc says were installed in it.
    """

    name: str
    size: int
    mtime: int
    packages: tuple[InstalledPackage, ...] = ()
    files: FileList | None = None
    listed: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class ImageContent:
    """``packages`` are those that the image brings along or has installed, None when an ISO
    brings none; ``disc`` and ``squashfs`` are of an ISO, ``os_release`` is of a system; ``mtime``
    is that of the image's file."""

    packages: tuple[InstalledPackage, ...] | None
    mtime: int
    disc: DiscInfo | None = None
    os_release: bytes = b""
    squashfs: tuple[SquashfsContent, ...] = ()
    warnings: tuple[str, ...] = ()
