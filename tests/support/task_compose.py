"""Write a described build task to disk as the build system would, and tell what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.apt_lists import compress_list
from tests.support.identity import text_hash
from tests.support.task_facts import array_hash
from tests.support.task_logs import LogContent, iter_log
from tests.support.task_packages import ChrootPackage, TaskRpm, chroot_list
from tests.support.task_plan import APPROVAL_KINDS, SECOND, Build, Subtask, TaskPlan
from tests.support.task_repository_plan import AREPO_ARCH, added_sources, derive_plan_files
from tests.support.task_tree_writer import TreeWriter


@dataclass(frozen=True, slots=True)
class ComposedTask:
    """A task directory and all that a reader should find in it.

    ``packages`` are all package files of ``build`` and ``arepo`` by their path below the root;
    ``log_sizes`` are the sizes of the logs by theirs.
    """

    root: Path
    plan: TaskPlan
    packages: dict[str, TaskRpm] = field(repr=False)
    log_sizes: dict[str, int] = field(repr=False)

    def pkg_hash(self, path: str) -> int:
        """Identity of the package file at a path."""
        return self.packages[path].pkg_hash

    def source(self, subtask: int, arch: str) -> TaskRpm:
        """The source package of a build."""
        return self._below(f"build/{subtask}/{arch}/srpm/")[0]

    def binaries(self, subtask: int, arch: str) -> list[TaskRpm]:
        """The binary packages of a build, sorted by file name."""
        return self._below(f"build/{subtask}/{arch}/rpms/")

    def _below(self, directory: str) -> list[TaskRpm]:
        return [self.packages[path] for path in sorted(self.packages) if path.startswith(directory)]

    def events_hash(self, task_try: int, task_iter: int) -> int:
        """Identity of an event log."""
        return text_hash(f"events{self.plan.task_id}{task_try}{task_iter}".encode())

    def log_hash(self, kind: str, subtask: int, arch: str) -> int:
        """Identity of a "build" or "srpm" log of the current try and iteration."""
        return text_hash(f"{kind}{self.plan.task_id}{subtask}{self._run}{arch}".encode())

    def plan_hash(self, arch: str) -> int:
        """Identity of the changes to an architecture, or to "src"."""
        return text_hash(f"{self.plan.task_id}{self._run}{arch}".encode())

    @property
    def _run(self) -> str:
        return f"{self.plan.task_try or 0}{self.plan.task_iter or 0}"


def chroot_hash(packages: Sequence[ChrootPackage]) -> int:
    """Identity of a chroot; 0 when nothing is in it."""
    return array_hash([package.hash for package in packages]) if packages else 0


def compose_task(root: Path, plan: TaskPlan) -> ComposedTask:
    """Write the task to a new directory, normally named by the task's number."""
    composed = ComposedTask(root, plan, {}, {})
    writer = _TaskWriter(composed)
    writer.write_state()
    for subtask in plan.subtasks:
        writer.write_subtask(subtask)
        for build in subtask.builds:
            writer.write_build(subtask, build)
    writer.write_repository()
    writer.write_plan()
    writer.write_approvals()
    writer.write_events()
    writer.write_rest()
    writer.tree.finish()
    return composed


def loaded_packages(task: ComposedTask) -> list[TaskRpm]:
    """Packages that a load stores: all binaries, and one source package of each subtask.

    Each identity comes once, under the first file name that has it.
    """
    sources = {added.path for added in added_sources(task.plan)}
    found = {
        rpm.pkg_hash: rpm
        for path, rpm in reversed(task.packages.items())
        if "/srpm/" not in path or path in sources
    }
    return [*reversed(found.values())]


