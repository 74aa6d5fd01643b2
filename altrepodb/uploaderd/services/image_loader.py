"""``image_loader``: a disk image or an archive, loaded as a message describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altrepodb.image.product import ROOT_FILE_SYSTEM
from altrepodb.uploaderd.service_type import Message, ServiceType, Work
from altrepodb.uploaderd.services.images import (
    IMAGE_KEYS,
    ImageLoaderSettings,
    accept_image,
    load_image,
    read_image_settings,
)

__all__ = ["SERVICE"]


def read_settings(values: Mapping[str, Any]) -> ImageLoaderSettings:
    return read_image_settings(values, "image.load")


def accept(message: Message, settings: ImageLoaderSettings) -> Work:
    return accept_image(message, settings, ROOT_FILE_SYSTEM)


SERVICE = ServiceType(
    name="image_loader",
    keys=IMAGE_KEYS,
    read_settings=read_settings,
    accept=accept,
    load=load_image,
)
