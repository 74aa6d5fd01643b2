"""Which package files belong to which set of a repository, with what their lists say of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from altrepodb.errors import SourceError
from altrepodb.packages.read import PackageSource
from altrepodb.repository.tree import SOURCE_HASH_LIST, ListContent, RepositoryTree
from altrepodb.rpm.apt_lists import ListedPackage
from altrepodb.rpm.package_file import printable

__all__ = ["RepositoryMembers", "collect_members"]


@dataclass(frozen=True, slots=True)
class RepositoryMembers:
    """Members by file name: of the source set, and of each (architecture, component)."""

    sources: dict[bytes, PackageSource]
    components: dict[tuple[str, str], dict[bytes, PackageSource]]
    ignored_hashes: int = 0
    warnings: list[str] = field(default_factory=list)

    def all(self) -> Iterable[PackageSource]:
        """Every member, sources first."""
        return chain(self.sources.values(), *(m.values() for m in self.components.values()))

    @property
    def binary_names(self) -> set[bytes]:
        return {name for members in self.components.values() for name in members}


def collect_members(tree: RepositoryTree, lists: Iterable[ListContent]) -> RepositoryMembers:
    """Bring the lists of a repository together.

    Raises SourceError when two lists disagree about a file.
    """
    contents = list(lists)
    digests = {content.file.arch: content.digests for content in contents if content.file.kind == "hash"}
    source_digests = digests.get(SOURCE_HASH_LIST, {})
    warnings: list[str] = []
    sources: dict[bytes, PackageSource] = {}
    components: dict[tuple[str, str], dict[bytes, PackageSource]] = {}
    for content in contents:
        file = content.file
        if file.kind == "source":
            for package in content.packages:
                path = tree.source_path(package.file_name)
                member = _member(path, package, source_digests)
                _add(sources, package.file_name, member, file.path.as_posix())
        elif file.kind == "binary":
            members = components.setdefault((file.arch, file.component), {})
            for package in content.packages:
                path = tree.binary_path(file.arch, file.component, package.file_name)
                member = _member(path, package, digests.get(file.arch, {}))
                _add(members, package.file_name, member, file.path.as_posix())
    _add_unlisted_sources(tree, sources, source_digests, warnings)
    ignored = _count_unlisted_binaries(digests, components)
    return RepositoryMembers(sources, components, ignored, warnings)


def _member(path: bytes, package: ListedPackage, digests: dict[bytes, bytes]) -> PackageSource:
    sha256 = digests.get(package.file_name, package.sha256)
    return PackageSource(path, package.size, package.md5, sha256, package.blake2b)


def _add(
    members: dict[bytes, PackageSource], name: bytes, member: PackageSource, list_name: str
) -> None:
    present = members.setdefault(name, member)
    if present.md5 != member.md5 or present.size != member.size:
        raise SourceError(
            f"{printable(list_name)}: {printable(name)} differs from what another list says"
        )


def _add_unlisted_sources(
    tree: RepositoryTree,
    sources: dict[bytes, PackageSource],
    digests: dict[bytes, bytes],
    warnings: list[str],
) -> None:
    """Sources whose binaries are all in a component without a source list."""
    for name, sha256 in digests.items():
        if name in sources:
            continue
        path = tree.source_path(name)
        if os.path.isfile(path):
            sources[name] = PackageSource(path, None, None, sha256, None)
        else:
            warnings.append(f"{printable(path)}: in the hash list, but there is no such file")


def _count_unlisted_binaries(
    digests: dict[str, dict[bytes, bytes]],
    components: dict[tuple[str, str], dict[bytes, PackageSource]],
) -> int:
    """Names in hash lists that no component has: stale, and of no consequence."""
    ignored = 0
    for arch, listed in digests.items():
        if arch != SOURCE_HASH_LIST:
            members = (m for (name, _), m in components.items() if name == arch)
            ignored += len(listed.keys() - set(chain.from_iterable(members)))
    return ignored
