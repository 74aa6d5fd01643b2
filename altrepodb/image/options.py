"""What an image is and how it is to be loaded: the options that both loaders take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ISO_TYPE", "ImageOptions"]

ISO_TYPE = "iso"


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """One image. ``type`` is ``iso``, ``tar``, ``img`` or ``qcow``; ``date`` is ``YYYY-MM-DD``.

    ``jobs`` is the number of threads that digest files of a squashfs, one per processor if None;
    ``partition`` is the one with the root file system; ``scratch_directory`` takes what cannot be
    read in place.
    """

    path: Path
    type: str
    branch: str
    edition: str
    version: tuple[int, int, int]
    release: str
    arch: str
    variant: str
    date: str
    url: str
    flavor: str = ""
    platform: str = ""
    force: bool = False
    dry_run: bool = False
    jobs: int | None = None
    partition: int | None = None
    scratch_directory: Path | None = None

    @property
    def tag(self) -> str:
        """The name of a product: all its images have it, whatever their dates."""
        major, minor, sub = self.version
        version = f"{self.release}.{major}.{minor}.{sub}"
        product = (self.branch, self.edition, self.flavor, self.platform)
        return ":".join((*product, version, self.arch, self.variant, self.type))
