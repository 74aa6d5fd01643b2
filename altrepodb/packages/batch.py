"""Package files -> rows of the package tables.

A batch holds the rows of many packages. File rows stay joined per package (one value
holds all names, one array all sizes): the database takes them apart, see ``packages.insert``.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from altrepodb.errors import SourceError
from altrepodb.hashing import package_hash, text_hash
from altrepodb.packages.people import split_changelog_author, split_packager
from altrepodb.rpm import tags
from altrepodb.rpm.header import Header
from altrepodb.rpm.package_file import PackageFile, package_arch
from altrepodb.rpm.payload import SpecFile

__all__ = [
    "DEPENDS_COLUMNS",
    "DIGEST_COLUMNS",
    "FILE_COLUMNS",
    "PACKAGE_COLUMNS",
    "SPECFILE_COLUMNS",
    "PackageBatch",
    "PackageDigests",
    "add_package",
    "package_identity",
]

_TEXTS = {
    "pkg_name": tags.NAME, "pkg_version": tags.VERSION, "pkg_release": tags.RELEASE,
    "pkg_buildhost": tags.BUILD_HOST, "pkg_rpmversion": tags.RPM_VERSION,
    "pkg_cookie": tags.COOKIE, "pkg_disttag": tags.DIST_TAG,
    "pkg_distribution": tags.DISTRIBUTION, "pkg_vendor": tags.VENDOR,
    "pkg_license": tags.LICENSE, "pkg_url": tags.URL, "pkg_prein": tags.PRE_IN,
    "pkg_postin": tags.POST_IN, "pkg_preun": tags.PRE_UN, "pkg_postun": tags.POST_UN,
    "pkg_verifyscript": tags.VERIFY_SCRIPT, "pkg_optflags": tags.OPTIMIZATION_FLAGS,
    "pkg_disturl": tags.DIST_URL, "pkg_payloadformat": tags.PAYLOAD_FORMAT,
    "pkg_payloadcompressor": tags.PAYLOAD_COMPRESSOR, "pkg_payloadflags": tags.PAYLOAD_FLAGS,
    "pkg_platform": tags.PLATFORM, "pkg_vcs": tags.VCS, "pkg_pretrans": tags.PRE_TRANS,
    "pkg_posttrans": tags.POST_TRANS,
}  # fmt: skip
_TRANSLATED_TEXTS = {
    "pkg_summary": tags.SUMMARY, "pkg_description": tags.DESCRIPTION, "pkg_group_": tags.GROUP,
}  # fmt: skip
_BINARIES = {"pkg_gif": tags.GIF, "pkg_xpm": tags.XPM, "pkg_icon": tags.ICON}
_LISTS = {
    "pkg_preinprog": tags.PRE_IN_PROG, "pkg_postinprog": tags.POST_IN_PROG,
    "pkg_preunprog": tags.PRE_UN_PROG, "pkg_postunprog": tags.POST_UN_PROG,
    "pkg_buildarchs": tags.BUILD_ARCHS, "pkg_verifyscriptprog": tags.VERIFY_SCRIPT_PROG,
    "pkg_prefixes": tags.PREFIXES, "pkg_instprefixes": tags.INSTALL_PREFIXES,
}  # fmt: skip
_DEPENDENCIES = {
    "require": (tags.REQUIRE_NAMES, tags.REQUIRE_VERSIONS, tags.REQUIRE_FLAGS),
    "conflict": (tags.CONFLICT_NAMES, tags.CONFLICT_VERSIONS, tags.CONFLICT_FLAGS),
    "obsolete": (tags.OBSOLETE_NAMES, tags.OBSOLETE_VERSIONS, tags.OBSOLETE_FLAGS),
    "provide": (tags.PROVIDE_NAMES, tags.PROVIDE_VERSIONS, tags.PROVIDE_FLAGS),
}
_FILE_TEXTS = {
    "linktos": tags.FILE_LINK_TOS, "usernames": tags.FILE_USER_NAMES,
    "groupnames": tags.FILE_GROUP_NAMES, "langs": tags.FILE_LANGS,
}  # fmt: skip
_FILE_NUMBERS = {
    "modes": ("H", tags.FILE_MODES), "rdevs": ("H", tags.FILE_RDEVS),
    "mtimes": ("I", tags.FILE_MTIMES),
    "verifyflags": ("I", tags.FILE_VERIFY_FLAGS), "devices": ("I", tags.FILE_DEVICES),
}  # fmt: skip
_LARGEST = {"H": 0xFFFF, "I": 0xFFFFFFFF}
_MAX_NAMES_BYTES = 64 * 1024 * 1024
"""A few bytes in a header repeat the name of a directory; no package comes near to this."""
_MAX_CACHED_CHANGELOG_BYTES = 256 * 1024
_FILE_DIGEST_MD5 = 1
_SENSE_EQUAL = 8

PACKAGE_COLUMNS = (
    "pkg_hash", "pkg_cs", "pkg_buildtime", "pkg_epoch", "pkg_serial_",
    *_TEXTS, *_TRANSLATED_TEXTS, *_BINARIES, *_LISTS,
    "pkg_packager", "pkg_packager_email", "pkg_os", "pkg_size",
    "pkg_arch", "pkg_archivesize", "pkg_filesize", "pkg_sourcepackage", "pkg_sourcerpm",
    "pkg_filename",
    "pkg_changelog.date", "pkg_changelog.name", "pkg_changelog.evr", "pkg_changelog.hash",
)  # fmt: skip
FILE_COLUMNS = (
    "pkg_hash", "names", "digests", *_FILE_TEXTS, *_FILE_NUMBERS, "flags", "sizes",
)  # fmt: skip
DEPENDS_COLUMNS = ("pkg_hash", "dp_name", "dp_version", "dp_flag", "dp_type")
SPECFILE_COLUMNS = (
    "pkg_hash", "pkg_name", "pkg_epoch", "pkg_version", "pkg_release", "specfile_name",
    "specfile_date", "specfile_content",
)  # fmt: skip
DIGEST_COLUMNS = ("pkgh_mmh", "pkgh_md5", "pkgh_sha1", "pkgh_sha256", "pkgh_blake2b")


@dataclass(frozen=True, slots=True)
class PackageDigests:
    """Digests of the package file as a whole, raw bytes."""

    md5: bytes
    sha256: bytes
    blake2b: bytes


@dataclass(slots=True)
class PackageBatch:
    """Rows of packages by table, and what there is to say about them.

    ``packages``, ``files``, ``specfiles`` and ``digests`` hold a row per package, in the order
    of the ``*_COLUMNS``; ``links`` is the column ``pkg_srcrpm_hash``; ``depends`` is columns.
    """

    packages: list[tuple[Any, ...]] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    files: list[tuple[Any, ...]] = field(default_factory=list)
    depends: tuple[list[Any], ...] = field(
        default_factory=lambda: tuple([] for _ in DEPENDS_COLUMNS)
    )
    specfiles: list[tuple[Any, ...]] = field(default_factory=list)
    digests: list[tuple[Any, ...]] = field(default_factory=list)
    changelog: dict[int, bytes] = field(default_factory=dict)
    file_count: int = 0
    saturated: int = 0
    warnings: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """One column of ``packages``."""
        position = PACKAGE_COLUMNS.index(name)
        return [row[position] for row in self.packages]

    def extend(self, other: PackageBatch) -> None:
        """Append the rows of another batch."""
        self.packages += other.packages
        self.links += other.links
        self.files += other.files
        for column, values in zip(self.depends, other.depends, strict=True):
            column += values
        self.specfiles += other.specfiles
        self.digests += other.digests
        self.changelog.update(other.changelog)
        self.file_count += other.file_count
        self.saturated += other.saturated
        self.warnings += other.warnings


def package_identity(package: PackageFile) -> int:
    """The identity of a package. Raises SourceError, naming it, when it has none."""
    build_time = package.header.integer(tags.BUILD_TIME)
    digests = (package.signed_sha1, package.signed_md5, package.gpg_signature)
    try:
        return package_hash(build_time, *digests)
    except SourceError as error:
        raise SourceError(f"{package.name}: {error}") from None


def add_package(
    batch: PackageBatch, package: PackageFile, digests: PackageDigests, spec: SpecFile | None
) -> int:
    """Append all rows of one package to a batch and return its identity.

    The link of a binary package to its source is left 0 for the caller to fill in. Raises
    SourceError, naming the package, when its header cannot be stored.
    """
    header = package.header
    sha1 = package.signed_sha1
    build_time = header.integer(tags.BUILD_TIME)
    identity = package_identity(package)
    epoch = min(header.integer(tags.EPOCH), _LARGEST["I"])
    changelog = _add_changelog(batch, header)
    batch.packages.append(
        (
            identity,
            sha1,
            min(build_time, _LARGEST["I"]),
            epoch,
            epoch,
            *_header_values(header),
            *_package_values(package),
            *changelog,
        )
    )
    batch.links.append(identity if package.is_source else 0)
    _add_files(batch, header, identity)
    _add_dependencies(batch, package, identity)
    if spec is not None:
        evr = (epoch, header.string(tags.VERSION), header.string(tags.RELEASE))
        row = (identity, header.string(tags.NAME), *evr, spec.name, spec.mtime, spec.content)
        batch.specfiles.append(row)
    batch.digests.append((identity, digests.md5, sha1, digests.sha256, digests.blake2b))
    return identity


def _header_values(header: Header) -> list[Any]:
    """What is taken from the header as it is, and the packager."""
    string, strings = header.string, header.strings
    return [
        *[string(tag) for tag in _TEXTS.values()],
        *[header.translated(tag) for tag in _TRANSLATED_TEXTS.values()],
        *[header.binary(tag) for tag in _BINARIES.values()],
        *[strings(tag) for tag in _LISTS.values()],
        *split_packager(string(tags.PACKAGER)),
        header.text_of_any_type(tags.OS),
        header.integer(tags.SIZE) or header.integer(tags.LONG_SIZE),
    ]


def _package_values(package: PackageFile) -> tuple[Any, ...]:
    """What depends on the kind of package or on its file."""
    header = package.header
    file_name = os.path.basename(package.path)
    return (
        package_arch(header),
        package.archive_size,
        package.file_size,
        int(package.is_source),
        file_name if package.is_source else header.string(tags.SOURCE_RPM),
        file_name,
    )


@lru_cache(maxsize=32)
def _changelog(
    times: bytes, joined_names: bytes, joined_texts: bytes
) -> tuple[tuple[list[int], list[bytes], list[bytes], list[int]], dict[int, bytes]]:
    """Columns of the entries and the texts by hash. All packages of one source share them."""
    dates = array("I", times)
    authors = [split_changelog_author(line) for line in joined_names.split(b"\0")]
    texts = joined_texts.split(b"\0")
    hashes = list(map(text_hash, texts))
    names, evrs = map(list, zip(*authors, strict=True))
    return (dates.tolist(), names, evrs, hashes), dict(zip(hashes, texts, strict=True))


def _add_changelog(batch: PackageBatch, header: Header) -> tuple[list[Any], ...]:
    """Note the texts of the changelog; returns dates, authors, EVRs and hashes of the texts."""
    times = header.integers(tags.CHANGELOG_TIMES)
    names, name_count = header.joined_strings(tags.CHANGELOG_NAMES)
    texts, text_count = header.joined_strings(tags.CHANGELOG_TEXTS)
    count = min(len(times), name_count, text_count)
    if not len(times) == name_count == text_count:
        batch.warnings.append(
            f"{header.name}: changelog of {len(times)} times, {name_count} authors and"
            f" {text_count} texts is cut to {count} entries"
        )
        times = times[:count]
        names = b"\0".join(names.split(b"\0")[:count])
        texts = b"\0".join(texts.split(b"\0")[:count])
    if not count:
        return [], [], [], []
    is_usual = len(texts) <= _MAX_CACHED_CHANGELOG_BYTES
    columns_of = _changelog if is_usual else _changelog.__wrapped__
    columns, by_hash = columns_of(_numbers_of_width("I", times).tobytes(), names, texts)
    batch.changelog.update(by_hash)
    return columns


def _numbers_of_width(code: str, values: array[int]) -> array[int]:
    """The numbers in a column's width; larger ones become the largest it can hold."""
    if values.typecode == code:
        return values
    largest = _LARGEST[code]
    return array(code, (min(value, largest) for value in values))


