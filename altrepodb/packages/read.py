"""Reading package files in a worker: each is opened once, for header, spec file and digests."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from altrepodb.errors import SourceError
from altrepodb.hashing import stream_digests
from altrepodb.packages.batch import PackageBatch, PackageDigests, add_package
from altrepodb.rpm.package_file import PackageFile, open_package, printable
from altrepodb.rpm.payload import SpecFile, read_spec_file

__all__ = ["PackageSource", "ReadOptions", "check_files", "read_packages"]


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A package file to read and what its lists say of it (None: they do not)."""

    path: bytes
    size: int | None = None
    md5: bytes | None = None
    sha256: bytes | None = None
    blake2b: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """``strict``: a header that does not match its own digest is an error, not a warning.
    ``verify``: all digests are computed and compared with the stated ones."""

    strict: bool = False
    verify: bool = False


def read_packages(work: tuple[Sequence[PackageSource], ReadOptions]) -> PackageBatch:
    """Read package files into one batch. Raises SourceError, naming the file, on the first
    that cannot be read or does not match what is known of it."""
    sources, options = work
    batch = PackageBatch()
    for source in sources:
        with open_package(source.path) as package:
            _check(batch, package, source, options)
            spec = _read_spec_file(batch, package) if package.is_source else None
            add_package(batch, package, _digests(package, source, options), spec)
    return batch


def _check(
    batch: PackageBatch, package: PackageFile, source: PackageSource, options: ReadOptions
) -> None:
    if source.size is not None and package.file_size != source.size:
        raise SourceError(
            f"{package.name}: {package.file_size} bytes where its list says {source.size}"
        )
    stated = package.signed_sha1
    if stated and stated != package.header_sha1:
        message = f"{package.name}: header does not match its SHA-1 {stated.hex()}"
        if options.strict:
            raise SourceError(message)
        batch.warnings.append(message)


def _read_spec_file(batch: PackageBatch, package: PackageFile) -> SpecFile | None:
    """The spec file, or None and a warning: the package itself is worth keeping without it."""
    try:
        spec = read_spec_file(package)
    except SourceError as error:
        batch.warnings.append(f"{error}; no spec file is stored")
        return None
    if spec is None:
        batch.warnings.append(f"{package.name}: source package without a spec file")
    return spec


def _digests(package: PackageFile, source: PackageSource, options: ReadOptions) -> PackageDigests:
    """The stated digests, completed with (or checked against) those of the file itself.

    That is the file whose header was read, whatever stands under its name by now.
    """
    stated = {"md5": source.md5, "sha256": source.sha256, "blake2b": source.blake2b}
    wanted = [name for name, digest in stated.items() if options.verify or digest is None]
    if wanted:
        with open(package.descriptor, "rb", buffering=0, closefd=False) as stream:
            computed = stream_digests(stream, wanted, package.name)
        for name in wanted:
            digest = getattr(computed, name)
            if stated[name] not in (None, digest):
                raise SourceError(f"{printable(source.path)}: {name} does not match its list")
            stated[name] = digest
    return PackageDigests(*(digest or b"" for digest in stated.values()))


def check_files(sources: Sequence[PackageSource]) -> None:
    """Check that all files are there and as large as their lists say, before any is read.

    Raises SourceError that names the first that is not, and counts them.
    """
    problems = [problem for source in sources if (problem := _file_problem(source))]
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise SourceError(problems[0] + more)


def _file_problem(source: PackageSource) -> str | None:
    name = printable(source.path)
    try:
        status = os.stat(source.path)
    except OSError as error:
        return f"{name}: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"{name}: not a regular file"
    if source.size not in (None, status.st_size):
        return f"{name}: {status.st_size} bytes where its list says {source.size}"
    return None
