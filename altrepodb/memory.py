"""What is asked of the C library's allocator: to keep and reserve no more memory than is in use.

The engine allocates by its own means, so what glibc keeps is of no use to anybody. Another C
library does as it likes.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

__all__ = ["limit_arenas", "return_free_memory", "return_large_blocks"]

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_ARENAS = 2
_LARGE_BLOCK_BYTES = 4 * 1024 * 1024


def return_large_blocks() -> None:
    """From now on, give large blocks back to the system when they are freed (mallopt(3)).

    Results of workers come and go; left to itself glibc would soon keep them all on one heap,
    which never shrinks while anything lives at its top.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def limit_arenas() -> None:
    """From now on, let threads share two arenas (mallopt(3)): one for each thread would reserve
    address space that is never filled."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Give back, now, every page on which nothing lives (malloc_trim(3))."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
