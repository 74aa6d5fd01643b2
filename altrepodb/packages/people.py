"""Names and addresses of people as packages write them."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["split_changelog_author", "split_packager"]

_PACKAGER = re.compile(r"\W?([\w\-@'. ]+?)\W? (?:\W.+?\W )?<(.+?)>")
_ASCII_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_SEARCHED_CHARACTERS = 300
"""The pattern takes cubic time on text made for it; no real name is anywhere near as long."""


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)
def split_packager(packager: bytes) -> tuple[bytes, bytes]:
    """Name and address of a packager tag; the whole tag and an empty address when unreadable.

    ``Ivan Petrov <ivan at altlinux.org>`` gives ``Ivan Petrov`` and ``ivan@altlinux.org``.
    """
    found = _PACKAGER.search(_decoded(packager)[:_SEARCHED_CHARACTERS])
    if found is None:
        return packager, b""
    name, address = found.groups()
    return _encoded(name.strip()), _encoded(address.strip().replace(" at ", "@"))


def split_changelog_author(line: bytes) -> tuple[bytes, bytes]:
    """Author and EVR of a changelog entry's author line.

    The EVR is what follows ``>`` when there is exactly one; else the line is all author.
    """
    if line.count(b">") != 1:
        return line, b""
    end = line.index(b">") + 1
    rest = line[end:]
    if rest.isascii():
        return line[:end], rest.strip(_ASCII_SPACE)
    return line[:end], _encoded(_decoded(rest).strip())
