"""Any part of an .xz file without unpacking all of it: ``xz -T0`` writes blocks and an index.

Format: "The .xz File Format". The file is read from its end: a footer, before it the index with
the sizes of all blocks of a stream, and so on to the first of concatenated streams.
"""

from __future__ import annotations

import lzma
import struct
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from typing import NamedTuple

from altrepodb.byte_source import ByteSource, check_range
from altrepodb.errors import SourceError
from altrepodb.variable_integer import variable_integer

__all__ = ["MAX_BLOCK_BYTES", "XzSource", "is_xz"]

_MAGIC = b"\xfd7zXZ\0"
_FOOTER_MAGIC = b"YZ"
_EDGE_BYTES = 12
"""The header of a stream, and its footer."""
_PADDING_BYTES = 4
_PADDING_CHUNK_BYTES = 64 * 1024
_MAX_INDEX_BYTES = 16 << 20
_MAX_TOTAL_BYTES = 1 << 40
_DICTIONARY_LIMIT_BYTES = 1 << 28
_CACHE_BYTES = 96 << 20

MAX_BLOCK_BYTES = 64 << 20
"""A block is in memory as a whole, twice for a moment."""


class _Block(NamedTuple):
    """``stored_size`` is without the padding that follows it in the file."""

    offset: int
    stored_size: int
    start: int
    size: int
    stream_header: bytes


def is_xz(source: ByteSource) -> bool:
    """Whether the source begins as an .xz file does."""
    return source.size >= 2 * _EDGE_BYTES and source.pread(len(_MAGIC), 0) == _MAGIC


class XzSource:
    """The content of an .xz file. Raises SourceError for a damaged index."""

    def __init__(self, source: ByteSource) -> None:
        self.name = source.name
        self._source = source
        self._blocks = _read_blocks(source)
        self._starts = [block.start for block in self._blocks]
        last = self._blocks[-1] if self._blocks else None
        self.size = last.start + last.size if last else 0
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_seekable(self) -> bool:
        """Whether any part is to be had at the cost of a block or two."""
        largest = max((block.size for block in self._blocks), default=0)
        return len(self._blocks) > 1 and largest <= MAX_BLOCK_BYTES

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        pieces = []
        index = bisect_right(self._starts, offset) - 1
        while count:
            block = self._blocks[index]
            inner = offset - block.start
            piece = self._unpacked(index)[inner : inner + count]
            pieces.append(piece)
            count -= len(piece)
            offset += len(piece)
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _unpacked(self, index: int) -> bytes:
        with self._lock:
            data = self._cache.pop(index, None)
            if data is None:
                self._make_room(self._blocks[index].size)
                data = _unpack(self._source, self._blocks[index])
            self._cache[index] = data
            return data

    def _make_room(self, size: int) -> None:
        while self._cache and sum(map(len, self._cache.values())) + size > _CACHE_BYTES:
            self._cache.popitem(last=False)


def _unpack(source: ByteSource, block: _Block) -> bytes:
    """The content of a block, which must be as long as the index says.

    The block is made a stream of its own: a block alone could end before its check unnoticed.
    """
    stored = source.pread(_padded(block.stored_size), block.offset)
    stream = b"".join((block.stream_header, stored, _index_and_footer(block)))
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY_LIMIT_BYTES)
    try:
        # One byte more is asked for, so that all is read that follows the content.
        data = decompressor.decompress(stream, max_length=block.size + 1)
    except lzma.LZMAError as error:
        raise SourceError(f"{source.name}: damaged xz block at {block.offset}: {error}") from error
    if len(data) != block.size or not decompressor.eof:
        raise SourceError(f"{source.name}: damaged xz block at {block.offset}: its size")
    return data


