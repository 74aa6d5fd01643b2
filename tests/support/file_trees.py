"""File trees of composed packages: plausible paths, small contents."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Sequence
from random import Random

from tests.support.blueprints import BinaryBlueprint, SourceBlueprint
from tests.support.rpm_header import Text, to_bytes
from tests.support.rpm_package import (
    FLAG_CONFIG,
    FLAG_DOC,
    FLAG_GHOST,
    FLAG_LICENSE,
    FLAG_NOREPLACE,
    FLAG_SPEC,
    ChangelogEntry,
    RpmFile,
    directory,
    symlink,
)
from tests.support.vocabulary import LANGUAGES, WORDS, paragraphs, pick, sentence

_TEXT = paragraphs(Random("contents"), 600).encode()
_LONGEST_CONTENT = 160
# Other files have their place in the list as inode, which never comes near this.
_SHARED_INODE = 0x7FFF0001
_MAX_SPEC_ENTRIES = 80
_ROOTS = {
    "main": ("/usr/lib64/{n}", "/usr/share/{n}", "/etc/{n}", "/usr/share/doc/{n}-{v}"),
    "plugin": ("/usr/lib64/{n}", "/usr/share/{n}"),
    "library": ("/usr/lib64/{n}",),
    "arepo": ("/usr/lib/{n}",),
    "devel": ("/usr/include/{n}", "/usr/lib64/pkgconfig/{n}", "/usr/share/man/man3/{n}"),
    "doc": ("/usr/share/doc/{n}-{v}", "/usr/share/doc/{n}-{v}/html"),
    "debuginfo": ("/usr/lib/debug/usr/lib64/{n}", "/usr/src/debug/{n}-{v}"),
    "checkinstall": ("/usr/lib/{n}",),
    "python": ("/usr/lib64/python3/site-packages/{n}",),
    "data": ("/usr/share/{n}", "/usr/share/doc/{n}-{v}", "/usr/share/locale"),
}
_EXTENSIONS = {
    "main": ("", ".so", ".conf", ".png", ".xml", ".mo"),
    "devel": (".h", ".hpp", ".pc", ".3.xz"),
    "doc": (".html", ".txt", ".png", ".css", ".md"),
    "debuginfo": (".debug", ".c", ".h"),
    "python": (".py", ".pyc", ".pyi"),
}
_SPECIAL_FILES = (
    (stat.S_IFCHR | 0o666, 1281),
    (stat.S_IFBLK | 0o660, 2049),
    (stat.S_IFIFO | 0o600, 0),
    (stat.S_IFSOCK | 0o755, 0),
)


def binary_files(binary: BinaryBlueprint, rng: Random) -> list[RpmFile]:
    """Files of a binary package, sorted by path."""
    count = binary.file_count
    files = _odd_files(binary, rng)[:count]
    if count > len(files) and binary.kind in ("main", "plugin"):
        files.append(_content_file(rng, f"/usr/bin/{binary.name}", binary.source.buildtime, 0))
    files += _tree(binary, rng, count - len(files))
    files.sort(key=_sort_key)
    return files


def _sort_key(file: RpmFile) -> bytes:
    return to_bytes(file.path)


def _tree(binary: BinaryBlueprint, rng: Random, count: int) -> list[RpmFile]:
    """Directories with files in them, that many in all."""
    if not count:
        return []
    mtime = binary.source.buildtime
    directories = _directories(binary, rng, 1 + count // 12)
    files = [directory(path, 0o755, mtime) for path in directories]
    extensions = _EXTENSIONS.get(binary.kind, _EXTENSIONS["main"])
    add, draw, places = files.append, rng.random, len(directories)
    for i in range(count - len(files)):
        place = directories[int(draw() * places)]
        path = f"{place}/{pick(rng, WORDS)}{i}{pick(rng, extensions)}"
        if draw() < 0.04:
            add(symlink(path, f"../{pick(rng, WORDS)}", mtime))
        else:
            add(_content_file(rng, path, mtime, i))
    return files


def _directories(binary: BinaryBlueprint, rng: Random, count: int) -> list[str]:
    """Different directory paths, parents not always among them."""
    roots = [
        root.format(n=binary.name, v=binary.source.version)
        for root in _ROOTS.get(binary.kind, _ROOTS["main"])
    ]
    paths = dict.fromkeys(roots[:count])
    while len(paths) < count:
        root = pick(rng, roots)
        if root.endswith("/locale"):
            path = f"{root}/{pick(rng, LANGUAGES)}/LC_MESSAGES/{pick(rng, WORDS)}{len(paths)}"
        else:
            path = f"{root}/{pick(rng, WORDS)}/{pick(rng, WORDS)}{len(paths)}"
        paths[path] = None
    return list(paths)


def _content_file(rng: Random, path: str, mtime: int, number: int) -> RpmFile:
    """A regular file of a few bytes; its place decides about mode, flags and language."""
    draw = rng.random
    start = int(draw() * (len(_TEXT) - _LONGEST_CONTENT))
    length = int(draw() ** 2 * _LONGEST_CONTENT)
    content = b"%d %s" % (number, _TEXT[start : start + length])
    mode = 0o100755 if "bin/" in path or path.endswith(".so") else 0o100644
    flags, lang = 0, ""
    if path.startswith("/etc/"):
        flags = FLAG_CONFIG | FLAG_NOREPLACE if number % 2 else FLAG_CONFIG
    elif path.startswith("/usr/share/doc/"):
        flags = FLAG_DOC if number % 20 else FLAG_DOC | FLAG_LICENSE
    elif path.startswith("/usr/share/locale/"):
        lang = path.split("/", 5)[4]
    age = int(draw() * 900_000)
    return RpmFile(path, content, mode, mtime - age, flags=flags, lang=lang)


def _odd_files(binary: BinaryBlueprint, rng: Random) -> list[RpmFile]:
    """A handful of files that show what the package's oddity is."""
    mtime = binary.source.buildtime
    base = f"/usr/lib/odd-{binary.name}"
    if binary.oddity == "special-files":
        return [
            RpmFile(f"{base}/special{i}", mode=mode, rdev=rdev, mtime=mtime)
            for i, (mode, rdev) in enumerate(_SPECIAL_FILES)
        ]
    if binary.oddity == "hard-links":
        names = ("first", "second", "third")
        return [
            RpmFile(f"{base}/{name}", b"one body", mtime=mtime, inode=_SHARED_INODE)
            for name in names
        ]
    if binary.oddity == "cyrillic-names":
        return [_content_file(rng, f"{base}/{name}", mtime, 0) for name in ("файл", "Ёж № 1")]
    if binary.oddity == "invalid-utf8":
        path: Text = base.encode() + b"/\xd0\xcf\xff.txt"
        return [RpmFile(path, b"odd name", mtime=mtime, owner=b"\xff\xfe")]
    if binary.oddity == "reserved-space":
        return [
            RpmFile(f"/var/log/{binary.name}.log", mtime=mtime, flags=FLAG_GHOST, group="adm"),
            RpmFile(f"/usr/bin/su-{binary.name}", b"x", 0o104711, mtime, owner="root"),
        ]
    return []


