"""``image_loader``: load a disk image or an archive of a root file system."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, dated_log_file, positive_integer, run_command
from altrepodb.cli.image_options import (
    add_image_arguments,
    image_options,
    load_with,
)
from altrepodb.config import Settings
from altrepodb.image.product import ROOT_FILE_SYSTEM

if TYPE_CHECKING:
    from altrepodb.image.load import ImageSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="image file")
    parser.add_argument(
        "--type", required=True, choices=ROOT_FILE_SYSTEM.types, help="kind of image file"
    )
    add_image_arguments(parser, ROOT_FILE_SYSTEM)
    parser.add_argument("--flavor", default="", metavar="TEXT", help="flavour; may be empty")
    parser.add_argument(
        "--partition",
        type=positive_integer,
        metavar="N",
        help="partition with the root file system, where there are several",
    )


def log_file(arguments: argparse.Namespace) -> str:
    return dated_log_file("image-load")


def load(arguments: argparse.Namespace, settings: Settings) -> ImageSummary:
    return load_with(image_options(arguments, arguments.type), settings)


COMMAND = Command(
    name="image_loader",
    description="Load a disk image, or an archive of a root file system, into the database.",
    add_arguments=add_arguments,
    log_file=log_file,
    run=load,
    long_version=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
