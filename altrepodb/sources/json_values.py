"""What may be taken from JSON that others wrote."""

from __future__ import annotations

__all__ = ["is_text"]


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