def _file_names(header: Header) -> tuple[bytes, int]:
    """Full names of the files (directory and base name) joined with NUL bytes, and their number."""
    base_names = header.strings(tags.BASE_NAMES)
    if not base_names:
        return header.joined_strings(tags.OLD_FILE_NAMES)
    directories = header.strings(tags.DIRECTORY_NAMES)
    indexes = header.integers(tags.DIRECTORY_INDEXES)
    if len(indexes) != len(base_names):
        raise SourceError(
            f"{header.name}: {len(base_names)} file names with {len(indexes)} directories"
        )
    if max(indexes) >= len(directories):
        raise SourceError(f"{header.name}: tag {tags.DIRECTORY_INDEXES}: no such directory")
    prefixes = [b"\0" + directory for directory in directories]
    limit = max(_MAX_NAMES_BYTES, len(header.data))
    longest = max(map(len, prefixes)) * len(indexes)
    if longest > limit and sum(len(prefixes[index]) for index in indexes) > limit:
        raise SourceError(f"{header.name}: the names of its files are too long")
    parts = [b""] * (2 * len(base_names))
    parts[::2] = map(prefixes.__getitem__, indexes)
    parts[1::2] = base_names
    return b"".join(parts)[1:], len(base_names)


def _fitted_texts(batch: PackageBatch, header: Header, tag: int, count: int) -> bytes:
    """The joined texts of a file array, as many as there are files."""
    joined, found = header.joined_strings(tag)
    if found == count:
        return joined
    if found:
        batch.warnings.append(f"{header.name}: tag {tag}: {found} values for {count} files")
    texts = (joined.split(b"\0") if found else [])[:count]
    return b"\0".join(texts + [b""] * (count - len(texts)))


