"""Paths in trees of images: links stay inside, loops end, names mean what they say."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from altrepodb.errors import SourceError
from altrepodb.image import tree as tree_module
from altrepodb.image.tree import Entry, EntryType, lookup, read_file, shown_name, walk
from tests.support.content import BytesSource

KINDS = {dict: EntryType.DIRECTORY, bytes: EntryType.FILE, str: EntryType.SYMLINK}
MODES = {
    EntryType.DIRECTORY: stat.S_IFDIR | 0o755,
    EntryType.FILE: stat.S_IFREG | 0o644,
    EntryType.SYMLINK: stat.S_IFLNK | 0o777,
}


class MemoryTree:
    """A tree of nested mappings: bytes are files, texts are targets of links."""

    name = "image"

    def __init__(self, content):
        self.root = self._entry(b"", content)

    def _entry(self, name, content):
        kind = KINDS[type(content)]
        target = content.encode() if kind is EntryType.SYMLINK else b""
        size = len(content)
        return Entry(
            name, kind, MODES[kind], 0, 0, size, 0, id(content), 0, target, location=content
        )

    def entries(self, directory):
        for name, content in directory.location.items():
            yield self._entry(name.encode(), content)

    def open(self, file):
        return BytesSource(file.location, file.name.decode())


class CaselessMemoryTree(MemoryTree):
    ignores_case = True


CONTENT = {
    "etc": {
        "os-release": "../usr/lib/os-release",
        "absolute": "/usr/lib/os-release",
        "above": "../../../../usr/lib/os-release",
        "directory": "/usr/lib",
        "self": "self",
        "one": "two",
        "two": "/etc/one",
        "dangling": "/nowhere/at/all",
    },
    "usr": {"lib": {"os-release": b"ALT", "back": "../../etc"}},
    "file": b"x" * 100,
}
TREE = MemoryTree(CONTENT)


@pytest.mark.parametrize(
    "path",
    [
        b"usr/lib/os-release",
        b"/usr/lib/os-release",
        b"//usr/./lib//os-release",
        b"usr/../usr/lib/os-release",
        b"../../usr/lib/os-release",
        b"etc/os-release",
        b"etc/absolute",
        b"etc/above",
        b"etc/directory/os-release",
        b"etc/directory/back/os-release",
    ],
)
def test_paths_to_one_file(path):
    assert read_file(TREE, path, 3) == b"ALT"


@pytest.mark.parametrize(
    "path", [b"none", b"usr/none", b"file/below", b"etc/dangling", b"etc/dangling/x", b"etc/Self"]
)
def test_paths_to_nothing(path):
    assert lookup(TREE, path) is None
    assert read_file(TREE, path, 100) is None


def test_last_link_is_followed_when_asked_for():
    assert lookup(TREE, b"etc/directory").type is EntryType.DIRECTORY
    assert lookup(TREE, b"etc/directory", follow=False).type is EntryType.SYMLINK
    assert lookup(TREE, b"etc/directory/os-release", follow=False).size == 3
    assert lookup(TREE, b"etc/dangling", follow=False).link_target == b"/nowhere/at/all"
    assert lookup(TREE, b"") == TREE.root == lookup(TREE, b"/")


@pytest.mark.parametrize("path", [b"etc/self", b"etc/one", b"etc/two/x"])
def test_loops_of_links_are_refused(path):
    with pytest.raises(SourceError, match="image: too many links"):
        lookup(TREE, path)


def test_forty_links_are_followed():
    names = {f"l{number}": f"l{number + 1}" for number in range(41)}
    tree = MemoryTree({**names, "l41": b"end"})
    assert read_file(tree, b"l1", 3) == b"end"
    with pytest.raises(SourceError, match="too many links"):
        lookup(tree, b"l0")


def test_directories_and_large_files_are_not_read():
    assert read_file(TREE, b"usr", 100) is None
    assert len(read_file(TREE, b"file", 100)) == 100
    with pytest.raises(SourceError, match="file: 100 bytes, expected at most 99"):
        read_file(TREE, b"file", 99)


def test_case_means_nothing_where_the_tree_says_so():
    tree = CaselessMemoryTree({"ALTLinux": {"RPMS.main": b"x"}})
    assert read_file(tree, b"altlinux/RPMS.MAIN", 1) == b"x"
    assert lookup(MemoryTree(tree.root.location), b"altlinux") is None


def test_walk_gives_directories_before_what_they_hold():
    paths = [path for path, _ in walk(TREE)]
    assert paths[:3] == [b"/etc", b"/etc/os-release", b"/etc/absolute"]
    assert paths[-4:] == [b"/usr/lib", b"/usr/lib/os-release", b"/usr/lib/back", b"/file"]
    assert len(paths) == 14


def test_directory_inside_itself_is_refused():
    content = {"a": {}}
    content["a"]["b"] = content["a"]
    with pytest.raises(SourceError, match="image: directory /a/b is there twice"):
        list(walk(MemoryTree(content)))
    content["a"]["b"] = content
    with pytest.raises(SourceError, match="is there twice"):
        list(walk(MemoryTree(content)))


def test_depth_is_limited(monkeypatch):
    monkeypatch.setattr(tree_module, "MAX_DEPTH", 3)
    assert len(list(walk(MemoryTree({"a": {"b": {"c": b""}}})))) == 3
    with pytest.raises(SourceError, match="nested too deeply"):
        list(walk(MemoryTree({"a": {"b": {"c": {}}}})))


def test_types_of_modes():
    assert EntryType.of_mode(stat.S_IFSOCK | 0o755) is EntryType.SOCKET
    assert EntryType.of_mode(0o755) is None
    assert {kind.value for kind in EntryType} >= set("file symlink char block fifo socket".split())


def test_shown_names_stay_on_one_line():
    assert shown_name(b"a\nb\t\xff") == "a\\nb\\t\\xff"
    assert shown_name("имя".encode()) == "имя"


def test_entries_are_values():
    entry = TREE.root
    assert replace(entry) == entry
    with pytest.raises(AttributeError):
        entry.size = 5
