"""Names and addresses of people as packages write them."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache

__all__ = ["split_changelog_author", "split_packager"]

# The pattern is  \W?([\w\-@'. ]+?)\W? (?:\W.+?\W )?<(.+?)>  searched anywhere. As one expression
# it takes cubic time on text made for it, so its two halves are looked for one after the other.
_NAME = re.compile(r"[\w\-@'. ]+")
_ADDRESS = re.compile(r"\W? (?:\W.+?\W )?<(.+?)>")
_NO_WORD = re.compile(r"\W")
_ASCII_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_SEARCHED_CHARACTERS = 256
"""No real name is anywhere near as long."""
_SEARCHED_BYTES = 4 * _SEARCHED_CHARACTERS


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def split_packager(packager: bytes) -> tuple[bytes, bytes]:
    """Name and address of a packager tag; the whole tag and an empty address when unreadable.

    ``Ivan Petrov <ivan at altlinux.org>`` gives ``Ivan Petrov`` and ``ivan@altlinux.org``.
    """
    return _found_packager(packager[:_SEARCHED_BYTES]) or (packager, b"")


@lru_cache(maxsize=4096)
def _found_packager(packager: bytes) -> tuple[bytes, bytes] | None:
    text = _decoded(packager)[:_SEARCHED_CHARACTERS]
    text = text[: text.rfind(">") + 1]
    addresses = {
        position: found.group(1)
        for position in range(1, len(text))
        if (found := _ADDRESS.match(text, position))
    }
    name = _first_name(text, list(addresses))
    if name is None:
        return None
    first, end = name
    address = addresses[end].strip().replace(" at ", "@")
    return _encoded(text[first:end].strip()), _encoded(address)


def _first_name(text: str, ends: list[int]) -> tuple[int, int] | None:
    """Where the leftmost name lies that ends at one of the places, the shortest there."""
    for start in range(len(text) if ends else 0):
        for first in (start + 1, start) if _NO_WORD.match(text, start) else (start,):
            name = _NAME.match(text, first)
            nearest = bisect_right(ends, first)
            if name and nearest < len(ends) and ends[nearest] <= name.end():
                return first, ends[nearest]
    return None


def split_changelog_author(line: bytes) -> tuple[bytes, bytes]:
    """Author and EVR of a changelog entry's author line.

    The EVR is what follows ``>`` when there is exactly one; else the line is all author.
    """
    author, mark, rest = line.partition(b">")
    if not mark or b">" in rest:
        return line, b""
    if rest.isascii():
        return author + mark, rest.strip(_ASCII_SPACE)
    return author + mark, _encoded(_decoded(rest).strip())