def source_files(
    source: SourceBlueprint, rng: Random, changelog: Sequence[ChangelogEntry]
) -> list[RpmFile]:
    """Contents of a source package: spec file, archive and patches, sorted by name."""
    spec = spec_text(source, rng, changelog)
    contents = {f"{source.name}-{source.version}.tar.gz": _tarball(source)}
    for i in range(source.file_count - 2):
        contents[f"{source.name}-{pick(rng, WORDS)}-{i}.patch"] = _patch(rng)
    spec_name = f"{source.name}.spec"
    if source.oddity == "two-specs":
        contents["AAA-extra.spec"] = b"Name: extra\n"
        if source.file_count > 2:
            contents.pop(next(name for name in contents if name.endswith(".patch")))
        else:
            contents.pop(next(iter(contents)))
    if source.oddity == "no-spec":
        spec_name = f"{source.name}.notes"
    contents[spec_name] = spec
    flag = 0 if source.oddity == "no-spec" else FLAG_SPEC
    return [
        RpmFile(
            name,
            contents[name],
            mtime=source.buildtime - 60,
            owner="builder",
            group="builder",
            flags=flag if name == spec_name else 0,
        )
        for name in sorted(contents)
    ]


def spec_text(source: SourceBlueprint, rng: Random, changelog: Sequence[ChangelogEntry]) -> bytes:
    """A spec file of realistic length."""
    if source.oddity == "empty-spec":
        return b""
    head = [f"Name: {source.name}", f"Version: {source.version}", f"Release: {source.release}"]
    if source.epoch is not None:
        head.append(f"Epoch: {source.epoch}")
    head += [f"Summary: {sentence(rng, 5)}", "License: GPL-2.0-or-later", "Group: Other", ""]
    body = ["%description", paragraphs(rng, 3 + int(rng.random() * 20)), "", "%prep", "%setup"]
    body += ["%build", paragraphs(rng, 2 + int(rng.random() * 30)), "", "%files", "%_bindir/*"]
    body += ["", "%changelog"]
    tail = [f"* {entry.author!s}\n{entry.text!s}\n" for entry in changelog[:_MAX_SPEC_ENTRIES]]
    text = "\n".join([*head, *body, *tail])
    if source.oddity == "latin1-spec":
        return text.encode() + b"\n# caf\xe9 \xff\n"
    return text.encode()


def _tarball(source: SourceBlueprint) -> bytes:
    """A small compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(f"{source.name}-{source.version}/README")
        member.size = 64
        member.mtime = source.buildtime
        archive.addfile(member, io.BytesIO(_TEXT[:64]))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


def _patch(rng: Random) -> bytes:
    """A patch of some lines."""
    lines = "".join([f"+{sentence(rng, 6)}\n" for _ in range(5 + int(rng.random() * 20))])
    return f"--- a/main.c\n+++ b/main.c\n@@ -1,1 +1,20 @@\n context\n{lines}".encode()
