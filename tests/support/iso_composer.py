"""ISO images composed byte by byte: what the usual programs do not write, and seeds for fuzzing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["IsoFile", "compose_iso", "rock_ridge_name", "system_use"]

SECTOR_BYTES = 2048
_ROOT_SECTOR = 18
_CONTINUATION_SECTOR = 19
_FIRST_CONTENT_SECTOR = 20
_STAMP = bytes([121, 12, 5, 10, 20, 30, 0])


@dataclass(frozen=True, slots=True)
class IsoFile:
    """A file of the root directory. ``stamp`` is its time in seven bytes, 2021-12-05 10:20:30 UTC
    by default; ``area`` its system use entries."""

    identifier: bytes
    content: bytes = b""
    area: bytes = b""
    flags: int = 0
    stamp: bytes = _STAMP
    interleaved: int = 0
    attribute_blocks: int = 0


def system_use(signature: bytes, body: bytes) -> bytes:
    """A system use entry."""
    return signature + bytes([len(body) + 4, 1]) + body


def rock_ridge_name(name: bytes, flags: int = 0) -> bytes:
    """The entry of a name; flag 1: it goes on in another."""
    return system_use(b"NM", bytes([flags]) + name)


def compose_iso(
    files: Sequence[IsoFile],
    *,
    continuation: bytes = b"",
    skip: int | None = 0,
    root_area: bytes = b"",
) -> bytes:
    """An image of a root with these files, at most as many as a sector takes.

    ``continuation`` stands in sector 19. ``skip`` is what the SP entry says, None: there is none.
    """
    sectors = [bytes(SECTOR_BYTES)] * 16
    root = _record(IsoFile(b"\0", flags=2), _ROOT_SECTOR, SECTOR_BYTES)
    start = b"" if skip is None else system_use(b"SP", b"\xbe\xef" + bytes([skip]))
    itself, above = IsoFile(b"\0", flags=2, area=root_area + start), IsoFile(b"\1", flags=2)
    records = [_record(file, _ROOT_SECTOR, SECTOR_BYTES) for file in (itself, above)]
    contents: list[bytes] = []
    for file in files:
        size = len(file.content)
        records.append(_record(file, _FIRST_CONTENT_SECTOR + len(contents), size))
        contents += [bytes(SECTOR_BYTES)] * file.attribute_blocks
        parts = range(0, size, SECTOR_BYTES)
        contents += [_padded(file.content[at : at + SECTOR_BYTES]) for at in parts]
    count = _FIRST_CONTENT_SECTOR + len(contents)
    sectors += [_primary(root, count), _padded(b"\xffCD001\1")]
    sectors += [_padded(b"".join(records)), _padded(continuation)]
    return b"".join(sectors + contents)


def _padded(data: bytes) -> bytes:
    if len(data) > SECTOR_BYTES:
        raise ValueError("more than a sector")
    return data.ljust(SECTOR_BYTES, b"\0")


def _both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _record(file: IsoFile, sector: int, size: int) -> bytes:
    numbers = bytes([file.flags, file.interleaved, file.interleaved]) + b"\1\0\0\1"
    name = bytes([len(file.identifier)]) + file.identifier
    record = bytes([file.attribute_blocks]) + _both(sector) + _both(size) + file.stamp
    record += numbers + name + bytes(len(name) % 2) + file.area
    record += bytes((len(record) + 1) % 2)
    return bytes([len(record) + 1]) + record


def _primary(root: bytes, count: int) -> bytes:
    data = bytearray(_padded(b"\1CD001\1"))
    data[8:72] = b"SYSTEM".ljust(32) + b"VOLUME".ljust(32)
    data[80:88] = _both(count)
    data[120:132] = b"\1\0\0\1" * 2 + b"\x00\x08\x08\x00"
    data[156 : 156 + len(root)] = root
    data[190:813] = b" " * 623
    return bytes(data)
