"""ISO 9660 with Rock Ridge or Joliet, read in place: a file is a list of ranges of the image.

Sources of the format: ECMA-119 (descriptors, directory records), the Joliet specification and El
Torito; Rock Ridge stands in ``rock_ridge``. With Rock Ridge names, modes, owners, times and links
are those of the files that were put in; with Joliet alone only names are; with neither, names are
lower case without their version, as Linux shows them.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from altrepodb.byte_source import ByteSource, Extents
from altrepodb.errors import SourceError
from altrepodb.image.iso9660_volume import Volume, read_volume
from altrepodb.image.rock_ridge import (
    Continuation,
    RockRidge,
    read_rock_ridge,
    record_time,
    skip_of_root,
)
from altrepodb.image.tree import Entry, EntryType, shown_name

__all__ = ["IsoTree", "open_iso"]

MAX_DIRECTORY_BYTES = 64 << 20
"""Of all directories together; a whole repository of 60 000 packages needs 15 MiB."""
MAX_ENTRIES = 500_000

_SECTOR_BYTES = 2048
_DIRECTORY_FLAG = 0x02
_MORE_EXTENTS_FLAG = 0x80
_RECORD = struct.Struct("<BBI4xI4x7sBBB4xB")
_HEAD_BYTES = _RECORD.size

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Record:
    """A directory record. ``range`` is offset and size of its extent in the image, in bytes."""

    offset: int
    range: Range
    stamp: bytes
    flags: int
    identifier: bytes
    area: bytes

    @property
    def is_directory(self) -> bool:
        return bool(self.flags & _DIRECTORY_FLAG)

    @property
    def is_special(self) -> bool:
        """The records of a directory itself and of the one above it."""
        return self.identifier in (b"\0", b"\1")


class IsoTree:
    """The files of an image; see ``altrepodb.image.tree.Tree``. Safe for several threads."""

    def __init__(self, source: ByteSource, volume: Volume) -> None:
        """``source`` is as long as it says."""
        self.name = source.name
        self._source = source
        self._volume = volume
        self._listings: dict[Range, tuple[Entry, ...]] = {}
        self._directory_bytes = 0
        self._entry_count = 0
        primary = self._first_record(volume.primary.root)
        self._skip = skip_of_root(primary.area)
        self._is_joliet = self._skip is None and volume.joliet is not None
        root = volume.joliet.root if self._is_joliet and volume.joliet else volume.primary.root
        self.ignores_case = self._skip is None
        self._root = self._directory_entry(b"", root, primary)

    @property
    def root(self) -> Entry:
        return self._root

    @property
    def has_rock_ridge(self) -> bool:
        return self._skip is not None

    def entries(self, directory: Entry) -> Iterator[Entry]:
        place: Range = directory.location
        listing = self._listings.get(place)
        if listing is None:
            listing = tuple(self._read_directory(place))
            self._listings[place] = listing
        return iter(listing)

    def extents(self, file: Entry) -> tuple[Range, ...]:
        """Offsets and sizes of a regular file's parts in the image, in bytes."""
        ranges: tuple[Range, ...] = file.location
        return ranges

    def open(self, file: Entry) -> Extents:
        return Extents(self._source, self.extents(file), f"{self.name}: {shown_name(file.name)}")

    def description(self) -> str:
        """What the descriptors say, one ``label: value`` a line."""
        return self._volume.description(has_rock_ridge=self.has_rock_ridge)

    # Directories

    def _read_directory(self, place: Range) -> Iterator[Entry]:
        parts: list[_Record] = []
        for record in self._records(place):
            if record.is_special:
                continue
            if parts and parts[0].identifier != record.identifier:
                raise self._damaged("a file's further parts are missing")
            parts.append(record)
            if record.flags & _MORE_EXTENTS_FLAG:
                continue
            entry = self._entry(parts)
            parts = []
            if entry is not None:
                self._entry_count += 1
                if self._entry_count > MAX_ENTRIES:
                    raise self._damaged(f"more than {MAX_ENTRIES} files")
                yield entry
        if parts:
            raise self._damaged("a file's further parts are missing")

    def _records(self, place: Range) -> Iterator[_Record]:
        """The records of a directory. None crosses a sector; a length of 0 ends the sector."""
        start, size = place
        self._count_bytes(size)
        for sector in range(start, start + size, _SECTOR_BYTES):
            data = self._source.pread(min(_SECTOR_BYTES, start + size - sector), sector)
            position = 0
            while position < len(data) and data[position]:
                yield self._parse_record(data, position, sector)
                position += data[position]

    def _count_bytes(self, size: int) -> None:
        self._directory_bytes += size
        if self._directory_bytes > MAX_DIRECTORY_BYTES:
            raise self._damaged(f"more than {MAX_DIRECTORY_BYTES} bytes of directories")

    def _parse_record(self, data: bytes, position: int, sector: int) -> _Record:
        length = data[position]
        record = data[position : position + length]
        if length <= _HEAD_BYTES or len(record) != length:
            raise self._damaged("a directory record has a wrong length")
        _, attributes, block, size, stamp, flags, unit, gap, name_size = _RECORD.unpack_from(record)
        if unit or gap:
            raise self._damaged("interleaved files are not supported")
        name_end = _HEAD_BYTES + name_size
        if not name_size or name_end > length:
            raise self._damaged("a name is longer than its directory record")
        return _Record(
            sector + position,
            ((block + attributes) * self._volume.block_bytes, size),
            stamp,
            flags,
            record[_HEAD_BYTES:name_end],
            record[name_end + (name_size + 1) % 2 :],
        )

    def _first_record(self, place: Range) -> _Record:
        """A directory's record of itself."""
        for record in self._records((place[0], min(place[1], _SECTOR_BYTES))):
            if record.identifier == b"\0" and record.is_directory:
                return record
            break
        raise self._damaged("a directory does not start with itself")

    # Entries

    def _entry(self, parts: list[_Record]) -> Entry | None:
        """The file of these records; None for the hidden place of a relocated directory."""
        first = parts[0]
        extension = self._rock_ridge(first.area)
        if extension.is_relocated:
            return None
        name = extension.name if extension.name is not None else self._plain_name(first)
        self._check_name(name)
        if extension.child_block is not None:
            return self._relocated_entry(name, extension.child_block)
        if first.is_directory:
            return self._directory_entry(name, first.range, first)
        return self._file_entry(name, parts, extension)

    def _relocated_entry(self, name: bytes, block: int) -> Entry:
        offset = block * self._volume.block_bytes
        itself = self._first_record((offset, _SECTOR_BYTES))
        return self._directory_entry(name, (offset, itself.range[1]), itself)

    def _directory_entry(self, name: bytes, place: Range, record: _Record) -> Entry:
        """``record`` has the attributes: it stands in the directory above, or in itself."""
        extension = self._rock_ridge(record.area)
        mode = stat.S_IFDIR | 0o555 if extension.mode is None else extension.mode
        if not stat.S_ISDIR(mode):
            raise self._damaged(f"{shown_name(name)} is a directory and is none")
        if place[0] + place[1] > self._source.size:
            raise self._damaged(f"directory {shown_name(name)} reaches beyond the end")
        return Entry(
            name=name,
            type=EntryType.DIRECTORY,
            mode=mode,
            uid=extension.uid,
            gid=extension.gid,
            size=place[1],
            mtime=self._time(record, extension),
            inode=place[0],
            location=place,
        )

    def _file_entry(self, name: bytes, parts: list[_Record], extension: RockRidge) -> Entry:
        mode = stat.S_IFREG | 0o444 if extension.mode is None else extension.mode
        kind = EntryType.of_mode(mode)
        if kind is None or kind is EntryType.DIRECTORY:
            raise self._damaged(f"{shown_name(name)} has the mode {mode:o}")
        ranges = tuple(part.range for part in parts) if kind is EntryType.FILE else ()
        size = sum(size for _, size in ranges)
        return Entry(
            name=name,
            type=kind,
            mode=mode,
            uid=extension.uid,
            gid=extension.gid,
            size=len(extension.link_target) if kind is EntryType.SYMLINK else size,
            mtime=self._time(parts[0], extension),
            # Files of the same ranges have the same content, and are hard links mostly.
            inode=ranges if size else ("empty", parts[0].offset),
            rdev=extension.rdev,
            link_target=extension.link_target,
            location=ranges,
        )

    def _rock_ridge(self, area: bytes) -> RockRidge:
        if self._skip is None:
            return RockRidge()
        try:
            return read_rock_ridge(area[self._skip :], self._read_continuation)
        except (ValueError, IndexError, struct.error) as error:
            raise self._damaged(error) from error

    def _read_continuation(self, place: Continuation) -> bytes:
        self._count_bytes(place.size)
        offset = place.block * self._volume.block_bytes + place.offset
        return self._source.pread(place.size, offset)

    def _time(self, record: _Record, extension: RockRidge) -> int:
        if extension.mtime is not None:
            return extension.mtime
        try:
            return record_time(record.stamp)
        except (ValueError, struct.error) as error:
            raise self._damaged(error) from error

    def _plain_name(self, record: _Record) -> bytes:
        """A name without its version and the dot before an extension that is not there."""
        if self._is_joliet:
            text = record.identifier.decode("utf-16-be", "replace")
            return text.partition(";")[0].encode("utf-8", "replace")
        name = record.identifier.partition(b";")[0].lower()
        return name.removesuffix(b".") or name

    def _check_name(self, name: bytes) -> None:
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise self._damaged(f"a file has the name {shown_name(name)!r}")

    def _damaged(self, reason: object) -> SourceError:
        return SourceError(f"{self.name}: damaged ISO 9660: {reason}")


def open_iso(source: ByteSource) -> IsoTree:
    """The tree of an ISO 9660 image.

    Raises SourceError when it is none, is shorter than it says, or is damaged.
    """
    return IsoTree(source, read_volume(source))
