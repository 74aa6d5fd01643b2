"""GOST R 34.11-2012 with 256 bits ("Streebog"), which hashlib does not have.

Computed by the first of these that gives the known digests of three vectors: the libraries
libgcrypt, nettle and GnuTLS, which leave the interpreter's lock while they work, then the programs
gost12sum, gostsum and rhash. Digests are in stream order, as all of these print them; RFC 6986
prints the same bytes in reverse.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache

from altrepodb.errors import AltrepodbError

__all__ = ["PROVIDERS", "TEST_VECTORS", "GostDigest", "find_provider", "open_gost"]

DIGEST_BYTES = 32
TEST_VECTORS = {
    b"": "3f539a213e97c802cc229d474c6aa32a825a360b2a933a949fd925208d9ce1bb",
    (b"0123456789" * 7)[:63]: "9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500",
    b"\xee" * 64 + b"\x16" + b"\x11" * 62 + b"\x16": (
        "81bb632fa31fcc38b4c379a662dbc58b9bed83f50d3a1b2ce7271ab02d25babb"
    ),
}
"""Of nothing, of message M1 in RFC 6986, and of one whose sum carries over."""

_GCRYPT_STREEBOG_256 = 309
_GNUTLS_STREEBOG_256 = 16
_PROGRAM_TIMEOUT_S = 60
_POINTER = ctypes.c_void_p


@dataclass(frozen=True, slots=True)
class GostDigest:
    """A digest that is being computed; ``digest`` ends it and gives 32 bytes."""

    update: Callable[[bytes], None]
    digest: Callable[[], bytes]


class _UnusableError(AltrepodbError):
    """A provider is not there, or does not do what it should."""


Provider = Callable[[], AbstractContextManager[GostDigest]]


def open_gost() -> AbstractContextManager[GostDigest]:
    """A new digest. Raises AltrepodbError when this machine has no provider."""
    return _default_provider()()


@cache
def _default_provider() -> Provider:
    return find_provider(PROVIDERS)


def find_provider(candidates: Sequence[Provider]) -> Provider:
    """The first one that computes the test vectors. Raises AltrepodbError when none does."""
    for candidate in candidates:
        if _is_right(candidate):
            return candidate
    raise AltrepodbError(
        "GOST R 34.11-2012 cannot be computed: neither libgcrypt, nettle, GnuTLS nor the programs"
        " gost12sum, gostsum, rhash are usable; install one of them"
    )


def _is_right(provider: Provider) -> bool:
    try:
        return all(_digest(provider, text).hex() == right for text, right in TEST_VECTORS.items())
    except (_UnusableError, AttributeError, OSError, ValueError):
        # A library without the function raises one of these, depending on how it is asked.
        return False


def _digest(provider: Provider, text: bytes) -> bytes:
    with provider() as gost:
        gost.update(text)
        return gost.digest()


# Libraries


@contextmanager
def _libgcrypt() -> Iterator[GostDigest]:
    library = ctypes.CDLL("libgcrypt.so.20")
    library.gcry_check_version.restype = ctypes.c_char_p
    library.gcry_check_version(None)
    handle = _POINTER()
    _check(library.gcry_md_open(ctypes.byref(handle), _GCRYPT_STREEBOG_256, 0))
    read = library.gcry_md_read
    read.restype = _POINTER

    def update(chunk: bytes) -> None:
        library.gcry_md_write(handle, chunk, ctypes.c_size_t(len(chunk)))

    def digest() -> bytes:
        return ctypes.string_at(read(handle, _GCRYPT_STREEBOG_256), DIGEST_BYTES)

    try:
        yield GostDigest(update, digest)
    finally:
        library.gcry_md_close(handle)


class _NettleHash(ctypes.Structure):
    """The beginning of nettle's description of a hash function."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("context_bytes", ctypes.c_uint),
        ("digest_bytes", ctypes.c_uint),
    )


@contextmanager
def _nettle() -> Iterator[GostDigest]:
    library = ctypes.CDLL("libnettle.so.8")
    description = _NettleHash.in_dll(library, "nettle_streebog256")
    context = ctypes.create_string_buffer(description.context_bytes)
    library.nettle_streebog256_init(context)

    def update(chunk: bytes) -> None:
        library.nettle_streebog512_update(context, ctypes.c_size_t(len(chunk)), chunk)

    def digest() -> bytes:
        output = ctypes.create_string_buffer(DIGEST_BYTES)
        library.nettle_streebog256_digest(context, ctypes.c_size_t(DIGEST_BYTES), output)
        return output.raw

    yield GostDigest(update, digest)


@contextmanager
def _gnutls() -> Iterator[GostDigest]:
    library = ctypes.CDLL("libgnutls.so.30")
    handle = _POINTER()
    _check(library.gnutls_hash_init(ctypes.byref(handle), _GNUTLS_STREEBOG_256))

    def update(chunk: bytes) -> None:
        _check(library.gnutls_hash(handle, chunk, ctypes.c_size_t(len(chunk))))

    def digest() -> bytes:
        output = ctypes.create_string_buffer(DIGEST_BYTES)
        library.gnutls_hash_output(handle, output)
        return output.raw

    try:
        yield GostDigest(update, digest)
    finally:
        library.gnutls_hash_deinit(handle, None)


def _check(status: int) -> None:
    if status:
        raise _UnusableError(f"status {status}")


# Programs


def _program(*command: str) -> Provider:
    """A program that reads its standard input and prints a digest first."""

    @contextmanager
    def provider() -> Iterator[GostDigest]:
        path = shutil.which(command[0])
        if path is None:
            raise _UnusableError(f"{command[0]} is not installed")
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [path, *command[1:]], bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield GostDigest(
                    lambda chunk: _write(process, path, chunk), lambda: _result(process, path)
                )
            finally:
                process.kill()

    return provider


def _write(process: subprocess.Popen[bytes], path: str, chunk: bytes) -> None:
    assert process.stdin is not None
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[process.stdin.write(rest) :]
    except OSError as error:
        raise _UnusableError(f"{path}: takes no input: {error.strerror}") from error


def _result(process: subprocess.Popen[bytes], path: str) -> bytes:
    try:
        output, _ = process.communicate(timeout=_PROGRAM_TIMEOUT_S)
        digest = bytes.fromhex(output.split(maxsplit=1)[0].decode("ascii"))
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        raise _UnusableError(f"{path}: gave no digest") from error
    if len(digest) != DIGEST_BYTES or process.returncode:
        raise _UnusableError(f"{path}: gave no digest")
    return digest


PROVIDERS: tuple[Provider, ...] = (
    _libgcrypt,
    _nettle,
    _gnutls,
    _program("gost12sum"),
    _program("gostsum"),
    _program("rhash", "--gost12-256", "-"),
)
