"""qcow2 disks: a guard in front of the library that reads them.

The guard admits what the library reads correctly: versions 2 and 3, deflate and zstd. A file that
an image names, such as its backing file, is never opened.
"""

from __future__ import annotations

import struct
from typing import Any

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.library import LibrarySource, StrictStream, import_for, library_errors

__all__ = ["is_qcow2", "open_qcow2"]

_MAGIC = b"QFI\xfb"
_HEADER_2 = ">4sIQIIQIIQ"
_HEADER_2_BYTES = 72
_HEADER_3_BYTES = 104
_INCOMPATIBLE_OFFSET = 72
_HEADER_LENGTH_OFFSET = 100
_COMPRESSION_OFFSET = 104
_CLUSTER_BITS = range(9, 22)
_MAX_VIRTUAL_BYTES = 1 << 40
_MAX_L1_ENTRIES = 4 << 20
"""What qemu accepts. The library makes objects of all of them."""
_COMPRESSIONS = (0, 1)

_DIRTY = 1
_COMPRESSION_TYPE = 1 << 3
_REFUSED_FEATURES = {1 << 1: "corrupt mark", 1 << 2: "external data file", 1 << 4: "extended L2"}


def is_qcow2(source: ByteSource) -> bool:
    """Whether the source begins as a qcow2 disk does."""
    return source.size >= _HEADER_2_BYTES and source.pread(4, 0) == _MAGIC


def open_qcow2(source: ByteSource) -> ByteSource:
    """The disk in a qcow2 file.

    Raises SourceError for damage and for features that are not read, by their names, and
    ConfigurationError when the library is not installed.
    """
    size = _check_header(source)
    library = import_for(f"{source.name}: a qcow2 disk", "dissect.hypervisor.disk.qcow2")
    with library_errors(source.name):
        disk = library.QCow2(StrictStream(source))
        return LibrarySource(_checked_stream(library, disk), size, source.name)


def _check_header(source: ByteSource) -> int:
    """The size of the disk. Raises SourceError for what must not be opened."""
    name = source.name
    header = source.pread(min(source.size, _HEADER_3_BYTES + 8), 0).ljust(
        _HEADER_3_BYTES + 8, b"\0"
    )
    magic, version, backing, _, cluster_bits, size, encryption, entries, table = struct.unpack_from(
        _HEADER_2, header
    )
    if magic != _MAGIC or version not in (2, 3):
        raise SourceError(f"{name}: not a qcow2 file of version 2 or 3")
    refused = ["a backing file"] if backing else []
    refused += ["encryption"] if encryption else []
    refused += _refused_features(header) if version == 3 else []
    if refused:
        raise SourceError(f"{name}: qcow2 with {', '.join(refused)}: not read")
    if cluster_bits not in _CLUSTER_BITS:
        raise SourceError(f"{name}: damaged qcow2: clusters of 2^{cluster_bits} bytes")
    if size > _MAX_VIRTUAL_BYTES:
        raise SourceError(f"{name}: qcow2 disk of {size} bytes, limit {_MAX_VIRTUAL_BYTES}")
    bytes_per_entry = 1 << (2 * cluster_bits - 3)
    is_sound = entries * bytes_per_entry >= size and table + 8 * entries <= source.size
    if not is_sound or entries > _MAX_L1_ENTRIES:
        raise SourceError(f"{name}: damaged qcow2: L1 table of {entries} entries at {table}")
    return int(size)


def _refused_features(header: bytes) -> list[str]:
    (features,) = struct.unpack_from(">Q", header, _INCOMPATIBLE_OFFSET)
    (header_bytes,) = struct.unpack_from(">I", header, _HEADER_LENGTH_OFFSET)
    refused = [name for bit, name in _REFUSED_FEATURES.items() if features & bit]
    unknown = features & ~(_DIRTY | _COMPRESSION_TYPE | sum(_REFUSED_FEATURES))
    refused += [f"feature 0x{unknown:x}"] if unknown else []
    if header_bytes > _COMPRESSION_OFFSET and header[_COMPRESSION_OFFSET] not in _COMPRESSIONS:
        refused.append(f"compression {header[_COMPRESSION_OFFSET]}")
    if header_bytes < _HEADER_3_BYTES:
        refused.append(f"a header of {header_bytes} bytes")
    return refused


def _checked_stream(library: Any, disk: Any) -> Any:
    """The disk's stream, which takes a compressed cluster that gives less for damaged."""

    class CheckedStream(library.QCow2Stream):  # type: ignore[misc]
        def _decompress(self, data: bytes) -> bytes:
            cluster: bytes = super()._decompress(data)
            if len(cluster) != disk.cluster_size:
                raise ValueError(f"a compressed cluster of {len(cluster)} bytes")
            return cluster

    return CheckedStream(disk)
