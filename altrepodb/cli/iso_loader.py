"""``iso_loader``: load an ISO image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altrepodb.cli.command import Command, dated_log_file, run_command
from altrepodb.cli.image_options import (
    add_image_arguments,
    add_jobs_option,
    image_options,
    load_with,
)
from altrepodb.config import Settings
from altrepodb.image.product import DISC

if TYPE_CHECKING:
    from altrepodb.image.load import ImageSummary

__all__ = ["COMMAND", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="ISO image")
    add_image_arguments(parser, DISC)
    parser.add_argument("--flavor", default="", choices=("",), help="always empty")
    add_jobs_option(parser)


def log_file(arguments: argparse.Namespace) -> str:
    return dated_log_file("iso-load")


def load(arguments: argparse.Namespace, settings: Settings) -> ImageSummary:
    return load_with(image_options(arguments, "iso"), settings)


COMMAND = Command(
    name="iso_loader",
    description="Load an ISO image into the database.",
    add_arguments=add_arguments,
    log_file=log_file,
    run=load,
    long_version=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(COMMAND, argv)
