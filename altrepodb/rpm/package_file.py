"""An rpm package file: lead, signature header, main header; the payload is left for later.

Only the header region is read, of a file or of any other source of bytes, such as a file in an
image. A package file is the lead (96 bytes), the signature header, padding to a multiple of 8,
the main header, and the payload up to the end of the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.rpm import tags
from altrepodb.rpm.header import (
    HEADER_INTRO_BYTES,
    MAIN_HEADER_LIMITS,
    SIGNATURE_LIMITS,
    Header,
    header_size,
    parse_header,
)

__all__ = ["PackageFile", "open_package", "package_arch", "printable", "read_package"]

_AREPO_PREFIX = b"i586-"
_AREPO_ARCH = b"x86_64-i586"
_LEAD_BYTES = 96
_LEAD_MAGIC = b"\xed\xab\xee\xdb"
_SIGNATURE_TYPE_HEADER = 5
_FIRST_READ_BYTES = 32 * 1024
_NO_DESCRIPTOR = -1
_MAX_GPG_BYTES = 16384
"""librpm drops signatures of this size and above when it merges them into the header."""


def printable(path: str | bytes) -> str:
    """A path for a message: undecodable bytes are shown escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def package_arch(header: Header) -> bytes:
    """The architecture of a package: ALT's 32-bit packages for x86_64 say theirs in the name."""
    if header.string(tags.NAME).startswith(_AREPO_PREFIX):
        return _AREPO_ARCH
    return header.text_of_any_type(tags.ARCH)


@dataclass(frozen=True, slots=True, eq=False)
class PackageFile:
    """An open package file. ``descriptor`` is valid inside ``open_package`` only, and negative for
    a package that is no file of its own."""

    name: str
    path: bytes
    descriptor: int
    file_size: int
    is_source: bool
    signature: Header
    header: Header
    header_sha1: bytes
    payload_offset: int

    @property
    def signed_sha1(self) -> bytes:
        """The SHA-1 of the main header as the package states it; empty when it does not.

        Raises SourceError when it is no SHA-1 in hexadecimal.
        """
        header = self.header if tags.SIGNATURE_SHA1 in self.header else self.signature
        return header.sha1(tags.SIGNATURE_SHA1)

    @property
    def signed_md5(self) -> bytes:
        """The stated MD5 of main header and payload (16 bytes), or empty."""
        return self.signature.binary(tags.SIGNATURE_MD5)

    @property
    def gpg_signature(self) -> bytes:
        """The first GPG signature, or empty; too large a one counts as none, as in librpm."""
        signature = self.signature.binary(tags.SIGNATURE_GPG)
        return signature if len(signature) < _MAX_GPG_BYTES else b""

    @property
    def archive_size(self) -> int:
        """Uncompressed payload size in bytes, 0 when the package does not say."""
        return (
            self.header.integer(tags.ARCHIVE_SIZE)
            or self.signature.integer(tags.SIGNATURE_PAYLOAD_SIZE)
            or self.header.integer(tags.SIGNATURE_LONG_ARCHIVE_SIZE)
            or self.signature.integer(tags.SIGNATURE_LONG_ARCHIVE_SIZE)
        )


_Read = Callable[[int, int], bytes]
"""Gives up to so many bytes at an offset."""


class _Window:
    """The first bytes of a file, read on as they are needed."""

    def __init__(self, read: _Read, name: str) -> None:
        self._read = read
        self._name = name
        self._data = read(_FIRST_READ_BYTES, 0)

    def take(self, start: int, size: int, what: str) -> bytes:
        """``size`` bytes at ``start``. Raises SourceError when the file has fewer."""
        missing = start + size - len(self._data)
        if missing > 0:
            self._data += self._read(missing, len(self._data))
        taken = self._data[start : start + size]
        if len(taken) < size:
            raise SourceError(f"{self._name}: truncated in the {what}")
        return taken


def _check_lead(lead: bytes, name: str) -> bool:
    """Check the lead; whether it says that this is a source package."""
    if lead[:4] != _LEAD_MAGIC:
        raise SourceError(f"{name}: not an rpm package")
    if lead[4] not in (3, 4):
        raise SourceError(f"{name}: rpm package of unknown major version {lead[4]}")
    package_type = int.from_bytes(lead[6:8], "big")
    if package_type not in (0, 1):
        raise SourceError(f"{name}: lead names unknown package type {package_type}")
    signature_type = int.from_bytes(lead[78:80], "big")
    if signature_type != _SIGNATURE_TYPE_HEADER:
        raise SourceError(f"{name}: lead names unknown signature type {signature_type}")
    return package_type == 1


def _is_source(lead_says_source: bool, header: Header) -> bool:
    """Newer packages say it in a tag; ALT's say it in the lead and have no source of their own."""
    if header.integer(tags.SOURCE_PACKAGE):
        return True
    return lead_says_source and tags.SOURCE_RPM not in header


def _read_headers(
    read: _Read, size: int, path: bytes, name: str, descriptor: int = _NO_DESCRIPTOR
) -> PackageFile:
    window = _Window(read, name)
    lead_says_source = _check_lead(window.take(0, _LEAD_BYTES, "lead"), name)

    def read_header(start: int, what: str, of_signature: bool) -> bytes:
        limits = SIGNATURE_LIMITS if of_signature else MAIN_HEADER_LIMITS
        intro = window.take(start, HEADER_INTRO_BYTES, what)
        length = header_size(intro, limits, f"{name}: {what}")
        if start + length > size:
            raise SourceError(f"{name}: truncated in the {what}")
        return window.take(start, length, what)

    raw_signature = read_header(_LEAD_BYTES, "signature header", True)
    signature = parse_header(raw_signature, SIGNATURE_LIMITS, f"{name}: signature header")
    start = _LEAD_BYTES + (len(raw_signature) + 7) // 8 * 8
    raw_header = read_header(start, "main header", False)
    header = parse_header(raw_header, MAIN_HEADER_LIMITS, name)
    return PackageFile(
        name=name,
        path=path,
        descriptor=descriptor,
        file_size=size,
        is_source=_is_source(lead_says_source, header),
        signature=signature,
        header=header,
        header_sha1=hashlib.sha1(raw_header, usedforsecurity=False).digest(),
        payload_offset=start + len(raw_header),
    )


@contextmanager
def open_package(path: str | bytes | os.PathLike[str]) -> Iterator[PackageFile]:
    """Open a package file and read its headers.

    Raises SourceError, naming the file, when it cannot be opened or is no sound package.
    """
    name = printable(os.fspath(path))
    try:
        # Without waiting: a named pipe is refused by the first read, since it has no positions.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error
    try:
        yield _read_headers(
            partial(os.pread, descriptor),
            os.fstat(descriptor).st_size,
            os.fsencode(path),
            name,
            descriptor,
        )
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def read_package(source: ByteSource, path: bytes) -> PackageFile:
    """The headers of a package that lies somewhere in another file; ``path`` is where.

    Raises SourceError, naming the source, when it is no sound package.
    """

    def read(count: int, offset: int) -> bytes:
        available = max(0, source.size - offset)
        return source.pread(min(count, available), offset) if available else b""

    return _read_headers(read, source.size, path, source.name)
