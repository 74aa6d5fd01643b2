"""The options that ``iso_loader`` and ``image_loader`` share, and what they make of them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import calendar_date, positive_integer
from altrepodb.config import Settings

if TYPE_CHECKING:
    from altrepodb.image.load import ImageSummary
    from altrepodb.image.options import ImageOptions

__all__ = ["EDITIONS", "add_image_arguments", "add_jobs_option", "image_options", "load_with"]

EDITIONS = (
    "alt-server", "alt-server-v", "alt-education", "alt-workstation", "alt-kworkstation", "slinux",
)  # fmt: skip
_RELEASES = ("alpha", "beta", "rc", "release")
_VARIANTS = ("install", "live", "rescue")
_ARCHITECTURES = (
    "i586", "x86_64", "aarch64", "ppc64le", "armh", "riscv64", "mipsel", "loongarch64",
)  # fmt: skip
_ELBRUS = re.compile(r"e2k(v[1-9])?")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|www\.\S+|\S+@\S+")


def add_image_arguments(
    parser: argparse.ArgumentParser, editions: Sequence[str], platforms: Sequence[str]
) -> None:
    """What describes the image, and how it is loaded."""
    product = parser.add_argument_group("product", "what the image is; together they are its tag")
    product.add_argument("--edition", required=True, choices=editions, help="edition")
    product.add_argument(
        "--version",
        required=True,
        type=_version,
        metavar="N[.N[.N]]",
        help="version of the image (-V prints the program's)",
    )
    product.add_argument("--release", required=True, choices=_RELEASES, help="kind of release")
    product.add_argument("--variant", required=True, choices=_VARIANTS, help="kind of image")
    product.add_argument(
        "--platform", default="", choices=("", *platforms), help="hardware it is for; empty for any"
    )
    product.add_argument(
        "--arch",
        required=True,
        type=_architecture,
        metavar="ARCH",
        help=f"architecture: {', '.join(_ARCHITECTURES)} or an e2k",
    )
    product.add_argument("--branch", required=True, metavar="NAME", help="branch it is made of")
    image = parser.add_argument_group("image")
    image.add_argument(
        "--date", required=True, type=calendar_date, metavar="YYYY-MM-DD", help="day of the image"
    )
    image.add_argument("--url", required=True, type=_url, help="where it can be downloaded")
    image.add_argument(
        "--tmpdir", type=Path, metavar="DIR", help="directory for what cannot be read in place"
    )
    image.add_argument(
        "-F",
        "--force",
        action="store_true",
        help="replace the image of this tag and day; accept packages that are not in the database"
        " or not of the branch",
    )
    image.add_argument(
        "-t", "--dry-run", action="store_true", help="read and check everything, write nothing"
    )


def _version(text: str) -> tuple[int, int, int]:
    """Argument type: up to three numbers with dots between them; missing ones are 0."""
    if not _VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected N, N.N or N.N.N, got {text!r}")
    major, minor, sub = [*map(int, text.split(".")), 0, 0][:3]
    return major, minor, sub


def _architecture(text: str) -> str:
    if text not in _ARCHITECTURES and not _ELBRUS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"unknown architecture {text!r}")
    return text


def _url(text: str) -> str:
    """Argument type: whatever can be followed: with a scheme, ``www.host`` or ``user@host``."""
    if not _URL.search(text):
        raise argparse.ArgumentTypeError(f"expected a URL, got {text!r}")
    return text


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """``--jobs``, for images whose files have to be digested one by one."""
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        metavar="N",
        help="threads that digest the files of a squashfs (one per processor)",
    )


def image_options(arguments: argparse.Namespace, image_type: str) -> ImageOptions:
    """The options of the loader for parsed arguments."""
    from altrepodb.image.options import ImageOptions

    return ImageOptions(
        path=arguments.path,
        type=image_type,
        branch=arguments.branch,
        edition=arguments.edition,
        version=arguments.version,
        release=arguments.release,
        arch=arguments.arch,
        variant=arguments.variant,
        date=arguments.date.isoformat(),
        url=arguments.url,
        flavor=arguments.flavor,
        platform=arguments.platform,
        force=arguments.force,
        dry_run=arguments.dry_run,
        jobs=getattr(arguments, "jobs", None),
        partition=getattr(arguments, "partition", None),
        scratch_directory=arguments.tmpdir,
    )


def load_with(options: ImageOptions, settings: Settings) -> ImageSummary:
    """Load one image; it is read while the database is opened."""
    from altrepodb.image.reading import start_reading

    with start_reading(options) as reading:
        from altrepodb.db import open_database
        from altrepodb.image.load import load_image

        with open_database(settings.database) as database:
            return load_image(options, reading, database)
