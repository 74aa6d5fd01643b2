"""The hash files of Berkeley DB in which rpm up to 4.15 keeps its headers (``Packages``).

Every page is looked at once, in the order of the file: hash pages hold the items, values that do
not fit stand in chains of overflow pages. Buckets need not be walked for that. Format: Berkeley
DB's ``db_page.h``, hash versions 8 and 9, in the byte order of the machine that wrote the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError

__all__ = ["is_hash_file", "iter_values"]

_METADATA_BYTES = 72
_MAGIC = 0x00061561
_VERSIONS = (8, 9)
_PAGE_SIZES = frozenset(1 << power for power in range(9, 17))
_CHECKSUM_FLAG = 1

_PAGE_HEADER = "8xI4xIHHxB"
_PAGE_HEADER_BYTES = 26
_TYPE_OFFSET = 25
_HASH_METADATA = 8
_HASH_PAGES = (2, 13)
_OVERFLOW_PAGE = 7

_INLINE_ITEM = 1
_OFF_PAGE_ITEM = 3
_OFF_PAGE_ITEM_BYTES = 12
_INSTANCE_COUNTER = bytes(4)

_CHUNK_BYTES = 256 * 1024
_CACHED_CHUNKS = 16
"""A value's overflow pages mostly follow its hash page; old files are a little shuffled."""


class _Page(NamedTuple):
    number: int
    next: int
    entries: int
    high_offset: int
    type: int


class _Metadata(NamedTuple):
    order: str
    page_size: int
    page_count: int


def is_hash_file(source: ByteSource) -> bool:
    """Whether the source begins as a hash file of Berkeley DB does."""
    return source.size >= _METADATA_BYTES and _byte_order(source.pread(16, 0)) is not None


def _byte_order(start: bytes) -> str | None:
    return next(
        (order for order in "<>" if struct.unpack_from(f"{order}12xI", start)[0] == _MAGIC), None
    )


def iter_values(source: ByteSource, max_value_bytes: int) -> Iterator[bytes]:
    """The values of all keys but 0, rpm's counter of instances.

    Raises SourceError for damage and for a value above ``max_value_bytes``.
    """
    pages = _Pages(source, _read_metadata(source), max_value_bytes)
    for number in range(1, pages.metadata.page_count):
        page = pages.read(number)
        if page[_TYPE_OFFSET] in _HASH_PAGES:
            yield from _values_of_page(pages, number, page)


def _read_metadata(source: ByteSource) -> _Metadata:
    start = source.pread(_METADATA_BYTES, 0)
    order = _byte_order(start)
    if order is None:
        raise SourceError(f"{source.name}: not a hash file of Berkeley DB")
    version, page_size, encryption, page_type, flags, last_page = struct.unpack_from(
        f"{order}IIBBB5xI", start, 16
    )
    if version not in _VERSIONS:
        raise SourceError(f"{source.name}: Berkeley DB hash version {version} is not supported")
    if page_size not in _PAGE_SIZES or page_type != _HASH_METADATA:
        raise SourceError(f"{source.name}: damaged metadata of Berkeley DB")
    if encryption or flags & _CHECKSUM_FLAG:
        raise SourceError(f"{source.name}: Berkeley DB with encryption or checksums")
    if (last_page + 1) * page_size > source.size:
        raise SourceError(
            f"{source.name}: truncated: {source.size} bytes for {last_page + 1} pages"
            f" of {page_size} bytes"
        )
    return _Metadata(order, page_size, last_page + 1)


