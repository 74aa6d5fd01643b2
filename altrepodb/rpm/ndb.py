"""The package file of rpm's own database format, ndb (``Packages.db``).

Little-endian: a header, slots of 16 bytes that say where a blob is, and the blobs, each with a
head, padding to 16 bytes and a tail with an Adler-32 sum. Format: ``lib/backend/ndb/rpmpkg.c``
of rpm.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError

__all__ = ["is_package_file", "iter_blobs"]

_MAGIC = b"RpmP"
_VERSION = 0
_HEADER_BYTES = 32
_SLOT_MAGIC = b"Slot"
_SLOT_BYTES = 16
_SLOT_PAGE_BYTES = 4096
_BLOCK_BYTES = 16
_BLOB_MAGIC = b"BlbS"
_BLOB_HEAD_BYTES = 16
_TAIL_MAGIC = b"BlbE"
_TAIL_BYTES = 12


def is_package_file(source: ByteSource) -> bool:
    """Whether the source begins as a package file of ndb does."""
    return source.size >= _HEADER_BYTES and source.pread(4, 0) == _MAGIC


def iter_blobs(source: ByteSource, max_blob_bytes: int) -> Iterator[bytes]:
    """The blobs of all slots in use.

    Raises SourceError for damage and for a blob above ``max_blob_bytes``.
    """
    magic, version, slot_pages = struct.unpack("<4sI4xI", source.pread(16, 0))
    if magic != _MAGIC or version != _VERSION:
        raise SourceError(f"{source.name}: not an ndb file of version {_VERSION}")
    slots_end = slot_pages * _SLOT_PAGE_BYTES
    if not slot_pages or slots_end > source.size:
        raise SourceError(f"{source.name}: {slot_pages} pages of slots in {source.size} bytes")
    for page in range(slot_pages):
        start = page * _SLOT_PAGE_BYTES
        slots = source.pread(_SLOT_PAGE_BYTES, start)[0 if page else _HEADER_BYTES :]
        for slot in struct.iter_unpack("<4sIII", slots):
            yield from _blob_of_slot(source, slot, slots_end, max_blob_bytes)


def _blob_of_slot(
    source: ByteSource, slot: tuple[bytes, int, int, int], slots_end: int, max_blob_bytes: int
) -> Iterator[bytes]:
    magic, index, block, block_count = slot
    if magic != _SLOT_MAGIC:
        raise SourceError(f"{source.name}: damaged slots")
    if not index:
        return
    size = block_count * _BLOCK_BYTES
    name = f"{source.name}: package {index}"
    if size > max_blob_bytes or block * _BLOCK_BYTES < slots_end:
        raise SourceError(f"{name}: {block_count} blocks at block {block}")
    yield _checked_blob(source.pread(size, block * _BLOCK_BYTES), index, name)


def _checked_blob(stored: bytes, index: int, name: str) -> bytes:
    """What stands between head and tail of a stored blob."""
    if len(stored) < _BLOB_HEAD_BYTES + _TAIL_BYTES:
        raise SourceError(f"{name}: {len(stored)} bytes are no blob")
    magic, own_index, size = struct.unpack_from("<4sI4xI", stored)
    tail_sum, tail_size, tail_magic = struct.unpack("<II4s", stored[-_TAIL_BYTES:])
    space = len(stored) - _BLOB_HEAD_BYTES - _TAIL_BYTES
    if (magic, own_index, tail_magic) != (_BLOB_MAGIC, index, _TAIL_MAGIC) or size != tail_size:
        raise SourceError(f"{name}: damaged blob")
    if not space - _BLOCK_BYTES < size <= space:
        raise SourceError(f"{name}: a blob of {size} bytes where {space} are")
    if zlib.adler32(stored[:-_TAIL_BYTES]) != tail_sum:
        raise SourceError(f"{name}: wrong checksum")
    return stored[_BLOB_HEAD_BYTES : _BLOB_HEAD_BYTES + size]
