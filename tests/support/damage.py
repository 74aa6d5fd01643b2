"""Damage composed repositories in one place each.

Files are replaced, never changed in place, so trees that share files by hard links keep theirs.
Changes to header lists bring the release file up to date, unless `refresh` is off, so that only
the wanted fault is left to find.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.apt_lists import TAG_DIRECTORY, TAG_FILE_NAME
from tests.support.compressors import xz_streams
from tests.support.rpm_header import Entry, amend, build_header, parse_header, string, texts_of

_LEAD_SIZE = 96
_SECTIONS = {b"MD5Sum:": "md5", b"BLAKE2b:": "blake2b"}


# Any file


def replace_file(path: Path, data: bytes) -> None:
    """Write a file anew, leaving other links to the old one alone."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def truncate(path: Path, size: int) -> None:
    """Cut a file; a negative size counts from its end."""
    replace_file(path, path.read_bytes()[:size])


def flip_bytes(path: Path, offset: int, count: int = 1, mask: int = 0xFF) -> None:
    """Invert bits of some bytes; a negative offset counts from the end."""
    data = bytearray(path.read_bytes())
    start = offset % len(data)
    for i in range(start, min(start + count, len(data))):
        data[i] ^= mask
    replace_file(path, bytes(data))


def append_bytes(path: Path, data: bytes) -> None:
    """Add bytes at the end of a file."""
    replace_file(path, path.read_bytes() + data)


