"""Package files -> columns of the package tables.

A batch holds the rows of many packages as columns. File rows stay joined per package (one value
holds all names, one array all sizes): the database takes them apart, see ``packages.insert``.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from altrepodb.errors import SourceError
from altrepodb.hashing import package_hash, text_hash
from altrepodb.packages.people import split_changelog_author, split_packager
from altrepodb.rpm import tags
from altrepodb.rpm.header import Header
from altrepodb.rpm.package_file import PackageFile
from altrepodb.rpm.payload import SpecFile

__all__ = ["PackageBatch", "PackageDigests", "add_package"]

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
    "linktos": tags.FILE_LINK_TOS, "digests": tags.FILE_DIGESTS,
    "usernames": tags.FILE_USER_NAMES, "groupnames": tags.FILE_GROUP_NAMES,
    "langs": tags.FILE_LANGS,
}  # fmt: skip
_FILE_NUMBERS = {
    "modes": ("H", tags.FILE_MODES), "rdevs": ("H", tags.FILE_RDEVS),
    "mtimes": ("I", tags.FILE_MTIMES), "flags": ("I", tags.FILE_FLAGS),
    "verifyflags": ("I", tags.FILE_VERIFY_FLAGS), "devices": ("I", tags.FILE_DEVICES),
}  # fmt: skip
_LARGEST = {"H": 0xFFFF, "I": 0xFFFFFFFF}
_FILE_DIGEST_MD5 = 1
_SENSE_EQUAL = 8
_AREPO_PREFIX = b"i586-"
_AREPO_ARCH = b"x86_64-i586"

_Append = Callable[[str, Any], None]


@dataclass(frozen=True, slots=True)
class PackageDigests:
    """Digests of the package file as a whole, raw bytes."""

    md5: bytes
    sha256: bytes
    blake2b: bytes


@dataclass(slots=True)
class PackageBatch:
    """Rows of packages as columns, by table, and what there is to say about them."""

    packages: dict[str, list[Any]] = field(default_factory=dict)
    files: dict[str, list[Any]] = field(default_factory=dict)
    depends: dict[str, list[Any]] = field(default_factory=dict)
    specfiles: dict[str, list[Any]] = field(default_factory=dict)
    digests: dict[str, list[Any]] = field(default_factory=dict)
    changelog: dict[int, bytes] = field(default_factory=dict)
    file_count: int = 0
    saturated: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def package_count(self) -> int:
        return len(self.packages.get("pkg_hash", ()))

    def extend(self, other: PackageBatch) -> None:
        """Append the rows of another batch."""
        for name in ("packages", "files", "depends", "specfiles", "digests"):
            columns = getattr(self, name)
            for column, values in getattr(other, name).items():
                columns.setdefault(column, []).extend(values)
        self.changelog.update(other.changelog)
        self.file_count += other.file_count
        self.saturated += other.saturated
        self.warnings += other.warnings


def _appender(columns: dict[str, list[Any]]) -> _Append:
    def append(name: str, value: Any) -> None:
        columns.setdefault(name, []).append(value)

    return append


def add_package(
    batch: PackageBatch, package: PackageFile, digests: PackageDigests, spec: SpecFile | None
) -> int:
    """Append all rows of one package to a batch and return its identity.

    ``pkg_srcrpm_hash`` of a binary package is left 0 for the caller to fill in. Raises
    SourceError, naming the package, when its header cannot be stored.
    """
    header = package.header
    sha1 = package.signed_sha1
    build_time = header.integer(tags.BUILD_TIME)
    try:
        identity = package_hash(build_time, sha1, package.signed_md5, package.gpg_signature)
    except SourceError as error:
        raise SourceError(f"{package.name}: {error}") from None
    _add_header(_appender(batch.packages), package, identity, build_time, sha1)
    _add_changelog(batch, header)
    _add_files(batch, header, identity)
    _add_dependencies(batch, package, identity)
    if spec is not None:
        _add_spec_file(_appender(batch.specfiles), header, identity, spec)
    _add_digests(_appender(batch.digests), identity, sha1, digests)
    return identity


def _base_name(package: PackageFile) -> bytes:
    return os.path.basename(os.fsencode(package.path))


def _add_header(
    append: _Append, package: PackageFile, identity: int, build_time: int, sha1: bytes
) -> None:
    header = package.header
    file_name = _base_name(package)
    name = header.string(tags.NAME)
    packager, packager_email = split_packager(header.string(tags.PACKAGER))
    epoch = min(header.integer(tags.EPOCH), _LARGEST["I"])
    append("pkg_hash", identity)
    append("pkg_cs", sha1)
    append("pkg_packager", packager)
    append("pkg_packager_email", packager_email)
    for column, tag in _TEXTS.items():
        append(column, header.string(tag))
    for column, tag in _TRANSLATED_TEXTS.items():
        append(column, header.translated(tag))
    for column, tag in _BINARIES.items():
        append(column, header.binary(tag))
    for column, tag in _LISTS.items():
        append(column, header.strings(tag))
    is_arepo = name.startswith(_AREPO_PREFIX)
    append("pkg_arch", _AREPO_ARCH if is_arepo else header.text_of_any_type(tags.ARCH))
    append("pkg_os", header.text_of_any_type(tags.OS))
    append("pkg_epoch", epoch)
    append("pkg_serial_", epoch)
    append("pkg_buildtime", min(build_time, _LARGEST["I"]))
    append("pkg_size", header.integer(tags.SIZE) or header.integer(tags.LONG_SIZE))
    append("pkg_archivesize", package.archive_size)
    append("pkg_filesize", package.file_size)
    append("pkg_sourcepackage", int(package.is_source))
    source = file_name if package.is_source else header.string(tags.SOURCE_RPM)
    append("pkg_sourcerpm", source)
    append("pkg_srcrpm_hash", identity if package.is_source else 0)
    append("pkg_filename", file_name)


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


def _add_changelog(batch: PackageBatch, header: Header) -> None:
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
    columns: tuple[list[Any], ...] = ([], [], [], [])
    if count:
        times_32 = _numbers_of_width("I", times).tobytes()
        columns, by_hash = _changelog(times_32, names, texts)
        batch.changelog.update(by_hash)
    append = _appender(batch.packages)
    for part, values in zip(("date", "name", "evr", "hash"), columns, strict=True):
        append(f"pkg_changelog.{part}", values)


def _numbers_of_width(code: str, values: array[int]) -> array[int]:
    """The numbers in a column's width; larger ones become the largest it can hold."""
    if values.typecode == code:
        return values
    largest = _LARGEST[code]
    return array(code, [min(value, largest) for value in values])


