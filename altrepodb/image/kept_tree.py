"""A tree of the few files that were kept of an archive, which is read once from start to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from altrepodb.byte_source import ByteSource, check_range
from altrepodb.errors import SourceError
from altrepodb.image.tree import Entry, EntryType

__all__ = ["BytesSource", "KeptTree", "directory_entry", "file_entry", "link_entry"]

_MAX_ENTRIES = 10_000


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def pread(self, count: int, offset: int) -> bytes:
        check_range(self, count, offset)
        return self._data[offset : offset + count]


def directory_entry(path: bytes) -> Entry:
    """A directory at a path from the root; ``b""`` is the root itself."""
    return Entry(_name(path), EntryType.DIRECTORY, 0o040755, 0, 0, 0, 0, path, location=path)


def file_entry(path: bytes, content: ByteSource) -> Entry:
    """A regular file."""
    mode = 0o100644
    return Entry(_name(path), EntryType.FILE, mode, 0, 0, content.size, 0, path, location=content)


def link_entry(path: bytes, target: bytes) -> Entry:
    """A symbolic link."""
    mode = 0o120777
    size = len(target)
    return Entry(_name(path), EntryType.SYMLINK, mode, 0, 0, size, 0, path, link_target=target)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


class KeptTree:
    """Entries by paths without a leading slash. Directories on the way come by themselves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = directory_entry(b"")
        self._children: dict[bytes, dict[bytes, Entry]] = {b"": {}}
        self._count = 0

    def add(self, path: bytes, entry: Entry) -> None:
        """Put an entry at a path, in the place of what was there; a directory stays one.

        Raises SourceError when there are more entries than any system has of what is kept.
        """
        self._count += 1
        if self._count > _MAX_ENTRIES:
            raise SourceError(f"{self.name}: more than {_MAX_ENTRIES} entries to keep")
        siblings = self._directory(path.rpartition(b"/")[0])
        found = siblings.get(entry.name)
        is_directory = entry.type is EntryType.DIRECTORY
        if found is not None and not (is_directory and found.type is EntryType.DIRECTORY):
            self.remove(path)
        siblings[entry.name] = entry
        if is_directory:
            self._children.setdefault(path, {})

    def _directory(self, path: bytes) -> dict[bytes, Entry]:
        """What is in a directory, which is made when it is missing."""
        if path not in self._children:
            self.add(path, directory_entry(path))
        return self._children[path]

    def get(self, path: bytes) -> Entry | None:
        """The entry at exactly this path; links are not followed."""
        parent, _, name = path.rpartition(b"/")
        return self._children.get(parent, {}).get(name)

    def remove(self, path: bytes) -> None:
        """Remove an entry, if there is one, and all below it."""
        parent, _, name = path.rpartition(b"/")
        if self._children.get(parent, {}).pop(name, None) is not None:
            self._forget(path)

    def clear(self, path: bytes) -> None:
        """Remove all that is in a directory."""
        if path in self._children:
            self._forget(path)
            self._children[path] = {}

    def _forget(self, path: bytes) -> None:
        inside = path + b"/" if path else b""
        for directory in [one for one in self._children if one == path or one.startswith(inside)]:
            del self._children[directory]

    def paths(self) -> Iterator[tuple[bytes, Entry]]:
        """All entries but the root, with their paths."""
        for directory, children in self._children.items():
            for name, entry in children.items():
                yield (directory + b"/" + name if directory else name), entry

    def below(self, path: bytes) -> KeptTree:
        """The tree whose root is a directory of this one."""
        tree = KeptTree(self.name)
        tree.root = replace(directory_entry(path), name=b"")
        tree._children = self._children
        return tree

    def entries(self, directory: Entry) -> Iterator[Entry]:
        yield from self._children.get(directory.location, {}).values()

    def open(self, file: Entry) -> ByteSource:
        if file.type is not EntryType.FILE:
            raise SourceError(f"{self.name}: {file.name!r} is no regular file")
        content: ByteSource = file.location
        return content
