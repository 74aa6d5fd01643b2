"""What an image can be: the words of its tag, as commands and messages spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "ARCHITECTURES",
    "DISC",
    "RELEASES",
    "ROOT_FILE_SYSTEM",
    "VARIANTS",
    "ImageKind",
    "is_architecture",
    "is_url",
    "parse_version",
]

RELEASES = ("alpha", "beta", "rc", "release")
VARIANTS = ("install", "live", "rescue")
ARCHITECTURES = (
    "i586", "x86_64", "aarch64", "ppc64le", "armh", "riscv64", "mipsel", "loongarch64",
)  # fmt: skip
_EDITIONS = (
    "alt-server", "alt-server-v", "alt-education", "alt-workstation", "alt-kworkstation", "slinux",
)  # fmt: skip
_ELBRUS = re.compile(r"e2k(v[1-9])?")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|www\.\S+|\S+@\S+")


@dataclass(frozen=True, slots=True)
class ImageKind:
    """What one of the two loaders takes."""

    types: tuple[str, ...]
    editions: tuple[str, ...]
    platforms: tuple[str, ...]
    has_flavors: bool


DISC = ImageKind(("iso",), _EDITIONS, ("baikalm",), has_flavors=False)
"""A disc image, as ``iso_loader`` takes it."""

ROOT_FILE_SYSTEM = ImageKind(
    ("tar", "img", "qcow"),
    (*_EDITIONS, "cloud"),
    ("rpi4", "tegra", "baikalm", "tavolga", "bfk3", "mcom02", "hifive", "qemu"),
    has_flavors=True,
)
"""A disk image or an archive, as ``image_loader`` takes it."""


def parse_version(text: str) -> tuple[int, int, int]:
    """Up to three numbers with dots between them; missing ones are 0. Raises ValueError."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"expected N, N.N or N.N.N, got {text!r}")
    major, minor, sub = [*map(int, text.split(".")), 0, 0][:3]
    return major, minor, sub


def is_architecture(text: str) -> bool:
    """Whether images are made for it."""
    return text in ARCHITECTURES or bool(_ELBRUS.fullmatch(text))


def is_url(text: str) -> bool:
    """Whether it can be followed: with a scheme, ``www.host`` or ``user@host``."""
    return bool(_URL.search(text))
