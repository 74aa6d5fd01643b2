"""The meta package of a squashfs without an rpm database: it owns the files that no package has.

Its identity is that of the squashfs, so an image loaded again writes the same rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from altrepodb.db.database import Columns, Database
from altrepodb.errors import SourceError
from altrepodb.hashing import FileDigests, squashfs_hash
from altrepodb.image.records import FileList, SquashfsContent
from altrepodb.packages.batch import FILE_COLUMNS
from altrepodb.packages.insert import insert_files

__all__ = ["MetaPackage", "insert_meta_package", "squashfs_identity"]

_EARLIEST_TIME = 1_000_000_000
_PACKAGER = "ISO Loader"
_PACKAGER_EMAIL = "iso_loader@altlinux.org"
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MetaPackage:
    """What there is to write: ``orphans`` are positions in the squashfs' list of files."""

    squashfs: SquashfsContent
    digests: FileDigests
    orphans: Sequence[int]
    name: str
    arch: str
    branch: str
    image_file: str

    @property
    def hash(self) -> int:
        return squashfs_identity(self.squashfs, self.digests)


def squashfs_identity(squashfs: SquashfsContent, digests: FileDigests) -> int:
    """The identity of a squashfs: its SHA-1, time and size in 64 bits.

    Raises SourceError for a time before that of which identities count.
    """
    if squashfs.mtime < _EARLIEST_TIME:
        raise SourceError(
            f"{squashfs.name}: dated {squashfs.mtime} s after 1970, before 2001-09-09:"
            " it has no identity"
        )
    assert digests.sha1 is not None
    return squashfs_hash(digests.sha1, squashfs.mtime, squashfs.size)


def insert_meta_package(database: Database, package: MetaPackage) -> dict[str, int]:
    """Write files, then the package, then its digests; returns the numbers of rows by table."""
    files = package.squashfs.files
    assert files is not None
    if package.orphans:
        insert_files(database, [_file_row(package.hash, files, package.orphans)])
    return {
        "Files": len(package.orphans),
        "Packages": database.insert("Packages", _package_columns(package)),
        "PackageHash": database.insert("PackageHash", _digest_columns(package)),
    }


def _file_row(pkg_hash: int, files: FileList, chosen: Sequence[int]) -> tuple[Any, ...]:
    """The files as one row, as ``insert_files`` takes them."""
    zero = bytes(16)
    nothing = array("I", bytes(4 * len(chosen)))
    digests = [files.md5[number] for number in chosen]
    values = {
        "pkg_hash": pkg_hash,
        "names": b"\0".join(files.paths[number] for number in chosen),
        "digests": b"\0".join(b"" if md5 == zero else md5.hex().encode() for md5 in digests),
        "linktos": b"\0".join(files.link_targets[number] for number in chosen),
        "usernames": b"\0".join(files.users[number] for number in chosen),
        "groupnames": b"\0".join(files.groups[number] for number in chosen),
        "langs": b"\0" * (len(chosen) - 1),
        "modes": array("H", (files.modes[number] for number in chosen)),
        "rdevs": array("H", (files.rdevs[number] for number in chosen)),
        "mtimes": array("I", (files.mtimes[number] for number in chosen)),
        "sizes": array("I", (files.sizes[number] for number in chosen)),
        "verifyflags": nothing,
        "devices": nothing,
        "flags": nothing,
    }
    return tuple(values[column] for column in FILE_COLUMNS)


def _package_columns(package: MetaPackage) -> Columns:
    """What is not named here is empty or 0."""
    squashfs = package.squashfs
    size = squashfs.size
    values: dict[str, Any] = {
        "pkg_hash": package.hash,
        "pkg_cs": package.digests.sha1,
        "pkg_packager": _PACKAGER,
        "pkg_packager_email": _PACKAGER_EMAIL,
        "pkg_name": package.name,
        "pkg_arch": package.arch,
        "pkg_buildtime": min(squashfs.mtime, _LARGEST),
        "pkg_size": size,
        "pkg_archivesize": size,
        "pkg_filesize": size,
        "pkg_filename": package.name,
        "pkg_sourcerpm": squashfs.name,
        "pkg_complete": 1,
        "pkg_summary": f"Files of {squashfs.name} that belong to no package",
        "pkg_description": f"Files of the squashfs {squashfs.name} in the image"
        f" {package.image_file} that belong to no package",
        "pkg_distribution": f"ALT {package.branch}",
        "pkg_vendor": "BASEALT LTD",
        "pkg_os": "ALT Linux",
        "pkg_group_": "Other",
    }
    return {column: [value] for column, value in values.items()}


def _digest_columns(package: MetaPackage) -> Columns:
    digests = package.digests
    return {
        "pkgh_mmh": [package.hash],
        "pkgh_md5": [digests.md5],
        "pkgh_sha1": [digests.sha1],
        "pkgh_sha256": [digests.sha256],
        "pkgh_blake2b": [digests.blake2b],
    }
