"""What the services of both image loaders share: settings, and the reading of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.image.messages import load_requested, read_request
from altrepodb.image.product import ImageKind
from altrepodb.uploaderd.json_settings import JsonObject
from altrepodb.uploaderd.service_type import Drop, Message, ServiceType, Work
from altrepodb.uploaderd.services.routing import check_key, malformed_is_dropped

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.image.load import ImageSummary

__all__ = ["image_service"]

_IMAGE_KEYS = frozenset({"routing_key", "image_dir", "tmpdir", "threads_count", "allow_force"})

_NOWHERE = Path()
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class ImageLoaderSettings:
    """``image_dir`` holds all images that may be loaded; ``tmpdir`` what is unpacked of them.

    ``allow_force`` lets messages replace images and accept unknown packages.
    """

    routing_key: str
    image_dir: Path
    tmpdir: Path | None
    threads_count: int | None
    allow_force: bool


def _read_settings(values: Mapping[str, Any], routing_key: str) -> ImageLoaderSettings:
    """The settings of a service; raises ConfigurationError."""
    keys = JsonObject(values)
    has_threads = keys.has("threads_count")
    settings = ImageLoaderSettings(
        routing_key=keys.text("routing_key", routing_key, may_be_empty=False),
        image_dir=keys.path("image_dir", _NOWHERE, is_required=True),
        tmpdir=keys.path("tmpdir", _NOWHERE) if keys.has("tmpdir") else None,
        threads_count=keys.integer("threads_count", 1, low=1, high=_MOST_THREADS)
        if has_threads
        else None,
        allow_force=keys.boolean("allow_force", False),
    )
    if keys.has("image_dir") and not settings.image_dir.is_absolute():
        keys.complain("image_dir", "an absolute path")
    keys.finish()
    return settings


def _accept(message: Message, settings: ImageLoaderSettings, kind: ImageKind) -> Work:
    """The load of one image. Raises Drop."""
    check_key(message, settings.routing_key)
    with malformed_is_dropped():
        options = read_request(message.body, kind, settings.image_dir)
    if options.force and not settings.allow_force:
        raise Drop("force: the settings do not allow it")
    options = replace(options, jobs=settings.threads_count, scratch_directory=settings.tmpdir)
    image = (options.tag, options.date)
    return Work(" of ".join(image), options, exclusive=image)


def _load(work: Work, settings: ImageLoaderSettings, database: Database) -> ImageSummary:
    """Load it; raises as the loader."""
    return load_requested(work.arguments, settings.image_dir, database)


def image_service(name: str, routing_key: str, kind: ImageKind) -> ServiceType:
    """The service of a loader of images of this kind."""
    return ServiceType(
        name,
        _IMAGE_KEYS,
        partial(_read_settings, routing_key=routing_key),
        partial(_accept, kind=kind),
        _load,
    )
