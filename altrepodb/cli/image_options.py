"""The options that ``iso_loader`` and ``image_loader`` share, and what they make of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import calendar_date, positive_integer
from altrepodb.config import Settings
from altrepodb.image.product import (
    ARCHITECTURES,
    RELEASES,
    VARIANTS,
    ImageKind,
    is_architecture,
    is_url,
    parse_version,
)

if TYPE_CHECKING:
    from altrepodb.image.load import ImageSummary
    from altrepodb.image.options import ImageOptions

__all__ = ["add_image_arguments", "add_jobs_option", "image_options", "load_with"]


def add_image_arguments(parser: argparse.ArgumentParser, kind: ImageKind) -> None:
    """What describes the image, and how it is loaded."""
    product = parser.add_argument_group("product", "what the image is; together they are its tag")
    product.add_argument("--edition", required=True, choices=kind.editions, help="edition")
    product.add_argument(
        "--version",
        required=True,
        type=_version,
        metavar="N[.N[.N]]",
        help="version of the image (-V prints the program's)",
    )
    product.add_argument("--release", required=True, choices=RELEASES, help="kind of release")
    product.add_argument("--variant", required=True, choices=VARIANTS, help="kind of image")
    product.add_argument(
        "--platform",
        default="",
        choices=("", *kind.platforms),
        help="hardware it is for; empty for any",
    )
    product.add_argument(
        "--arch",
        required=True,
        type=_architecture,
        metavar="ARCH",
        help=f"architecture: {', '.join(ARCHITECTURES)} or an e2k",
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
    """Argument type: the version of an image."""
    try:
        return parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _architecture(text: str) -> str:
    if not is_architecture(text):
        raise argparse.ArgumentTypeError(f"unknown architecture {text!r}")
    return text


def _url(text: str) -> str:
    if not is_url(text):
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
