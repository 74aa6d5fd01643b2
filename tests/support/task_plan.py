"""Describe build tasks: states, subtasks, builds, logs, approvals, and when all that happened.

Times are nanoseconds since 1970 UTC; ``at`` makes them from texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal, NamedTuple

from tests.support.task_logs import LogContent
from tests.support.task_packages import ChrootPackage, TaskRpm

SECOND = 1_000_000_000
_MINUTE = 60 * SECOND
_HOUR = 60 * _MINUTE

SubtaskKind = Literal[
    "gear", "srpm", "gear-rebuild", "srpm-rebuild", "copy", "delete", "removed", "image"
]
# Kind of approval: what stands in the text.
APPROVAL_KINDS = {"approved": "approved by", "disapproved": "disapproved by"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def at(text: str, nanoseconds: int = 0) -> int:
    """The moment ``YYYY-MM-DD HH:MM:SS`` (UTC) in nanoseconds."""
    moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * SECOND + nanoseconds


def girar_stamp(time: int) -> str:
    """``YYYY-Mon-DD HH:MM:SS``, as approvals and event logs have it."""
    moment = datetime.fromtimestamp(time // SECOND, timezone.utc)
    return f"{moment:%Y}-{MONTHS[moment.month - 1]}-{moment:%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """Modification times of what is read for its time; ``created`` is for everything else."""

    created: int
    run: int
    iter: int
    build_directory: int
    built: int
    planned: int
    state: int
    info: int

    @classmethod
    def ending(cls, state: int) -> TaskTimes:
        """The times of a task whose state changed last at the given moment."""
        return cls(
            created=state - 22 * _HOUR,
            run=state - 80 * _MINUTE,
            iter=state - 80 * _MINUTE,
            build_directory=state - 75 * _MINUTE,
            built=state - 70 * _MINUTE,
            planned=state - 5 * _MINUTE,
            state=state,
            info=state + SECOND,
        )


DEFAULT_TIMES = TaskTimes.ending(at("2021-10-05 10:20:30"))


@dataclass(frozen=True, slots=True)
class Build:
    """What is below ``build/<n>/<arch>``; None leaves a file out, no packages the directory.

    ``time`` is that of ``status``, the others default to it. ``log`` and ``srpm_log`` end at
    their modification times.
    """

    arch: str
    source: TaskRpm | None = None
    binaries: tuple[TaskRpm, ...] = ()
    status: bytes | None = b"built\n"
    chroot_base: tuple[ChrootPackage, ...] | None = None
    chroot_br: tuple[ChrootPackage, ...] | None = None
    log: LogContent | None = None
    srpm_log: LogContent | None = None
    time: int | None = None
    directory_time: int | None = None
    log_time: int | None = None
    srpm_log_time: int | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subtask:
    """What is below ``gears/<n>``, and its builds.

    ``identity`` is the tag's or the source header's, 40 digits; made from the name or taken from
    the first source package by default. ``branch`` is where a copy or rebuild comes from;
    ``rebuild_file`` says in which file that stands. ``previous`` is the version that the task
    takes out of the repository. ``files`` adds to the usual files, replaces them, or with None
    leaves them out.
    """

    number: int
    kind: SubtaskKind
    name: str = ""
    evr: str = "1.0-alt1"
    user: str = "alice"
    directory: str | None = None
    identity: str | None = None
    tag_author: str = "Alice Example <alice@altlinux.org>"
    branch: str = "sisyphus"
    rebuild_file: Literal["rebuild", "rebuild_from"] = "rebuild_from"
    builds: tuple[Build, ...] = ()
    previous: str | None = None
    time: int | None = None
    userid_time: int | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)


class Approval(NamedTuple):
    """A file below ``acl``; ``text`` replaces the whole content."""

    kind: Literal["approved", "disapproved"]
    subtask: int
    user: str
    time: int
    message: str = ""
    text: bytes | None = None

    @property
    def content(self) -> bytes:
        """The file."""
        if self.text is not None:
            return self.text
        first = f"{girar_stamp(self.time)} :: {APPROVAL_KINDS[self.kind]} {self.user}\n"
        return (first + (f"{self.message}\n" if self.message else "")).encode()


class EventLog(NamedTuple):
    """``logs/events.<try>.<iter>.log``; its time is that of the task's run by default."""

    task_try: int
    task_iter: int
    content: LogContent
    time: int | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"events.{self.task_try}.{self.task_iter}.log"


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A whole task.

    None as ``task_try``, ``task_iter`` or ``shared`` leaves the file out. ``previous`` is the
    target of the link ``build/repo/prev``. ``plan_files`` are the files of ``plan``, made from
    the builds by default; "absent" leaves the directory out. ``components`` tells whether
    add-bin and rm-bin have that column. ``indexes`` writes the header lists and links of
    ``build/repo``, with BLAKE2b or without. ``arepo`` are the repackaged 32-bit packages.
    ``extra`` are further files by their path.
    """

    task_id: int = 500123
    repo: str = "p10"
    owner: str = "alice"
    state: str = "TESTED"
    run_by: str = "alice"
    task_try: int | None = 1
    task_iter: int | None = 1
    depends: tuple[int, ...] = ()
    message: str = ""
    version: str = "8309eff132884a47e73669636e10b6222b94190e"
    test_only: bool = False
    fail_early: bool = False
    shared: bool | None = False
    architectures: tuple[str, ...] = ("x86_64", "i586")
    subtasks: tuple[Subtask, ...] = ()
    approvals: tuple[Approval, ...] = ()
    events: tuple[EventLog, ...] = ()
    arepo: tuple[TaskRpm, ...] = ()
    previous: str | None = "/repo/p10/task/_488/500099"
    plan_files: Mapping[str, bytes] | Literal["derived", "absent"] = "derived"
    components: bool = True
    indexes: bool = True
    blake2b: bool = True
    times: TaskTimes = DEFAULT_TIMES
    extra: Mapping[str, bytes] = field(default_factory=dict)
