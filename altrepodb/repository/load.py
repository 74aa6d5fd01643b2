"""A package repository -> the database: the entry that command line and daemon share."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from altrepodb.db.database import Database
from altrepodb.errors import AlreadyLoadedError, SourceError
from altrepodb.packages.batch import PackageBatch
from altrepodb.packages.identities import Identities, find_identities
from altrepodb.packages.insert import PackageWriter
from altrepodb.packages.package_sets import (
    PackageSet,
    PackageSetNode,
    commit_package_set,
    find_midnight,
    find_repository_roots,
    settle_interrupted_loads,
)
from altrepodb.packages.read import PackageSource, ReadOptions, check_files, read_packages
from altrepodb.progress import Progress
from altrepodb.repository.members import RepositoryMembers, collect_members
from altrepodb.repository.tree import ListContent, RepositoryTree, read_lists, read_tree
from altrepodb.rpm.package_file import printable
from altrepodb.workers import WorkerPool

__all__ = ["RepositoryOptions", "RepositoryScan", "RepositorySummary", "load_repository", "scan"]

logger = logging.getLogger("altrepodb.repo")

_PACKAGES_PER_TASK = 12
_AREPO_ARCH = "x86_64-i586"


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """What to load and how; ``date`` is ``YYYY-MM-DD``, today in the server's zone if None."""

    name: str
    path: Path
    date: str | None = None
    tag: str = ""
    force: bool = False
    strict: bool = False
    verify: bool = False
    dry_run: bool = False
    accept_bad_checksums: bool = False


@dataclass(slots=True)
class RepositorySummary:
    """What a load did; also the object that ``--json`` prints."""

    name: str
    date: str = ""
    root: str = ""
    packages: int = 0
    known: int = 0
    read: int = 0
    sources: int = 0
    sets: dict[str, int] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    missing_sources: int = 0
    ignored_hashes: int = 0
    saturated: int = 0
    warnings: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RepositoryScan:
    """A repository whose lists are being read by workers; they may come in any order."""

    tree: RepositoryTree
    lists: Iterator[ListContent]


def scan(options: RepositoryOptions, pool: WorkerPool) -> RepositoryScan:
    """Look at the tree and let the workers read its lists.

    Each gets all that it has to read at once: while the engine starts, nobody could give it more.
    Raises SourceError when the tree is no sound repository.
    """
    tree = read_tree(options.path, options.accept_bad_checksums)
    shares = pool.map(read_lists, tree.list_shares(pool.workers))
    return RepositoryScan(tree, chain.from_iterable(shares))


def load_repository(
    options: RepositoryOptions, scanned: RepositoryScan, database: Database, pool: WorkerPool
) -> RepositorySummary:
    """Load a repository so that readers see its package set completely or not at all.

    Only packages that the database lacks are opened. Raises AlreadyLoadedError when the set of
    this name and day is there (unless forced), SourceError for broken input, DatabaseError.
    """
    summary = RepositorySummary(options.name, dry_run=options.dry_run)
    date = None
    if not database.is_new:
        date = _set_date(database, options, summary)
        if _is_complete(database, options, date, summary):
            return summary
    members = collect_members(scanned.tree, scanned.lists)
    _warn(summary, [*scanned.tree.warnings, *members.warnings])
    identities = find_identities(database, list(members.all()))
    wanted = list(identities.unknown(members.all()))
    _count(summary, members, wanted)
    check_files(wanted)
    if options.dry_run:
        return summary
    # The workers begin here: a new database gets its schema while they read.
    batches = pool.map(read_packages, _tasks(wanted, options))
    if date is None:
        date = _set_date(database, options, summary)
    if wanted:
        _write_packages(options, members, batches, identities, database, summary)
    package_set = _package_set(options, scanned.tree, members, identities, date, summary)
    settle_interrupted_loads(database, options.name, date)
    replaced = find_repository_roots(database, options.name, date)
    if replaced and not options.force:
        raise AlreadyLoadedError(f"{options.name} of {summary.date}: loaded by another run")
    summary.inserted.update(commit_package_set(database, package_set, replaced))
    summary.root = str(package_set.root.uuid)
    summary.replaced = [str(root) for root in replaced]
    return summary


_TODAY = "SELECT toString(today())"


def _set_date(database: Database, options: RepositoryOptions, summary: RepositorySummary) -> int:
    """Midnight of the day in the server's zone, as Unix time."""
    day = options.date
    if day is None:
        ((day,),) = database.query(_TODAY)
    summary.date = str(day)
    return find_midnight(database, summary.date)


def _is_complete(
    database: Database, options: RepositoryOptions, date: int, summary: RepositorySummary
) -> bool:
    """Whether nothing is left to do, since an interrupted load only had to be completed.

    Raises AlreadyLoadedError when the set is there from a load that ended well.
    """
    completed = not options.dry_run and settle_interrupted_loads(database, options.name, date)
    roots = find_repository_roots(database, options.name, date)
    if not roots or options.force:
        return False
    if not completed:
        raise AlreadyLoadedError(f"{options.name} of {summary.date}: already loaded")
    summary.root = str(roots[0])
    return True


