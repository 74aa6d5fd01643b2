"""Identities of packages and texts, and digests of files.

Other systems join on these numbers, so the formulas never change. Texts are hashed as the bytes
of their source.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mmh3

from altrepodb.errors import SourceError
from altrepodb.regular_file import open_now

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "EMPTY_BLAKE2B",
    "EMPTY_SHA256",
    "Digester",
    "FileDigests",
    "array_hash",
    "file_digests",
    "package_hash",
    "squashfs_hash",
    "stream_digests",
    "text_hash",
]

_BUILD_TIME_BASE = 1_000_000_000
_MASK_64 = (1 << 64) - 1
_MAX_SIGNATURE_BYTES = 16384
"""librpm gives no signature of this length or more, and identities must equal those of librpm."""
_CHUNK_BYTES = 1 << 20

_FASTEST = {"blake2b": "blake2b512"} if "blake2b512" in hashlib.algorithms_available else {}
"""OpenSSL's name of BLAKE2b; its implementation is a quarter faster than that of hashlib."""

EMPTY_SHA256 = hashlib.sha256().digest()
EMPTY_BLAKE2B = hashlib.blake2b().digest()
"""Digests of nothing; old rows of PackageHash hold them for packages that are not empty."""


def package_hash(build_time: int, header_sha1: bytes, md5: bytes, gpg: bytes = b"") -> int:
    """The identity of a package, ``pkg_hash``: sortable by build time in its upper half.

    Takes the header's BUILDTIME, SHA1HEADER (raw bytes), SIGMD5 and the first entry of SIGGPG;
    what is absent is 0 or empty. Raises SourceError when the result is 0, since 0 stands for
    "unknown" everywhere.
    """
    signature = gpg if len(gpg) < _MAX_SIGNATURE_BYTES else b""
    low: int = mmh3.hash(header_sha1 + md5 + signature, signed=False)
    identity = (((build_time - _BUILD_TIME_BASE) << 32) | low) & _MASK_64
    if not identity:
        raise SourceError("the package has no identity: its hash is 0, which stands for unknown")
    return identity


def squashfs_hash(sha1: bytes, mtime: int, size: int) -> int:
    """The identity of a squashfs image: as ``package_hash``, of its digest, time and size."""
    low: int = mmh3.hash(sha1 + _shortest_bytes(mtime) + _shortest_bytes(size), signed=False)
    return (((mtime - _BUILD_TIME_BASE) << 32) | low) & _MASK_64


def _shortest_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "little")


def text_hash(text: bytes) -> int:
    """The 64-bit hash of a text; equals ``murmurHash3_64`` of ClickHouse. Empty text gives 0."""
    first, second = mmh3.hash64(text, signed=False)
    return int(first ^ second)


def array_hash(numbers: Iterable[int]) -> int:
    """Equals ``murmurHash3_64`` of ClickHouse over one ``Array(UInt64)``."""
    values = list(numbers)
    state = _integer_hash(len(values))
    for value in values:
        state = _integer_hash(state) ^ text_hash(value.to_bytes(8, "little"))
    return state


def _integer_hash(number: int) -> int:
    """ClickHouse's ``intHash64``."""
    number ^= 0x4CF2D2BAAE6DA887
    number ^= number >> 33
    number = number * 0xFF51AFD7ED558CCD & _MASK_64
    number ^= number >> 33
    number = number * 0xC4CEB9FE1A85EC53 & _MASK_64
    return number ^ number >> 33


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Size and digests of a file; None stands for a digest that was not asked for."""

    size: int
    md5: bytes | None = None
    sha1: bytes | None = None
    sha256: bytes | None = None
    blake2b: bytes | None = None


class Digester:
    """Several digests of one stream of bytes, computed in one pass."""

    def __init__(self, names: Collection[str]) -> None:
        """``names`` out of md5, sha1, sha256, blake2b."""
        unknown = set(names) - {"md5", "sha1", "sha256", "blake2b"}
        if unknown:
            raise ValueError(f"unknown digest: {', '.join(sorted(unknown))}")
        # MD5 and SHA-1 identify here and protect nothing; a FIPS machine must compute them too.
        self._hashes = {
            name: hashlib.new(_FASTEST.get(name, name), usedforsecurity=False) for name in names
        }
        self._size = 0

    def update(self, chunk: ReadableBuffer) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)
        self._size += memoryview(chunk).nbytes

    def digests(self) -> FileDigests:
        """Size and digests of what was given so far."""
        return FileDigests(
            self._size, **{name: digest.digest() for name, digest in self._hashes.items()}
        )


def file_digests(path: str | os.PathLike[str], names: Collection[str]) -> FileDigests:
    """The named digests (md5, sha1, sha256, blake2b) of a regular file, read once in chunks.

    Raises SourceError that names the file when it cannot be read or changes meanwhile.
    """
    try:
        with open(path, "rb", buffering=0, opener=open_now) as stream:
            return stream_digests(stream, names, os.fspath(path))
    except OSError as error:
        raise SourceError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error


def stream_digests(stream: io.FileIO, names: Collection[str], name: str) -> FileDigests:
    """As ``file_digests``, of an open file from its beginning; ``name`` is for errors."""
    digester = Digester(names)
    state = os.fstat(stream.fileno())
    if not stat.S_ISREG(state.st_mode):
        raise SourceError(f"{name}: not a regular file")
    try:
        stream.seek(0)
        _digest_stream(stream, digester, state.st_size)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror}") from error
    result = digester.digests()
    if result.size != state.st_size:
        raise SourceError(f"{name}: its size changed while it was read")
    return result


def _digest_stream(stream: io.RawIOBase, digester: Digester, size: int) -> None:
    """Read up to the end, or just past ``size`` when the file keeps growing."""
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, size + 1)))
    total = 0
    while total <= size and (length := stream.readinto(buffer)):
        digester.update(buffer[:length])
        total += length
