"""squashfs images made by mksquashfs without rights, and images that are damaged on purpose."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from tests.support.content import Content, as_directory, run_tool

__all__ = [
    "COMPRESSORS",
    "DEVICES",
    "IMAGE_TIME",
    "STORED",
    "compose_squashfs",
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

_NO_TABLE = (1 << 64) - 1
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
    command: list[str | Path] = [
        "mksquashfs",
        directory,
        place,
        "-comp",
        compressor,
        "-b",
        str(block_bytes),
    ]
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


def compose_squashfs(
    inodes: Mapping[bytes, tuple[int, bytes]],
    *,
    contents: bytes = b"",
    fragments: Sequence[tuple[int, int]] = (),
    block_bytes: int = 4096,
) -> bytes:
    """An image that mksquashfs would not write: a root with these files, nothing compressed.

    An inode is a type, 1 to 14, and what follows the header that all have, for the reader to
    believe. ``contents`` stand at byte 96; fragments are places and size words.
    """
    table, listing = b"", b""
    for number, (name, (kind, body)) in enumerate(inodes.items(), start=1):
        basic = kind if kind < 8 else kind - 7
        listing += struct.pack("<HhHH", len(table), 0, basic, len(name) - 1) + name
        table += struct.pack("<HHHHII", kind, 0o644, 0, 0, IMAGE_TIME, number) + body
    if listing:
        listing = struct.pack("<III", len(inodes) - 1, 0, 1) + listing
    root = len(table) // 8192 * 8194 << 16 | len(table) % 8192
    table += struct.pack("<HHHHII", 1, 0o755, 0, 0, IMAGE_TIME, len(inodes) + 1)
    table += struct.pack("<IIHHI", 0, 2, len(listing) + 3, 0, 0)
    inode_place = _SUPERBLOCK.size + len(contents)
    parts = [contents, _stored(table)]
    listing_place = inode_place + len(parts[-1])
    parts.append(_stored(listing or b"\0"))
    fragment_block = listing_place + len(parts[-1])
    packed = b"".join(struct.pack("<QII", place, word, 0) for place, word in fragments)
    parts.append(_stored(packed or b"\0"))
    fragment_index = fragment_block + len(parts[-1])
    parts.append(struct.pack("<Q", fragment_block))
    ids = fragment_index + len(parts[-1])
    parts += [_stored(bytes(4)), struct.pack("<Q", ids)]
    id_index = ids + len(parts[-2])
    body = b"".join(parts)
    superblock = _SUPERBLOCK.pack(
        b"hsqs", len(inodes) + 1, IMAGE_TIME, block_bytes, len(fragments), 1,
        block_bytes.bit_length() - 1, 0, 1, 4, 0, root, _SUPERBLOCK.size + len(body), id_index,
        _NO_TABLE, inode_place, listing_place, fragment_index, _NO_TABLE,
    )  # fmt: skip
    return superblock + body


def _stored(data: bytes) -> bytes:
    """Metadata blocks that are not compressed."""
    blocks = [data[start : start + 8192] for start in range(0, len(data), 8192)]
    return b"".join(struct.pack("<H", 0x8000 | len(block)) + block for block in blocks)


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
