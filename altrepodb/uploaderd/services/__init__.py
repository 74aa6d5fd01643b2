"""The services: one module for each, all known by name in ``SERVICE_TYPES``."""

from __future__ import annotations

from collections.abc import Mapping

from altrepodb.uploaderd.service_type import ServiceType

__all__ = ["SERVICE_TYPES"]

SERVICE_TYPES: Mapping[str, ServiceType] = {}