def _fitted_numbers(
    batch: PackageBatch, header: Header, tag: int, code: str, count: int
) -> array[int]:
    """The numbers of a file array, as many as there are files."""
    values = header.integers(tag)
    if len(values) != count:
        if values and tag == tags.FILE_MODES:
            raise SourceError(f"{header.name}: {count} file names with {len(values)} modes")
        if values:
            batch.warnings.append(
                f"{header.name}: tag {tag}: {len(values)} values for {count} files"
            )
        values = values[:count]
        values.extend([0] * (count - len(values)))
    return _numbers_of_width(code, values)


def _file_sizes(batch: PackageBatch, header: Header, count: int) -> array[int]:
    tag = tags.FILE_SIZES if tags.FILE_SIZES in header else tags.LONG_FILE_SIZES
    sizes = header.integers(tag)
    if sizes.itemsize > 4:
        batch.saturated += sum(size > _LARGEST["I"] for size in sizes)
    return _fitted_numbers(batch, header, tag, "I", count)


def _add_files(batch: PackageBatch, header: Header, identity: int) -> None:
    names, count = _file_names(header)
    if not count:
        return
    texts = [_fitted_texts(batch, header, tag, count) for tag in _FILE_TEXTS.values()]
    numbers = [
        _fitted_numbers(batch, header, tag, code, count) for code, tag in _FILE_NUMBERS.values()
    ]
    sizes = _file_sizes(batch, header, count)
    algorithm = header.integer(tags.FILE_DIGEST_ALGORITHM) or _FILE_DIGEST_MD5
    digests = b"\0" * (count - 1)
    if algorithm == _FILE_DIGEST_MD5:
        digests = _fitted_texts(batch, header, tags.FILE_DIGESTS, count)
    flags = _fitted_numbers(batch, header, tags.FILE_FLAGS, "I", count)
    if max(flags) > _LARGEST["H"]:
        batch.saturated += sum(flag > _LARGEST["H"] for flag in flags)
    batch.files.append((identity, names, digests, *texts, *numbers, flags, sizes))
    batch.file_count += count


