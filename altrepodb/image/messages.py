"""Messages that ask for the load of an image: the options of the commands as JSON.

``path`` names a file below one directory, whatever the message says; nothing outside of it is
opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from altrepodb.errors import SourceError
from altrepodb.image.options import ImageOptions
from altrepodb.image.product import (
    RELEASES,
    VARIANTS,
    ImageKind,
    is_architecture,
    is_url,
    parse_version,
)
from altrepodb.json_values import flag_under, number_under, text_under

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.image.load import ImageSummary

__all__ = ["load_requested", "read_request"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LONGEST_PATH = 4096
_LONGEST_URL = 2048


def read_request(body: Mapping[str, Any], kind: ImageKind, directory: Path) -> ImageOptions:
    """The options of a message, with a path below the directory that may not exist.

    Raises SourceError that names the key at fault.
    """
    arch, url = text_under(body, "arch"), text_under(body, "url")
    if not is_architecture(arch):
        raise SourceError("arch: expected an architecture")
    if not (is_url(url) and url.isprintable() and len(url) <= _LONGEST_URL):
        raise SourceError("url: expected a URL")
    has_type, has_partition = len(kind.types) > 1, body.get("partition") is not None
    return ImageOptions(
        path=_path(text_under(body, "path"), directory),
        type=_word(body, "type", kind.types) if has_type else kind.types[0],
        branch=_name(body, "branch"),
        edition=_word(body, "edition", kind.editions),
        version=_version(body),
        release=_word(body, "release", RELEASES),
        arch=arch,
        variant=_word(body, "variant", VARIANTS),
        date=_day(text_under(body, "date")),
        url=url,
        flavor=_name(body, "flavor") if kind.has_flavors and body.get("flavor") else "",
        platform=_word(body, "platform", kind.platforms) if body.get("platform") else "",
        force=flag_under(body, "force"),
        dry_run=flag_under(body, "dry_run"),
        partition=number_under(body, "partition") if has_partition else None,
    )


def _path(text: str, directory: Path) -> Path:
    """A path that leads down from the directory as far as its words tell."""
    words = PurePosixPath(text)
    if not text.isprintable() or ".." in words.parts or len(text) > _LONGEST_PATH:
        raise SourceError("path: expected a plain one without ..")
    path = directory / words
    if not path.is_relative_to(directory) or path == directory:
        raise SourceError("path: expected one below the directory of images")
    return path


def _word(body: Mapping[str, Any], key: str, words: Collection[str]) -> str:
    word = text_under(body, key)
    if word not in words:
        raise SourceError(f"{key}: expected one of {', '.join(words)}")
    return word


def _name(body: Mapping[str, Any], key: str) -> str:
    name = text_under(body, key)
    if not _NAME.fullmatch(name):
        raise SourceError(f"{key}: expected a name")
    return name


def _version(body: Mapping[str, Any]) -> tuple[int, int, int]:
    try:
        return parse_version(text_under(body, "version"))
    except ValueError:
        raise SourceError("version: expected N, N.N or N.N.N as a text") from None


def _day(text: str) -> str:
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise SourceError("date: expected YYYY-MM-DD") from None


def load_requested(options: ImageOptions, directory: Path, database: Database) -> ImageSummary:
    """Load the image, wherever links below the directory lead within it.

    Raises AlreadyLoadedError, SourceError, DatabaseError.
    """
    from altrepodb.image.load import load_image
    from altrepodb.image.reading import start_reading

    place = Path(os.path.realpath(options.path))
    if not place.is_relative_to(os.path.realpath(directory)):
        raise SourceError(f"{options.path}: leads out of {directory}")
    options = replace(options, path=place)
    with start_reading(options) as reading:
        return load_image(options, reading, database)
