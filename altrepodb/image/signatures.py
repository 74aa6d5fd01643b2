"""What bytes are, by the signatures at their known places."""

from __future__ import annotations

from altrepodb.byte_source import ByteSource

__all__ = ["signature_of"]

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"XFSB", "xfs"),
    (65600, b"_BHRfS_M", "btrfs"),
    (1080, b"\x53\xef", "ext"),
    *((sector * 512, b"LABELONE", "LVM2") for sector in range(4)),
    *((page - 10, b"SWAPSPACE2", "swap") for page in (4096, 8192, 16384, 65536)),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (0, b"hsqs", "squashfs"),
    (32768, b"JFS1", "jfs"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (32769, b"CD001", "ISO 9660"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (82, b"FAT32   ", "FAT"),
    (54, b"FAT16   ", "FAT"),
    (54, b"FAT12   ", "FAT"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (257, b"ustar", "tar"),
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"conectix", "VHD"),
    (0, b"vhdxfile", "VHDX"),
)


def signature_of(source: ByteSource) -> str | None:
    """The name of the format, None for an unknown one."""
    for offset, magic, name in _SIGNATURES:
        if source.size >= offset + len(magic) and source.pread(len(magic), offset) == magic:
            return name
    return None
