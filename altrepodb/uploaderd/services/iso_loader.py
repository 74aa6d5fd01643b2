"""``iso_loader``: a disc image, loaded as a message describes it."""

from __future__ import annotations

from altrepodb.image.product import DISC
from altrepodb.uploaderd.services.images import image_service

__all__ = ["SERVICE"]

SERVICE = image_service("iso_loader", "iso.load", DISC)
