"""Lists of a package repository: apt's header lists, hash lists, ``release`` files.

A header list (``pkglist.<component>.xz``, ``srclist.classic.xz``) is a plain concatenation of
rpm headers, reduced by genbasedir to what apt needs and given private tags with name, size and
digests of each package file. A hash list has a SHA-256 and a file name per line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.regular_file import open_regular_file, read_regular_file
from altrepodb.rpm import tags
from altrepodb.rpm.compression import compressor_of, iter_decompressed
from altrepodb.rpm.header import (
    APT_HEADER_LIMITS,
    HEADER_INTRO_BYTES,
    Header,
    header_size,
    parse_header,
)
from altrepodb.rpm.package_file import printable

__all__ = ["ListedPackage", "Release", "read_hash_list", "read_package_list", "read_release"]

_MAX_LIST_BYTES = 4 << 30
_MAX_LIST_PACKAGES = 2_000_000
_MAX_RELEASE_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 4096
_MAX_FILE_NAME_BYTES = 255
_READ_BYTES = 1024 * 1024


class ListedPackage(NamedTuple):
    """What a list says of a package file; digests are raw bytes, None when not listed."""

    file_name: bytes
    size: int | None
    md5: bytes | None
    sha256: bytes | None
    blake2b: bytes | None


def checked_file_name(name: bytes, source: str) -> bytes:
    """A name from a list, which must not lead out of its directory. Raises SourceError."""
    is_plain = b"/" not in name and b"\0" not in name and name not in (b"", b".", b"..")
    if not is_plain or len(name) > _MAX_FILE_NAME_BYTES:
        raise SourceError(f"{source}: {name[:100]!r} is no file name")
    return name


def _iter_content(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of an xz file. Raises SourceError that names it."""
    name = printable(path.as_posix())
    size = 0
    with open_regular_file(path) as source:
        start = source.read(6)
        source.seek(0)
        if compressor_of(start) != "xz":
            raise SourceError(f"{name}: not an xz file")
        for chunk in iter_decompressed(source, "xz", name):
            size += len(chunk)
            if size > _MAX_LIST_BYTES:
                raise SourceError(f"{name}: more than {_MAX_LIST_BYTES} bytes decompressed")
            yield chunk


def iter_headers(chunks: Iterator[bytes], name: str) -> Iterator[Header]:
    """The headers of a decompressed list, one at a time.

    Raises SourceError with the offset of a header that is broken, cut off or no header.
    """
    buffer, start, offset = b"", 0, 0
    for chunk in chunks:
        buffer = buffer[start:] + chunk
        start = 0
        while len(buffer) - start >= HEADER_INTRO_BYTES:
            where = f"{name}: header at byte {offset}"
            intro = buffer[start : start + HEADER_INTRO_BYTES]
            size = header_size(intro, APT_HEADER_LIMITS, where)
            if len(buffer) - start < size:
                break
            yield parse_header(buffer[start : start + size], APT_HEADER_LIMITS, where)
            start += size
            offset += size
    if start < len(buffer):
        raise SourceError(f"{name}: {len(buffer) - start} bytes left over at byte {offset}")


def _digest(header: Header, tag: int, size: int) -> bytes | None:
    text = header.string(tag)
    if not text:
        return None
    try:
        digest = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        digest = b""
    if len(digest) != size or len(text) != 2 * size:
        raise SourceError(f"{header.name}: tag {tag}: {text[:140]!r} is no digest of {size} bytes")
    return digest


def _listed_package(header: Header) -> ListedPackage:
    file_name = checked_file_name(header.string(tags.APT_FILE_NAME), header.name)
    md5 = _digest(header, tags.APT_MD5, 16)
    if md5 is None:
        raise SourceError(f"{header.name}: no MD5 of {printable(file_name)}")
    size = header.integer(tags.APT_FILE_SIZE) if tags.APT_FILE_SIZE in header else None
    return ListedPackage(
        file_name,
        size,
        md5,
        _digest(header, tags.APT_SHA256, 32),
        _digest(header, tags.APT_BLAKE2B, 64),
    )


def read_package_list(path: Path) -> list[ListedPackage]:
    """All packages of a header list, in its order.

    Raises SourceError, naming the file and the place, when it is damaged in any way.
    """
    name = printable(path.as_posix())
    listed = []
    for header in iter_headers(_iter_content(path), name):
        listed.append(_listed_package(header))
        if len(listed) > _MAX_LIST_PACKAGES:
            raise SourceError(f"{name}: more than {_MAX_LIST_PACKAGES} packages")
    return listed


