"""A build task on disk -> records. Nothing is written and no database is needed here."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from altrepodb.errors import SourceError
from altrepodb.hashing import text_hash
from altrepodb.rpm.apt_lists import ListedPackage, read_package_list
from altrepodb.rpm.package_file import printable
from altrepodb.task.approvals import Approval, read_approvals
from altrepodb.task.files import (
    exists,
    file_size,
    modified_ns,
    number,
    numbered_directories,
    raw,
    regular_files,
    seconds,
    subdirectories,
    text,
)
from altrepodb.task.logs import LogFile
from altrepodb.task.plan import Plan, read_plan
from altrepodb.task.snapshot import read_info

__all__ = ["Iteration", "Subtask", "Task", "read_task"]

_LARGEST_ID, _LARGEST_TRY, _LARGEST_ITER = 0xFFFFFFFF, 0xFFFF, 0xFF
_FIRST_ARCHITECTURES = ("x86_64", "i586", "aarch64", "ppc64le", "armh")
_STUB_ARCH = "x86_64"
_EVENT_LOG = re.compile(r"events\.(\d{1,9})\.(\d{1,9})\.log", re.ASCII)
_HEADER_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
_SUBTASK_TYPES = ("srpm", "gear", "copy", "delete", "rebuild")
_AREPO = Path("arepo") / "x86_64-i586" / "rpms"


@dataclass(frozen=True, slots=True)
class Subtask:
    """A subtask; times are seconds since 1970 UTC."""

    id: int
    changed: int
    is_deleted: bool
    userid: str
    type: str
    package_from: str
    sid: str
    directory: str = ""
    package: str = ""
    tag_author: str = ""
    tag_id: str = ""
    tag_name: str = ""
    srpm: str = ""
    srpm_name: str = ""
    srpm_evr: str = ""


@dataclass(frozen=True, slots=True)
class Iteration:
    """The result of building a subtask on an architecture."""

    subtask_id: int
    arch: str
    time: int
    status: str
    source: Path | None = None
    binaries: tuple[Path, ...] = ()
    chroot_base: tuple[int, ...] = ()
    chroot_br: tuple[int, ...] = ()
    build_log: LogFile | None = None
    srpm_log: LogFile | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it lies on disk. ``changed`` is the one time that all its rows carry."""

    id: int
    root: Path
    changed: int
    state: str
    repo: str
    owner: str
    runby: str
    depends: list[int]
    task_try: int
    task_iter: int
    is_testonly: bool
    is_failearly: bool
    is_shared: bool
    message: str
    version: str
    previous: int
    subtasks: list[Subtask]
    iterations: list[Iteration]
    plan: Plan
    approvals: list[Approval] | None
    event_logs: list[LogFile]
    arepo: list[Path]
    listed: dict[str, ListedPackage]
    warnings: list[str] = field(default_factory=list)

    @property
    def logs(self) -> Iterator[LogFile]:
        """All logs that have lines."""
        yield from self.event_logs
        for iteration in self.iterations:
            yield from filter(None, (iteration.build_log, iteration.srpm_log))


def task_number(root: Path) -> int:
    """The number of a task by the name of its directory. Raises SourceError."""
    name = root.name
    if not (name.isascii() and name.isdigit() and len(name) < 11 and 0 < int(name) <= _LARGEST_ID):
        raise SourceError(f"{printable(os.fspath(root))}: not named by the number of a task")
    return int(name)


