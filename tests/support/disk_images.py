"""Compose file systems and disks with the tools of Debian; small ones, as an ordinary user."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

SECTOR_BYTES = 512
GPT_LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_TOOL_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*command: str | Path, text: str = "") -> None:
    """Run a tool; what it says is shown when it fails."""
    environment = {**os.environ, "PATH": _TOOL_PATH, "LC_ALL": "C", "MKE2FS_SKIP_PROGRESS": "1"}
    arguments = [str(word) for word in command]
    result = subprocess.run(
        arguments, input=text.encode(), capture_output=True, env=environment, check=False
    )
    if result.returncode:
        output = (result.stdout + result.stderr).decode("utf-8", "replace")
        raise RuntimeError(f"{' '.join(arguments)}: {output}")


def write_files(
    root: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None
) -> None:
    """A directory tree of files and symbolic links."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, target in (links or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


# File systems


def make_ext(path: Path, root: Path, *options: str, size: int = 8 << 20) -> None:
    """An ext file system with the content of a directory; options such as `-t ext2`."""
    _truncate(path, size)
    run("mke2fs", "-q", *options, "-E", "root_owner=0:0", "-F", "-d", root, path)


def make_xfs(path: Path, root: Path, size: int = 300 << 20) -> None:
    """An xfs file system, sparse; mkfs.xfs wants this size."""
    _truncate(path, size)
    prototype = path.with_suffix(".proto")
    lines = ["boot", "0 0", "d--755 0 0", *_prototype(root), "$"]
    prototype.write_text("\n".join(lines) + "\n")
    run("mkfs.xfs", "-q", "-f", "-p", prototype, path)


def _prototype(directory: Path) -> list[str]:
    lines = []
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            lines.append(f"{path.name} l--777 0 0 {path.readlink()}")
        elif path.is_dir():
            lines += [f"{path.name} d--755 0 0", *_prototype(path), "$"]
        else:
            lines.append(f"{path.name} ---644 0 0 {path}")
    return lines


def make_btrfs(path: Path, root: Path, size: int = 120 << 20) -> None:
    """A btrfs file system, sparse."""
    _truncate(path, size)
    run("mkfs.btrfs", "-q", "--rootdir", root, path)


def make_fat(path: Path, size: int = 2 << 20) -> None:
    """An empty FAT file system, such as that of EFI."""
    _truncate(path, size)
    run("mkfs.vfat", path)


def _truncate(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


# Disks


def make_disk(path: Path, table: str, volumes: Mapping[int, Path], size: int) -> None:
    """A disk with a table from a script for sfdisk, and file systems by their first sector."""
    _truncate(path, size)
    run("sfdisk", "-q", path, text=table)
    place_volumes(path, {start * SECTOR_BYTES: volume for start, volume in volumes.items()})


def place_volumes(path: Path, volumes: Mapping[int, Path]) -> None:
    """Write files into a disk at the given bytes, holes left out."""
    for start, volume in volumes.items():
        run(
            "dd", f"if={volume}", f"of={path}", "bs=64K", f"seek={start}", "oflag=seek_bytes",
            "conv=notrunc,sparse", "status=none",
        )  # fmt: skip


def gpt_disk(
    partitions: Sequence[tuple[int, int]], *, sector_bytes: int = 4096, size: int
) -> bytes:
    """The head of a disk with a GPT: partitions are first and last sector, by number from 1."""
    table = b"".join(
        struct.pack("<16s16sQQ48x24x", GPT_LINUX.bytes_le, bytes([number] * 16), first, last)
        for number, (first, last) in enumerate(partitions, 1)
    ).ljust(128 * 128, b"\0")
    sectors = size // sector_bytes
    header = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, sectors - 1, 6, sectors - 7,
        bytes(16), 2, 128, 128, zlib.crc32(table),
    )  # fmt: skip
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    protective = struct.pack("<B3xB3xII", 0, 0xEE, 1, sectors - 1)
    mbr = bytes(446) + protective.ljust(64, b"\0") + b"\x55\xaa"
    return mbr.ljust(sector_bytes, b"\0") + header.ljust(sector_bytes, b"\0") + table


def convert(source: Path, target: Path, *options: str) -> None:
    """A qcow2 disk of a raw one; options such as `-c`."""
    run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", *options, source, target)
