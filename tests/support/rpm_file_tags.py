"""Header entries of a package's file list."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence

from tests.support.rpm_header import (
    Entry,
    TagType,
    Text,
    int32,
    int64,
    numbers,
    string_array,
    to_bytes,
)
from tests.support.rpm_package import RpmFile, RpmLayout

_MAX_INT32 = 0xFFFFFFFF
_HASH_SHA256 = 8
_CLASS_TEXTS = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link to `%s'",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block special",
    stat.S_IFCHR: "character special",
    stat.S_IFIFO: "fifo (named pipe)",
}


def needs_long_sizes(files: Sequence[RpmFile], layout: RpmLayout) -> bool:
    """Whether sizes are written as 64-bit tags."""
    return layout.long_sizes or any(f.size is not None and f.size > _MAX_INT32 for f in files)


def file_entries(files: Sequence[RpmFile], layout: RpmLayout) -> list[Entry]:
    """All file arrays; nothing for a package without files."""
    if not files:
        return []
    columns = list(zip(*files, strict=True))
    (paths, _, modes, mtimes, owners, groups, links, flags, langs, rdevs, devices, *_) = columns
    inodes = [file.inode or i for i, file in enumerate(files, 1)]
    entries = [
        _sizes(files, layout),
        numbers(1030, TagType.INT16, modes),
        numbers(1033, TagType.INT16, rdevs),
        int32(1034, *mtimes),
        string_array(1035, _digests(files, layout)),
        string_array(1036, links),
        int32(1037, *flags),
        string_array(1039, owners),
        string_array(1040, groups),
        int32(1045, *columns[12]),
        int32(1095, *devices),
        int32(1096, *inodes),
        string_array(1097, langs),
    ]
    entries += path_entries(paths)
    if layout.style == "upstream":
        entries += _class_entries(files)
        entries.append(int32(5011, _HASH_SHA256))
    return entries


def path_entries(paths: Sequence[Text]) -> list[Entry]:
    """Directory indexes, base names and directory names."""
    directories: dict[bytes, int] = {}
    indexes: list[int] = []
    names: list[bytes] = []
    for path in paths:
        head, slash, tail = to_bytes(path).rpartition(b"/")
        indexes.append(directories.setdefault(head + slash, len(directories)))
        names.append(tail)
    return [
        int32(1116, *indexes),
        string_array(1117, names),
        string_array(1118, list(directories)),
    ]


def _sizes(files: Sequence[RpmFile], layout: RpmLayout) -> Entry:
    sizes = [file.declared_size for file in files]
    if needs_long_sizes(files, layout):
        return int64(5008, *sizes)
    return int32(1028, *sizes)


def _digests(files: Sequence[RpmFile], layout: RpmLayout) -> list[Text]:
    """Hexadecimal digests; empty for what is not a regular file in the payload."""
    algorithm = hashlib.sha256 if layout.style == "upstream" else hashlib.md5
    return [
        file.digest
        if file.digest is not None
        else algorithm(file.content).hexdigest()
        if file.is_regular and not file.is_ghost
        else ""
        for file in files
    ]


def _class_entries(files: Sequence[RpmFile]) -> list[Entry]:
    """Class index per file and the dictionary of class texts."""
    classes: dict[str, int] = {}
    indexes = [classes.setdefault(_class_text(file), len(classes)) for file in files]
    return [
        int32(1140, *[0] * len(files)),
        int32(1141, *indexes),
        string_array(1142, list(classes)),
    ]


def _class_text(file: RpmFile) -> str:
    """What libmagic would say about the file, roughly."""
    text = _CLASS_TEXTS.get(stat.S_IFMT(file.mode))
    if text is None:
        return "ASCII text" if file.content else "empty"
    return text.replace("%s", to_bytes(file.linkto).decode("utf-8", "replace"))
