"""Change composed tasks in one place each: damage, and what the build system itself does.

Paths are relative to the task root. Modification times of everything else, the directories
around a changed file included, stay as they are, so that only the wanted change is left to find.
Files are replaced, never changed in place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.support.apt_lists import compress_list
from tests.support.task_packages import TaskRpm
from tests.support.task_plan import SECOND, Approval, girar_stamp

TASKS_PER_ARCHIVE_DIRECTORY = 1024
_NOT_ARCHIVED = (
    "gears/*/pkg.tar", "build/repo/*/base.*", "arepo/*/base", "plan/*.hash.xz", "plan/next.*"
)  # fmt: skip
# Names that files may have and nobody expects.
ODD_NAMES = (
    b"two\nlines",
    b"tab\tand space ",
    b"not utf-8 \xff\xfe",
    b"-rf",
    "кириллица".encode(),
    b"$(id)`id`'\"",
    b"x" * 255,
)


@contextmanager
def kept_time(directory: Path) -> Iterator[None]:
    """Give a directory its modification time back after files in it came or went."""
    before = directory.stat().st_mtime_ns
    yield
    if directory.exists():
        os.utime(directory, ns=(before, before))


# Any file


def put(root: Path, path: str, data: bytes, time: int | None = None) -> None:
    """Write a file, whether it was there or not; it keeps its time unless one is given.

    A new file without a time, and new directories above it, get that of the nearest directory.
    """
    file = root / path
    existing = next(above for above in file.parents if above.exists())
    before = (file if file.is_file() else existing).stat().st_mtime_ns
    with kept_time(existing):
        _make_directories(file.parent, existing)
        file.unlink(missing_ok=True)
        file.write_bytes(data)
        os.utime(file, ns=(before, before) if time is None else (time, time))
        for above in _between(file.parent, existing):
            os.utime(above, ns=(before, before))


def _make_directories(directory: Path, existing: Path) -> None:
    for above in reversed(_between(directory, existing)):
        above.mkdir()


def _between(directory: Path, existing: Path) -> list[Path]:
    """The directory and those above it, up to the existing one."""
    return [path for path in (directory, *directory.parents) if existing in path.parents]


def make_directory(root: Path, path: str, time: int | None = None) -> None:
    """Make an empty directory, in place of a file if there is one."""
    put(root, path, b"", time)
    place = root / path
    before = place.stat().st_mtime_ns
    with kept_time(place.parent):
        place.unlink()
        place.mkdir()
        os.utime(place, ns=(before, before))


def remove(root: Path, *paths: str) -> None:
    """Remove files, links and whole directories."""
    for path in paths:
        place = root / path
        with kept_time(place.parent):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()


def move(root: Path, path: str, target: str) -> None:
    """Rename a file or directory."""
    with kept_time((root / path).parent), kept_time((root / target).parent):
        (root / path).rename(root / target)


def touch(root: Path, path: str, time: int) -> None:
    """Set the modification time of a file or directory."""
    os.utime(root / path, ns=(time, time))


def empty(root: Path, path: str) -> None:
    """Make a file empty."""
    put(root, path, b"")


def truncate(root: Path, path: str, size: int) -> None:
    """Cut a file; a negative size counts from its end."""
    put(root, path, (root / path).read_bytes()[:size])


def append(root: Path, path: str, data: bytes, time: int | None = None) -> None:
    """Add bytes at the end of a file."""
    put(root, path, (root / path).read_bytes() + data, time)


def flip_bytes(root: Path, path: str, offset: int, count: int = 1) -> None:
    """Invert some bytes; a negative offset counts from the end."""
    data = bytearray((root / path).read_bytes())
    start = offset % len(data)
    for i in range(start, min(start + count, len(data))):
        data[i] ^= 0xFF
    put(root, path, bytes(data))


def replace_text(root: Path, path: str, old: bytes, new: bytes) -> None:
    """Replace bytes that must be there."""
    data = (root / path).read_bytes()
    if old not in data:
        raise ValueError(f"{path}: {old!r} is not in it")
    put(root, path, data.replace(old, new))


def put_rubbish(root: Path, path: str, size: int = 5000, seed: int = 0) -> None:
    """Write random bytes, line ends and NULs among them."""
    put(root, path, Random(f"rubbish {seed}").randbytes(size))


def put_huge_line(root: Path, path: str, size: int, head: bytes = b"", tail: bytes = b"") -> None:
    """Write a line of that many bytes after a head and before a tail."""
    put(root, path, b"%s%s\n%s" % (head, b"x" * size, tail))


def put_sparse(root: Path, path: str, size: int) -> None:
    """Make a file of NULs that takes no room on the disk."""
    put(root, path, b"")
    before = (root / path).stat().st_mtime_ns
    os.truncate(root / path, size)
    touch(root, path, before)


def link(root: Path, path: str, target: str) -> None:
    """Put a symbolic link in the place of anything."""
    place = root / path
    if place.is_symlink() or place.exists():
        remove(root, path)
    with kept_time(place.parent):
        place.symlink_to(target)


def make_loop(root: Path, path: str) -> None:
    """Put a symbolic link to itself in the place of anything."""
    link(root, path, Path(path).name)


def make_fifo(root: Path, path: str) -> None:
    """Put a named pipe in the place of a file: opening it waits for a writer."""
    place = root / path
    if place.exists():
        remove(root, path)
    with kept_time(place.parent):
        os.mkfifo(place)


def deny(root: Path, path: str) -> None:
    """Take all permissions away; root is not impressed."""
    (root / path).chmod(0)


def add_odd_names(root: Path, directory: str, suffix: bytes = b"") -> list[bytes]:
    """Put small files with odd names into a directory; return the names."""
    names = [name[: 255 - len(suffix)] + suffix for name in ODD_NAMES]
    for name in names:
        put(root, f"{directory}/{os.fsdecode(name)}", b"odd\n")
    return names


# What the build system does


def set_state(root: Path, state: str, time: int, *, with_info: bool = True) -> None:
    """Change the state, and what ``info.json`` says a second later."""
    put(root, "task/state", f"{state}\n".encode(), time)
    if with_info and (root / "info.json").exists():
        info = json.loads((root / "info.json").read_bytes())
        info |= {"state": state, "updated": time // SECOND + 1}
        put(root, "info.json", json.dumps(info, separators=(",", ":")).encode(), time + SECOND)


def run_again(root: Path, task_try: int, task_iter: int, time: int) -> None:
    """Request a new run: numbers, an event log, the state AWAITING."""
    put(root, "task/try", f"{task_try}\n".encode(), time)
    put(root, "task/iter", f"{task_iter}\n".encode(), time)
    task_id = (root / "task/id").read_text().strip()
    event = f"{girar_stamp(time)} :: task #{task_id} resumed by alice:\n"
    put(root, f"logs/events.{task_try}.{task_iter}.log", event.encode(), time)
    set_state(root, "AWAITING", time)


def vote(root: Path, approval: Approval) -> None:
    """Approve or disapprove; a vote of the other kind by the same user goes away."""
    other = "disapproved" if approval.kind == "approved" else "approved"
    if (root / f"acl/{other}/{approval.subtask}/{approval.user}").exists():
        revoke(root, other, approval.subtask, approval.user)
    place = f"acl/{approval.kind}/{approval.subtask}"
    put(root, f"{place}/{approval.user}", approval.content, approval.time)
    touch(root, place, approval.time)


def revoke(root: Path, kind: str, subtask: int, user: str) -> None:
    """Take a vote back."""
    remove(root, f"acl/{kind}/{subtask}/{user}")


def remove_subtask(root: Path, subtask: int, time: int) -> None:
    """Remove a subtask: only the directory with the user's name stays, and the state is NEW."""
    place = root / f"gears/{subtask}"
    for path in place.iterdir():
        if path.name != "userid":
            path.unlink()
    touch(root, f"gears/{subtask}", time)
    for kind in ("build", "acl/approved", "acl/disapproved"):
        if (root / kind / str(subtask)).exists():
            remove(root, f"{kind}/{subtask}")
    set_state(root, "NEW", time)


