"""The package set of an image: a root with all that is known of it, and a leaf per part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from altrepodb.image.digests import ImageDigests
from altrepodb.image.installed import InstalledPackage
from altrepodb.image.options import ImageOptions
from altrepodb.image.records import ImageContent
from altrepodb.packages.package_sets import PackageSet, PackageSetNode

__all__ = ["Leaf", "image_package_set", "utc_text"]


@dataclass(slots=True)
class Leaf:
    """A part of an image: the packages on or in it, or one squashfs of an ISO.

    ``further`` are packages that are not ``packages``: meta packages. ``attributes`` stand behind
    those that all leaves have.
    """

    name: str
    type: str
    packages: tuple[InstalledPackage, ...]
    further: frozenset[int] = frozenset()
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def hashes(self) -> frozenset[int]:
        return frozenset(package.hash for package in self.packages) | self.further


def utc_text(seconds: int) -> str:
    """A time as ISO 8601 with its zone: ``2024-05-06T07:08:09+00:00``."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def image_package_set(
    options: ImageOptions,
    content: ImageContent,
    digests: ImageDigests,
    leaves: Iterable[Leaf],
    date: int,
) -> PackageSet:
    """The nodes with their attributes in the order in which they are stored."""
    attributes = _root_attributes(options, content, digests)
    root = PackageSetNode(0, options.edition, attributes=attributes)
    nodes = []
    for leaf in leaves:
        hashes = leaf.hashes
        common = _common_attributes(leaf.type, len(hashes), options.type, options.branch)
        attributes = common | leaf.attributes
        nodes.append(PackageSetNode(1, leaf.name, root.uuid, attributes, hashes))
    return PackageSet(root, nodes, date, options.tag)


def _common_attributes(type_: str, size: int, class_: str, branch: str) -> dict[str, str]:
    return {"type": type_, "size": str(size), "class": class_, "branch": branch}


def _root_attributes(
    options: ImageOptions, content: ImageContent, digests: ImageDigests
) -> dict[str, str]:
    major, minor, sub = options.version
    own = {
        "url": options.url,
        "arch": options.arch,
        "date": f"{options.date}T00:00:00",
        "file": options.path.name,
        "flavor": options.flavor,
        "edition": options.edition,
        "variant": options.variant,
        "platform": options.platform,
        "release": options.release,
        "version_major": str(major),
        "version_minor": str(minor),
        "version_sub": str(sub),
        "image_type": options.type,
    }
    common = _common_attributes(options.type, digests.size, options.type, options.branch)
    return common | _found_attributes(content, digests) | own


def _found_attributes(content: ImageContent, digests: ImageDigests) -> dict[str, str]:
    """What was found in the image, and the digests of it."""
    checksums = {
        "md5_cs": digests.md5.hex(),
        "sha256_cs": digests.sha256.hex(),
        "gost12_cs": digests.gost12.hex(),
    }
    disc = content.disc
    if disc is None:
        os_release = content.os_release.decode("utf-8", "surrogateescape")
        return {"mtime": utc_text(content.mtime), **checksums, "osrelease": os_release}
    return {
        "arch": disc.arch,
        "date": disc.date,
        "info": disc.info,
        "commit": disc.commit,
        "isoinfo": disc.description,
        **checksums,
    }
