"""Directories of files for builders of images."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from altrepodb.byte_source import check_range

__all__ = ["BytesSource", "Content", "as_directory", "run_tool", "write_files"]

Content = Path | Mapping[str, bytes]
"""A directory, or paths below the root of an image with what the files hold."""


class BytesSource:
    """Bytes in memory as a byte source."""

    def __init__(self, data: bytes, name: str = "image") -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        return self._data[offset : offset + count]


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Create files and the directories above them; a path that ends in "/" is a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = directory / name.lstrip("/")
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return directory


def as_directory(content: Content, place: Path) -> Path:
    """The directory that is given, or a new one at ``place`` with the files that are given."""
    return content if isinstance(content, Path) else write_files(place, content)


def run_tool(command: Sequence[str | Path], **environment: str) -> None:
    """Run a program of the system; what it printed is in the error when it fails."""
    variables = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run([str(part) for part in command], capture_output=True, env=variables)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")