def read_task(root: Path) -> Task:
    """Read a task completely, apart from packages and lines of logs.

    Raises SourceError, naming the file, when the tree is malformed or cannot be read.
    """
    name = printable(os.fspath(root))
    if not root.is_dir():
        raise SourceError(f"{name}: no such directory")
    task_id = number(root / "task" / "id", _LARGEST_ID)
    if not task_id:
        raise SourceError(f"{name}: task/id names no task")
    if task_id != task_number(root):
        raise SourceError(f"{name}: task/id says {task_id}")
    state_time = modified_ns(root / "task" / "state")
    if state_time is None:
        raise SourceError(f"{name}: no task/state")
    warnings: list[str] = []
    changed = seconds(max(state_time, modified_ns(root / "info.json") or 0))
    state = text(root / "task" / "state")
    task_try = number(root / "task" / "try", _LARGEST_TRY)
    task_iter = number(root / "task" / "iter", _LARGEST_ITER)
    key = f"{task_id}", f"{task_try}{task_iter}"
    plan = Plan()
    if _is_plan_trusted(root, state, task_try, task_iter):
        plan = read_plan(root, warnings)
    subtasks = [
        _read_subtask(n, path, warnings) for n, path in numbered_directories(root / "gears")
    ]
    iterations = _read_iterations(root, key, plan, warnings)
    return Task(
        id=task_id,
        root=root,
        changed=changed,
        state=state,
        repo=text(root / "task" / "repo"),
        owner=text(root / "task" / "owner"),
        runby=text(root / "task" / "run"),
        depends=_read_depends(root / "task" / "depends"),
        task_try=task_try,
        task_iter=task_iter,
        is_testonly=exists(root / "task" / "test-only"),
        is_failearly=exists(root / "task" / "fail-early"),
        is_shared=bool(read_info(root).get("shared")),
        message=text(root / "task" / "message"),
        version=text(root / "task" / "version"),
        previous=_previous_task(root / "build" / "repo" / "prev", warnings),
        subtasks=subtasks,
        iterations=iterations + _stub_iterations(root, subtasks, iterations, changed),
        plan=plan,
        approvals=read_approvals(root, task_id, warnings),
        event_logs=_event_logs(root, task_id),
        arepo=[path for path in regular_files(root / _AREPO) if path.name.endswith(".rpm")],
        listed=_read_indexes(root, warnings),
        warnings=warnings,
    )


def _read_depends(path: Path) -> list[int]:
    words = [line.strip() for line in raw(path).split("\n") if line.strip()]
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 11 and int(word) <= _LARGEST_ID):
            raise SourceError(f"{printable(os.fspath(path))}: {word[:40]!r} is no task number")
    return [int(word) for word in words]


def _previous_task(path: Path, warnings: list[str]) -> int:
    """The task whose result this one was tested against, by the name that a link leads to."""
    if not path.is_symlink():
        return 0
    name = os.path.basename(os.path.realpath(path))
    if name.isascii() and name.isdigit() and len(name) < 11 and int(name) <= _LARGEST_ID:
        return int(name)
    warnings.append(f"{printable(os.fspath(path))}: leads to {name!r}, which is no task")
    return 0


def _is_plan_trusted(root: Path, state: str, task_try: int, task_iter: int) -> bool:
    """Whether the plan belongs to this try; until planning is reached, an older one lies there."""
    if state == "DONE":
        return True
    times = [modified_ns(root / name) for name in ("plan", "task/try", "task/iter")]
    if not (task_try and task_iter) or None in times:
        return False
    plan, *requested = [time or 0 for time in times]
    return plan > max(requested)


# --- subtasks


def _read_subtask(subtask_id: int, path: Path, warnings: list[str]) -> Subtask:
    changed = seconds(max(modified_ns(path) or 0, modified_ns(path / "userid") or 0))
    userid = text(path / "userid")
    prefix, sid = _split_sid(path, warnings)
    if not any(exists(path / name) for name in ("dir", "srpm", "package")):
        return Subtask(subtask_id, changed, True, userid, "unknown", "", sid)
    kind, package_from = _subtask_type(path, prefix)
    srpm_name, srpm_evr = _split_nevr(path, warnings)
    return Subtask(
        id=subtask_id,
        changed=changed,
        is_deleted=False,
        userid=userid,
        type=kind,
        package_from=package_from,
        sid=sid,
        directory=text(path / "dir"),
        package=text(path / "package"),
        tag_author=text(path / "tag_author"),
        tag_id=text(path / "tag_id"),
        tag_name=text(path / "tag_name"),
        srpm=text(path / "srpm"),
        srpm_name=srpm_name,
        srpm_evr=srpm_evr,
    )


