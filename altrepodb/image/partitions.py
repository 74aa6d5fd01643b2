"""Partition tables: MBR with logical partitions, GPT with sectors of 512 and 4096 bytes.

A partition's number is the one that Linux gives it: logical ones count from 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from altrepodb.byte_source import ByteSource, Slice
from altrepodb.errors import SourceError

__all__ = ["Partition", "read_partitions"]

_MBR_SECTOR_BYTES = 512
_MBR_ENTRIES_OFFSET = 446
_MBR_ENTRY_BYTES = 16
_MBR_SIGNATURE = b"\x55\xaa"
_BOOT_FLAGS = (0, 0x80)
_EXTENDED_TYPES = (0x05, 0x0F, 0x85)
_PROTECTIVE_TYPE = 0xEE
_FIRST_LOGICAL_NUMBER = 5
_MAX_LOGICAL = 128

_GPT_MAGIC = b"EFI PART"
_GPT_SECTOR_BYTES = (512, 4096)
_GPT_HEADER = "<8sIIIIQQQQ16sQIII"
_GPT_HEADER_BYTES = struct.calcsize(_GPT_HEADER)
_GPT_ENTRY = "<16s16sQQ"
_GPT_ENTRY_BYTES = (128, 256, 512, 1024, 2048, 4096)
_MAX_GPT_ENTRIES = 1024

_MBR_TYPES = {
    0x01: "FAT12", 0x04: "FAT16", 0x06: "FAT16", 0x07: "NTFS or exFAT", 0x0B: "FAT32",
    0x0C: "FAT32", 0x0E: "FAT16", 0x82: "Linux swap", 0x83: "Linux", 0x8E: "Linux LVM",
    0xEF: "EFI system", 0xFD: "Linux RAID", 0xEE: "GPT protective",
}  # fmt: skip
_GPT_TYPES = {
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "LUKS",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "44479540-f297-41b2-9af7-d131d5f0458a": "Linux root (x86)",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (ARM 64)",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "Linux var",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PReP boot",
}


@dataclass(frozen=True, slots=True)
class Partition:
    """``offset`` and ``size`` are bytes; ``type`` is what the table says, in words or numbers."""

    number: int
    offset: int
    size: int
    type: str

    def source(self, disk: ByteSource) -> Slice:
        """The partition's bytes."""
        return Slice(disk, self.offset, self.size, f"{disk.name}: partition {self.number}")


def read_partitions(disk: ByteSource) -> list[Partition] | None:
    """The partitions of a disk by number; None when it has no partition table.

    Raises SourceError for a damaged table and for partitions beyond the end of the disk.
    """
    records = _mbr_records(disk, 0)
    if records is None or any(record.type == _PROTECTIVE_TYPE for record in records):
        partitions = _gpt_partitions(disk)
    else:
        partitions = sorted(_mbr_partitions(disk, records), key=lambda one: one.number)
    for partition in partitions or []:
        if partition.offset + partition.size > disk.size:
            raise SourceError(
                f"{disk.name}: truncated: partition {partition.number} ends at"
                f" {partition.offset + partition.size}, the disk at {disk.size}"
            )
    return partitions


@dataclass(frozen=True, slots=True)
class _Record:
    """An entry of an MBR; start and length are sectors."""

    flag: int
    type: int
    start: int
    length: int


def _mbr_records(disk: ByteSource, offset: int) -> list[_Record] | None:
    """The four entries of a boot record; None when there is none at this place."""
    if disk.size < offset + _MBR_SECTOR_BYTES:
        return None
    sector = disk.pread(_MBR_SECTOR_BYTES, offset)
    if not sector.endswith(_MBR_SIGNATURE):
        return None
    entries = sector[_MBR_ENTRIES_OFFSET : _MBR_ENTRIES_OFFSET + 4 * _MBR_ENTRY_BYTES]
    records = [_Record(*entry) for entry in struct.iter_unpack("<B3xB3xII", entries)]
    # The boot sector of a file system has the same signature and code in this place.
    if any(record.flag not in _BOOT_FLAGS for record in records) or not any(
        record.type and record.length for record in records
    ):
        return None
    return records


def _mbr_partitions(disk: ByteSource, records: list[_Record]) -> Iterator[Partition]:
    for number, record in enumerate(records, 1):
        if record.type in _EXTENDED_TYPES:
            yield from _logical_partitions(disk, record.start)
        elif record.type and record.length:
            yield _mbr_partition(number, record, 0)


def _logical_partitions(disk: ByteSource, first: int) -> Iterator[Partition]:
    """The chain in an extended partition. A partition's start counts from its own record, the
    next record's from the first."""
    place, seen = first, set[int]()
    while True:
        if place in seen or len(seen) >= _MAX_LOGICAL:
            raise SourceError(f"{disk.name}: damaged chain of logical partitions")
        seen.add(place)
        records = _mbr_records(disk, place * _MBR_SECTOR_BYTES)
        if records is None:
            if place == first:
                return
            raise SourceError(f"{disk.name}: damaged chain of logical partitions")
        if records[0].type and records[0].length:
            number = _FIRST_LOGICAL_NUMBER + len(seen) - 1
            yield _mbr_partition(number, records[0], place)
        if records[1].type not in _EXTENDED_TYPES:
            return
        place = first + records[1].start


def _mbr_partition(number: int, record: _Record, base: int) -> Partition:
    return Partition(
        number,
        (base + record.start) * _MBR_SECTOR_BYTES,
        record.length * _MBR_SECTOR_BYTES,
        _MBR_TYPES.get(record.type, f"type 0x{record.type:02x}"),
    )


def _gpt_partitions(disk: ByteSource) -> list[Partition] | None:
    for sector_bytes in _GPT_SECTOR_BYTES:
        if disk.size < 2 * sector_bytes or disk.pread(8, sector_bytes) != _GPT_MAGIC:
            continue
        return list(_gpt_entries(disk, sector_bytes))
    return None


def _gpt_entries(disk: ByteSource, sector_bytes: int) -> Iterator[Partition]:
    header = disk.pread(sector_bytes, sector_bytes)
    _, _, header_bytes, checksum, _, _, _, _, _, _, start, count, entry_bytes, entries_checksum = (
        struct.unpack_from(_GPT_HEADER, header)
    )
    if not _GPT_HEADER_BYTES <= header_bytes <= sector_bytes:
        raise SourceError(f"{disk.name}: damaged GPT: a header of {header_bytes} bytes")
    if zlib.crc32(header[:16] + bytes(4) + header[20:header_bytes]) != checksum:
        raise SourceError(f"{disk.name}: damaged GPT: wrong checksum of the header")
    if count > _MAX_GPT_ENTRIES or entry_bytes not in _GPT_ENTRY_BYTES:
        raise SourceError(f"{disk.name}: damaged GPT: {count} entries of {entry_bytes} bytes")
    table = disk.pread(count * entry_bytes, start * sector_bytes)
    if zlib.crc32(table) != entries_checksum:
        raise SourceError(f"{disk.name}: damaged GPT: wrong checksum of the entries")
    for number in range(1, count + 1):
        kind, _, first, last = struct.unpack_from(_GPT_ENTRY, table, (number - 1) * entry_bytes)
        if not any(kind):
            continue
        if last < first:
            raise SourceError(f"{disk.name}: damaged GPT: partition {number} ends before it begins")
        guid = str(UUID(bytes_le=kind))
        # The last sector belongs to the partition.
        size = (last - first + 1) * sector_bytes
        yield Partition(number, first * sector_bytes, size, _GPT_TYPES.get(guid, f"type {guid}"))
