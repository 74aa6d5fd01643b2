"""What may be taken from JSON that others wrote.

The readers of a key raise SourceError, which names the key and what was expected under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altrepodb.errors import SourceError

__all__ = [
    "LARGEST_UINT32",
    "count_under",
    "flag_under",
    "is_text",
    "moment_under",
    "number_of",
    "number_under",
    "text_under",
]

LARGEST_UINT32 = 0xFFFFFFFF
_MOST_DIGITS = 10


def is_text(value: object) -> bool:
    """Whether a value is a text that can be stored: JSON may name halves of characters."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        # Lone surrogates that stand for undecodable bytes are well.
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def text_under(body: Mapping[str, Any], key: str) -> str:
    """A text that is not empty."""
    value = body.get(key)
    if not is_text(value) or not value:
        raise SourceError(f"{key}: expected a text")
    return str(value)


def number_of(value: object) -> int | None:
    """A whole number from 0 that 32 bits can hold, or one as decimal text; None for all else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= _MOST_DIGITS else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= LARGEST_UINT32 else None


def number_under(body: Mapping[str, Any], key: str) -> int:
    """A whole number above 0, which may be written as text."""
    number = number_of(body.get(key))
    if not number:
        raise SourceError(f"{key}: expected a whole number above 0")
    return number


def count_under(body: Mapping[str, Any], key: str, largest: int) -> int:
    """A whole number; 0 where there is none, ``largest`` where it is more."""
    return min(number_of(body.get(key)) or 0, largest)


def flag_under(body: Mapping[str, Any], key: str) -> bool:
    """True or false; false where there is none."""
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise SourceError(f"{key}: expected true or false")
    return bool(value)


def moment_under(body: Mapping[str, Any], key: str) -> int:
    """Seconds since 1970 UTC as the type DateTime holds them, fractions cut off.

    They may be written as text.
    """
    value = body.get(key)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        seconds = int(float(value))
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= LARGEST_UINT32:
        raise SourceError(f"{key}: expected seconds since 1970")
    return seconds
