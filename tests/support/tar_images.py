"""Compose root archives and container images."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lz4.frame
import zstandard

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "zstd": zstandard.ZstdCompressor(level=1, write_checksum=True).compress,
    "lz4": lz4.frame.compress,
}


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, or a hard one to a member of the archive."""

    target: str
    is_hard: bool = False


Members = Sequence[tuple[str, bytes | Link | None]] | Mapping[str, bytes | Link | None]
"""By name, in order: content, link, or None for a directory."""


def tar(members: Members, *, format: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of these members, written as they are named."""
    buffer = io.BytesIO()
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, value in pairs:
            info, data = _member(name, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _member(name: str, value: bytes | Link | None) -> tuple[tarfile.TarInfo, bytes]:
    info, data = tarfile.TarInfo(name), b""
    if value is None:
        info.type = tarfile.DIRTYPE
    elif isinstance(value, Link):
        info.type = tarfile.LNKTYPE if value.is_hard else tarfile.SYMTYPE
        info.linkname = value.target
    else:
        data = value
    info.size = len(data)
    return info, data


def sha256(data: bytes) -> str:
    """A digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def docker_save(layers: Sequence[bytes], *, architecture: str = "amd64", images: int = 1) -> bytes:
    """An archive as older versions of Docker write it: configuration and layers by identity."""
    config = {
        "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
    }
    text = json.dumps(config).encode()
    config_name = f"{sha256(text)[7:]}.json"
    names = [f"{sha256(layer)[7:]}/layer.tar" for layer in layers]
    image = {"Config": config_name, "RepoTags": ["alt:p10"], "Layers": names}
    members: dict[str, bytes | Link | None] = {config_name: text}
    # Not in the order of the layers.
    members |= dict(zip(names[::-1], layers[::-1], strict=True))
    return tar({**members, "manifest.json": json.dumps([image] * images).encode()})


class OciLayout:
    """An OCI layout; blobs are added by their digests."""

    def __init__(self) -> None:
        self.members: dict[str, bytes | Link | None] = {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'
        }

    def blob(self, data: bytes) -> dict[str, Any]:
        """Add a blob; returns its descriptor."""
        digest = sha256(data)
        self.members[f"blobs/{digest.replace(':', '/')}"] = data
        return {"digest": digest, "size": len(data)}

    def image(self, layers: Sequence[bytes], architecture: str | None = None) -> dict[str, Any]:
        """Add an image; returns the descriptor of its manifest."""
        manifest = {"config": self.blob(b"{}"), "layers": [self.blob(layer) for layer in layers]}
        descriptor = self.blob(json.dumps(manifest).encode())
        if architecture is not None:
            descriptor["platform"] = {"architecture": architecture, "os": "linux"}
        return descriptor

    def index(self, descriptors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add an index; returns its descriptor."""
        return self.blob(json.dumps({"manifests": list(descriptors)}).encode())

    def archive(self, descriptors: Sequence[Mapping[str, Any]]) -> bytes:
        """The layout with these descriptors in its index."""
        index = json.dumps({"schemaVersion": 2, "manifests": list(descriptors)}).encode()
        return tar({**self.members, "index.json": index})