def _index_and_footer(block: _Block) -> bytes:
    """What would follow the block if it were the only one of its stream."""
    numbers = variable_integer(block.stored_size) + variable_integer(block.size)
    index = b"\0\1" + numbers
    index = index.ljust(_padded(len(index)), b"\0")
    index += struct.pack("<I", zlib.crc32(index))
    sizes_and_flags = struct.pack("<I", len(index) // 4 - 1) + block.stream_header[6:8]
    checksum = struct.pack("<I", zlib.crc32(sizes_and_flags))
    return index + checksum + sizes_and_flags + _FOOTER_MAGIC


def _padded(size: int) -> int:
    """Blocks and indexes are filled up to a multiple of four bytes."""
    return -(-size // _PADDING_BYTES) * _PADDING_BYTES


def _read_blocks(source: ByteSource) -> list[_Block]:
    streams = []
    end = source.size
    while end:
        blocks, end = _stream_blocks(source, _without_padding(source, end))
        streams.append(blocks)
    result, start = [], 0
    for offset, stored_size, size, stream_header in (one for s in reversed(streams) for one in s):
        if size:
            result.append(_Block(offset, stored_size, start, size, stream_header))
        start += size
    if start > _MAX_TOTAL_BYTES:
        raise SourceError(f"{source.name}: unpacks to {start} bytes, limit {_MAX_TOTAL_BYTES}")
    return result


def _without_padding(source: ByteSource, end: int) -> int:
    """Where the last stream before ``end`` ends. Padding is zeros, a multiple of four of them."""
    first = end
    while end:
        start = max(0, end - _PADDING_CHUNK_BYTES)
        rest = source.pread(end - start, start).rstrip(b"\0")
        end = start + len(rest)
        if rest:
            break
    # The last byte of a stream is not zero.
    if (first - end) % _PADDING_BYTES or not end:
        raise SourceError(f"{source.name}: damaged xz file: {first - end} bytes of padding")
    return end


def _stream_blocks(source: ByteSource, end: int) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """Offset, stored size, size and header of the stream for all blocks of the stream that ends
    here, and where it begins."""
    if end < 2 * _EDGE_BYTES:
        raise _damaged(source, "no room for a stream")
    footer = source.pread(_EDGE_BYTES, end - _EDGE_BYTES)
    checksum, backward, flags, magic = struct.unpack("<II2s2s", footer)
    if magic != _FOOTER_MAGIC or zlib.crc32(footer[4:10]) != checksum:
        raise _damaged(source, "no footer at its end; is it truncated?")
    index_bytes = (backward + 1) * 4
    index_start = end - _EDGE_BYTES - index_bytes
    if index_bytes > _MAX_INDEX_BYTES or index_start < _EDGE_BYTES:
        raise _damaged(source, f"an index of {index_bytes} bytes")
    sizes = _read_index(source, source.pread(index_bytes, index_start))
    start = index_start - sum(_padded(stored) for stored, _ in sizes) - _EDGE_BYTES
    if start < 0:
        raise _damaged(source, "blocks before its begin")
    header = source.pread(_EDGE_BYTES, start)
    if header[:6] != _MAGIC or header[6:8] != flags:
        raise _damaged(source, "header and footer of a stream differ")
    blocks, offset = [], start + _EDGE_BYTES
    for stored, size in sizes:
        blocks.append((offset, stored, size, header))
        offset += _padded(stored)
    return blocks, start


def _read_index(source: ByteSource, index: bytes) -> list[tuple[int, int]]:
    """Stored size without padding, and size, of each block."""
    if index[0] or zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise _damaged(source, "index")
    count, position = _number(source, index, 1)
    if count > len(index) // 2:
        raise _damaged(source, f"an index of {count} blocks")
    sizes = []
    for _ in range(count):
        stored, position = _number(source, index, position)
        size, position = _number(source, index, position)
        if not stored:
            raise _damaged(source, "an empty block")
        sizes.append((stored, size))
    return sizes


def _number(source: ByteSource, data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(data) - 4:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _damaged(source, "a number in its index")


def _damaged(source: ByteSource, what: str) -> SourceError:
    return SourceError(f"{source.name}: damaged xz file: {what}")