class _TaskWriter:
    """Writes the parts of a task and notes what it wrote."""

    def __init__(self, composed: ComposedTask) -> None:
        self._composed = composed
        self._plan = composed.plan
        self.tree = TreeWriter(composed.root, composed.plan.times.created)

    def write_state(self) -> None:
        """``task`` and ``info.json``."""
        plan, times, tree = self._plan, self._plan.times, self.tree
        tree.text("task/id", str(plan.task_id))
        tree.text("task/owner", plan.owner)
        tree.text("task/repo", plan.repo)
        tree.text("task/state", plan.state, times.state)
        tree.text("task/run", plan.run_by) if plan.run_by else tree.file("task/run", b"")
        if plan.task_try is not None:
            tree.text("task/try", str(plan.task_try), times.run)
        if plan.task_iter is not None:
            tree.text("task/iter", str(plan.task_iter), times.iter)
        if plan.depends:
            tree.text("task/depends", "\n".join(map(str, plan.depends)))
        for name, text in (("message", plan.message), ("version", plan.version)):
            if text:
                tree.text(f"task/{name}", text)
        for name, flag in (("test-only", plan.test_only), ("fail-early", plan.fail_early)):
            if flag:
                tree.file(f"task/{name}", b"")
        if plan.shared is not None:
            tree.file("info.json", self._info(plan.shared), times.info)

    def _info(self, shared: bool) -> bytes:
        plan = self._plan
        updated = plan.times.info // SECOND
        info = {"updated": updated, "taskid": plan.task_id, "shared": shared, "state": plan.state}
        return json.dumps(info, separators=(",", ":")).encode()

    def write_subtask(self, subtask: Subtask) -> None:
        """``gears/<n>``."""
        place = f"gears/{subtask.number}"
        self.tree.directory(place, subtask.time)
        files = {**_subtask_files(subtask), **subtask.files}
        for name, data in files.items():
            if data is None:
                continue
            time = subtask.userid_time if name == "userid" else None
            self.tree.file(f"{place}/{name}", data, time or subtask.time)

    def write_build(self, subtask: Subtask, build: Build) -> None:
        """``build/<n>/<arch>``."""
        times, tree = self._plan.times, self.tree
        place = f"build/{subtask.number}/{build.arch}"
        time = build.time or times.built
        tree.directory(place, build.directory_time or time)
        if build.status is not None:
            tree.file(f"{place}/status", build.status, time)
        if build.source is not None:
            self._write_package(f"{place}/srpm", build.source)
        for rpm in build.binaries:
            self._write_package(f"{place}/rpms", rpm)
        for name, chroot in (("chroot_base", build.chroot_base), ("chroot_BR", build.chroot_br)):
            if chroot is not None:
                tree.file(f"{place}/{name}", chroot_list(chroot), time)
        self._write_log(f"{place}/log", build.log, build.log_time or time)
        self._write_log(f"{place}/srpm.log", build.srpm_log, build.srpm_log_time or time)
        for name, data in build.extra.items():
            tree.file(f"{place}/{name}", data, time)

    def _write_package(self, directory: str, rpm: TaskRpm) -> None:
        path = f"{directory}/{rpm.file_name}"
        self.tree.file(path, rpm.data)
        self._composed.packages[path] = rpm

    def _write_log(self, path: str, content: LogContent | None, time: int) -> None:
        if content is not None:
            size = self.tree.chunks(path, iter_log(content, time // SECOND), time)
            self._composed.log_sizes[path] = size

    def write_repository(self) -> None:
        """``build/repo`` and the repackaged packages; the time of ``build``."""
        plan = self._plan
        for rpm in plan.arepo:
            self._write_package(f"arepo/{AREPO_ARCH}/rpms", rpm)
        if plan.previous is not None:
            self.tree.link("build/repo/prev", plan.previous)
        if any(subtask.builds for subtask in plan.subtasks) or plan.previous is not None:
            self.tree.directory("build", plan.times.build_directory)
        if plan.indexes:
            for arch, packages in self._indexed_packages().items():
                self._write_index(arch, packages)

    def _indexed_packages(self) -> dict[str, dict[str, TaskRpm]]:
        """Paths of the binary packages of each architecture, relative to the task root."""
        found: dict[str, dict[str, TaskRpm]] = {}
        for path, rpm in self._composed.packages.items():
            _, *middle, kind, _ = path.split("/")
            if kind == "rpms":
                arch = middle[-1]
                found.setdefault(arch, {})[path] = rpm
        return found

    def _write_index(self, arch: str, packages: dict[str, TaskRpm]) -> None:
        headers = [rpm.index_header(blake2b=self._plan.blake2b) for rpm in packages.values()]
        place = f"build/repo/{arch}"
        self.tree.file(f"{place}/base/pkglist.task.xz", compress_list(b"".join(headers)))
        for path, rpm in packages.items():
            self.tree.link(f"{place}/RPMS.task/{rpm.file_name}", f"../../../../{path}")

    def write_plan(self) -> None:
        """``plan``."""
        files = self._plan.plan_files
        if files == "absent":
            return
        if files == "derived":
            files = derive_plan_files(self._plan)
        self.tree.directory("plan", self._plan.times.planned)
        for name, data in files.items():
            self.tree.file(f"plan/{name}", data, self._plan.times.planned)

    def write_approvals(self) -> None:
        """``acl``: two directories for each subtask, a file for each vote."""
        for subtask in self._plan.subtasks:
            if subtask.kind != "removed":
                for kind in APPROVAL_KINDS:
                    self.tree.directory(f"acl/{kind}/{subtask.number}")
        for vote in self._plan.approvals:
            self.tree.file(f"acl/{vote.kind}/{vote.subtask}/{vote.user}", vote.content, vote.time)

    def write_events(self) -> None:
        """``logs``."""
        self.tree.directory("logs")
        for log in self._plan.events:
            self._write_log(f"logs/{log.name}", log.content, log.time or self._plan.times.run)

    def write_rest(self) -> None:
        """Whatever the plan adds."""
        for path, data in self._plan.extra.items():
            self.tree.file(path, data)


def _subtask_files(subtask: Subtask) -> dict[str, bytes | None]:
    """The usual files of a subtask of that kind."""
    lines: dict[str, str] = {"userid": subtask.user}
    kind = subtask.kind
    identity = subtask.identity or _identity(subtask)
    if kind in ("gear", "gear-rebuild", "image"):
        lines["dir"] = subtask.directory or f"/people/{subtask.user}/packages/{subtask.name}.git"
        lines["tag_name"] = subtask.evr.rpartition(":")[2]
        lines["tag_id"] = identity
        lines["tag_author"] = subtask.tag_author
        lines["sid"] = f"gear:{identity}"
    if kind in ("srpm", "srpm-rebuild"):
        lines["srpm"] = f"{subtask.name}-{subtask.evr.rpartition(':')[2]}.src.rpm"
        lines["sid"] = f"srpm:{identity}"
    if kind in ("srpm", "srpm-rebuild", "gear-rebuild"):
        lines["nevr"] = f"{subtask.name}\t{subtask.evr}"
    if kind in ("gear-rebuild", "srpm-rebuild"):
        lines[subtask.rebuild_file] = subtask.branch
    if kind in ("gear-rebuild", "srpm-rebuild", "copy", "delete"):
        lines["package"] = subtask.name
    if kind == "copy":
        lines["copy_repo"] = subtask.branch
    if kind == "image":
        lines["type"] = "img"
    files: dict[str, bytes | None] = {name: f"{text}\n".encode() for name, text in lines.items()}
    if kind in ("gear", "gear-rebuild"):
        files["pkg.tar"] = b"generated source archive"
    if kind == "srpm":
        source = _first_source(subtask)
        files[lines["srpm"]] = source.data if source else b"\xed\xab\xee\xdb"
    return files


def _identity(subtask: Subtask) -> str:
    """The header SHA-1 of an uploaded package, or a tag that depends on name and version."""
    source = _first_source(subtask)
    if source is not None and subtask.kind in ("srpm", "srpm-rebuild"):
        return source.rpm.header_sha1.hex()
    return hashlib.sha1(f"{subtask.name} {subtask.evr}".encode()).hexdigest()


def _first_source(subtask: Subtask) -> TaskRpm | None:
    return next((build.source for build in subtask.builds if build.source is not None), None)
