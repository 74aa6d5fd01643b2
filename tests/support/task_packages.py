"""Small RPM packages for task trees, and chroot lists; built once, shared by many tasks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from typing import NamedTuple

from tests.support.apt_lists import ListedFile, list_entries, list_header
from tests.support.identity import package_hash, text_hash
from tests.support.rpm_file import ComposedRpm, compose
from tests.support.rpm_package import (
    FLAG_DOC,
    FLAG_SPEC,
    SENSE_EQUAL,
    ChangelogEntry,
    Dependency,
    RpmFile,
    RpmLayout,
    RpmPackage,
    directory,
)
from tests.support.vocabulary import (
    CYRILLIC_WORDS,
    GROUPS,
    LICENSES,
    MAINTAINERS,
    changelog_text,
    noon,
    pick,
    sentence,
)

DEFAULT_BUILDTIME = 1_633_424_700
_DAY = 86_400
_CHANGES = 3


@dataclass(frozen=True, eq=False)
class TaskRpm:
    """A package, its file's bytes, and what identifies it."""

    package: RpmPackage
    rpm: ComposedRpm

    @property
    def data(self) -> bytes:
        """The package file."""
        return self.rpm.data

    @property
    def file_name(self) -> str:
        """Base name of the package file."""
        return self.package.file_name

    @property
    def source_file(self) -> str:
        """File name of the source package that it was built from, or its own."""
        package = self.package
        if package.source:
            return self.file_name
        if package.sourcerpm is not None:
            return str(package.sourcerpm)
        return f"{package.name}-{package.version}-{package.release}.src.rpm"

    @cached_property
    def pkg_hash(self) -> int:
        """Identity of the package: PKGID of the specification."""
        rpm = self.rpm
        return package_hash(self.package.buildtime or 0, rpm.header_sha1, rpm.body_md5, rpm.gpg)

    @cached_property
    def md5(self) -> str:
        """MD5 of the file."""
        return hashlib.md5(self.data).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def blake2b(self) -> str:
        """BLAKE2b of the file."""
        return hashlib.blake2b(self.data).hexdigest()

    def index_header(
        self,
        *,
        blake2b: bool = True,
        size: int | None = None,
        md5: str | None = None,
        with_size: bool = True,
    ) -> bytes:
        """The header as a task's list has it; ``size`` and ``md5`` replace the true values."""
        listed = ListedFile(
            self.file_name,
            (len(self.data) if size is None else size) if with_size else None,
            md5 or self.md5,
            self.blake2b if blake2b else None,
        )
        return list_header(list_entries(self.package, listed), "RPMS.task")


def task_rpm(package: RpmPackage, layout: RpmLayout | None = None) -> TaskRpm:
    """Any package as a member of a task."""
    return TaskRpm(package, compose(package, layout))


@cache
def make_rpm(
    name: str,
    evr: str = "1.0-alt1",
    arch: str = "x86_64",
    *,
    source: str | None = None,
    buildtime: int = DEFAULT_BUILDTIME,
    requires: tuple[str, ...] = (),
    paths: tuple[str, ...] = (),
    seed: int = 0,
) -> TaskRpm:
    """A small sound package, the same object for the same arguments.

    ``arch`` is ``src`` for a source package. ``source`` is the name of the source package of a
    binary, of the same version; its own name by default. ``paths`` are further files.
    """
    epoch, _, rest = evr.rpartition(":")
    version, _, release = rest.partition("-")
    rng = Random(f"{name} {evr} {arch} {seed}")
    is_source = arch == "src"
    files = _source_files(name, version, release) if is_source else _files(name, version, arch, rng)
    files += tuple(RpmFile(path, path.encode()) for path in paths)
    package = RpmPackage(
        name=name,
        version=version,
        release=release,
        epoch=int(epoch) if epoch else None,
        arch="x86_64" if is_source else arch,
        source=is_source,
        sourcerpm=None if is_source or source is None else f"{source}-{version}-{release}.src.rpm",
        summary=sentence(rng, 4).rstrip("."),
        description={"C": sentence(rng, 9), "ru_RU.UTF-8": " ".join(CYRILLIC_WORDS[:4])},
        group=pick(rng, GROUPS),
        license=pick(rng, LICENSES),
        packager=pick(rng, MAINTAINERS),
        buildtime=buildtime,
        buildhost=f"{name.lower()}-{arch}.builder.example.org",
        disttag=f"p10+{500_000 + seed}.100.1.1",
        files=files,
        requires=tuple(Dependency(text) for text in ("rpmlib(CompressedFileNames)", *requires)),
        provides=(Dependency(name, evr, SENSE_EQUAL),) if not is_source else (),
        changelog=_changelog(buildtime, version, release, rng),
    )
    return task_rpm(package)


def _source_files(name: str, version: str, release: str) -> tuple[RpmFile, ...]:
    spec = f"Name: {name}\nVersion: {version}\nRelease: {release}\n\n%description\nописание\n"
    return (
        RpmFile(f"{name}-{version}.tar", name.encode() * 20),
        RpmFile(f"{name}.spec", spec.encode(), flags=FLAG_SPEC),
    )


def _files(name: str, version: str, arch: str, rng: Random) -> tuple[RpmFile, ...]:
    documents = f"/usr/share/doc/{name}-{version}"
    return (
        RpmFile(f"/usr/bin/{name}", f"{name} for {arch}\n".encode(), mode=0o100755),
        directory(documents),
        RpmFile(f"{documents}/README", sentence(rng, 12).encode(), flags=FLAG_DOC),
        RpmFile(f"/usr/share/locale/ru/LC_MESSAGES/{name}.mo", b"\xde\x12\x04\x95", lang="ru"),
    )


def _changelog(
    buildtime: int, version: str, release: str, rng: Random
) -> tuple[ChangelogEntry, ...]:
    author = pick(rng, MAINTAINERS)
    return tuple(
        ChangelogEntry(
            noon(buildtime - age * 40 * _DAY),
            f"{author} {version}.{_CHANGES - age}-{release}",
            changelog_text(rng, version),
        )
        for age in range(_CHANGES)
    )


class ChrootPackage(NamedTuple):
    """A line of a chroot list."""

    name: str
    evr: str = "1.0-alt1"
    arch: str = "x86_64"
    sha1: str | None = None

    @property
    def header_sha1(self) -> str:
        """The given hash, or one that depends on the name."""
        return self.sha1 or hashlib.sha1(f"{self.name}-{self.evr}".encode()).hexdigest()

    @property
    def line(self) -> str:
        """Five fields with tabs between them, and the line end."""
        source = f"{self.name}-{self.evr}.src.rpm"
        return "\t".join([self.name, self.evr, self.arch, source, self.header_sha1]) + "\n"

    @property
    def hash(self) -> int:
        """What the database stores of the line."""
        return text_hash(bytes.fromhex(self.header_sha1))


@cache
def chroot_list(packages: tuple[ChrootPackage, ...]) -> bytes:
    """A chroot list as a file; builds share their chroots."""
    return "".join([package.line for package in packages]).encode()
