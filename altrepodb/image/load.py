"""An image -> the database: the entry that both commands share.

All reading and all checks come first, all inserts last, and of these the root of the package set:
whoever sees an image sees all of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from altrepodb.db.database import Database
from altrepodb.errors import AlreadyLoadedError, SourceError
from altrepodb.hashing import FileDigests
from altrepodb.image.base_branch import BaseState
from altrepodb.image.check import LeafCheck, check_leaf, describe_problems
from altrepodb.image.digests import ImageDigests
from altrepodb.image.meta_package import MetaPackage, insert_meta_package, squashfs_identity
from altrepodb.image.options import ImageOptions
from altrepodb.image.orphans import match_files
from altrepodb.image.package_set import Leaf, image_package_set, utc_text
from altrepodb.image.reading import ImageReading
from altrepodb.image.records import DiscInfo, ImageContent, SquashfsContent
from altrepodb.image.status import insert_missing_status
from altrepodb.packages.package_sets import (
    PackageSet,
    commit_package_set,
    find_image_roots,
    find_midnight,
    settle_interrupted_loads,
)

__all__ = ["ImageSummary", "load_image"]

logger = logging.getLogger("altrepodb.image")


@dataclass(slots=True)
class ImageSummary:
    """What a load did; also the object that ``--json`` prints. Mappings are by leaf, or table."""

    image: str
    tag: str
    date: str
    size: int = 0
    md5: str = ""
    sha256: str = ""
    gost12: str = ""
    root: str = ""
    sets: dict[str, int] = field(default_factory=dict)
    base: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    orphaned_files: dict[str, int] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    warnings: int = 0
    dry_run: bool = False


@dataclass(slots=True)
class _Part:
    """A leaf; of a squashfs without packages also what its files told."""

    leaf: Leaf
    squashfs: SquashfsContent | None = None
    state: BaseState | None = None
    orphans: Sequence[int] = ()

    @property
    def has_files(self) -> bool:
        """Whether it is known by its files, which then need a meta package."""
        return self.squashfs is not None and bool(self.squashfs.files)


def load_image(options: ImageOptions, reading: ImageReading, database: Database) -> ImageSummary:
    """Load an image that is being read, so that readers see it completely or not at all.

    Raises AlreadyLoadedError when an image of this tag and day is there (unless forced),
    SourceError for a broken image, and for one whose packages are unknown or not of the branch
    (unless forced), DatabaseError.
    """
    summary = ImageSummary(str(options.path), options.tag, options.date, dry_run=options.dry_run)
    date = find_midnight(database, options.date)
    _refuse_second_load(database, options, date)
    content = reading.content()
    _warn(summary, content.warnings)
    parts = _parts(database, options, content)
    _check(database, options, parts, summary)
    digests = reading.digests()
    meta_packages = _finish_squashfs(options, content, parts, digests)
    _describe(summary, parts, digests)
    if options.dry_run:
        logger.info("%s: dry run, nothing is written", options.path)
        return summary
    leaves = [part.leaf for part in parts]
    package_set = image_package_set(options, content, digests, leaves, date)
    _write(database, options, meta_packages, package_set, summary)
    return summary


def _refuse_second_load(database: Database, options: ImageOptions, date: int) -> None:
    if not options.dry_run:
        settle_interrupted_loads(database, options.tag, date, is_image=True)
    if options.force or not find_image_roots(database, options.tag, date):
        return
    if not options.dry_run:
        raise AlreadyLoadedError(f"{options.tag} of {options.date}: already loaded")
    logger.info("%s of %s: already loaded", options.tag, options.date)


def _warn(summary: ImageSummary, messages: Sequence[str]) -> None:
    for message in messages:
        logger.warning("%s", message)
        summary.warnings += 1


def _parts(database: Database, options: ImageOptions, content: ImageContent) -> list[_Part]:
    """The leaves in the order in which they are stored."""
    parts = []
    if content.packages is not None:
        parts.append(_Part(Leaf("rpms", "rpms", content.packages)))
    for squashfs in content.squashfs:
        part = _Part(Leaf(squashfs.name, "squashfs", squashfs.packages), squashfs)
        if part.has_files:
            _match(database, options, part, squashfs)
        parts.append(part)
    return parts


def _match(
    database: Database, options: ImageOptions, part: _Part, squashfs: SquashfsContent
) -> None:
    matched = match_files(database, squashfs, options.branch, options.arch)
    part.leaf.packages = matched.packages
    part.state = matched.state
    part.orphans = matched.orphans
    assert squashfs.files is not None
    logger.info(
        "%s: no rpm database; %d packages by its %d files, %d files belong to none",
        squashfs.name,
        matched.owners,
        len(squashfs.files),
        len(matched.orphans),
    )
    if squashfs.listed:
        logger.info(
            "%s: %d of %d packages on the disc's list found",
            squashfs.name,
            len(matched.packages),
            len(squashfs.listed),
        )


def _check(
    database: Database, options: ImageOptions, parts: Sequence[_Part], summary: ImageSummary
) -> None:
    """Check all leaves, then fail once."""
    checks: list[LeafCheck] = []
    for part in parts:
        check = check_leaf(database, part.leaf, options.branch, part.state, part.has_files)
        checks.append(check)
        _warn(summary, [*check.warnings, *_orphan_warnings(part, options.branch)])
        if check.state:
            summary.base[part.leaf.name] = f"{options.branch} {utc_text(check.state.date)[:10]}"
        if check.unknown:
            summary.unknown[part.leaf.name] = len(check.unknown)
    problems = describe_problems(str(options.path), checks)
    if problems and not (options.force or options.dry_run):
        raise SourceError(problems)
    _warn(summary, [problems] if problems else [])


def _orphan_warnings(part: _Part, branch: str) -> list[str]:
    """Of an image of the branch most files are in its packages."""
    files = part.squashfs.files if part.squashfs else None
    if files is None or part.state is None or 2 * len(part.orphans) <= len(files):
        return []
    name, count = part.leaf.name, len(part.orphans)
    return [f"{name}: {count} of its {len(files)} files are in no package of {branch}"]


def _finish_squashfs(
    options: ImageOptions, content: ImageContent, parts: Sequence[_Part], digests: ImageDigests
) -> list[MetaPackage]:
    """Complete the leaves of squashfs images with what their digests tell."""
    meta_packages = []
    for part in parts:
        squashfs = part.squashfs
        if squashfs is None:
            continue
        of_member = digests.members[squashfs.name]
        identity = squashfs_identity(squashfs, of_member)
        if part.has_files:
            package = _meta_package(options, content, part, squashfs, of_member)
            part.leaf.further = frozenset({package.hash})
            meta_packages.append(package)
        part.leaf.attributes = {
            "hash": str(identity),
            "sha1": (of_member.sha1 or b"").hex(),
            "image_size": str(squashfs.size),
            "orphaned_files": str(len(part.orphans)),
            "mtime": utc_text(squashfs.mtime),
        }
    return meta_packages


def _meta_package(
    options: ImageOptions,
    content: ImageContent,
    part: _Part,
    squashfs: SquashfsContent,
    digests: FileDigests,
) -> MetaPackage:
    disc = content.disc or DiscInfo()
    date = disc.date or options.date.replace("-", "")
    image_file = options.path.name
    return MetaPackage(
        squashfs,
        digests,
        part.orphans,
        name=f"{squashfs.name}_orphaned-files_{image_file}_{date}",
        arch=disc.arch or options.arch,
        branch=options.branch,
        image_file=image_file,
    )


def _describe(summary: ImageSummary, parts: Sequence[_Part], digests: ImageDigests) -> None:
    summary.size = digests.size
    summary.md5 = digests.md5.hex()
    summary.sha256 = digests.sha256.hex()
    summary.gost12 = digests.gost12.hex()
    for part in parts:
        summary.sets[part.leaf.name] = len(part.leaf.hashes)
        if part.has_files:
            summary.orphaned_files[part.leaf.name] = len(part.orphans)


def _write(
    database: Database,
    options: ImageOptions,
    meta_packages: Sequence[MetaPackage],
    package_set: PackageSet,
    summary: ImageSummary,
) -> None:
    """All inserts; what they point to comes first, the root last."""
    settle_interrupted_loads(database, options.tag, package_set.date, is_image=True)
    replaced = find_image_roots(database, options.tag, package_set.date)
    if replaced and not options.force:
        raise AlreadyLoadedError(f"{options.tag} of {options.date}: loaded by another run")
    inserted: Counter[str] = Counter()
    for package in meta_packages:
        inserted.update(insert_meta_package(database, package))
    inserted.update(insert_missing_status(database, options))
    committed = commit_package_set(database, package_set, replaced, with_unknown=options.force)
    inserted.update(committed)
    summary.inserted = dict(inserted)
    summary.root = str(package_set.root.uuid)
    summary.replaced = [str(root) for root in replaced]
