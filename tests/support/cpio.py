"""Write cpio archives of the "newc" family, as RPM payloads are.

Hard links follow the custom of rpm: of the entries that share an inode only the last holds data.
Inode 0 is never shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

CpioFormat = Literal["070701", "070702", "07070X"]

_TRAILER = b"TRAILER!!!"
_ENTRY = b"%s" + b"%08x" * 13 + b"%s\0%s"
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_HEADER_SIZE = 110


class CpioEntry(NamedTuple):
    """One archive member; `number` is its place in the file arrays of the RPM header."""

    name: bytes
    data: bytes = b""
    mode: int = 0o100644
    mtime: int = 0
    inode: int = 0
    rdev: int = 0
    number: int = 0


def build_cpio(entries: Sequence[CpioEntry], archive_format: CpioFormat = "070701") -> bytes:
    """Archive of the entries, trailer included."""
    magic = archive_format.encode()
    links = Counter([entry.inode for entry in entries])
    left = dict(links)
    parts: list[bytes] = []
    for entry in entries:
        inode = entry.inode
        left[inode] -= 1
        data = b"" if inode and left[inode] else entry.data
        if magic == b"07070X":
            parts.append(b"07070X%08x\0\0" % entry.number)
        else:
            parts.append(_plain_header(magic, entry, data, links[inode] if inode else 1))
        parts.append(data)
        parts.append(_PADDING[len(data) % 4])
    parts.append(_trailer(b"070701" if magic == b"07070X" else magic))
    return b"".join(parts)


def _plain_header(magic: bytes, entry: CpioEntry, data: bytes, links: int) -> bytes:
    """Header and name of an entry, padded to a multiple of four."""
    checksum = sum(data) & 0xFFFFFFFF if magic == b"070702" else 0
    name = entry.name
    return _ENTRY % (
        magic,
        entry.inode,
        entry.mode,
        0,
        0,
        links,
        entry.mtime,
        len(data),
        0,
        1,
        entry.rdev >> 8,
        entry.rdev & 0xFF,
        len(name) + 1,
        checksum,
        name,
        _PADDING[(_HEADER_SIZE + len(name) + 1) % 4],
    )


def _trailer(magic: bytes) -> bytes:
    """The entry that ends every archive."""
    return _plain_header(magic, CpioEntry(_TRAILER, mode=0), b"", 1)
