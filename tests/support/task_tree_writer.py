"""Write files whose modification times are exact, directories included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


class TreeWriter:
    """Files below a new directory; ``finish`` gives everything its time.

    What has no time of its own gets the default. Times are nanoseconds since 1970 UTC.
    """

    def __init__(self, root: Path, default_time: int) -> None:
        self._root = str(root)
        self._default_time = default_time
        self._times: dict[str, int | None] = {}
        os.makedirs(root.parent, exist_ok=True)
        os.mkdir(root)
        self._times[self._root] = None

    def directory(self, path: str, time: int | None = None) -> None:
        """Make a directory and those above it."""
        self._make(f"{self._root}/{path}")
        if time is not None:
            self._times[f"{self._root}/{path}"] = time

    def file(self, path: str, data: bytes, time: int | None = None) -> None:
        """Write a file."""
        self.chunks(path, iter((data,)), time)

    def text(self, path: str, text: str, time: int | None = None) -> None:
        """Write a file of one line."""
        self.file(path, f"{text}\n".encode(), time)

    def chunks(self, path: str, chunks: Iterator[bytes], time: int | None = None) -> int:
        """Write a file piece by piece; return its size."""
        full = self._place(path, time)
        size = 0
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            for chunk in chunks:
                size += os.write(descriptor, chunk)
        finally:
            os.close(descriptor)
        return size

    def link(self, path: str, target: str, time: int | None = None) -> None:
        """Make a symbolic link."""
        os.symlink(target, self._place(path, time))

    def finish(self) -> None:
        """Set all times; nothing can be written afterwards without changing them."""
        for path, time in self._times.items():
            moment = self._default_time if time is None else time
            os.utime(path, ns=(moment, moment), follow_symlinks=False)

    def _place(self, path: str, time: int | None) -> str:
        full = f"{self._root}/{path}"
        self._make(full.rpartition("/")[0])
        self._times[full] = time
        return full

    def _make(self, full: str) -> None:
        if full in self._times:
            return
        self._make(full.rpartition("/")[0])
        os.mkdir(full)
        self._times[full] = None
