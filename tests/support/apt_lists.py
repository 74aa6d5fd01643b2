"""Write the indexes of an ALT repository: header lists, release files, hash lists.

Functions return the contents of files; where these stand is known to the repository composer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime

from tests.support.compressors import xz_streams
from tests.support.rpm_file import main_entries
from tests.support.rpm_file_tags import path_entries
from tests.support.rpm_header import (
    Entry,
    Text,
    build_header,
    int32,
    string,
    string_array,
    to_bytes,
)
from tests.support.rpm_package import RpmLayout, RpmPackage

TAG_FILE_NAME = 1000000
TAG_FILE_SIZE = 1000001
TAG_MD5 = 1000005
TAG_BLAKE2B = 1000009
TAG_DIRECTORY = 1000010
TAG_BINARIES = 1000011

_CHANGELOG_TAGS = (1080, 1081, 1082)
_COMMON_TAGS = {100, 1000, 1001, 1002, 1003, 1004, 1005, 1009, 1015, 1016, 1022, 1155}
_REQUIRE_TAGS = {1048, 1049, 1050}
_OTHER_RELATION_TAGS = {1047, 1112, 1113, 1053, 1054, 1055, 1090, 1114, 1115}
_SOURCE_TAGS = frozenset(_COMMON_TAGS | _REQUIRE_TAGS)
_BINARY_TAGS = frozenset(_SOURCE_TAGS | _OTHER_RELATION_TAGS | {1006, 1044})
_INDEXED_DIRECTORIES = (b"/bin/", b"/sbin/", b"/usr/bin/", b"/usr/sbin/", b"/etc/")
_MAX_INDEXED_FILES = 200


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A package file as a header list names it; None leaves the tag out."""

    name: Text | None
    size: int | None
    md5: str | None
    blake2b: str | None


def list_entries(package: RpmPackage, listed: ListedFile, changes_since: int = 0) -> list[Entry]:
    """Reduced entries of a package, without the directory, which depends on the list.

    The changelog holds the entries since the given time and one older.
    """
    wanted = _SOURCE_TAGS if package.source else _BINARY_TAGS
    entries = [entry for entry in main_entries(package, RpmLayout()) if entry.tag in wanted]
    entries += _partial_changelog(package, changes_since)
    entries += _indexed_files(package)
    private = ((TAG_FILE_NAME, listed.name), (TAG_MD5, listed.md5), (TAG_BLAKE2B, listed.blake2b))
    entries += [string(tag, value) for tag, value in private if value is not None]
    if listed.size is not None:
        entries.append(int32(TAG_FILE_SIZE, listed.size))
    return entries


def list_header(
    entries: Iterable[Entry], directory: Text | None, binaries: Sequence[Text] = ()
) -> bytes:
    """One header of a list; `binaries` are named in source lists only."""
    complete = list(entries)
    if directory is not None:
        complete.append(string(TAG_DIRECTORY, directory))
    if binaries:
        complete.append(string_array(TAG_BINARIES, binaries))
    return build_header(complete, region=None)


def compress_list(headers: bytes, streams: int = 1) -> bytes:
    """The list as xz; with several streams the cuts fall inside headers wherever they can."""
    size = len(headers)
    cuts = [min(size, size * i // streams + 7) for i in range(1, streams)]
    return xz_streams(headers, cuts)


def _partial_changelog(package: RpmPackage, since: int) -> list[Entry]:
    recent = sum(1 for entry in package.changelog if entry.time >= since)
    kept = package.changelog[: recent + 1]
    if not kept:
        return []
    times, authors, texts = zip(*kept, strict=True)
    return [int32(1080, *times), string_array(1081, authors), string_array(1082, texts)]


def _indexed_files(package: RpmPackage) -> list[Entry]:
    """Paths that other packages may require."""
    if package.source:
        return []
    paths = [to_bytes(file.path) for file in package.files]
    kept = [path for path in paths if path.startswith(_INDEXED_DIRECTORIES)]
    return path_entries(kept[:_MAX_INDEXED_FILES]) if kept else []


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """Facts of the release file of an arch directory; texts may be anything but line ends."""

    architecture: str
    components: Sequence[str] | None
    label: Text = "Sisyphus"
    time: int = 1_660_824_000
    blake2b: bool = True
    signed: bool = True


def release_file(info: ReleaseInfo, contents: Mapping[str, bytes]) -> bytes:
    """The release file that lists digests of the given contents by their path."""
    date = format_datetime(datetime.fromtimestamp(info.time, timezone.utc))
    label = to_bytes(info.label)
    lines = [
        b"Origin: ALT Linux Team",
        b"Label: " + label,
        b"Suite: " + label,
        b"Codename: %d" % info.time,
        b"Date: " + date.encode(),
        b"Architectures: " + info.architecture.encode(),
    ]
    if info.components is not None:
        lines.append(b"Components: " + " ".join(info.components).encode())
    lines.append(b"Description: ALT Linux " + label)
    lines += _digest_section("MD5Sum", "md5", contents)
    if info.blake2b:
        lines += _digest_section("BLAKE2b", "blake2b", contents)
    text = b"\n".join(lines) + b"\n\n"
    return text + _armoured_signature(text) if info.signed else text


def _digest_section(title: str, algorithm: str, contents: Mapping[str, bytes]) -> list[bytes]:
    lines = [f"{title}:"]
    for path, data in contents.items():
        lines.append(f" {hashlib.new(algorithm, data).hexdigest()} {len(data)} {path}")
    return [line.encode() for line in lines]


def _armoured_signature(text: bytes) -> bytes:
    """Something that looks like a detached signature of the text."""
    body = base64.b64encode(hashlib.shake_256(text).digest(192)).decode()
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    head = ["-----BEGIN PGP SIGNATURE-----", "Version: GnuPG v2", ""]
    return "\n".join([*head, *lines, "=aBc9", "-----END PGP SIGNATURE-----", ""]).encode()


def component_release(info: ReleaseInfo, component: str) -> bytes:
    """The release file of one component."""
    label = to_bytes(info.label)
    return b"".join(
        [
            b"Archive: ALT Linux " + label + b"\n",
            f"Component: {component}\nVersion: {info.time}\n".encode(),
            b"Origin: ALT Linux Team\nLabel: " + label + b"\n",
            f"Architecture: {info.architecture}\nNotAutomatic: false\n".encode(),
        ]
    )


def hash_list(digests: Mapping[str, str]) -> bytes:
    """Compressed list of SHA-256 digests by file name."""
    lines = [b"%s  %s\n" % (digests[name].encode(), to_bytes(name)) for name in sorted(digests)]
    return xz_streams(b"".join(lines))


def table_list(rows: Iterable[Sequence[str]]) -> bytes:
    """Compressed table, tabs between the columns, sorted."""
    lines = sorted(["\t".join(row) + "\n" for row in rows])
    return xz_streams("".join(lines).encode("utf-8", "surrogateescape"))


def task_info(task: int, previous: int) -> bytes:
    """Which build task made the snapshot, and what it follows."""
    return f"task {task}\nprev {previous}\n".encode()
