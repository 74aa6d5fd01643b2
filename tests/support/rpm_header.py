"""Build RPM header structures byte by byte, with every index entry under control.

The result is what the given entries say, sound or not: nothing here is checked, since half of the
callers want headers that are wrong in one place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

MAGIC = b"\x8e\xad\xe8\x01\x00\x00\x00\x00"
REGION_SIGNATURES = 62
REGION_IMMUTABLE = 63
TAG_I18N_TABLE = 100
_INDEX_ENTRY_SIZE = 16

Text = str | bytes
Translations = Text | Mapping[str, Text]


class TagType(IntEnum):
    """Types of header values."""

    NULL = 0
    CHAR = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    STRING = 6
    BIN = 7
    STRING_ARRAY = 8
    I18NSTRING = 9


_ALIGNMENT: dict[int, int] = {TagType.INT16: 2, TagType.INT32: 4, TagType.INT64: 8}
_PACK_CODE: dict[int, str] = {
    TagType.CHAR: "B",
    TagType.INT8: "B",
    TagType.INT16: "H",
    TagType.INT32: "I",
    TagType.INT64: "Q",
}


class Entry(NamedTuple):
    """One index entry and its data; `offset` moves the entry without moving the data."""

    tag: int
    type: int
    items: int
    data: bytes
    offset: int | None = None


def to_bytes(text: Text) -> bytes:
    """Bytes of a text; lone surrogates stand for bytes that are not UTF-8."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _terminated(texts: Iterable[Text]) -> bytes:
    """All texts back to back, a NUL after each."""
    return b"".join([to_bytes(text) + b"\0" for text in texts])


def numbers(tag: int, kind: TagType, values: Sequence[int]) -> Entry:
    """Entry of unsigned numbers of any of the five integer types."""
    data = struct.pack(f">{len(values)}{_PACK_CODE[kind]}", *values)
    return Entry(tag, kind, len(values), data)


def char(tag: int, *values: int) -> Entry:
    """CHAR entry."""
    return numbers(tag, TagType.CHAR, values)


def int8(tag: int, *values: int) -> Entry:
    """INT8 entry."""
    return numbers(tag, TagType.INT8, values)


def int16(tag: int, *values: int) -> Entry:
    """INT16 entry."""
    return numbers(tag, TagType.INT16, values)


def int32(tag: int, *values: int) -> Entry:
    """INT32 entry."""
    return numbers(tag, TagType.INT32, values)


def int64(tag: int, *values: int) -> Entry:
    """INT64 entry."""
    return numbers(tag, TagType.INT64, values)


def string(tag: int, text: Text) -> Entry:
    """STRING entry."""
    return Entry(tag, TagType.STRING, 1, to_bytes(text) + b"\0")


def string_array(tag: int, texts: Sequence[Text]) -> Entry:
    """STRING_ARRAY entry."""
    return Entry(tag, TagType.STRING_ARRAY, len(texts), _terminated(texts))


def i18n_string(tag: int, texts: Sequence[Text]) -> Entry:
    """I18NSTRING entry: the texts follow the order of the locales in tag 100."""
    return Entry(tag, TagType.I18NSTRING, len(texts), _terminated(texts))


def binary(tag: int, data: bytes) -> Entry:
    """BIN entry."""
    return Entry(tag, TagType.BIN, len(data), data)


def translated(tag: int, texts: Translations, locales: Sequence[str]) -> Entry:
    """I18NSTRING entry of the given translations; missing ones at the end are left out."""
    if not isinstance(texts, Mapping):
        texts = {"C": texts}
    last = max((i for i, locale in enumerate(locales) if locale in texts), default=0)
    return i18n_string(tag, [texts.get(locale, "") for locale in locales[: last + 1]])


def locales_of(*texts: Translations) -> list[str]:
    """Locales that the given texts are written in, "C" first."""
    found = {"C": None}
    for text in texts:
        if isinstance(text, Mapping):
            found.update(dict.fromkeys(text))
    return list(found)


def amend(
    entries: Iterable[Entry],
    replace: Mapping[int, Entry | None],
    extra: Sequence[Entry] = (),
) -> list[Entry]:
    """Apply changes to a list of entries.

    `replace` gives the new entry of a tag, or None to leave the tag out; a tag that was absent is
    added. `extra` entries are added as they are, also beside another entry of the same tag.
    """
    kept = [entry for entry in entries if entry.tag not in replace]
    kept.extend(entry for entry in replace.values() if entry is not None)
    return [*kept, *extra]


def build_header(
    entries: Iterable[Entry],
    *,
    region: int | None = REGION_IMMUTABLE,
    trailer_tag: int | None = None,
    sort: bool = True,
) -> bytes:
    """Header structure of the entries, with its magic.

    With a `region` the first entry is the region tag and the data ends in its trailer, which
    names `trailer_tag` if that is given. Entries are sorted by tag unless `sort` is off.
    """
    ordered = sorted(entries, key=lambda entry: entry.tag) if sort else list(entries)
    index: list[bytes] = []
    data: list[bytes] = []
    size = 0
    for entry in ordered:
        padding = -size % _ALIGNMENT.get(entry.type, 1)
        if padding:
            data.append(bytes(padding))
            size += padding
        offset = size if entry.offset is None else entry.offset
        index.append(_index_entry(entry.tag, entry.type, offset, entry.items))
        data.append(entry.data)
        size += len(entry.data)
    if region is not None:
        index.insert(0, _index_entry(region, TagType.BIN, size, _INDEX_ENTRY_SIZE))
        span = -_INDEX_ENTRY_SIZE * len(index)
        data.append(_index_entry(trailer_tag or region, TagType.BIN, span, _INDEX_ENTRY_SIZE))
        size += _INDEX_ENTRY_SIZE
    return b"".join([MAGIC, struct.pack(">II", len(index), size), *index, *data])


def _index_entry(tag: int, kind: int, offset: int, count: int) -> bytes:
    """One packed index entry; negative numbers wrap as they do in C."""
    mask = 0xFFFFFFFF
    return struct.pack(">IIII", tag & mask, kind & mask, offset & mask, count & mask)


def parse_header(data: bytes, start: int = 0) -> tuple[list[Entry], int]:
    """Entries of a sound header, without its region tag, and where the header ends.

    Only for headers that were built here, to change and rebuild them; it trusts every number.
    """
    count, size = struct.unpack_from(">II", data, start + 8)
    area = start + 16 + _INDEX_ENTRY_SIZE * count
    entries = []
    for i in range(count):
        tag, kind, offset, items = struct.unpack_from(">IIII", data, start + 16 * (i + 1))
        if tag not in (REGION_SIGNATURES, REGION_IMMUTABLE):
            entries.append(Entry(tag, kind, items, _value(data, area + offset, kind, items)))
    return entries, area + size


def texts_of(entry: Entry) -> list[bytes]:
    """Texts of an entry of any string type."""
    return entry.data.split(b"\0")[: entry.items]


def _value(data: bytes, start: int, kind: int, items: int) -> bytes:
    """Data of one entry."""
    if kind in (TagType.STRING, TagType.STRING_ARRAY, TagType.I18NSTRING):
        end = start
        for _ in range(items):
            end = data.index(b"\0", end) + 1
        return data[start:end]
    return data[start : start + items * _ALIGNMENT.get(kind, 1)]
