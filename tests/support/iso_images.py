"""ISO images made by xorriso and genisoimage, and images that are damaged on purpose."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from tests.support.content import Content, as_directory, run_tool

__all__ = [
    "ALT_OPTIONS",
    "make_iso",
    "make_zoned_iso",
    "with_directory_loop",
    "with_joined_files",
]

ALT_OPTIONS = ("-J", "-l", "-r", "-joliet-long", "-iso-level", "2", "-V", "ALT")
"""How images of ALT are made: Joliet, and Rock Ridge with rationalised owners."""

_FLAGS = 25
_MORE_EXTENTS = 0x80


def make_iso(place: Path, content: Content, options: Sequence[str] = ALT_OPTIONS) -> Path:
    """An image of a directory or of files, by xorriso as a user without rights."""
    directory = as_directory(content, place.with_name(place.name + ".files"))
    run_tool(["xorriso", "-as", "mkisofs", "-quiet", *options, "-o", place, directory])
    return place


def make_zoned_iso(place: Path, content: Content, zone: str) -> Path:
    """An image by genisoimage, which stores times in the zone that it runs in."""
    directory = as_directory(content, place.with_name(place.name + ".files"))
    options = ["-quiet", "-J", "-l", "-r", "-joliet-long", "-V", "ALT"]
    run_tool(["genisoimage", *options, "-o", place, directory], TZ=zone)
    return place


def with_joined_files(iso: bytes, first: str, second: str) -> bytes:
    """Make two neighbours of one directory, with names of one length, one file of two extents.

    Files of more than 4 GiB look like that, and these are too large for tests. The image must
    have Rock Ridge; in the Joliet tree nothing is changed.
    """
    data = bytearray(iso)
    start, end = (_record_of(iso, name) for name in (first, second))
    data[start + _FLAGS] |= _MORE_EXTENTS
    size = iso[start + 32]
    data[end + 33 : end + 33 + size] = iso[start + 33 : start + 33 + size]
    name = data.index(b"NM", end) + 5
    assert bytes(data[name : name + len(second)]) == second.encode()
    data[name : name + len(first)] = first.encode()
    return bytes(data)


def with_directory_loop(iso: bytes, name: str) -> bytes:
    """Point a directory, which is named by its Rock Ridge name, at the root."""
    data = bytearray(iso)
    record = _record_of(iso, name)
    root = 16 * 2048 + 156
    data[record + 2 : record + 18] = iso[root + 2 : root + 18]
    return bytes(data)


def _record_of(iso: bytes, name: str) -> int:
    """Where the directory record with this Rock Ridge name starts."""
    entry = b"NM" + struct.pack("BBB", 5 + len(name), 1, 0) + name.encode()
    place = iso.index(entry)
    sector = place - place % 2048
    record = sector
    while record + iso[record] <= place:
        record += iso[record]
    return record
