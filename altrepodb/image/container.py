"""Container images in one archive: what ``docker save`` writes, and OCI layouts.

Formats: the Docker image specification 1.2 (``manifest.json``) and the OCI image specification
(``oci-layout``, ``index.json``, blobs by digest, whiteouts of layers).
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altrepodb.byte_source import ByteSource, Slice, SourceStream
from altrepodb.errors import SourceError
from altrepodb.image.installed import SystemRoot, find_database
from altrepodb.image.kept_tree import KeptTree
from altrepodb.image.layer import Spool, WantedPaths, read_layer, read_until_complete
from altrepodb.image.scratch import scratch_file
from altrepodb.image.tar_stream import normal_path, open_tar_stream
from altrepodb.rpm.compression import compressor_of, iter_decompressed

__all__ = ["CONTAINER_NAMES", "open_container"]

CONTAINER_NAMES = (frozenset({b"manifest.json"}), frozenset({b"oci-layout", b"index.json"}))
"""Names at the top of an archive that say that it is one."""

_MAX_MEMBERS = 100_000
_MAX_JSON_BYTES = 4 << 20
_MAX_LAYERS = 1000
_MAX_INDEX_DEPTH = 4
_MAX_LINKS = 40
_MAX_ARCHIVE_BYTES = 1 << 40
_CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64}|[0-9a-f]{128})")
_BLOB_PATH = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
_CONFIG_PATH = re.compile(r"([0-9a-f]{64})\.json")
_PLATFORMS = {"x86_64": "amd64", "i586": "386", "aarch64": "arm64", "armh": "arm"}


@dataclass(frozen=True, slots=True)
class _Image:
    """Layers from the lowest; a digest is that of the uncompressed layer, where it is known."""

    layers: list[tuple[ByteSource, str | None]]
    platform: str


def open_container(
    source: ByteSource, scratch_directory: Path, spool: Spool, files: ExitStack, arch: str
) -> SystemRoot:
    """Read the layers of the one image in an archive, or of the one for ``arch``.

    Raises SourceError for damage, for several images, and when there is no rpm database.
    """
    members = _Members(_plain(source, scratch_directory, files))
    image = _docker_image(members) if b"manifest.json" in members else _oci_image(members, arch)
    if not 0 < len(image.layers) <= _MAX_LAYERS:
        raise SourceError(f"{source.name}: an image of {len(image.layers)} layers")

    def read(wanted: WantedPaths) -> tuple[KeptTree, set[bytes]]:
        tree, missing = KeptTree(source.name), set[bytes]()
        for content, digest in image.layers:
            with open_tar_stream(content, digest) as reader:
                layer = read_layer(reader, content.name, wanted, spool, is_layer=True)
            layer.put_on(tree)
            missing |= layer.missing
        return tree, missing

    root = read_until_complete(read, source.name, has_prefix=False)
    if find_database(root) is None:
        raise SourceError(f"{source.name}: a container image without an rpm database")
    return SystemRoot(root, _warnings(source.name, image.platform, arch))


def _warnings(name: str, platform: str, arch: str) -> tuple[str, ...]:
    if not platform or platform == _platform(arch):
        return ()
    return (f"{name}: the image is for {platform}, not for {arch}",)


def _platform(arch: str) -> str:
    return _PLATFORMS.get(arch, arch)


def _plain(source: ByteSource, scratch_directory: Path, files: ExitStack) -> ByteSource:
    """The archive without compression, so that its members can be had in any order."""
    compressor = compressor_of(source.pread(min(16, source.size), 0))
    if compressor in (None, "none"):
        return source
    stored = files.enter_context(io.BufferedReader(SourceStream(source)))
    chunks = iter_decompressed(stored, compressor, source.name)
    opened = scratch_file(chunks, source.name, scratch_directory, _MAX_ARCHIVE_BYTES)
    return files.enter_context(opened)


class _Members:
    """Files of a plain archive by name."""

    def __init__(self, source: ByteSource) -> None:
        self.name = source.name
        self._source = source
        self._places: dict[bytes, tuple[int, int]] = {}
        self._links: dict[bytes, bytes] = {}
        with open_tar_stream(source) as reader:
            for member in reader.members():
                path = normal_path(member.name)
                if path and member.isreg() and not member.issparse():
                    self._places[path] = (member.offset_data, member.size)
                elif path and (member.issym() or member.islnk()):
                    self._links[path] = _link_path(path, member.linkname, member.issym())
                if len(self._places) + len(self._links) > _MAX_MEMBERS:
                    raise SourceError(f"{self.name}: more than {_MAX_MEMBERS} members")

    def __contains__(self, path: bytes) -> bool:
        return path in self._places or path in self._links

    def open(self, path: str) -> ByteSource:
        """A member; old versions of Docker link equal layers. Raises SourceError without it."""
        found = normal_path(path) or b""
        for _ in range(_MAX_LINKS):
            if found in self._places:
                return Slice(self._source, *self._places[found], f"{self.name}: {path[:200]}")
            found = self._links.get(found, b"")
        raise SourceError(f"{self.name}: {path[:200]!r} is missing")

    def blob(self, digest: Any) -> ByteSource:
        """A blob of an OCI layout, verified."""
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None:
            raise SourceError(f"{self.name}: no digest: {str(digest)[:100]!r}")
        blob = self.open(f"blobs/{match[1]}/{match[2]}")
        _verify(blob, match[1], match[2])
        return blob


def _link_path(path: bytes, target: str, is_symbolic: bool) -> bytes:
    text = target.encode("utf-8", "surrogateescape")
    if is_symbolic:
        text = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    return normal_path(text.decode("utf-8", "surrogateescape")) or b""


def _verify(blob: ByteSource, algorithm: str, expected: str) -> None:
    hasher = hashlib.new(algorithm)
    for start in range(0, blob.size, _CHUNK_BYTES):
        hasher.update(blob.pread(min(_CHUNK_BYTES, blob.size - start), start))
    if hasher.hexdigest() != expected:
        raise SourceError(f"{blob.name}: is not what its digest {algorithm}:{expected} says")


def _json(source: ByteSource) -> Any:
    if source.size > _MAX_JSON_BYTES:
        raise SourceError(f"{source.name}: {source.size} bytes, limit {_MAX_JSON_BYTES}")
    try:
        return json.loads(source.pread(source.size, 0))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{source.name}: damaged JSON: {error}") from error


def _mapping(value: Any, source: ByteSource, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SourceError(f"{source.name}: {what} is missing or no object")
    return value


def _sequence(value: Any, source: ByteSource, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise SourceError(f"{source.name}: {what} is missing or no list")
    return value


def _text(value: Any, source: ByteSource, what: str) -> str:
    if not isinstance(value, str):
        raise SourceError(f"{source.name}: {what} is missing or no text")
    return value


def _docker_image(members: _Members) -> _Image:
    manifest = members.open("manifest.json")
    images = _sequence(_json(manifest), manifest, "list of images")
    if len(images) != 1:
        raise SourceError(f"{members.name}: {len(images)} images where one is needed")
    image = _mapping(images[0], manifest, "image")
    config = _docker_config(members, _text(image.get("Config"), manifest, "Config"))
    names = [
        _text(one, manifest, "layer") for one in _sequence(image.get("Layers"), manifest, "Layers")
    ]
    digests = _layer_digests(config, manifest, len(names))
    return _Image(
        [
            (_docker_blob(members, name), digest)
            for name, digest in zip(names, digests, strict=True)
        ],
        str(config.get("architecture") or ""),
    )


def _docker_config(members: _Members, path: str) -> Mapping[str, Any]:
    config = _docker_blob(members, path)
    if match := _CONFIG_PATH.fullmatch(path):
        _verify(config, "sha256", match[1])
    return _mapping(_json(config), config, "configuration")


def _docker_blob(members: _Members, path: str) -> ByteSource:
    """A member; newer versions of Docker name it by its digest."""
    match = _BLOB_PATH.fullmatch(path)
    return members.blob(f"{match[1]}:{match[2]}") if match else members.open(path)


def _layer_digests(
    config: Mapping[str, Any], source: ByteSource, count: int
) -> Sequence[str | None]:
    """The digests of uncompressed layers that a configuration states."""
    file_system = config.get("rootfs")
    if file_system is None:
        return [None] * count
    file_system = _mapping(file_system, source, "rootfs")
    digests = _sequence(file_system.get("diff_ids"), source, "diff_ids")
    found = [_DIGEST.fullmatch(_text(digest, source, "digest of a layer")) for digest in digests]
    if len(found) != count:
        raise SourceError(f"{source.name}: {count} layers, {len(found)} digests")
    return [match[2] if match and match[1] == "sha256" else None for match in found]


def _oci_image(members: _Members, arch: str) -> _Image:
    index = members.open("index.json")
    manifest, platform = _oci_manifest(members, index, arch, 0)
    document = _mapping(_json(manifest), manifest, "manifest")
    layers = _sequence(document.get("layers"), manifest, "list of layers")
    digests = [_mapping(layer, manifest, "layer").get("digest") for layer in layers]
    return _Image([(members.blob(digest), None) for digest in digests], platform)


def _oci_manifest(
    members: _Members, source: ByteSource, arch: str, depth: int
) -> tuple[ByteSource, str]:
    """The manifest for an architecture in an index, or in an index in it, and its platform."""
    if depth >= _MAX_INDEX_DEPTH:
        raise SourceError(f"{members.name}: image indexes are nested too deeply")
    index = _mapping(_json(source), source, "index")
    descriptors = {
        str(one.get("digest")): one for one in _descriptors(index, source) if _is_image(one)
    }
    descriptor = _chosen(list(descriptors.values()), members.name, arch)
    blob = members.blob(descriptor.get("digest"))
    if "manifests" in _mapping(_json(blob), blob, "manifest"):
        return _oci_manifest(members, blob, arch, depth + 1)
    return blob, _architecture(descriptor)


def _descriptors(index: Mapping[str, Any], source: ByteSource) -> Iterator[Mapping[str, Any]]:
    for one in _sequence(index.get("manifests"), source, "list of manifests"):
        yield _mapping(one, source, "manifest")


def _is_image(descriptor: Mapping[str, Any]) -> bool:
    """Builders put attestations beside images, for an unknown platform."""
    return _architecture(descriptor) != "unknown"


def _architecture(descriptor: Mapping[str, Any]) -> str:
    platform = descriptor.get("platform")
    return str(platform.get("architecture") or "") if isinstance(platform, dict) else ""


def _chosen(descriptors: Sequence[Mapping[str, Any]], name: str, arch: str) -> Mapping[str, Any]:
    """The only descriptor, or the only one for an architecture."""
    found = [one for one in descriptors if _architecture(one) in ("", _platform(arch))]
    if len(found) != 1:
        shown = ", ".join(_architecture(one) or "no platform" for one in descriptors) or "none"
        number = "no image" if not found else f"{len(found)} images"
        raise SourceError(f"{name}: {number} for {arch}; there: {shown[:500]}")
    return found[0]