def _iter_lines(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if max(map(len, lines), default=0) > _MAX_LINE_BYTES or len(rest) > _MAX_LINE_BYTES:
            raise SourceError(f"{name}: line of more than {_MAX_LINE_BYTES} bytes")
        yield from lines
    if rest:
        yield rest


def read_hash_list(path: Path) -> dict[bytes, bytes]:
    """File names with their SHA-256 (raw). Raises SourceError naming file and line."""
    name = printable(path.as_posix())
    digests: dict[bytes, bytes] = {}
    for number, line in enumerate(_iter_lines(_iter_content(path), name), 1):
        words = line.split()
        if not words:
            continue
        where = f"{name}: line {number}"
        try:
            digest = bytes.fromhex(words[0].decode("ascii"))
        except ValueError:
            digest = b""
        if len(words) < 2 or len(digest) != 32:
            raise SourceError(f"{where}: not a SHA-256 and a file name")
        digests[checked_file_name(words[1], where)] = digest
        if len(digests) > _MAX_LIST_PACKAGES:
            raise SourceError(f"{name}: more than {_MAX_LIST_PACKAGES} files")
    return digests


class _Checksum(NamedTuple):
    algorithm: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """The ``release`` file of an architecture: its components and its lists' checksums."""

    name: str
    components: list[str] = field(default_factory=list)
    checksums: dict[str, _Checksum] = field(default_factory=dict)
    has_blake2b: bool = False

    def check(self, path: Path, relative: str) -> str | None:
        """Hold a list file against its checksum.

        Returns a warning when the file is not mentioned. Raises SourceError when it cannot be
        read or does not match.
        """
        name = printable(path.as_posix())
        stated = self.checksums.get(relative)
        if stated is None:
            return f"{self.name}: {relative} is not mentioned"
        digest = hashlib.new(stated.algorithm, usedforsecurity=False)
        size = 0
        with open_regular_file(path) as source:
            while chunk := source.read(_READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
        if size != stated.size:
            raise SourceError(f"{name}: {size} bytes where {self.name} says {stated.size}")
        if digest.hexdigest() != stated.digest:
            raise SourceError(f"{name}: {stated.algorithm} does not match {self.name}")
        return None


_SECTIONS = {b"MD5Sum:": ("md5", 32), b"BLAKE2b:": ("blake2b", 128)}
_HEXADECIMAL = frozenset("0123456789abcdef")


def _checksum(line: bytes, algorithm: str, digits: int) -> tuple[str, _Checksum] | None:
    words = line.decode("utf-8", "surrogateescape").split()
    if len(words) != 3 or len(words[0]) != digits or not words[1].isdecimal():
        return None
    digest = words[0].lower()
    if not _HEXADECIMAL.issuperset(digest) or len(words[1]) > 18:
        return None
    return words[2], _Checksum(algorithm, digest, int(words[1]))


def read_release(path: Path) -> Release:
    """Read ``base/release``; the signature below it is left alone.

    BLAKE2b is preferred where both checksums stand. Raises SourceError when the file cannot be
    read, is larger than any release file, or has a checksum line that is none.
    """
    content = read_regular_file(path, _MAX_RELEASE_BYTES)
    return _parse_release(content, printable(path.as_posix()))


def _parse_release(content: bytes, name: str) -> Release:
    components: list[str] = []
    checksums: dict[str, _Checksum] = {}
    section: tuple[str, int] | None = None
    has_blake2b = False
    for number, line in enumerate(_iter_lines(iter([content]), name), 1):
        if section is not None and line.startswith(b" "):
            parsed = _checksum(line, *section)
            if parsed is None:
                raise SourceError(f"{name}: line {number}: not a {section[0]} checksum")
            relative, checksum = parsed
            if checksum.algorithm == "blake2b" or relative not in checksums:
                checksums[relative] = checksum
            continue
        section = _SECTIONS.get(line.rstrip())
        has_blake2b = has_blake2b or line.split(b":", 1)[0] == b"BLAKE2b"
        if line.startswith(b"Components:") and not components:
            components = _component_names(line, f"{name}: line {number}")
    return Release(name, components, checksums, has_blake2b)


def _component_names(line: bytes, where: str) -> list[str]:
    names = line.split(b":", 1)[1].split()
    checked = (checked_file_name(name, where) for name in names)
    return list(dict.fromkeys(name.decode("utf-8", "surrogateescape") for name in checked))