def rpm_cuts(rpm: bytes) -> dict[str, int]:
    """Where to cut a package file so that it ends inside each of its parts."""
    cuts = {"nothing": 0, "lead": _LEAD_SIZE // 2, "no signature": _LEAD_SIZE}
    start = _LEAD_SIZE
    for part in ("signature", "main"):
        count, size = struct.unpack_from(">II", rpm, start + 8)
        area = start + 16 + 16 * count
        cuts[f"{part} magic"] = start + 4
        cuts[f"{part} counts"] = start + 12
        cuts[f"{part} index"] = start + 16 + 16 * (count // 2) + 8
        cuts[f"{part} data"] = area + size // 2
        cuts[f"{part} last byte"] = area + size - 1
        start = area + size + -(area + size) % 8
    cuts["payload"] = area + size + (len(rpm) - area - size) // 2
    return cuts


# The tree


def squeeze(root: Path) -> None:
    """Leave nothing but files/list and a link, as is done with old snapshots."""
    lists = root / "files/list"
    for path in root.iterdir():
        if path.name != "files":
            _remove(path)
    for path in (root / "files").iterdir():
        if path != lists:
            _remove(path)
    (root / "daily").symlink_to("files/list")


def rename_arch(root: Path, arch: str, new_name: str) -> None:
    """Give an arch directory another name."""
    (root / arch).rename(root / new_name)


def link_arch(root: Path, arch: str) -> None:
    """Turn an arch directory into a symbolic link to a directory beside the tree's own."""
    real = root / f".{arch}"
    (root / arch).rename(real)
    (root / arch).symlink_to(real.name)


def remove(root: Path, path: str) -> None:
    """Remove a file, a link or a directory with all that is in it."""
    _remove(root / path)


def dangle(root: Path, arch: str, component: str, file_name: str) -> None:
    """Point the link of a package at nothing."""
    link = root / arch / f"RPMS.{component}" / file_name
    link.unlink()
    link.symlink_to(f"../../files/{arch}/RPMS/gone/{file_name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# The release file


def set_release_field(root: Path, arch: str, field: str, value: bytes | None) -> None:
    """Change a field such as Label, or remove its line with None."""
    prefix = field.encode() + b":"
    lines = _release_lines(root, arch)
    changed = [
        prefix + b" " + (value or b"") if line.startswith(prefix) else line
        for line in lines
        if value is not None or not line.startswith(prefix)
    ]
    _write_release(root, arch, changed)


def drop_release_section(root: Path, arch: str, section: str) -> None:
    """Remove a checksum section, MD5Sum or BLAKE2b."""
    kept = []
    inside = False
    for line in _release_lines(root, arch):
        if not line.startswith(b" "):
            inside = line == section.encode() + b":"
        if not inside:
            kept.append(line)
    _write_release(root, arch, kept)


def drop_release_entry(root: Path, arch: str, path: str) -> None:
    """Remove a path from all checksum sections."""
    kept = [line for line in _release_lines(root, arch) if not _is_entry(line, path)]
    _write_release(root, arch, kept)


def wrong_release_digest(root: Path, arch: str, path: str, section: str | None = None) -> None:
    """Change the last digit of the digest of a path, in one section or in all."""
    lines = []
    current = b""
    for line in _release_lines(root, arch):
        if not line.startswith(b" "):
            current = line
        if _is_entry(line, path) and section in (None, current.decode()[:-1]):
            digest, rest = line[1:].split(b" ", 1)
            line = b" " + digest[:-1] + (b"0" if digest[-1:] != b"0" else b"1") + b" " + rest
        lines.append(line)
    _write_release(root, arch, lines)


def refresh_release(root: Path, arch: str) -> None:
    """Make sizes and digests those of the files on disk; paths without a file are dropped."""
    lines = []
    algorithm = "md5"
    for line in _release_lines(root, arch):
        algorithm = _SECTIONS.get(line, algorithm)
        if not line.startswith(b" "):
            lines.append(line)
            continue
        path = line.split(b" ")[3]
        data = _listed_content(root / arch, path.decode())
        if data is not None:
            digest = hashlib.new(algorithm, data).hexdigest()
            lines.append(b" %s %d %s" % (digest.encode(), len(data), path))
    _write_release(root, arch, lines)


def _release_lines(root: Path, arch: str) -> list[bytes]:
    return (root / arch / "base/release").read_bytes().split(b"\n")


def _write_release(root: Path, arch: str, lines: list[bytes]) -> None:
    replace_file(root / arch / "base/release", b"\n".join(lines))


def _is_entry(line: bytes, path: str) -> bool:
    return line.startswith(b" ") and line.endswith(b" " + path.encode())


def _listed_content(place: Path, path: str) -> bytes | None:
    """What a path of a release file stands for: a file, or the contents of its .xz twin."""
    if (place / path).exists():
        return (place / path).read_bytes()
    twin = place / f"{path}.xz"
    if not twin.exists():
        return None
    try:
        return lzma.decompress(twin.read_bytes())
    except lzma.LZMAError:
        return b""


# Header lists; `name` is such as "pkglist.classic" or "srclist.classic"


def list_path(root: Path, arch: str, name: str) -> Path:
    """The compressed file of a header list."""
    return root / arch / "base" / f"{name}.xz"


def read_list(root: Path, arch: str, name: str) -> list[bytes]:
    """The headers of a sound list."""
    data = lzma.decompress(list_path(root, arch, name).read_bytes())
    headers = []
    start = 0
    while start < len(data):
        _, end = parse_header(data, start)
        headers.append(data[start:end])
        start = end
    return headers


def write_list(root: Path, arch: str, name: str, data: bytes, *, refresh: bool = True) -> None:
    """Replace the contents of a list, whatever they are."""
    write_raw_list(root, arch, name, xz_streams(data), refresh=refresh)


def write_raw_list(root: Path, arch: str, name: str, data: bytes, *, refresh: bool = True) -> None:
    """Replace the compressed file of a list, which then need not be xz at all."""
    replace_file(list_path(root, arch, name), data)
    if refresh:
        refresh_release(root, arch)


def empty_list(root: Path, arch: str, name: str) -> None:
    """Leave no header in a list, which is legal."""
    write_list(root, arch, name, b"")


def drop_from_list(root: Path, arch: str, name: str, file_name: str) -> None:
    """Remove one package from a list."""
    headers = [h for h in read_list(root, arch, name) if _file_name(h) != file_name]
    write_list(root, arch, name, b"".join(headers))


def insert_into_list(root: Path, arch: str, name: str, data: bytes, after: int = 1) -> None:
    """Put bytes between the headers of a list, after so many of them."""
    headers = read_list(root, arch, name)
    write_list(root, arch, name, b"".join([*headers[:after], data, *headers[after:]]))


def truncate_list(root: Path, arch: str, name: str, size: int) -> None:
    """Cut the decompressed list; a negative size counts from its end."""
    write_list(root, arch, name, b"".join(read_list(root, arch, name))[:size])


def split_list(root: Path, arch: str, name: str, cuts: list[int]) -> None:
    """Compress a list as several xz streams, cut at these offsets."""
    data = b"".join(read_list(root, arch, name))
    write_raw_list(root, arch, name, xz_streams(data, cuts))


def change_listed(
    root: Path, arch: str, name: str, file_name: str, replace: Mapping[int, Entry | None]
) -> None:
    """Replace or remove tags of one package in a list."""
    headers = read_list(root, arch, name)
    changed = [_amended(h, replace) if _file_name(h) == file_name else h for h in headers]
    write_list(root, arch, name, b"".join(changed))


def drop_tag_from_list(root: Path, arch: str, name: str, tag: int) -> None:
    """Remove a tag from every header of a list."""
    headers = [_amended(header, {tag: None}) for header in read_list(root, arch, name)]
    write_list(root, arch, name, b"".join(headers))


def move_between_components(
    root: Path, arch: str, file_name: str, old: str, new: str, *, copy: bool = False
) -> None:
    """List a package in another component too, or instead."""
    headers = read_list(root, arch, f"pkglist.{old}")
    found = next(header for header in headers if _file_name(header) == file_name)
    moved = _amended(found, {TAG_DIRECTORY: string(TAG_DIRECTORY, f"RPMS.{new}")})
    there = read_list(root, arch, f"pkglist.{new}")
    write_list(root, arch, f"pkglist.{new}", b"".join([*there, moved]))
    link = root / arch / f"RPMS.{old}" / file_name
    (root / arch / f"RPMS.{new}" / file_name).symlink_to(link.readlink())
    if not copy:
        drop_from_list(root, arch, f"pkglist.{old}", file_name)
        link.unlink()


def _file_name(header: bytes) -> str | None:
    for entry in parse_header(header)[0]:
        if entry.tag == TAG_FILE_NAME:
            return texts_of(entry)[0].decode("utf-8", "surrogateescape")
    return None


def _amended(header: bytes, replace: Mapping[int, Entry | None]) -> bytes:
    return build_header(amend(parse_header(header)[0], replace), region=None)


# Lists in files/list


def change_hashes(
    root: Path, name: str, change: Callable[[dict[str, str]], dict[str, str] | None]
) -> None:
    """Edit a hash list ("src" or an arch) as a mapping of file names to digests.

    The function changes the mapping or returns another; a missing list starts empty.
    """
    path = root / "files/list" / f"{name}.hash.xz"
    text = lzma.decompress(path.read_bytes()).decode() if path.exists() else ""
    digests = {line[66:]: line[:64] for line in text.splitlines()}
    changed = change(digests)
    digests = digests if changed is None else changed
    lines = [f"{digests[key]}  {key}\n" for key in sorted(digests)]
    replace_file(path, xz_streams("".join(lines).encode()))


def add_stale_hash(root: Path, name: str, file_name: str) -> None:
    """Name a file in a hash list that is nowhere else, also for an arch without directory."""
    digest = hashlib.sha256(file_name.encode()).hexdigest()
    change_hashes(root, name, lambda digests: {**digests, file_name: digest})


def drop_hash(root: Path, name: str, file_name: str) -> None:
    """Remove a file from a hash list."""
    change_hashes(root, name, lambda digests: _without(digests, file_name))


def unlist_source(root: Path, file_name: str) -> None:
    """Remove a source from every source list, leaving it in src.hash and on disk."""
    for path in sorted(root.glob("*/base/srclist.classic.xz")):
        drop_from_list(root, path.parts[-3], "srclist.classic", file_name)


def write_task_info(root: Path, data: bytes) -> None:
    """Replace files/list/task.info."""
    replace_file(root / "files/list/task.info", data)


def _without(digests: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in digests.items() if key != name}
