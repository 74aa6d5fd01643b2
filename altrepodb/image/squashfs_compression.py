"""The compressors of squashfs. Each block is one whole stream that says how long it may become.

Every decompressor has its maximum output and its maximum dictionary: a few bytes of input cannot
make us allocate more than a block and its dictionary. All but LZO leave the interpreter's lock
while they work, so that threads help.
"""

from __future__ import annotations

import lzma
import threading
import zlib
from collections.abc import Callable

from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.image.lzo import decompress_lzo

__all__ = ["COMPRESSOR_NAMES", "Decompress", "decompressor_of"]

Decompress = Callable[[bytes, int], bytes]
"""From a block and the most bytes it may become to these bytes; ValueError for damage."""

COMPRESSOR_NAMES = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_DICTIONARY_LIMIT_BYTES = 16 << 20
"""mksquashfs makes a dictionary no larger than a block, 1 MiB at most."""
_LZMA_HEADER_BYTES = 13
_LZMA_PROPERTIES_BYTES = 5


def decompressor_of(compressor: int, name: str) -> Decompress:
    """The decompressor of a superblock's number.

    Raises SourceError that starts with ``name`` when there is none, ConfigurationError when its
    optional module is not installed.
    """
    makers: dict[int, Callable[[], Decompress]] = {
        1: lambda: _gzip,
        2: lambda: _lzma,
        3: lambda: decompress_lzo,
        4: lambda: _xz,
        5: _lz4_decompressor,
        6: _zstd_decompressor,
    }
    if compressor not in makers:
        raise SourceError(f"{name}: unknown squashfs compressor {compressor}")
    try:
        return makers[compressor]()
    except ImportError as error:
        raise ConfigurationError(
            f"{name}: compressed with {COMPRESSOR_NAMES[compressor]}, which needs the module"
            f" {error.name}: install altrepodb[images]"
        ) from error


def _gzip(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        output = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return _whole(output, limit, stream.eof and not stream.unused_data)


def _xz(data: bytes, limit: int) -> bytes:
    output, has_ended = _liblzma(lzma.FORMAT_XZ, data, limit)
    return _whole(output, limit, has_ended)


def _lzma(data: bytes, limit: int) -> bytes:
    """The header states the size of the output, and an end mark follows mostly.

    Which of the two a decoder obeys depends on its version, so it is not told the size.
    """
    stated = int.from_bytes(data[_LZMA_PROPERTIES_BYTES:_LZMA_HEADER_BYTES], "little")
    unstated = b"\xff" * (_LZMA_HEADER_BYTES - _LZMA_PROPERTIES_BYTES)
    stream = data[:_LZMA_PROPERTIES_BYTES] + unstated + data[_LZMA_HEADER_BYTES:]
    output, _ = _liblzma(lzma.FORMAT_ALONE, stream, limit)
    return _whole(output, limit, 0 < len(output) == stated)


def _liblzma(container: int, data: bytes, limit: int) -> tuple[bytes, bool]:
    """A byte more than allowed at most, and whether that was the whole of the data."""
    stream = lzma.LZMADecompressor(container, memlimit=_DICTIONARY_LIMIT_BYTES)
    try:
        output = stream.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(str(error)) from error
    return output, stream.eof and not stream.unused_data


def _lz4_decompressor() -> Decompress:
    import lz4.block

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            return bytes(lz4.block.decompress(data, uncompressed_size=limit))
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from error

    return decompress


def _zstd_decompressor() -> Decompress:
    import zstandard

    contexts = threading.local()

    def decompress(data: bytes, limit: int) -> bytes:
        context = getattr(contexts, "context", None)
        if context is None:
            context = zstandard.ZstdDecompressor(max_window_size=_DICTIONARY_LIMIT_BYTES)
            contexts.context = context
        # Only a reader is bounded: the plain call allocates what the frame says.
        try:
            with context.stream_reader(data) as reader:
                return _whole(reader.read(limit + 1), limit, True)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error

    return decompress


def _whole(output: bytes, limit: int, has_ended: bool) -> bytes:
    if len(output) > limit:
        raise ValueError(f"becomes more than {limit} bytes")
    if not has_ended:
        raise ValueError("its compressed stream does not end with it")
    return output
