"""The rows that a composed package should become, straight from its description.

Texts are given as the database client returns them: undecodable bytes as lone surrogates.
"""

from __future__ import annotations

import hashlib
import stat
from typing import Any

from tests.support.identity import text_hash
from tests.support.repository import ComposedPackage
from tests.support.rpm_header import Text, Translations, to_bytes
from tests.support.rpm_package import FLAG_SPEC, RpmFile

Row = tuple[Any, ...]

_NO_DIGEST = bytes(16)
_CLASSES = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "char",
    stat.S_IFIFO: "fifo",
}
_RELATIONS = {
    "require": "requires",
    "conflict": "conflicts",
    "obsolete": "obsoletes",
    "provide": "provides",
}

PACKAGE_COLUMNS = (
    "pkg_hash", "pkg_cs", "pkg_name", "pkg_version", "pkg_release", "pkg_epoch", "pkg_serial_",
    "pkg_buildtime", "pkg_buildhost", "pkg_arch", "pkg_filesize", "pkg_sourcepackage",
    "pkg_filename", "pkg_sourcerpm", "pkg_disttag", "pkg_summary", "pkg_description",
    "pkg_group_", "pkg_license", "pkg_url", "pkg_vcs",
)  # fmt: skip


def text(value: Text | None) -> str:
    """A text as it comes back from the database; what is absent is empty."""
    return to_bytes(value or "").decode("utf-8", "surrogateescape")


def _untranslated(value: Translations) -> str:
    return text(value["C"] if isinstance(value, dict) else value)  # type: ignore[arg-type]


def package_row(item: ComposedPackage) -> Row:
    """Values of ``PACKAGE_COLUMNS``."""
    package = item.package
    is_arepo = package.name.startswith("i586-")
    return (
        item.pkg_hash,
        item.header_sha1,
        package.name,
        package.version,
        package.release,
        package.epoch or 0,
        package.epoch or 0,
        item.buildtime,
        text(package.buildhost),
        "x86_64-i586" if is_arepo else package.arch,
        item.size,
        int(package.source),
        item.file_name,
        item.file_name if package.source else text(package.sourcerpm),
        text(package.disttag),
        _untranslated(package.summary),
        _untranslated(package.description),
        _untranslated(package.group),
        text(package.license),
        text(package.url),
        text(package.vcs),
    )


def file_rows(item: ComposedPackage) -> set[Row]:
    """Rows of Files: hashes of name and directory, then the columns in their order."""
    has_md5 = item.blueprint.oddity != "upstream"
    return {
        (
            item.pkg_hash,
            text_hash(to_bytes(file.path)),
            text_hash(to_bytes(file.path).rpartition(b"/")[0]),
            text(file.linkto),
            _digest(file) if has_md5 else _NO_DIGEST,
            file.declared_size,
            file.mode,
            file.rdev,
            file.mtime,
            file.flags,
            text(file.owner),
            text(file.group),
            file.verify,
            file.device,
            text(file.lang),
            _CLASSES.get(stat.S_IFMT(file.mode), "file"),
        )
        for file in item.package.files
    }


def _digest(file: RpmFile) -> bytes:
    if not file.is_regular or file.is_ghost:
        return _NO_DIGEST
    return hashlib.md5(file.content).digest()


def file_names(item: ComposedPackage) -> set[str]:
    """Names of all files and of their directories."""
    paths = [to_bytes(file.path) for file in item.package.files]
    return {text(name) for path in paths for name in (path, path.rpartition(b"/")[0])}


def depends_rows(item: ComposedPackage) -> set[Row]:
    """Rows of Depends."""
    return {
        (item.pkg_hash, text(entry.name), text(entry.version), entry.flags, kind)
        for kind, attribute in _RELATIONS.items()
        for entry in getattr(item.package, attribute)
    }


def changelog_columns(item: ComposedPackage) -> tuple[list[int], list[str], list[str], list[int]]:
    """Dates, authors, versions and hashes of the texts, newest first."""
    entries = item.package.changelog
    authors = [text(entry.author).rpartition(" ") for entry in entries]
    return (
        [entry.time for entry in entries],
        [author for author, _, _ in authors],
        [version for _, _, version in authors],
        [text_hash(to_bytes(entry.text)) for entry in entries],
    )


def changelog_rows(item: ComposedPackage) -> set[Row]:
    """Rows of Changelog."""
    texts = [to_bytes(entry.text) for entry in item.package.changelog]
    return {(text_hash(content), text(content)) for content in texts}


def specfile_row(item: ComposedPackage) -> Row | None:
    """The row of Specfiles; none for a source without a spec file."""
    files = item.package.files
    spec = next((file for file in files if file.flags & FLAG_SPEC), None)
    if not item.package.source or spec is None:
        return None
    package = item.package
    return (
        item.pkg_hash,
        package.name,
        package.epoch or 0,
        package.version,
        package.release,
        text(spec.path),
        spec.mtime,
        text(spec.content),
    )


def digest_row(item: ComposedPackage) -> Row:
    """The row of PackageHash."""
    return (
        item.pkg_hash,
        bytes.fromhex(item.md5),
        item.header_sha1,
        bytes.fromhex(item.sha256),
        bytes.fromhex(item.blake2b),
    )
