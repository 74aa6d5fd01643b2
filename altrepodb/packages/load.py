"""A single package file -> the database."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field

from altrepodb.db.buffers import flush_buffers
from altrepodb.db.database import Database
from altrepodb.packages.batch import PackageBatch
from altrepodb.packages.insert import PackageWriter
from altrepodb.packages.read import PackageSource, ReadOptions, check_files, read_packages

__all__ = ["PackageOptions", "PackageSummary", "load_package"]

logger = logging.getLogger("altrepodb.package")

_IS_STORED = """
SELECT count() FROM Packages_buffer
WHERE pkg_hash = {pkg_hash:UInt64} AND pkg_filename = {file_name:String}
    AND pkg_hash IN (SELECT pkgh_mmh FROM PackageHash_buffer WHERE pkgh_mmh = {pkg_hash:UInt64})
"""
# The upper half of an identity is the build time, so the greatest is the newest.
_SOURCE_OF_NAME = """
SELECT max(pkg_hash) FROM Packages_buffer
WHERE pkg_filename = {file_name:String} AND pkg_sourcepackage = 1
"""
_FLUSHED_BUFFERS = (
    "Files_buffer", "FileNames_buffer", "Depends_buffer", "Changelog_buffer", "Packages_buffer",
    "TaskIterations_buffer", "Tasks_buffer", "TaskStates_buffer", "Specfiles_buffer",
    "PackageHash_buffer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PackageOptions:
    """Which file to load and how."""

    path: str
    force: bool = False
    strict: bool = False
    flush_buffers: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class PackageSummary:
    """What a load did; also the object that ``--json`` prints."""

    file: str
    package: str = ""
    pkg_hash: int = 0
    is_source: bool = False
    skipped: bool = False
    source_hash: int = 0
    inserted: dict[str, int] = field(default_factory=dict)
    warnings: int = 0
    dry_run: bool = False


def load_package(options: PackageOptions, database: Database) -> PackageSummary:
    """Load one package file, source or binary, unless it is stored already.

    Raises SourceError when the file is missing or broken, DatabaseError.
    """
    source = PackageSource(os.fsencode(options.path))
    check_files([source])
    batch = read_packages(([source], ReadOptions(strict=options.strict)))
    summary = _describe(batch, options)
    for warning in batch.warnings:
        logger.warning("%s", warning)
    summary.skipped = not options.force and _is_stored(database, batch)
    if summary.skipped:
        logger.info("%s: already loaded", summary.file)
    elif not options.dry_run:
        summary.source_hash = _link_to_source(database, batch)
        writer = PackageWriter(database)
        writer.add(batch)
        writer.flush()
        summary.inserted = dict(writer.inserted)
    if options.flush_buffers and not options.dry_run:
        flush_buffers(database, _FLUSHED_BUFFERS)
    return summary


def _describe(batch: PackageBatch, options: PackageOptions) -> PackageSummary:
    name, version, release = (
        batch.column(column)[0].decode("utf-8", "surrogateescape")
        for column in ("pkg_name", "pkg_version", "pkg_release")
    )
    return PackageSummary(
        file=options.path,
        package=f"{name}-{version}-{release}",
        pkg_hash=batch.column("pkg_hash")[0],
        is_source=bool(batch.column("pkg_sourcepackage")[0]),
        warnings=len(batch.warnings),
        dry_run=options.dry_run,
    )


def _is_stored(database: Database, batch: PackageBatch) -> bool:
    names = {
        "pkg_hash": batch.column("pkg_hash")[0],
        "file_name": batch.column("pkg_filename")[0],
    }
    ((count,),) = database.query(_IS_STORED, names)
    return bool(count)


def _link_to_source(database: Database, batch: PackageBatch) -> int:
    """Find the source package of a binary one in the database; 0 when it is not there."""
    if not batch.links[0]:
        file_name = batch.column("pkg_sourcerpm")[0]
        ((found,),) = database.query(_SOURCE_OF_NAME, {"file_name": file_name})
        batch.links[0] = found
    return batch.links[0]