class _Pages:
    """Pages of a hash file, read in larger pieces; knows which overflow pages were used."""

    def __init__(self, source: ByteSource, metadata: _Metadata, max_value_bytes: int) -> None:
        self.name = source.name
        self.metadata = metadata
        self.max_value_bytes = min(max_value_bytes, source.size)
        self._source = source
        self._header = struct.Struct(metadata.order + _PAGE_HEADER)
        self._used = bytearray(metadata.page_count)
        self._pages_per_chunk = _CHUNK_BYTES // metadata.page_size
        self._chunk = lru_cache(_CACHED_CHUNKS)(self._read_chunk)

    def _read_chunk(self, number: int) -> bytes:
        first = number * self._pages_per_chunk
        last = min(first + self._pages_per_chunk, self.metadata.page_count)
        page_size = self.metadata.page_size
        return self._source.pread((last - first) * page_size, first * page_size)

    def read(self, number: int) -> bytes:
        chunk, index = divmod(number, self._pages_per_chunk)
        start = index * self.metadata.page_size
        return self._chunk(chunk)[start : start + self.metadata.page_size]

    def header(self, number: int, page: bytes) -> _Page:
        """Raises SourceError for a page that says it is another one."""
        header = _Page(*self._header.unpack_from(page))
        if header.number != number:
            raise self.damaged(number, f"says it is page {header.number}")
        return header

    def overflow(self, number: int) -> tuple[bytes, int]:
        """The payload of an overflow page, and the next page. Every page has one value's bytes."""
        if not 0 < number < self.metadata.page_count:
            raise self.damaged(number, "an overflow page outside the file")
        if self._used[number]:
            raise self.damaged(number, "an overflow page is used twice")
        self._used[number] = 1
        page = self.read(number)
        header = self.header(number, page)
        if header.type != _OVERFLOW_PAGE:
            raise self.damaged(number, f"type {header.type} where an overflow page is needed")
        end = _PAGE_HEADER_BYTES + header.high_offset
        if not _PAGE_HEADER_BYTES < end <= len(page):
            raise self.damaged(number, f"overflow of {header.high_offset} bytes")
        return page[_PAGE_HEADER_BYTES:end], header.next

    def damaged(self, number: int, what: str) -> SourceError:
        return SourceError(f"{self.name}: page {number}: {what}")


def _values_of_page(pages: _Pages, number: int, page: bytes) -> Iterator[bytes]:
    items = _items(pages, number, page)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if key[:1] != bytes([_INLINE_ITEM]):
            raise pages.damaged(number, "a key that is not on its page")
        if key[1:] != _INSTANCE_COUNTER:
            yield _value(pages, number, value)


def _items(pages: _Pages, number: int, page: bytes) -> list[bytes]:
    """Keys and values in turn. They grow downwards from the page's end."""
    count = pages.header(number, page).entries
    index_end = _PAGE_HEADER_BYTES + 2 * count
    if count % 2 or index_end > len(page):
        raise pages.damaged(number, f"{count} items")
    starts = struct.unpack_from(f"{pages.metadata.order}{count}H", page, _PAGE_HEADER_BYTES)
    ends = (len(page), *starts[:-1])
    items = []
    for start, end in zip(starts, ends, strict=False):
        if not index_end <= start < end:
            raise pages.damaged(number, f"an item from {start} to {end}")
        items.append(page[start:end])
    return items


def _value(pages: _Pages, number: int, item: bytes) -> bytes:
    if item[0] == _INLINE_ITEM:
        return item[1:]
    if item[0] != _OFF_PAGE_ITEM or len(item) != _OFF_PAGE_ITEM_BYTES:
        raise pages.damaged(number, f"a value of type {item[0]} in {len(item)} bytes")
    first, size = struct.unpack_from(f"{pages.metadata.order}4xII", item)
    if size > pages.max_value_bytes:
        raise pages.damaged(number, f"a value of {size} bytes")
    return b"".join(_chain(pages, first, size))


def _chain(pages: _Pages, number: int, size: int) -> Iterator[bytes]:
    """The parts of a value. Raises SourceError when they are not exactly ``size`` bytes."""
    while size:
        part, following = pages.overflow(number)
        if len(part) > size:
            raise pages.damaged(number, f"{len(part)} bytes where a value has {size} left")
        yield part
        size -= len(part)
        number = following
