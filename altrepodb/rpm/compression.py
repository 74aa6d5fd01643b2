"""Compressed streams read in bounded steps: gzip, bzip2, xz, LZMA alone, zstd, lz4, or none.

A stream never gives more than ``CHUNK_BYTES`` at a time and never takes more memory than its
dictionary, which is limited too: a few bytes of input cannot make us allocate gigabytes.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from altrepodb.errors import ConfigurationError, SourceError

__all__ = ["CHUNK_BYTES", "compressor_of", "iter_decompressed"]

CHUNK_BYTES = 128 * 1024
_DICTIONARY_LIMIT_BYTES = 1 << 28
"""Four times what the largest preset of xz needs."""
_ZSTD_WINDOW_LIMIT_BYTES = 1 << 27

_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"07070", "none"),
)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's object with the interface that lzma and bz2 share."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._pending = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._inner.decompress(self._pending + data, max_length)
        self._pending = self._inner.unconsumed_tail
        return output


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY_LIMIT_BYTES)


def _lzma_alone() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_DICTIONARY_LIMIT_BYTES)


class _Lz4:
    """lz4's object, whose errors and rest are of other types than those of lzma and bz2."""

    def __init__(self) -> None:
        try:
            import lz4.frame
        except ImportError as error:
            raise ConfigurationError("lz4 cannot be read: install altrepodb[images]") from error
        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            output: bytes = self._inner.decompress(data, max_length)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return output


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": _xz,
    "lzma": _lzma_alone,
    "lz4": _Lz4,
}


def compressor_of(start: bytes) -> str | None:
    """The compressor that a stream's first bytes tell, None when they tell nothing."""
    return next((name for magic, name in _MAGICS if start.startswith(magic)), None)


def iter_decompressed(source: BinaryIO, compressor: str, name: str) -> Iterator[bytes]:
    """The decompressed bytes of a stream, in chunks of at most ``CHUNK_BYTES``.

    Concatenated streams are read one after the other; nothing may follow them but the zero
    bytes that xz allows. Raises SourceError, naming ``name``, when the data is damaged, cut
    off or needs too large a dictionary.
    """
    try:
        if compressor == "none":
            yield from iter(lambda: source.read(CHUNK_BYTES), b"")
        elif compressor == "zstd":
            yield from _iter_zstd(source)
        elif compressor in _DECOMPRESSORS:
            yield from _iter_streams(source, _DECOMPRESSORS[compressor])
        else:
            raise SourceError(f"{name}: unknown compressor {compressor!r}")
    except (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError) as error:
        raise SourceError(f"{name}: damaged {compressor} data: {error}") from error


def _iter_streams(source: BinaryIO, make: Callable[[], _Decompressor]) -> Iterator[bytes]:
    stream, pending = make(), b""
    while True:
        if stream.needs_input and not pending:
            pending = source.read(CHUNK_BYTES)
            if not pending:
                raise EOFError("compressed data ends before its end mark")
        chunk = stream.decompress(pending, CHUNK_BYTES)
        pending = b""
        if chunk:
            yield chunk
        if stream.eof:
            pending = _next_stream(source, stream.unused_data)
            if not pending:
                return
            stream = make()


def _next_stream(source: BinaryIO, rest: bytes) -> bytes:
    """The first bytes of a further stream, zero padding passed over."""
    while True:
        rest = rest.lstrip(b"\0")
        if rest:
            return rest
        rest = source.read(CHUNK_BYTES)
        if not rest:
            return b""


def _iter_zstd(source: BinaryIO) -> Iterator[bytes]:
    """zstd does not tell a cut-off frame from an end; whoever needs more bytes will notice."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_LIMIT_BYTES)
    try:
        with decompressor.stream_reader(source, read_across_frames=True, closefd=False) as reader:
            yield from iter(lambda: reader.read(CHUNK_BYTES), b"")
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
