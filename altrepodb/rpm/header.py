"""The rpm header structure: an index of typed entries over a data area.

Layout (all integers big-endian): magic ``8e ad e8 01``, four zero bytes, number of entries,
size of the data area, 16 bytes per entry (tag, type, offset, count), the data area. The same
structure is the signature header, the main header of a package and one item of apt's lists.

Nothing is trusted: the two sizes are held against limits and against the bytes at hand before
anything is taken, and every entry against the data area before its value is read.
"""

from __future__ import annotations

import binascii
import struct
import sys
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from altrepodb.errors import SourceError
from altrepodb.rpm import tags

__all__ = [
    "APT_HEADER_LIMITS",
    "HEADER_INTRO_BYTES",
    "MAIN_HEADER_LIMITS",
    "SIGNATURE_LIMITS",
    "Header",
    "HeaderLimits",
    "header_size",
    "parse_header",
    "parse_header_blob",
]

HEADER_INTRO_BYTES = 16
_ENTRY_BYTES = 16
_SHA1_BYTES = 20
_MAGIC = b"\x8e\xad\xe8\x01\x00\x00\x00\x00"

_CHAR, _INT8, _INT16, _INT32, _INT64, _STRING, _BIN, _STRING_ARRAY, _I18N_STRING = range(1, 10)
_INTEGER_CODES = {_CHAR: "B", _INT8: "B", _INT16: "H", _INT32: "I", _INT64: "Q"}
_TEXT_TYPES = frozenset({_STRING, _STRING_ARRAY, _I18N_STRING})
_REGION_TAGS = (61, 62, 63)
_MAX_TEXTS = 2_000_000
"""In one array: an object each takes many times the memory of the shortest text in a file."""
_SWAP = sys.byteorder == "little"


class HeaderLimits(NamedTuple):
    """What rpm itself accepts (``lib/header.c`` and ``lib/signature.c`` of rpm 4.14 and later)."""

    entries: int
    data_bytes: int


MAIN_HEADER_LIMITS = HeaderLimits(0xFFFF, 0x0FFFFFFF)
SIGNATURE_LIMITS = HeaderLimits(32, 64 * 1024 * 1024)
APT_HEADER_LIMITS = HeaderLimits(0xFFFF, 0x01FFFFFF)


_Entry = tuple[int, int, int]
"""Type, offset into the data area, number of values."""

_ABSENT: _Entry = (_STRING, 0, 0)


def header_size(intro: bytes, limits: HeaderLimits, name: str) -> int:
    """The full length in bytes of the header that begins with ``intro`` (16 bytes).

    Raises SourceError, naming ``name``, when it is no header or larger than the limits.
    """
    if len(intro) < HEADER_INTRO_BYTES:
        raise SourceError(f"{name}: truncated header: {len(intro)} bytes where 16 are needed")
    if intro[:8] != _MAGIC:
        raise SourceError(f"{name}: no header magic, found {intro[:8].hex()}")
    entry_count = int.from_bytes(intro[8:12], "big")
    data_bytes = int.from_bytes(intro[12:16], "big")
    if entry_count > limits.entries:
        raise SourceError(f"{name}: header has {entry_count} entries, limit {limits.entries}")
    if data_bytes > limits.data_bytes:
        raise SourceError(f"{name}: header has {data_bytes} bytes, limit {limits.data_bytes}")
    return HEADER_INTRO_BYTES + _ENTRY_BYTES * entry_count + data_bytes


def parse_header(raw: bytes, limits: HeaderLimits, name: str) -> Header:
    """Read the index of a whole header (as long as ``header_size`` says).

    Values are checked when they are read. Raises SourceError when the bytes are fewer than
    announced or an entry lies outside the data area.
    """
    size = header_size(raw[:HEADER_INTRO_BYTES], limits, name)
    if len(raw) < size:
        raise SourceError(f"{name}: truncated header: {len(raw)} of {size} bytes")
    (entry_count,) = struct.unpack_from(">I", raw, 8)
    index_end = HEADER_INTRO_BYTES + _ENTRY_BYTES * entry_count
    fields = struct.unpack_from(f">{4 * entry_count}I", raw, HEADER_INTRO_BYTES)
    tag_numbers, types, offsets, counts = fields[::4], fields[1::4], fields[2::4], fields[3::4]
    data = raw[index_end:size]
    if entry_count:
        _check_index(types, offsets, counts, len(data), name)
    # Of two entries with the same tag the first one counts, so it must be stored last.
    described = zip(types[::-1], offsets[::-1], counts[::-1], strict=True)
    entries = dict(zip(tag_numbers[::-1], described, strict=True))
    return Header(name, entries, data, sorted({*offsets, len(data)}))


def parse_header_blob(blob: bytes, name: str) -> Header:
    """Read the index of a header as an rpm database holds it: without magic, nothing after it.

    Signature tags stand in it too. Raises SourceError for damage.
    """
    raw = _MAGIC + blob
    size = header_size(raw[:HEADER_INTRO_BYTES], MAIN_HEADER_LIMITS, name)
    if len(raw) != size:
        raise SourceError(f"{name}: a header of {size} bytes in {len(raw)}")
    return parse_header(raw, MAIN_HEADER_LIMITS, name)


