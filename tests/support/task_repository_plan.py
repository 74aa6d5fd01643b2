"""The files of ``plan``: what a task changes in the repository, derived from its builds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.support.task_packages import TaskRpm
from tests.support.task_plan import Build, Subtask, TaskPlan

ARCH_ORDER = ("x86_64", "i586", "aarch64", "ppc64le", "armh")
AREPO_ARCH = "x86_64-i586"
_COMPONENT_SUFFIXES = {"-debuginfo": "debuginfo", "-checkinstall": "checkinstall"}


class Added(NamedTuple):
    """A package file that enters the repository."""

    rpm: TaskRpm
    path: str
    subtask: int


class Removed(NamedTuple):
    """A package file that leaves the repository."""

    name: str
    evr: str
    arch: str
    source: str

    @property
    def file_name(self) -> str:
        """Base name of the file."""
        return rpm_file_name(self.name, self.evr, self.arch)

    @property
    def source_file(self) -> str:
        """File name of its source package."""
        return rpm_file_name(self.source, self.evr, "src")

    @property
    def sha256(self) -> str:
        """A digest for a file that does not exist."""
        return hashlib.sha256(self.file_name.encode()).hexdigest()


def rpm_file_name(name: str, evr: str, arch: str) -> str:
    """Name of a package file; the epoch is not part of it."""
    return f"{name}-{evr.rpartition(':')[2]}.{arch}.rpm"


def build_order(builds: Iterable[Build]) -> list[Build]:
    """Builds in the order of architectures that the build system prefers."""
    rank = {arch: i for i, arch in enumerate(ARCH_ORDER)}
    return sorted(builds, key=lambda build: (rank.get(build.arch, len(rank)), build.arch))


def component_of(name: str) -> str:
    """The component that a binary package goes to."""
    for suffix, component in _COMPONENT_SUFFIXES.items():
        if name.endswith(suffix):
            return component
    return "classic"


def added_sources(plan: TaskPlan) -> list[Added]:
    """One source package for each subtask that has any."""
    found = (_first_source(subtask) for subtask in plan.subtasks)
    return [added for added in found if added is not None]


def _first_source(subtask: Subtask) -> Added | None:
    for build in build_order(subtask.builds):
        if build.source is not None and build.status != b"":
            path = f"build/{subtask.number}/{build.arch}/srpm/{build.source.file_name}"
            return Added(build.source, path, subtask.number)
    return None


def added_binaries(plan: TaskPlan) -> list[Added]:
    """Binary packages, each file name once, from the first architecture that has it."""
    found: dict[str, Added] = {}
    for subtask in plan.subtasks:
        for build in build_order(subtask.builds):
            if build.status == b"":
                continue
            for rpm in build.binaries:
                path = f"build/{subtask.number}/{build.arch}/rpms/{rpm.file_name}"
                found.setdefault(rpm.file_name, Added(rpm, path, subtask.number))
    return list(found.values())


def removed_packages(plan: TaskPlan) -> list[Removed]:
    """Earlier versions of what is added, and everything of deleted packages."""
    removed = []
    for subtask in plan.subtasks:
        if subtask.previous is None:
            continue
        source = _first_source(subtask)
        source_name = source.rpm.package.name if source else subtask.name
        removed.append(Removed(source_name, subtask.previous, "src", source_name))
        names = {(rpm.package.name, rpm.package.arch) for b in subtask.builds for rpm in b.binaries}
        if not names:
            names = {(subtask.name, arch) for arch in plan.architectures}
        removed += [Removed(name, subtask.previous, arch, source_name) for name, arch in names]
    return sorted(removed)


def derive_plan_files(plan: TaskPlan) -> dict[str, bytes]:
    """All files of ``plan`` that are read, by their names."""
    sources, binaries = added_sources(plan), added_binaries(plan)
    removed = removed_packages(plan)
    gone_sources = [item for item in removed if item.arch == "src"]
    gone_binaries = [item for item in removed if item.arch != "src"]
    files = {
        "add-src": _table([_source_row(item) for item in sources]),
        "add-bin": _table([_binary_row(item, plan.components) for item in binaries]),
        "rm-src": _table([(item.name, item.evr, item.file_name) for item in gone_sources]),
        "rm-bin": _table([_gone_row(item, plan.components) for item in gone_binaries]),
        "src.list.diff": diff(
            "src.list",
            [(item.name, item.evr, item.file_name) for item in gone_sources],
            [(a.rpm.package.name, a.rpm.package.evr, a.rpm.file_name) for a in sources],
        ),
        "bin.list.diff": diff(
            "bin.list",
            [(i.name, i.evr, i.arch, i.file_name, i.source_file) for i in gone_binaries],
            [
                (a.rpm.package.name, a.rpm.package.evr, a.rpm.package.arch, a.rpm.file_name,
                 a.rpm.source_file)
                for a in binaries
            ],
        ),
    }  # fmt: skip
    return {**files, **_hash_diffs(plan, sources, binaries, removed)}


def _hash_diffs(
    plan: TaskPlan, sources: list[Added], binaries: list[Added], removed: list[Removed]
) -> dict[str, bytes]:
    """One diff of checksums for each architecture that changes."""
    plus: dict[str, dict[str, str]] = {}
    for added in sources:
        plus.setdefault("src", {})[added.rpm.file_name] = added.rpm.sha256
    for added in binaries:
        plus.setdefault(added.rpm.package.arch, {})[added.rpm.file_name] = added.rpm.sha256
    for rpm in plan.arepo:
        plus.setdefault(AREPO_ARCH, {})[rpm.file_name] = rpm.sha256
    minus: dict[str, dict[str, str]] = {}
    for item in removed:
        minus.setdefault(item.arch, {})[item.file_name] = item.sha256
    return {
        f"{arch}.hash.diff": hash_diff(arch, minus.get(arch, {}), plus.get(arch, {}))
        for arch in sorted({*plus, *minus})
    }


def _source_row(added: Added) -> tuple[str, ...]:
    package = added.rpm.package
    return package.name, package.evr, added.rpm.file_name, added.path, str(added.subtask)


def _binary_row(added: Added, with_component: bool) -> tuple[str, ...]:
    package = added.rpm.package
    row = (package.name, package.evr, package.arch, added.rpm.file_name, added.path)
    return (*row, str(added.subtask), *([component_of(package.name)] if with_component else []))


def _gone_row(item: Removed, with_component: bool) -> tuple[str, ...]:
    row = (item.name, item.evr, item.arch, item.file_name)
    return (*row, *([component_of(item.name)] if with_component else []))


def _table(rows: Iterable[Sequence[str]]) -> bytes:
    return "".join(sorted(["\t".join(row) + "\n" for row in rows])).encode()


def diff(name: str, old: Iterable[Sequence[str]], new: Iterable[Sequence[str]]) -> bytes:
    """A unified diff of a list, tabs between the columns; nothing when there is no difference."""
    rows = ["\t".join(row) for row in old], ["\t".join(row) for row in new]
    return _unified(name, "aaa\t1-alt1\taaa-1-alt1.src.rpm", *rows)


def hash_diff(arch: str, old: Mapping[str, str], new: Mapping[str, str]) -> bytes:
    """A unified diff of a checksum list: digests by file name."""
    rows = [[f"{digest}  {name}" for name, digest in side.items()] for side in (old, new)]
    return _unified(f"{arch}.hash", f"{'0' * 64}  aaa-1-alt1.{arch}.rpm", *rows)


def _unified(name: str, context: str, old: Sequence[str], new: Sequence[str]) -> bytes:
    if not old and not new:
        return b""
    return "".join(
        [
            f"--- /repo/{name}\t2021-10-05\n+++ plan/next.{name}\t2021-10-05\n",
            f"@@ -1,{len(old) + 1} +1,{len(new) + 1} @@\n {context}\n",
            *_changes(old, new),
        ]
    ).encode()


def _changes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Lines in the order of their names, what leaves before what enters."""
    marked = [(line, "-") for line in old] + [(line, "+") for line in new]
    marked.sort(key=lambda item: (item[0].split("\t")[0], item[1] == "+", item[0]))
    return (f"{mark}{line}\n" for line, mark in marked)
