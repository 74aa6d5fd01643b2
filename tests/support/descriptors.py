"""What this process has open below a directory.

All its descriptors say less: threads of libraries and collected garbage open and close others at
any moment.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["open_below"]

_OWN = Path("/proc/self/fd")


def open_below(directory: Path) -> list[str]:
    """The files there that descriptors of this process stand for, one for each descriptor."""
    found = []
    for name in os.listdir(_OWN):
        try:
            target = os.readlink(_OWN / name)
        except OSError:
            continue
        if target.startswith(f"{directory.resolve()}/"):
            found.append(target)
    return sorted(found)
