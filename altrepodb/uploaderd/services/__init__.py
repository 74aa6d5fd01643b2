"""The services: one module for each, all known by name in ``SERVICE_TYPES``."""

from __future__ import annotations

from collections.abc import Mapping

from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.services import (
    acl_loader,
    beehive_loader,
    bugzilla_loader,
    image_loader,
    iso_loader,
    repo_loader,
    repocop_loader,
    spdx_loader,
    task_loader,
    watch_loader,
)

__all__ = ["SERVICE_TYPES"]

SERVICE_TYPES: Mapping[str, ServiceType] = {
    module.SERVICE.name: module.SERVICE
    for module in (
        task_loader,
        acl_loader,
        beehive_loader,
        bugzilla_loader,
        image_loader,
        iso_loader,
        repocop_loader,
        watch_loader,
        repo_loader,
        spdx_loader,
    )
}
