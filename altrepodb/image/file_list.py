"""The files of a file system without an rpm database: what the database stores of each."""

from __future__ import annotations

from altrepodb.image.records import FileList
from altrepodb.image.squashfs import SquashfsTree
from altrepodb.image.squashfs_digests import file_md5s
from altrepodb.image.tree import Entry, EntryType, read_file, walk

__all__ = ["list_files", "read_accounts"]

_MAX_ACCOUNT_BYTES = 16 * 1024 * 1024
_LARGEST_U16 = 0xFFFF
_LARGEST_U32 = 0xFFFFFFFF
_NO_DIGEST = bytes(16)


def list_files(tree: SquashfsTree, jobs: int | None) -> FileList:
    """Everything but directories, with the MD5 of each regular file, computed by ``jobs`` threads
    (one per processor if None).

    Raises SourceError for damage.
    """
    found = [(path, entry) for path, entry in walk(tree) if entry.type is not EntryType.DIRECTORY]
    digests = file_md5s(tree, [entry for _, entry in found], jobs)
    users = read_accounts(read_file(tree, b"etc/passwd", _MAX_ACCOUNT_BYTES) or b"")
    groups = read_accounts(read_file(tree, b"etc/group", _MAX_ACCOUNT_BYTES) or b"")
    files = FileList()
    for path, entry in found:
        _add(files, path, entry, digests.get(entry.inode, _NO_DIGEST))
        files.users.append(users.get(entry.uid, b""))
        files.groups.append(groups.get(entry.gid, b""))
    return files


def _add(files: FileList, path: bytes, entry: Entry, md5: bytes) -> None:
    files.paths.append(path)
    files.md5.append(md5)
    files.link_targets.append(entry.link_target)
    files.modes.append(entry.mode & _LARGEST_U16)
    files.rdevs.append(entry.rdev if entry.rdev <= _LARGEST_U16 else 0)
    files.mtimes.append(max(0, min(entry.mtime, _LARGEST_U32)))
    files.sizes.append(min(entry.size, _LARGEST_U32))


def read_accounts(text: bytes) -> dict[int, bytes]:
    """Names by number from a file like ``/etc/passwd``; malformed lines say nothing."""
    accounts: dict[int, bytes] = {}
    for line in text.split(b"\n"):
        name, *rest = line.split(b":")
        if name and len(rest) >= 2 and rest[1].isdigit() and len(rest[1]) <= 10:
            accounts.setdefault(int(rest[1]), name)
    return accounts
