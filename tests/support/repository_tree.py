"""Write a composed repository to disk, and tell exactly what was written."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.apt_lists import (
    ListedFile,
    ReleaseInfo,
    component_release,
    compress_list,
    hash_list,
    list_entries,
    list_header,
    release_file,
    table_list,
    task_info,
)
from tests.support.blueprints import (
    BinaryBlueprint,
    Blueprints,
    RepositoryPlan,
    SourceBlueprint,
)
from tests.support.descriptions import Blueprint, describe, layout_of
from tests.support.identity import package_hash
from tests.support.rpm_file import compose
from tests.support.rpm_header import Entry
from tests.support.rpm_package import RpmPackage

SOURCE_DIRECTORY = "files/SRPMS"
_YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class ComposedPackage:
    """A package file of the tree and what identifies it."""

    blueprint: Blueprint
    path: str
    size: int
    md5: str
    sha256: str
    blake2b: str
    header_sha1: bytes
    body_md5: bytes
    gpg: bytes
    list_entries: tuple[Entry, ...] = field(repr=False)

    @property
    def file_name(self) -> str:
        """Base name of the file."""
        return self.blueprint.file_name

    @property
    def package(self) -> RpmPackage:
        """Everything the package says, described again."""
        return describe(self.blueprint)

    @property
    def buildtime(self) -> int:
        """When the package was built."""
        blueprint = self.blueprint
        source = blueprint.source if isinstance(blueprint, BinaryBlueprint) else blueprint
        return source.buildtime

    @property
    def pkg_hash(self) -> int:
        """Identity of the package in the database."""
        return package_hash(self.buildtime, self.header_sha1, self.body_md5, self.gpg)


@dataclass(frozen=True, slots=True)
class ComposedRepository:
    """A repository tree on disk and all that a reader should find in it.

    `binaries` are keyed by (arch directory, component, file name), `sources` by file name.
    """

    root: Path
    plan: RepositoryPlan
    sources: Mapping[str, ComposedPackage] = field(repr=False)
    binaries: Mapping[tuple[str, str, str], ComposedPackage] = field(repr=False)

    @property
    def packages(self) -> list[ComposedPackage]:
        """All packages, sources first."""
        return [*self.sources.values(), *self.binaries.values()]

    @property
    def components(self) -> dict[str, list[str]]:
        """Components of each arch directory, as its release file announces them."""
        return {arch: announced(self.plan, arch) for arch in self.plan.architectures}

    def members(self, arch: str, component: str) -> list[str]:
        """File names of the binaries of a component, sorted."""
        return sorted(name for a, c, name in self.binaries if (a, c) == (arch, component))

    def listed_sources(self, arch: str) -> list[str]:
        """File names of the sources in the source list of an arch, sorted."""
        return sorted(_binaries_by_source(self.binaries.values(), arch))

    def source_of(self, binary: ComposedPackage) -> ComposedPackage | None:
        """The source package that a binary names, if the repository has it."""
        assert isinstance(binary.blueprint, BinaryBlueprint)
        return self.sources.get(binary.blueprint.sourcerpm)

    def totals(self) -> dict[str, int]:
        """Counts of packages, file entries, dependencies and bytes."""
        blueprints = [package.blueprint for package in self.packages]
        return {
            "sources": len(self.sources),
            "binaries": len(self.binaries),
            "files": sum(blueprint.file_count for blueprint in blueprints),
            "dependencies": sum(blueprint.dependency_count for blueprint in blueprints),
            "bytes": sum(package.size for package in self.packages),
        }


def announced(plan: RepositoryPlan, arch: str) -> list[str]:
    """Components that an arch directory has: not all make sense everywhere."""
    if arch.endswith("-i586"):
        return [name for name in plan.components if name == "classic"]
    if arch == "noarch":
        return [name for name in plan.components if name in ("classic", "checkinstall")]
    return list(plan.components)


def write_repository(
    root: Path,
    plan: RepositoryPlan,
    blueprints: Blueprints,
    earlier: ComposedRepository | None = None,
) -> ComposedRepository:
    """Write all packages and indexes; package files of an earlier tree are hard-linked."""
    known: dict[Blueprint, ComposedPackage] = {}
    if earlier:
        known = {package.blueprint: package for package in earlier.packages}
    wanted: tuple[Blueprint, ...] = (*blueprints.sources, *blueprints.binaries)
    _make_directories(root, plan)
    written = [
        _link(root, earlier.root, known[blueprint])
        if earlier and blueprint in known
        else _write_package(root, plan, blueprint)
        for blueprint in wanted
    ]
    sources: dict[str, ComposedPackage] = {}
    binaries: dict[tuple[str, str, str], ComposedPackage] = {}
    for package in written:
        if isinstance(package.blueprint, SourceBlueprint):
            sources[package.file_name] = package
        else:
            binary = package.blueprint
            binaries[binary.arch_directory, binary.component, binary.file_name] = package
    repository = ComposedRepository(root, plan, sources, binaries)
    for arch in plan.architectures:
        _write_arch(repository, arch)
    previous = earlier.plan.task if earlier else plan.task - 1
    _write_file_lists(repository, previous)
    return repository


def _make_directories(root: Path, plan: RepositoryPlan) -> None:
    paths = [SOURCE_DIRECTORY, "files/list"]
    for arch in plan.architectures:
        paths += [f"files/{arch}/RPMS", f"{arch}/base"]
        paths += [f"{arch}/RPMS.{component}" for component in announced(plan, arch)]
        if not arch.endswith("-i586"):
            paths.append(f"{arch}/SRPMS.classic")
        if plan.bloat:
            paths.append(f"{arch}/base.bloat")
    for path in paths:
        (root / path).mkdir(parents=True, exist_ok=True)


def _write_package(root: Path, plan: RepositoryPlan, blueprint: Blueprint) -> ComposedPackage:
    """Compose one package, write it, and keep what the lists will say about it."""
    package = describe(blueprint)
    rpm = compose(package, layout_of(blueprint))
    path = f"{SOURCE_DIRECTORY}/{blueprint.file_name}"
    if isinstance(blueprint, BinaryBlueprint):
        path = f"files/{blueprint.arch_directory}/RPMS/{blueprint.file_name}"
    (root / path).write_bytes(rpm.data)
    md5 = hashlib.md5(rpm.data).hexdigest()
    blake2b = hashlib.blake2b(rpm.data).hexdigest()
    listed = ListedFile(blueprint.file_name, len(rpm.data), md5, blake2b if plan.blake2b else None)
    return ComposedPackage(
        blueprint,
        path,
        len(rpm.data),
        md5,
        hashlib.sha256(rpm.data).hexdigest(),
        blake2b,
        rpm.header_sha1,
        rpm.body_md5,
        rpm.gpg,
        tuple(list_entries(package, listed, plan.time - _YEAR)),
    )


def _link(root: Path, earlier_root: Path, package: ComposedPackage) -> ComposedPackage:
    """Share a package file with an earlier tree."""
    os.link(earlier_root / package.path, root / package.path)
    return package


def _write_arch(repository: ComposedRepository, arch: str) -> None:
    """Header lists, release files and links of one arch directory."""
    plan, root = repository.plan, repository.root
    components = announced(plan, arch)
    info = ReleaseInfo(arch, components, plan.branch.title(), plan.time, plan.blake2b)
    listed: dict[str, bytes] = {}
    for component in components:
        packages = [
            p for (a, c, _), p in repository.binaries.items() if (a, c) == (arch, component)
        ]
        packages.sort(key=_list_order)
        links = f"RPMS.{component}"
        headers = b"".join([list_header(p.list_entries, links) for p in packages])
        _add_list(listed, f"base/pkglist.{component}", headers, plan.list_streams)
        listed[f"base/release.{component}"] = component_release(info, component)
        _write_links(root / arch / links, packages)
    if not arch.endswith("-i586"):
        by_source = _binaries_by_source(repository.binaries.values(), arch)
        sources = [(repository.sources[name], by_source[name]) for name in sorted(by_source)]
        headers = b"".join(
            [list_header(p.list_entries, "./SRPMS.classic", names) for p, names in sources]
        )
        _add_list(listed, "base/srclist.classic", headers, plan.list_streams)
        _write_links(root / arch / "SRPMS.classic", [package for package, _ in sources])
    for path, data in listed.items():
        if path.endswith(".xz") or "/release." in path:
            (root / arch / path).write_bytes(data)
        elif plan.bloat:
            (root / arch / path.replace("base/", "base.bloat/")).write_bytes(data)
    (root / arch / "base/release").write_bytes(release_file(info, listed))


def _add_list(listed: dict[str, bytes], path: str, headers: bytes, streams: int) -> None:
    """A header list and its compressed twin: release files name both."""
    listed[path] = headers
    listed[f"{path}.xz"] = compress_list(headers, streams)


def _list_order(package: ComposedPackage) -> tuple[str, str]:
    """Header lists are sorted by source package, then by file name."""
    assert isinstance(package.blueprint, BinaryBlueprint)
    return package.blueprint.sourcerpm, package.file_name


def _binaries_by_source(packages: Iterable[ComposedPackage], arch: str) -> dict[str, list[str]]:
    """Names of the classic binaries of an arch by the file name of their source."""
    found: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        binary = package.blueprint
        assert isinstance(binary, BinaryBlueprint)
        if (
            binary.arch_directory == arch
            and binary.component == "classic"
            and binary.sourcerpm == binary.source.file_name
        ):
            found[binary.sourcerpm].append(binary.name)
    return {name: sorted(names) for name, names in found.items()}


def _write_links(directory: Path, packages: Sequence[ComposedPackage]) -> None:
    for package in packages:
        (directory / package.file_name).symlink_to(f"../../{package.path}")


def _write_file_lists(repository: ComposedRepository, previous: int) -> None:
    """Everything in files/list."""
    plan, place = repository.plan, repository.root / "files/list"
    sources = repository.sources.values()
    binaries = repository.binaries.values()
    contents = {
        "task.info": task_info(plan.task, previous),
        "src.hash.xz": hash_list({p.file_name: p.sha256 for p in sources}),
        "src.list.xz": table_list([_source_row(p) for p in sources]),
        "bin.list.xz": table_list([_binary_row(p) for p in binaries if not _is_repackaged(p)]),
    }
    for arch in plan.architectures:
        here = {p.file_name: p.sha256 for (a, _, _), p in repository.binaries.items() if a == arch}
        contents[f"{arch}.hash.xz"] = hash_list(here)
        if arch.endswith("-i586"):
            rows = [_repackaged_row(p) for p in binaries if p.path.startswith(f"files/{arch}/")]
            contents[f"arepo-{arch}.list.xz"] = table_list(rows)
    for name, data in contents.items():
        (place / name).write_bytes(data)


def _evr(source: SourceBlueprint) -> str:
    prefix = "" if source.epoch is None else f"{source.epoch}:"
    return f"{prefix}{source.version}-{source.release}"


def _is_repackaged(package: ComposedPackage) -> bool:
    return isinstance(package.blueprint, BinaryBlueprint) and package.blueprint.kind == "arepo"


def _source_row(package: ComposedPackage) -> tuple[str, ...]:
    assert isinstance(package.blueprint, SourceBlueprint)
    return package.blueprint.name, _evr(package.blueprint), package.file_name


def _binary_row(package: ComposedPackage) -> tuple[str, ...]:
    binary = package.blueprint
    assert isinstance(binary, BinaryBlueprint)
    return binary.name, _evr(binary.source), binary.arch, binary.file_name, binary.sourcerpm


def _repackaged_row(package: ComposedPackage) -> tuple[str, ...]:
    binary = package.blueprint
    assert isinstance(binary, BinaryBlueprint)
    name = binary.name
    return name, _evr(binary.source), binary.file_name, binary.file_name.removeprefix("i586-")
