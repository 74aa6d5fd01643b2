"""A root directory in a tar archive, or a container image in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from altrepodb.byte_source import ByteSource
from altrepodb.errors import SourceError
from altrepodb.image.container import CONTAINER_NAMES, open_container
from altrepodb.image.installed import SystemRoot, find_database
from altrepodb.image.kept_tree import KeptTree
from altrepodb.image.layer import Spool, WantedPaths, read_layer, read_until_complete
from altrepodb.image.tar_stream import open_tar_stream
from altrepodb.image.tree import EntryType

__all__ = ["open_tar"]


@contextmanager
def open_tar(source: ByteSource, scratch_directory: Path, arch: str) -> Iterator[SystemRoot]:
    """Find the root in an archive; ``arch`` chooses among images of several platforms.

    What is kept of it stands in ``scratch_directory``. Raises SourceError for damage and when
    there is no system or more than one.
    """
    with ExitStack() as files:
        spool = Spool(scratch_directory, files)
        top_names: set[bytes] = set()

        def read(wanted: WantedPaths) -> tuple[KeptTree, set[bytes]]:
            with open_tar_stream(source) as reader:
                layer = read_layer(reader, source.name, wanted, spool, is_layer=False)
            top_names.update(layer.top_names)
            return layer.tree, layer.missing

        root = _root_of(read_until_complete(read, source.name, has_prefix=True))
        if root is not None:
            yield SystemRoot(root)
        elif any(names <= top_names for names in CONTAINER_NAMES):
            yield open_container(source, scratch_directory, spool, files, arch)
        else:
            raise SourceError(f"{source.name}: no rpm database")


def _root_of(tree: KeptTree) -> KeptTree | None:
    """The archive's root, or the one directory that holds all, such as ``rootfs``."""
    if find_database(tree) is not None:
        return tree
    below = [
        tree.below(entry.name)
        for entry in sorted(tree.entries(tree.root), key=lambda one: (len(one.name), one.name))
        if entry.type is EntryType.DIRECTORY
    ]
    found = [one for one in below if find_database(one) is not None]
    if len(found) > 1 and len(found[0].root.location) == len(found[1].root.location):
        names = " and ".join(repr(one.root.location.decode("utf-8", "replace")) for one in found)
        raise SourceError(f"{tree.name}: several systems, in {names}")
    return found[0] if found else None
