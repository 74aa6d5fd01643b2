"""Which package files belong to which set of a repository, with what their lists say of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from altrepodb.errors import SourceError
from altrepodb.packages.read import PackageSource
from altrepodb.repository.tree import SOURCE_HASH_LIST, ListContent, RepositoryTree
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
    """Bring the lists of a repository together, in whatever order they come.

    Raises SourceError when two lists disagree about a file.
    """
    places = {file.path: place for place, file in enumerate(tree.list_files)}
    contents = sorted(lists, key=lambda content: places[content.file.path])
    digests = {
        content.file.arch: content.digests for content in contents if content.file.kind == "hash"
    }
    source_digests = digests.get(SOURCE_HASH_LIST, {})
    warnings: list[str] = []
    sources: dict[bytes, PackageSource] = {}
    components: dict[tuple[str, str], dict[bytes, PackageSource]] = {}
    for content in contents:
        file = content.file
        if file.kind == "source":
            _add(sources, content, tree.source_directory, source_digests)
        elif file.kind == "binary":
            members = components.setdefault((file.arch, file.component), {})
            directory = tree.binary_directory(file.arch, file.component)
            _add(members, content, directory, digests.get(file.arch, {}))
    _add_unlisted_sources(tree, sources, source_digests, warnings)
    ignored = _count_unlisted_binaries(digests, components)
    return RepositoryMembers(sources, components, ignored, warnings)


def _add(
    members: dict[bytes, PackageSource],
    content: ListContent,
    directory: bytes,
    digests: dict[bytes, bytes],
) -> None:
    """Add the packages of one list to a set, which may have them from another list already."""
    for name, size, md5, sha256, blake2b in content.packages:
        path = os.path.join(directory, name)
        member = PackageSource(path, size, md5, digests.get(name, sha256), blake2b)
        present = members.setdefault(name, member)
        if present.md5 != md5 or present.size != size:
            raise SourceError(
                f"{printable(content.file.path.as_posix())}: {printable(name)}"
                " differs from what another list says"
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
        path = os.path.join(tree.source_directory, name)
        if _is_there(path):
            sources[name] = PackageSource(path, None, None, sha256, None)
        else:
            warnings.append(f"{printable(path)}: in the hash list, but there is no such file")


def _is_there(path: bytes) -> bool:
    """Whether something is there, whatever it is. Raises SourceError when none can say."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SourceError(f"{printable(path)}: {error.strerror}") from error
    return True


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