def _add_dependencies(batch: PackageBatch, package: PackageFile, identity: int) -> None:
    hashes, all_names, all_versions, all_flags, kinds = batch.depends
    header = package.header
    for kind, (name_tag, version_tag, flag_tag) in _DEPENDENCIES.items():
        names = header.strings(name_tag)
        count = len(names)
        versions = header.strings(version_tag)[:count]
        flags = _numbers_of_width("I", header.integers(flag_tag)[:count]).tolist()
        versions += [b""] * (count - len(versions))
        flags += [0] * (count - len(flags))
        if kind == "provide" and not header.has_region and not package.is_source:
            _add_self_provide(header, names, versions, flags)
        hashes += [identity] * len(names)
        all_names += names
        all_versions += versions
        all_flags += flags
        kinds += [kind] * len(names)


def _add_self_provide(
    header: Header, names: list[bytes], versions: list[bytes], flags: list[int]
) -> None:
    """Very old packages do not state that they provide themselves; librpm adds it."""
    name, version, release = map(header.string, (tags.NAME, tags.VERSION, tags.RELEASE))
    epoch = b"%d:" % header.integer(tags.EPOCH) if tags.EPOCH in header else b""
    evr = epoch + version + b"-" + release
    present = zip(names, versions, flags, strict=True)
    if not any(n == name and v == evr and f & _SENSE_EQUAL for n, v, f in present):
        names.append(name)
        versions.append(evr)
        flags.append(_SENSE_EQUAL)
