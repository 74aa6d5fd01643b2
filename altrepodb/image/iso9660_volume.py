"""Volume descriptors of an ISO 9660 image, and a text that says what is in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError

__all__ = ["BootCatalog", "Descriptor", "Volume", "read_volume"]

_SECTOR_BYTES = 2048
_FIRST_SECTOR = 16
_MAX_DESCRIPTORS = 64
_MAGIC = b"CD001"
_BOOT, _PRIMARY, _SUPPLEMENTARY, _END = 0, 1, 2, 255
_EL_TORITO = b"EL TORITO SPECIFICATION"
_JOLIET_LEVELS = {b"%/@": 1, b"%/C": 2, b"%/E": 3}
_BLOCK_SIZES = (512, 1024, 2048)
_PLATFORMS = {0: "x86", 1: "PowerPC", 2: "Mac", 0xEF: "EFI"}
_MEDIA = {
    0: "no emulation",
    1: "1.2 MB floppy",
    2: "1.44 MB floppy",
    3: "2.88 MB floppy",
    4: "hard disk",
}
_TEXT_FIELDS = (
    ("System id", 8, 40),
    ("Volume id", 40, 72),
    ("Volume set id", 190, 318),
    ("Publisher id", 318, 446),
    ("Data preparer id", 446, 574),
    ("Application id", 574, 702),
    ("Copyright file id", 702, 739),
    ("Abstract file id", 739, 776),
    ("Bibliographic file id", 776, 813),
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A primary or supplementary descriptor: ``root`` is offset and size of its root directory."""

    data: bytes
    root: tuple[int, int]


@dataclass(frozen=True, slots=True)
class BootCatalog:
    """Where El Torito's catalogue is, and its validation and default entries."""

    version: int
    sector: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Volume:
    """What the descriptors of an image say."""

    primary: Descriptor
    block_bytes: int
    size_blocks: int
    joliet: Descriptor | None
    joliet_level: int
    boot: BootCatalog | None

    def description(self, *, has_rock_ridge: bool) -> str:
        """One ``label: value`` a line."""
        lines = ["Format: ISO 9660"]
        data = self.primary.data
        lines += [f"{label}: {_text(data[start:end])}" for label, start, end in _TEXT_FIELDS]
        set_size, sequence_number = struct.unpack_from("<H2xH", data, 120)
        lines += [
            f"Volume set size: {set_size}",
            f"Volume set sequence number: {sequence_number}",
            f"Logical block size: {self.block_bytes}",
            f"Volume size in blocks: {self.size_blocks}",
            f"Joliet: {f'UCS level {self.joliet_level}' if self.joliet else 'no'}",
            f"Rock Ridge: {'yes' if has_rock_ridge else 'no'}",
        ]
        return "\n".join(lines + _boot_lines(self.boot))


def _text(field: bytes) -> str:
    """A field of a descriptor without its padding, on one line whatever it holds."""
    text = field.decode("utf-8", "replace").rstrip("\0 ")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _boot_lines(boot: BootCatalog | None) -> list[str]:
    if boot is None:
        return ["El Torito: no"]
    header, platform = boot.data[:2]
    bootable, medium, segment, system, sectors, start = struct.unpack_from(
        "<BBHBxHI", boot.data, 32
    )
    return [
        f"El Torito: version {boot.version}",
        f"Boot catalogue sector: {boot.sector}",
        f"Boot header id: {header}",
        f"Boot platform: {platform} ({_PLATFORMS.get(platform, 'unknown')})",
        f"Boot manufacturer id: {_text(boot.data[4:28])}",
        f"Boot key bytes: {boot.data[30:32].hex(' ').upper()}",
        f"Boot indicator: {bootable:02X} ({'bootable' if bootable == 0x88 else 'not bootable'})",
        f"Boot medium: {medium} ({_MEDIA.get(medium & 15, 'unknown')})",
        f"Boot load segment: {segment}",
        f"Boot system type: {system}",
        f"Boot sector count: {sectors}",
        f"Boot offset: {start} (0x{start:X})",
    ]


def read_volume(source: ByteSource) -> Volume:
    """The descriptors of an image.

    Raises SourceError when it is no ISO 9660 image, or is shorter than it says.
    """
    primary = joliet = boot = None
    level = 0
    for kind, data in _iter_descriptors(source):
        if kind == _PRIMARY and primary is None:
            primary = data
        elif kind == _SUPPLEMENTARY and data[88:91] in _JOLIET_LEVELS:
            joliet, level = data, _JOLIET_LEVELS[data[88:91]]
        elif kind == _BOOT and data[7:39].rstrip(b"\0 ") == _EL_TORITO:
            boot = _read_boot_catalog(source, data)
    if primary is None:
        raise SourceError(f"{source.name}: damaged ISO 9660: no primary volume descriptor")
    block_bytes, size_blocks = _size(source, primary)
    return Volume(
        _descriptor(source, primary, block_bytes),
        block_bytes,
        size_blocks,
        None if joliet is None else _descriptor(source, joliet, block_bytes),
        level,
        boot,
    )


def _iter_descriptors(source: ByteSource) -> Iterator[tuple[int, bytes]]:
    for sector in range(_FIRST_SECTOR, _FIRST_SECTOR + _MAX_DESCRIPTORS):
        offset = sector * _SECTOR_BYTES
        is_there = offset + _SECTOR_BYTES <= source.size
        data = source.pread(_SECTOR_BYTES, offset) if is_there else b""
        if data[1:6] != _MAGIC:
            reason = "not an ISO 9660 image" if sector == _FIRST_SECTOR else "damaged ISO 9660"
            raise SourceError(f"{source.name}: {reason}: no volume descriptor at {offset}")
        if data[0] == _END:
            return
        yield data[0], data
    raise SourceError(f"{source.name}: damaged ISO 9660: too many volume descriptors")


def _size(source: ByteSource, primary: bytes) -> tuple[int, int]:
    size_blocks = struct.unpack_from("<I", primary, 80)[0]
    block_bytes = struct.unpack_from("<H", primary, 128)[0]
    if block_bytes not in _BLOCK_SIZES:
        raise SourceError(f"{source.name}: damaged ISO 9660: blocks of {block_bytes} bytes")
    if size_blocks * block_bytes > source.size:
        raise SourceError(
            f"{source.name}: truncated: {size_blocks * block_bytes} bytes in its descriptor,"
            f" {source.size} there"
        )
    return block_bytes, size_blocks


def _descriptor(source: ByteSource, data: bytes, block_bytes: int) -> Descriptor:
    attributes, block, size = struct.unpack_from("<BI4xI", data, 157)
    offset = (attributes + block) * block_bytes
    if offset + size > source.size:
        raise SourceError(f"{source.name}: damaged ISO 9660: the root is beyond the end")
    return Descriptor(data, (offset, size))


def _read_boot_catalog(source: ByteSource, data: bytes) -> BootCatalog:
    sector = struct.unpack_from("<I", data, 71)[0]
    return BootCatalog(data[6], sector, source.pread(64, sector * _SECTOR_BYTES))
