"""An ISO of ALT Linux: its texts, the package files on it, and the file systems in it.

The layout is that of ALT's image builder: texts in ``.disk``, package files in
``ALTLinux/RPMS.*``, squashfs images in the root under fixed names. All of it is read in place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.content import DiscInfo, ImageContent, SquashfsContent
from altrepodb.image.file_list import list_files
from altrepodb.image.installed import InstalledPackage, read_installed
from altrepodb.image.iso9660 import IsoTree, open_iso
from altrepodb.image.squashfs import SquashfsTree, open_squashfs
from altrepodb.image.tree import Entry, EntryType, lookup, read_file
from altrepodb.packages.batch import package_identity
from altrepodb.rpm import tags
from altrepodb.rpm.package_file import package_arch, read_package

__all__ = ["Disc", "Member", "open_disc", "read_disc"]

logger = logging.getLogger("altrepodb.iso")

SQUASHFS_NAMES = ("live", "rescue", "altinst")
_INFO_DIRECTORY = b".disk"
_PACKAGES_DIRECTORY = b"ALTLinux"
_COMPONENT_PREFIX = b"RPMS."
_PACKAGE_SUFFIX = b".rpm"
_MAX_INFO_BYTES = 64 * 1024
_MAX_LIST_BYTES = 16 * 1024 * 1024
_MAX_EPOCH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A squashfs on the disc, open. ``ranges`` are (offset, size) in the image."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    mtime: int
    tree: SquashfsTree
    size: int
    packages: tuple[InstalledPackage, ...]