def _file_names(header: Header) -> list[bytes]:
    """Full names of the files, directory and base name joined as they are."""
    base_names = header.strings(tags.BASE_NAMES)
    if not base_names:
        return header.strings(tags.OLD_FILE_NAMES)
    directories = header.strings(tags.DIRECTORY_NAMES)
    indexes = header.integers(tags.DIRECTORY_INDEXES)
    if len(indexes) != len(base_names):
        raise SourceError(
            f"{header.name}: {len(base_names)} file names with {len(indexes)} directories"
        )
    if max(indexes) >= len(directories):
        raise SourceError(f"{header.name}: tag {tags.DIRECTORY_INDEXES}: no such directory")
    return [directories[i] + base for i, base in zip(indexes, base_names, strict=True)]


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
    names = _file_names(header)
    count = len(names)
    if not count:
        return
    append = _appender(batch.files)
    append("pkg_hash", identity)
    append("names", b"\0".join(names))
    for column, tag in _FILE_TEXTS.items():
        append(column, _fitted_texts(batch, header, tag, count))
    for column, (code, tag) in _FILE_NUMBERS.items():
        append(column, _fitted_numbers(batch, header, tag, code, count))
    append("sizes", _file_sizes(batch, header, count))
    algorithm = header.integer(tags.FILE_DIGEST_ALGORITHM) or _FILE_DIGEST_MD5
    if algorithm != _FILE_DIGEST_MD5:
        batch.files["digests"][-1] = b"\0" * (count - 1)
    batch.saturated += sum(flags > _LARGEST["H"] for flags in batch.files["flags"][-1])
    batch.file_count += count


def _add_dependencies(batch: PackageBatch, package: PackageFile, identity: int) -> None:
    columns = batch.depends
    for kind, (name_tag, version_tag, flag_tag) in _DEPENDENCIES.items():
        names = package.header.strings(name_tag)
        versions = package.header.strings(version_tag)[: len(names)]
        flags = _numbers_of_width("I", package.header.integers(flag_tag))[: len(names)].tolist()
        versions += [b""] * (len(names) - len(versions))
        flags += [0] * (len(names) - len(flags))
        if kind == "provide" and not package.header.has_region and not package.is_source:
            _add_self_provide(package.header, names, versions, flags)
        columns.setdefault("pkg_hash", []).extend([identity] * len(names))
        columns.setdefault("dp_name", []).extend(names)
        columns.setdefault("dp_version", []).extend(versions)
        columns.setdefault("dp_flag", []).extend(flags)
        columns.setdefault("dp_type", []).extend([kind] * len(names))


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


def _add_spec_file(append: _Append, header: Header, identity: int, spec: SpecFile) -> None:
    append("pkg_hash", identity)
    append("pkg_name", header.string(tags.NAME))
    append("pkg_epoch", min(header.integer(tags.EPOCH), _LARGEST["I"]))
    append("pkg_version", header.string(tags.VERSION))
    append("pkg_release", header.string(tags.RELEASE))
    append("specfile_name", spec.name)
    append("specfile_date", spec.mtime)
    append("specfile_content", spec.content)


def _add_digests(append: _Append, identity: int, sha1: bytes, digests: PackageDigests) -> None:
    append("pkgh_mmh", identity)
    append("pkgh_md5", digests.md5)
    append("pkgh_sha1", sha1)
    append("pkgh_sha256", digests.sha256)
    append("pkgh_blake2b", digests.blake2b)
