"""Tasks -> rows of the task tables, as tuples in the order of the named columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from altrepodb.hashing import array_hash
from altrepodb.task.plan import plan_hash
from altrepodb.task.tree import Iteration, Task

__all__ = [
    "CHROOT_COLUMNS",
    "ITERATION_COLUMNS",
    "PLAN_DIGEST_COLUMNS",
    "PLAN_PACKAGE_COLUMNS",
    "STATE_COLUMNS",
    "SUBTASK_COLUMNS",
    "chroot_rows",
    "iteration_rows",
    "plan_digest_rows",
    "plan_package_rows",
    "state_row",
    "subtask_rows",
]

Row = tuple[Any, ...]

STATE_COLUMNS = (
    "task_changed", "task_id", "task_state", "task_runby", "task_depends", "task_try",
    "task_testonly", "task_failearly", "task_shared", "task_message", "task_version",
    "task_prev", "task_eventlog_hash",
)  # fmt: skip
SUBTASK_COLUMNS = (
    "task_id", "subtask_id", "task_repo", "task_owner", "task_changed", "subtask_changed",
    "subtask_deleted", "subtask_userid", "subtask_dir", "subtask_package", "subtask_type",
    "subtask_pkg_from", "subtask_sid", "subtask_tag_author", "subtask_tag_id",
    "subtask_tag_name", "subtask_srpm", "subtask_srpm_name", "subtask_srpm_evr",
)  # fmt: skip
ITERATION_COLUMNS = (
    "task_id", "task_changed", "subtask_id", "subtask_arch", "titer_ts", "titer_status",
    "task_try", "task_iter", "titer_srcrpm_hash", "titer_pkgs_hash", "titer_chroot_base",
    "titer_chroot_br", "titer_buildlog_hash", "titer_srpmlog_hash",
)  # fmt: skip
CHROOT_COLUMNS = ("tch_chroot",)
PLAN_PACKAGE_COLUMNS = (
    "tplan_hash", "tplan_action", "tplan_pkg_name", "tplan_pkg_evr", "tplan_bin_file",
    "tplan_src_file", "tplan_arch", "tplan_comp", "tplan_subtask",
)  # fmt: skip
PLAN_DIGEST_COLUMNS = ("tplan_hash", "tplan_action", "tplan_sha256")


def state_row(task: Task) -> Row:
    """The row that makes a load of a task visible."""
    return (
        task.changed, task.id, task.state, task.runby, task.depends, task.task_try,
        int(task.is_testonly), int(task.is_failearly), int(task.is_shared), task.message,
        task.version, task.previous, [log.log_hash for log in task.event_logs],
    )  # fmt: skip


def subtask_rows(task: Task) -> Iterator[Row]:
    for subtask in task.subtasks:
        yield (
            task.id, subtask.id, task.repo, task.owner, task.changed, subtask.changed,
            int(subtask.is_deleted), subtask.userid, subtask.directory, subtask.package,
            subtask.type, subtask.package_from, subtask.sid, subtask.tag_author,
            subtask.tag_id, subtask.tag_name, subtask.srpm, subtask.srpm_name,
            subtask.srpm_evr,
        )  # fmt: skip


def iteration_rows(task: Task, identities: Mapping[Path, int]) -> Iterator[Row]:
    """Rows of the iterations; ``identities`` knows every package file of the task."""
    for iteration in task.iterations:
        logs = (iteration.build_log, iteration.srpm_log)
        yield (
            task.id, task.changed, iteration.subtask_id, _stored_text(iteration.arch),
            iteration.time, iteration.status, task.task_try, task.task_iter,
            identities[iteration.source] if iteration.source else 0,
            [identities[path] for path in iteration.binaries] or [0],
            _chroot_hash(iteration.chroot_base), _chroot_hash(iteration.chroot_br),
            *(log.log_hash if log else 0 for log in logs),
        )  # fmt: skip


def _stored_text(name: str) -> str:
    """The name of a file as the database gives it back, whatever the locale made of its bytes."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)
def _chroot_hash(chroot: tuple[int, ...]) -> int:
    """The server computes the same over TaskChroots."""
    return array_hash(chroot) if chroot else 0


def chroot_rows(iterations: Iterable[Iteration]) -> list[Row]:
    """The distinct chroots of the iterations."""
    chroots = {c for i in iterations for c in (i.chroot_base, i.chroot_br) if c}
    return [(list(chroot),) for chroot in sorted(chroots)]


def plan_package_rows(task: Task) -> Iterator[Row]:
    for package in task.plan.packages:
        key = plan_hash(task.id, task.task_try, task.task_iter, package.arch)
        yield (
            key, package.action, package.name, package.evr, package.file_name,
            package.source_file, package.arch, package.component, package.subtask,
        )  # fmt: skip


def plan_digest_rows(task: Task) -> Iterator[Row]:
    for digest in task.plan.digests:
        key = plan_hash(task.id, task.task_try, task.task_iter, digest.arch)
        yield (key, digest.action, digest.sha256)