def archive(root: Path, archive: Path, time: int | None = None) -> Path:
    """Move a task to the archive as it is done: no empty files, no empty directories.

    Directories that lost entries get the given time, or keep theirs. Returns the new root.
    """
    target = archive / f"_{int(root.name) // TASKS_PER_ARCHIVE_DIRECTORY}" / root.name
    target.parent.mkdir(parents=True, exist_ok=True)
    for pattern in _NOT_ARCHIVED:
        for path in sorted(root.glob(pattern)):
            _drop(path, time)
    for directory, names, files in os.walk(root, topdown=False):
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink() and path.stat().st_size == 0:
                _drop(path, time)
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink() and not any(path.iterdir()):
                _drop(path, time)
    with kept_time(root):
        root.rename(target)
    return target


def _drop(path: Path, time: int | None) -> None:
    remove(path.parent, path.name)
    if time is not None:
        os.utime(path.parent, ns=(time, time))


# Packages, lists and plans


def put_package(root: Path, path: str, rpm: TaskRpm) -> None:
    """Write a package file below a directory, under its own name."""
    put(root, f"{path}/{rpm.file_name}", rpm.data)


def write_index(root: Path, arch: str, headers: Iterable[bytes]) -> None:
    """Write ``build/repo/<arch>/base/pkglist.task.xz`` of headers, see TaskRpm.index_header."""
    data = compress_list(b"".join(headers))
    put(root, f"build/repo/{arch}/base/pkglist.task.xz", data)


def add_plan_record(root: Path, name: str, *columns: str) -> None:
    """Add a line to a file of the plan."""
    append(root, f"plan/{name}", ("\t".join(columns) + "\n").encode())


def cut_plan_columns(root: Path, name: str, count: int) -> None:
    """Leave only the first columns of a file of the plan."""
    lines = (root / f"plan/{name}").read_bytes().splitlines()
    cut = [b"\t".join(line.split(b"\t")[:count]) + b"\n" for line in lines]
    put(root, f"plan/{name}", b"".join(cut))
