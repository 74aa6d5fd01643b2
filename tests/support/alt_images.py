"""A small branch, and images of ALT Linux that are made of its packages.

The packages are placed in a repository for the loader of repositories, on the disc of an ISO, in
the rpm database of a system, and with their files in a squashfs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from altrepodb.db.database import Database
from altrepodb.hashing import package_hash
from altrepodb.image.digests import ImageDigests
from altrepodb.image.load import ImageSummary, load_image
from altrepodb.image.options import ImageOptions
from altrepodb.image.reading import ImageReading, start_reading
from altrepodb.image.records import ImageContent
from tests.support.iso_images import make_iso
from tests.support.loading import open_loader
from tests.support.placing import place_binary
from tests.support.repository import RepositoryPlan, compose_repository
from tests.support.rpm_databases import blobs_of, hash_file
from tests.support.rpm_file import compose
from tests.support.rpm_package import RpmFile, RpmPackage, directory, symlink
from tests.support.squashfs_images import make_squashfs

BRANCH = "p10"
DISC_TEXTS = {
    "arch": "x86_64\n",
    "date": "20220818\n",
    "info": "ALT Workstation 10.0 build 2022-08-18\n",
    "commit": "1.4.25-alt1-12-g5c9\n",
}
DATABASE = "var/lib/rpm/Packages"
BUILD_TIME = 1_650_000_000
MEMBER_TIME = 1_650_123_456
IMAGE_DAY = "2022-08-18"
URL = "https://example.org/images/alt.iso"

COMPARED_TABLES = {
    "PackageSetName": "MergeTree", "ImagePackageSetName": "MergeTree",
    "PackageSet": "ReplacingMergeTree", "ImageTagStatus": "ReplacingMergeTree",
    "Packages": "ReplacingMergeTree", "PackageHash": "ReplacingMergeTree",
    "Files": "ReplacingMergeTree", "FileNames": "ReplacingMergeTree",
    "StaticLastPackages": "MergeTree",
}  # fmt: skip
"""What the load of an image writes, but for the table that holds the time of the load."""
LOADER_OPTIONS = (
    "--edition", "alt-workstation", "--version", "10.0.1", "--release", "release", "--platform",
    "", "--variant", "install", "--flavor", "", "--arch", "x86_64", "--branch", BRANCH, "--date",
    IMAGE_DAY, "--url", URL,
)  # fmt: skip
"""The same image as ``image_options`` describes, for a command."""


def _package(name: str, arch: str, files: Sequence[RpmFile], **further: Any) -> RpmPackage:
    """A package whose build time, and so its identity, depends on its name."""
    time = BUILD_TIME + sum(name.encode())
    return RpmPackage(name, arch=arch, files=files, buildtime=time, **further)


HELLO = _package(
    "hello",
    "x86_64",
    [
        directory("/usr/share/hello"),
        RpmFile("/usr/bin/hello", b"#!/bin/sh\necho hello\n", 0o100755),
        RpmFile("/etc/hello.conf", b"greeting = hello\n"),
        RpmFile("/usr/share/hello/empty", b""),
        symlink("/usr/bin/hi", "hello"),
    ],
    epoch=2,
)
DATA = _package("hello-data", "noarch", [RpmFile("/usr/share/hello/text", b"text " * 5000)])
AREPO = _package("i586-libhello", "i586", [RpmFile("/usr/lib/libhello.so.1", b"32 bits")])
FOREIGN = _package("hello-arm", "aarch64", [RpmFile("/usr/lib64/hello-arm", b"arm")])
EXTRA = _package("extra", "x86_64", [RpmFile("/usr/bin/extra", b"extra")])
NEWER = _package("newer", "x86_64", [RpmFile("/usr/bin/newer", b"newer")])
ELSEWHERE = _package("elsewhere", "x86_64", [RpmFile("/usr/bin/elsewhere", b"elsewhere")])
UNKNOWN = _package("unknown", "x86_64", [RpmFile("/usr/bin/unknown", b"unknown")])

INSTALLED = (HELLO, DATA, AREPO)
FIRST_STATE = (HELLO, DATA, AREPO, FOREIGN, EXTRA)
SECOND_STATE = (*FIRST_STATE, NEWER)
OTHER_BRANCH = "sisyphus"
OTHER_STATE = (HELLO, DATA, ELSEWHERE)
BRANCH_STATES = (
    (BRANCH, "2022-08-01", FIRST_STATE),
    (BRANCH, "2022-08-15", SECOND_STATE),
    (OTHER_BRANCH, "2022-08-16", OTHER_STATE),
)
PLACES = {"x86_64-i586": (AREPO,), "aarch64": (FOREIGN,), "noarch": (DATA,)}


def identity(package: RpmPackage) -> int:
    """What the database knows a package by."""
    rpm = compose(package)
    return package_hash(package.buildtime or 0, rpm.header_sha1, rpm.body_md5, rpm.gpg)


def identities(packages: Iterable[RpmPackage]) -> set[int]:
    return {identity(package) for package in packages}


def compose_branch(root: Path, packages: Sequence[RpmPackage]) -> Path:
    """A repository that has exactly these packages."""
    archs = ("x86_64", "noarch", "x86_64-i586", "aarch64")
    plan = RepositoryPlan(0, 0, 0, 0, architectures=archs, components=("classic",))
    compose_repository(root, plan)
    for package in packages:
        places = [arch for arch, owned in PLACES.items() if package in owned]
        place_binary(root, places[0] if places else "x86_64", "classic", package)
    return root


def load_branches(template: Path, database: Path, work: Path) -> None:
    """Load all states of the sample branches into a copy of a closed database."""
    with open_loader(template, database, workers=1) as loader:
        for number, (name, day, packages) in enumerate(BRANCH_STATES):
            tree = compose_branch(work / f"state{number}", packages)
            loader.load(tree, name, date=day)


@dataclass(frozen=True, slots=True)
class IsoPlan:
    """What is on a disc. ``squashfs`` are the root directories of file systems by their names."""

    packages: Sequence[RpmPackage] = ()
    extra_packages: Sequence[RpmPackage] = ()
    squashfs: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=lambda: DISC_TEXTS)
    lists: Mapping[str, Sequence[RpmPackage]] = field(default_factory=dict)
    further: Mapping[str, bytes] = field(default_factory=dict)


def compose_iso(place: Path, plan: IsoPlan, member_time: int = MEMBER_TIME) -> Path:
    """An ISO as ALT's image builder lays it out."""
    files = {f".disk/{name}": text.encode() for name, text in plan.texts.items()}
    for name, listed in plan.lists.items():
        lines = "".join(f"{package.file_name}\n" for package in listed)
        files[f".disk/pkglists/{name}/image/rpm.txt"] = lines.encode()
    for component, packages in (("main", plan.packages), ("extra", plan.extra_packages)):
        for package in packages:
            files[f"ALTLinux/RPMS.{component}/{package.file_name}"] = compose(package).data
    for name, root in plan.squashfs.items():
        image = make_squashfs(place.with_name(f"{place.name}.{name}"), root)
        files[name] = image.read_bytes()
    content = {**files, **plan.further} or {"empty/": b""}
    directory = place.with_name(place.name + ".files")
    _write_files(directory, content)
    for name in plan.squashfs:
        os.utime(directory / name, (member_time, member_time))
    return make_iso(place, directory)


