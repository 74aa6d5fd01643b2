"""``image_loader``: a disk image or an archive, loaded as a message describes it."""

from __future__ import annotations

from altrepodb.image.product import ROOT_FILE_SYSTEM
from altrepodb.uploaderd.services.images import image_service

__all__ = ["SERVICE"]

SERVICE = image_service("image_loader", "image.load", ROOT_FILE_SYSTEM)