def _split_sid(path: Path, warnings: list[str]) -> tuple[str, str]:
    """Prefix and identifier of a source id such as ``gear:<tag id>``."""
    whole = text(path / "sid")
    prefix, colon, rest = whole.partition(":")
    if whole and not colon:
        warnings.append(f"{printable(os.fspath(path / 'sid'))}: no prefix in {whole[:60]!r}")
        return "", whole
    if whole and prefix not in _SUBTASK_TYPES:
        warnings.append(f"{printable(os.fspath(path / 'sid'))}: unknown prefix {prefix[:60]!r}")
        prefix = ""
    return prefix, rest.split(":", 1)[0].strip()


def _split_nevr(path: Path, warnings: list[str]) -> tuple[str, str]:
    whole = raw(path / "nevr")
    name, tab, rest = whole.partition("\t")
    if whole.strip() and not tab:
        warnings.append(f"{printable(os.fspath(path / 'nevr'))}: no EVR in {whole.strip()[:60]!r}")
    return name.strip(), rest.split("\t", 1)[0].strip()


def _subtask_type(path: Path, prefix: str) -> tuple[str, str]:
    """Type of a subtask and where its package comes from; later rules override earlier ones."""
    kind, package_from = prefix or "unknown", ""
    if file_size(path / "package") and not file_size(path / "dir"):
        if file_size(path / "copy_repo"):
            kind, package_from = "copy", text(path / "copy_repo")
        elif not file_size(path / "srpm"):
            kind = "delete"
    for name in ("rebuild", "rebuild_from"):
        if exists(path / name):
            kind, package_from = "rebuild", text(path / name)
    return kind, package_from


# --- iterations


def _visiting_order(directory: Path) -> tuple[int, str]:
    if directory.name in _FIRST_ARCHITECTURES:
        return _FIRST_ARCHITECTURES.index(directory.name), ""
    return len(_FIRST_ARCHITECTURES), directory.name


def _read_iterations(
    root: Path, key: tuple[str, str], plan: Plan, warnings: list[str]
) -> list[Iteration]:
    """All results of builds; ``key`` is the task's number and its try with iteration."""
    iterations = []
    for subtask_id, directory in numbered_directories(root / "build"):
        source = plan.source_paths.get(subtask_id)
        for arch in sorted(subdirectories(directory), key=_visiting_order):
            source = source or next(iter(_packages(arch / "srpm", True)), None)
            iterations.append(_read_iteration(arch, subtask_id, key, source, plan, warnings))
    return iterations


def _packages(directory: Path, is_source: bool) -> list[Path]:
    """The package files of one kind in a directory, by name."""
    return [
        path
        for path in regular_files(directory)
        if path.name.endswith(".rpm") and path.name.endswith(".src.rpm") == is_source
    ]


def _read_iteration(
    path: Path,
    subtask_id: int,
    key: tuple[str, str],
    source: Path | None,
    plan: Plan,
    warnings: list[str],
) -> Iteration:
    binaries = _packages(path / "rpms", False)
    status_time = modified_ns(path / "status")
    time = status_time if status_time is not None else modified_ns(path) or 0
    has_packages = bool(binaries or _packages(path / "srpm", True))
    status = _status(path, status_time is not None, has_packages)
    if not binaries:
        binaries = plan.binary_paths.get((subtask_id, path.name), [])
    # A status without text is a build that failed: packages beside it are of an earlier try.
    if status_time is not None and not text(path / "status"):
        binaries = []
    return Iteration(
        subtask_id=subtask_id,
        arch=path.name,
        time=seconds(time),
        status=status,
        source=source,
        binaries=tuple(binaries),
        chroot_base=_read_chroot(path / "chroot_base", warnings),
        chroot_br=_read_chroot(path / "chroot_BR", warnings),
        build_log=_iteration_log("build", path / "log", subtask_id, key),
        srpm_log=_iteration_log("srpm", path / "srpm.log", subtask_id, key),
    )