def _check_index(
    types: tuple[int, ...], offsets: tuple[int, ...], counts: tuple[int, ...], size: int, name: str
) -> None:
    if max(types) > _I18N_STRING:
        raise SourceError(f"{name}: header entry of unknown type {max(types)}")
    if max(offsets) > size:
        raise SourceError(f"{name}: header entry at {max(offsets)} beyond {size} bytes of data")
    # Entries never share their data, so a small header cannot stand for a large one.
    if sum(counts) > size:
        raise SourceError(f"{name}: header entries of {sum(counts)} values in {size} bytes")


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A header whose values are read, and checked, one by one.

    Each reader takes a tag number and returns an empty value when the tag is absent. Text is
    bytes, exactly as stored. All raise SourceError, naming input and tag, on a broken entry.
    """

    name: str
    entries: dict[int, _Entry]
    data: bytes
    offsets: list[int]

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    @property
    def has_region(self) -> bool:
        """Whether a region tag is there; headers of very old packages have none."""
        return any(tag in self.entries for tag in _REGION_TAGS)

    def _broken(self, tag: int, what: str) -> SourceError:
        return SourceError(f"{self.name}: tag {tag}: {what}")

    def string(self, tag: int) -> bytes:
        """A text; the first one when several are stored."""
        if tag not in self.entries:
            return b""
        type_, offset, count = self.entries[tag]
        if type_ not in _TEXT_TYPES:
            raise self._broken(tag, f"type {type_} where text is needed")
        end = self.data.find(b"\0", offset)
        if end < 0 and count:
            raise self._broken(tag, "text without end")
        return self.data[offset:end] if count else b""

    def translated(self, tag: int) -> bytes:
        """The text of the C locale (the first one when there is none), whatever our locale."""
        if tag not in self.entries or tags.HEADER_I18N_TABLE not in self.entries:
            return self.string(tag)
        if self.entries[tag][2] < 2:
            return self.string(tag)
        locales = self.strings(tags.HEADER_I18N_TABLE)
        texts = self.strings(tag)
        position = locales.index(b"C") if b"C" in locales else 0
        return texts[position] if position < len(texts) else self.string(tag)

    def strings(self, tag: int) -> list[bytes]:
        """All texts of an array; a single text counts as an array of one."""
        if tag not in self.entries:
            return []
        blob, count = self.joined_strings(tag)
        return blob.split(b"\0") if count else []

    def joined_strings(self, tag: int) -> tuple[bytes, int]:
        """All texts of an array joined with NUL bytes, and their number."""
        type_, offset, count = self.entries.get(tag, _ABSENT)
        if type_ == _STRING or type_ not in _TEXT_TYPES:
            return self.string(tag), min(count, 1)
        if not count:
            return b"", 0
        if count > _MAX_TEXTS:
            raise self._broken(tag, f"{count} texts, limit {_MAX_TEXTS}")
        # An array normally ends where the next entry begins, save for alignment.
        following = bisect_right(self.offsets, offset)
        end = self.offsets[following] if following < len(self.offsets) else offset
        blob = self.data[offset:end]
        surplus = blob.count(b"\0") - count
        if surplus >= 0 and blob.endswith(b"\0" * (surplus + 1)):
            return blob[: len(blob) - surplus - 1], count
        texts = self.data[offset:].split(b"\0", count)
        if len(texts) <= count:
            raise self._broken(tag, f"{count} texts announced, {len(texts) - 1} found")
        return b"\0".join(texts[:-1]), count

    def integers(self, tag: int) -> array[int]:
        """All numbers of an array, unsigned, in their stored width."""
        entry = self.entries.get(tag)
        if entry is None:
            return array("I")
        type_, offset, count = entry
        code = _INTEGER_CODES.get(type_)
        if code is None:
            raise self._broken(tag, f"type {type_} where numbers are needed")
        values: array[int] = array(code)
        if offset % values.itemsize:
            raise self._broken(tag, f"offset {offset} is not aligned")
        end = offset + count * values.itemsize
        if end > len(self.data):
            raise self._broken(tag, f"numbers up to {end} in {len(self.data)} bytes of data")
        values.frombytes(self.data[offset:end])
        if _SWAP and values.itemsize > 1:
            values.byteswap()
        return values

    def integer(self, tag: int) -> int:
        """A number; the first one when several are stored, 0 when there is none."""
        if tag not in self.entries:
            return 0
        values = self.integers(tag)
        return values[0] if values else 0

    def binary(self, tag: int) -> bytes:
        """Raw bytes of type BIN (CHAR and INT8 are taken too)."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        type_, offset, count = entry
        if type_ not in (_BIN, _CHAR, _INT8):
            raise self._broken(tag, f"type {type_} where bytes are needed")
        if offset + count > len(self.data):
            raise self._broken(tag, f"bytes up to {offset + count} in {len(self.data)} of data")
        return self.data[offset : offset + count]

    def sha1(self, tag: int) -> bytes:
        """A SHA-1 that is stored as hexadecimal text: 20 bytes, or empty."""
        text = self.string(tag)
        try:
            digest = binascii.unhexlify(text)
        except ValueError:
            digest = b""
        if text and len(digest) != _SHA1_BYTES:
            raise self._broken(tag, f"{text[:60]!r} is no SHA-1")
        return digest

    def text_of_any_type(self, tag: int) -> bytes:
        """A text, or the decimal form of a number (architecture and OS before 1998)."""
        entry = self.entries.get(tag)
        if entry is not None and entry[0] in _INTEGER_CODES:
            return str(self.integer(tag)).encode()
        return self.string(tag)
