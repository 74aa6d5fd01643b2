"""The packages of tasks: what they are, and which of them the database lacks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from altrepodb.db.database import Database
from altrepodb.errors import SourceError
from altrepodb.packages.batch import package_identity
from altrepodb.packages.read import PackageSource
from altrepodb.rpm.package_file import open_package
from altrepodb.task.tree import Task
from altrepodb.workers import WorkerPool

__all__ = ["find_identities", "find_stored", "package_paths", "package_sources", "source_links"]

_WANTED = "altrepodb_wanted_packages"
_STORED = f"""
SELECT DISTINCT pkgh_mmh FROM PackageHash_buffer
WHERE pkgh_mmh IN (SELECT pkg_hash FROM {_WANTED}) AND pkgh_mmh IN
    (SELECT pkg_hash FROM Packages_buffer WHERE pkg_hash IN (SELECT pkg_hash FROM {_WANTED}))
"""
_FILES_PER_WORKER_TASK = 32
_NOARCH = ".noarch.rpm"


def package_paths(tasks: Iterable[Task]) -> list[Path]:
    """All package files of tasks, each once: sources first, then binaries, then arepo."""
    sources: dict[Path, None] = {}
    binaries: dict[Path, None] = {}
    for task in tasks:
        for iteration in task.iterations:
            if iteration.source:
                sources[iteration.source] = None
            binaries.update(dict.fromkeys(iteration.binaries))
        binaries.update(dict.fromkeys(task.arepo))
    return list(sources | binaries)


def _identify(paths: Sequence[Path]) -> list[int]:
    identities = []
    for path in paths:
        with open_package(path) as package:
            identities.append(package_identity(package))
    return identities


def _chunks(paths: Sequence[Path]) -> Iterator[list[Path]]:
    rest = iter(paths)
    while chunk := list(islice(rest, _FILES_PER_WORKER_TASK)):
        yield chunk


def find_identities(paths: Sequence[Path], pool: WorkerPool) -> dict[Path, int]:
    """The identity of every package file. Raises SourceError that names a broken one."""
    if len(paths) <= _FILES_PER_WORKER_TASK:
        return dict(zip(paths, _identify(paths), strict=True))
    identities = (i for chunk in pool.map(_identify, _chunks(paths)) for i in chunk)
    return dict(zip(paths, identities, strict=True))


def find_stored(database: Database, identities: Iterable[int]) -> set[int]:
    """Which of these packages the database has completely."""
    wanted = sorted(set(identities))
    if not wanted or database.is_new:
        return set()
    with database.temporary_table(_WANTED, {"pkg_hash": "UInt64"}) as table:
        database.insert(table, {"pkg_hash": wanted})
        return {identity for (identity,) in database.query(_STORED)}


def source_links(tasks: Iterable[Task], identities: dict[Path, int]) -> dict[int, int]:
    """Identity of a binary package -> that of the source package it was built from."""
    links: dict[int, int] = {}
    for task in tasks:
        for iteration in task.iterations:
            source = identities[iteration.source] if iteration.source else 0
            for path in iteration.binaries:
                links.setdefault(identities[path], source)
    return links


def package_sources(tasks: Iterable[Task], paths: Iterable[Path]) -> list[PackageSource]:
    """The files to read with the digests that their task's plan and indexes tell of them.

    What differs in size from its index is not what the index speaks of. Packages of no
    architecture are built once per architecture under one name, so nothing is believed there.
    """
    roots = {task.root: task for task in tasks}
    return [_package_source(_task_of(roots, path), path) for path in paths]


def _task_of(roots: dict[Path, Task], path: Path) -> Task:
    return next(roots[parent] for parent in path.parents if parent in roots)


def _package_source(task: Task, path: Path) -> PackageSource:
    encoded = os.fsencode(path)
    if path.name.endswith(_NOARCH):
        return PackageSource(encoded)
    sha256 = task.plan.sha256_of.get(path.name)
    listed = task.listed.get(path.name)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if listed is None or listed.size not in (None, size):
        return PackageSource(encoded, sha256=sha256)
    return PackageSource(encoded, size, listed.md5, sha256, listed.blake2b)