def _write_files(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(data)


def compose_root(
    root: Path,
    packages: Sequence[RpmPackage],
    *,
    has_database: bool = True,
    further: Mapping[str, bytes] | None = None,
) -> Path:
    """The root directory of a system with the files of packages, and maybe their database."""
    (root / "etc").mkdir(parents=True)
    (root / "var/lib/rpm").mkdir(parents=True)
    (root / "etc/os-release").write_bytes(b'ID=altlinux\nVERSION_ID="10.0"\n')
    for package in packages:
        for file in package.files:
            _place_file(root, file)
    if has_database:
        (root / DATABASE).write_bytes(hash_file(blobs_of(packages)))
    _write_files(root, further or {})
    return root


def _place_file(root: Path, file: RpmFile) -> None:
    path = root / os.fsdecode(file.path).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(file.mode):
        path.mkdir(exist_ok=True)
    elif stat.S_ISLNK(file.mode):
        path.symlink_to(os.fsdecode(file.linkto))
    else:
        path.write_bytes(file.content)


def image_options(path: Path, image_type: str = "iso", **changes: Any) -> ImageOptions:
    """Options for an image of the sample branch."""
    defaults: dict[str, Any] = {
        "branch": BRANCH,
        "edition": "alt-workstation",
        "version": (10, 0, 1),
        "release": "release",
        "arch": "x86_64",
        "variant": "install",
        "date": IMAGE_DAY,
        "url": URL,
    }
    return ImageOptions(path, image_type, **{**defaults, **changes})


def compose_disc(work: Path) -> Path:
    """An ISO with package files, a live system, and an installer whose database was removed."""
    live = compose_root(work / "live", INSTALLED)
    accounts = b"root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1\n"
    further = {
        "etc/passwd": accounts, "usr/bin/own": b"own", "usr/share/copy-of-empty": b"",
    }  # fmt: skip
    installer = compose_root(work / "altinst", INSTALLED, has_database=False, further=further)
    os.symlink("own", installer / "usr/bin/own-link")
    os.symlink("../share", installer / "usr/bin/directory-link")
    plan = IsoPlan([HELLO, DATA], [EXTRA], {"altinst": installer, "live": live})
    return compose_iso(work / "alt.iso", plan)


def load(database: Database, options: ImageOptions) -> ImageSummary:
    """Load an image as the commands do."""
    with start_reading(options) as reading:
        return load_image(options, reading, database)


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that was read before, to be loaded many times."""

    options: ImageOptions
    known_content: ImageContent
    known_digests: ImageDigests

    @classmethod
    def read(cls, options: ImageOptions) -> KnownImage:
        with start_reading(options) as reading:
            return cls(options, reading.content(), reading.digests())

    def content(self) -> ImageContent:
        return self.known_content

    def digests(self) -> ImageDigests:
        return self.known_digests

    def load(self, database: Database, force: bool) -> None:
        options = replace(self.options, force=force)
        load_image(options, cast(ImageReading, self), database)