def _status(path: Path, has_status: bool, has_packages: bool) -> str:
    stated = text(path / "status")
    if not has_status:
        return "built" if has_packages else "failed"
    if not stated:
        return "failed"
    return "built" if has_packages else stated


def _read_chroot(path: Path, warnings: list[str]) -> tuple[int, ...]:
    """Hashes of the header digests in the last column of a list of packages."""
    hashes, odd_lines = _parse_chroot(raw(path))
    for line in odd_lines:
        warnings.append(f"{printable(os.fspath(path))}: {line[:60]!r}: left out")
    return hashes


@lru_cache(maxsize=64)
def _parse_chroot(content: str) -> tuple[tuple[int, ...], list[str]]:
    """Hashes, and lines that give none. Most builds of a day begin with the same packages."""
    hashes, odd_lines = [], []
    for line in content.split("\n"):
        digest = line.rsplit("\t", 1)[-1].strip()
        if _HEADER_SHA1.fullmatch(digest):
            hashes.append(text_hash(bytes.fromhex(digest)))
        elif line.strip():
            odd_lines.append(line)
    return tuple(hashes), odd_lines


def _iteration_log(kind: str, path: Path, subtask_id: int, key: tuple[str, str]) -> LogFile | None:
    if not file_size(path):
        return None
    task_id, try_and_iter = key
    identity = f"{kind}{task_id}{subtask_id}{try_and_iter}{path.parent.name}"
    log_hash = text_hash(identity.encode("utf-8", "surrogateescape"))
    return LogFile(kind, path, log_hash, modified_ns(path) or 0)


def _stub_iterations(
    root: Path, subtasks: list[Subtask], iterations: list[Iteration], changed: int
) -> list[Iteration]:
    """Removals build nothing; a row stands for them, so that readers find try and iteration."""
    present = {iteration.subtask_id for iteration in iterations}
    build_time = modified_ns(root / "build")
    time = changed if build_time is None else seconds(build_time)
    return [
        Iteration(subtask.id, _STUB_ARCH, time, "deleted")
        for subtask in subtasks
        if subtask.type == "delete" and not subtask.is_deleted and subtask.id not in present
    ]


# --- logs and indexes


def _event_logs(root: Path, task_id: int) -> list[LogFile]:
    """The logs of all tries, in the order of try and iteration; empty ones count too."""
    found = []
    for path in regular_files(root / "logs"):
        if named := _EVENT_LOG.fullmatch(path.name):
            task_try, task_iter = named.groups()
            log_hash = text_hash(f"events{task_id}{task_try}{task_iter}".encode())
            log = LogFile("events", path, log_hash, modified_ns(path) or 0)
            found.append((int(task_try), int(task_iter), log))
    return [log for _, _, log in sorted(found, key=lambda item: item[:2])]


def _read_indexes(root: Path, warnings: list[str]) -> dict[str, ListedPackage]:
    """What the task's own package indexes say of its binaries.

    An index that cannot be read gives nothing; of files that differ between architectures
    nothing is known.
    """
    listed: dict[str, ListedPackage] = {}
    differing: Counter[str] = Counter()
    # Beside the architectures stands a link to a whole repository.
    for arch in subdirectories(root / "build" / "repo", follow_links=False):
        path = arch / "base" / "pkglist.task.xz"
        if not file_size(path):
            continue
        try:
            packages = read_package_list(path)
        except SourceError as error:
            warnings.append(f"{error}; its digests are not used")
            continue
        for package in packages:
            name = os.fsdecode(package.file_name)
            if listed.setdefault(name, package).md5 != package.md5:
                differing[name] += 1
    return {name: package for name, package in listed.items() if name not in differing}