def _count(
    summary: RepositorySummary, members: RepositoryMembers, wanted: list[PackageSource]
) -> None:
    summary.ignored_hashes = members.ignored_hashes
    summary.packages = len({*members.all()})
    summary.known, summary.read = summary.packages - len(wanted), len(wanted)
    logger.info(
        "%s: %d packages, %d known, %d to load",
        summary.name, summary.packages, summary.known, summary.read,
    )  # fmt: skip


def _warn(summary: RepositorySummary, messages: Iterable[str]) -> None:
    for message in messages:
        logger.warning("%s", message)
        summary.warnings += 1


def _tasks(
    wanted: list[PackageSource], options: RepositoryOptions
) -> Iterator[tuple[list[PackageSource], ReadOptions]]:
    read_options = ReadOptions(options.strict, options.verify)
    sources = iter(wanted)
    while chunk := list(islice(sources, _PACKAGES_PER_TASK)):
        yield chunk, read_options


def _write_packages(
    options: RepositoryOptions,
    members: RepositoryMembers,
    batches: Iterable[PackageBatch],
    identities: Identities,
    database: Database,
    summary: RepositorySummary,
) -> None:
    """Write what the workers read, sources first, so that binaries find theirs."""
    with (
        database.second_connection() as second,
        Progress(f"{options.name}: reading packages", summary.read) as bar,
    ):
        writer = PackageWriter(database, second)
        for batch in batches:
            identities.add(batch)
            _link_to_sources(batch, members, identities, options.strict, summary)
            _warn(summary, batch.warnings)
            summary.saturated += batch.saturated
            summary.sources += sum(batch.column("pkg_sourcepackage"))
            writer.add(batch)
            bar.advance(len(batch.packages))
        writer.flush()
        summary.inserted.update(writer.inserted)


def _link_to_sources(
    batch: PackageBatch,
    members: RepositoryMembers,
    identities: Identities,
    strict: bool,
    summary: RepositorySummary,
) -> None:
    """Fill in the identity of each binary's source package."""
    names = ("pkg_sourcepackage", "pkg_filename", "pkg_sourcerpm", "pkg_arch")
    rows = zip(*map(batch.column, names), strict=True)
    for row, (is_source, file_name, source_name, arch) in enumerate(rows):
        if is_source:
            continue
        source = members.sources.get(source_name)
        batch.links[row] = identities.get(source) if source else 0
        if batch.links[row] or arch == _AREPO_ARCH.encode():
            continue
        message = (
            f"{printable(file_name)}: its source package"
            f" {printable(source_name) or '(not named)'} is not in the repository"
        )
        if strict:
            raise SourceError(message)
        logger.warning("%s", message)
        summary.missing_sources += 1


def _package_set(
    options: RepositoryOptions,
    tree: RepositoryTree,
    members: RepositoryMembers,
    identities: Identities,
    date: int,
    summary: RepositorySummary,
) -> PackageSet:
    """The set's nodes with their attributes in the order in which they are stored."""
    architectures = [arch.name for arch in tree.architectures]
    size = len(members.sources) + len(members.binary_names)
    root = PackageSetNode(
        0,
        options.name,
        attributes={
            **_attributes(0, "repo", size),
            **dict(tree.task_info),
            "archs": ", ".join(architectures),
            "comps": ", ".join(tree.components),
        },
    )
    sources = _hashes(identities, members.sources)
    directories = ", ".join(f"{name}/SRPMS.classic" for name in architectures)
    nodes = [
        PackageSetNode(
            1,
            "srpm",
            root.uuid,
            _attributes(1, "srpm", len(sources), SRPMS=directories, repo=options.name),
            sources,
        )
    ]
    for arch in tree.architectures:
        arch_node = PackageSetNode(
            1,
            arch.name,
            root.uuid,
            _attributes(1, "arch", 0, path=arch.name, repo=options.name),
        )
        nodes.append(arch_node)
        for component in arch.components:
            packages = _hashes(identities, members.components.get((arch.name, component), {}))
            path = f"{arch.name}/RPMS.{component}"
            attributes = _attributes(2, "comp", len(packages), path=path, repo=options.name)
            nodes.append(PackageSetNode(2, component, arch_node.uuid, attributes, packages))
            summary.sets[f"{arch.name}/{component}"] = len(packages)
    summary.sets["srpm"] = len(sources)
    return PackageSet(root, nodes, date, options.tag)


def _attributes(depth: int, kind: str, size: int, **further: str) -> dict[str, str]:
    common = {"depth": str(depth), "type": kind, "size": str(size), "class": "repository"}
    return {**common, **further}


def _hashes(identities: Identities, members: Mapping[bytes, PackageSource]) -> frozenset[int]:
    hashes = {name: identities.get(source) for name, source in members.items()}
    missing = next((name for name, pkg_hash in hashes.items() if not pkg_hash), None)
    if missing is not None:
        raise SourceError(f"{missing.decode('utf-8', 'backslashreplace')}: was not read")
    return frozenset(hashes.values())
