"""Put single packages of any description into a composed repository, indexes included.

A plan of zero packages gives an empty tree to start from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.apt_lists import ListedFile, list_entries, list_header
from tests.support.damage import change_hashes, read_list, write_list
from tests.support.rpm_file import ComposedRpm, compose
from tests.support.rpm_package import RpmLayout, RpmPackage


def place_binary(
    root: Path,
    arch: str,
    component: str,
    package: RpmPackage,
    layout: RpmLayout | None = None,
    *,
    beside: bool = False,
) -> ComposedRpm:
    """Add a binary package to a component of an arch directory.

    With `beside` the file stands in the component's directory itself instead of a link there, so
    that two components can hold different files of one name.
    """
    rpm = compose(package, layout)
    name = package.file_name
    link = root / arch / f"RPMS.{component}" / name
    if beside:
        link.write_bytes(rpm.data)
    else:
        (root / f"files/{arch}/RPMS" / name).write_bytes(rpm.data)
        _add_hash(root, arch, name, rpm.data)
        link.symlink_to(f"../../files/{arch}/RPMS/{name}")
    _add_to_list(root, arch, f"pkglist.{component}", package, rpm, f"RPMS.{component}")
    return rpm


def place_source(
    root: Path,
    package: RpmPackage,
    layout: RpmLayout | None = None,
    *,
    archs: tuple[str, ...] = ("x86_64",),
) -> ComposedRpm:
    """Add a source package, named in the source lists of the given arch directories."""
    rpm = compose(package, layout)
    name = package.file_name
    (root / "files/SRPMS" / name).write_bytes(rpm.data)
    _add_hash(root, "src", name, rpm.data)
    for arch in archs:
        (root / arch / "SRPMS.classic" / name).symlink_to(f"../../files/SRPMS/{name}")
        _add_to_list(root, arch, "srclist.classic", package, rpm, "./SRPMS.classic")
    return rpm


def _add_to_list(
    root: Path, arch: str, name: str, package: RpmPackage, rpm: ComposedRpm, directory: str
) -> None:
    """Append a header to a list; BLAKE2b is given where the release file gives it."""
    data = rpm.data
    with_blake2b = b"\nBLAKE2b:" in (root / arch / "base/release").read_bytes()
    listed = ListedFile(
        package.file_name,
        len(data),
        hashlib.md5(data).hexdigest(),
        hashlib.blake2b(data).hexdigest() if with_blake2b else None,
    )
    header = list_header(list_entries(package, listed), directory)
    write_list(root, arch, name, b"".join([*read_list(root, arch, name), header]))


def _add_hash(root: Path, name: str, file_name: str, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    change_hashes(root, name, lambda digests: {**digests, file_name: digest})
