"""squashfs images made by mksquashfs without rights, and images that are damaged on purpose."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import zstandard

from tests.support.content import Content, as_directory, run_tool

__all__ = [
    "COMPRESSORS",
    "DEVICES",
    "IMAGE_TIME",
    "STORED",
    "fields_of",
    "make_squashfs",
    "with_field",
    "zeros_in",
]

COMPRESSORS = ("gzip", "lzma", "lzo", "xz", "lz4", "zstd")
IMAGE_TIME = 1_638_699_630
STORED = ("-noI", "-noId", "-noD", "-noF", "-noX")
"""Options of mksquashfs with which nothing is compressed, so that it can be changed in place."""
DEVICES = (
    "/null c 666 0 0 1 3",
    "/disk b 660 0 6 8 1",
    "/fifo i 644 0 0 f",
    "/socket i 755 0 0 s",
)

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
_FIELDS = (
    "magic inodes time block_size fragments compressor block_log flags ids major minor"
    " root bytes_used id_table xattr_table inode_table directory_table fragment_table export_table"
).split()


def make_squashfs(
    place: Path,
    content: Content,
    *,
    compressor: str = "xz",
    block_bytes: int = 262_144,
    options: Sequence[str] = (),
    devices: Sequence[str] = (),
) -> Path:
    """An image of a directory or of files; all times are ``IMAGE_TIME``, all owners root.

    ``devices`` are definitions of pseudo files, such as those of ``DEVICES``.
    """
    directory = as_directory(content, place.with_name(place.name + ".files"))
    command = ["mksquashfs", directory, place, "-comp", compressor, "-b", str(block_bytes)]
    command += "-no-recovery -all-root -noappend -quiet -no-progress -no-xattrs".split()
    command += ["-mkfs-time", str(IMAGE_TIME), "-all-time", str(IMAGE_TIME), *options]
    for device in devices:
        command += ["-p", device]
    run_tool(command)
    return place


def fields_of(image: bytes) -> dict[str, int]:
    """The numbers of a superblock by name."""
    return dict(zip(_FIELDS[1:], _SUPERBLOCK.unpack_from(image)[1:], strict=True))


def with_field(image: bytes, name: str, value: int) -> bytes:
    """Change one number of the superblock."""
    fields = list(_SUPERBLOCK.unpack_from(image))
    fields[_FIELDS.index(name)] = value
    return _SUPERBLOCK.pack(*fields) + image[_SUPERBLOCK.size :]


def zeros_in(compressor: str, size: int) -> bytes:
    """A stream of xz, zstd or gzip that becomes so many zero bytes; made in little memory."""
    chunk = bytes(1 << 20)
    if compressor == "zstd":
        output = io.BytesIO()
        with zstandard.ZstdCompressor(level=1).stream_writer(output, closefd=False) as writer:
            for _ in range(size // len(chunk)):
                writer.write(chunk)
        return output.getvalue()
    packer = zlib.compressobj(9) if compressor == "gzip" else lzma.LZMACompressor(preset=0)
    pieces = [packer.compress(chunk) for _ in range(size // len(chunk))]
    return b"".join(pieces) + packer.flush()
