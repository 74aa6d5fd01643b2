"""Plausible tasks of any size from a seed, for benchmarks and for tests of many shapes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from tests.support.task_logs import LogPattern
from tests.support.task_packages import ChrootPackage, TaskRpm, make_rpm
from tests.support.task_plan import (
    SECOND,
    Approval,
    Build,
    EventLog,
    Subtask,
    SubtaskKind,
    TaskPlan,
    TaskTimes,
    at,
    girar_stamp,
)
from tests.support.vocabulary import source_name

_KINDS: tuple[SubtaskKind, ...] = (
    "gear", "gear", "srpm", "gear", "gear-rebuild", "gear", "delete", "srpm-rebuild", "gear",
    "copy", "gear", "removed", "gear", "image",
)  # fmt: skip
_WITHOUT_BUILDS = frozenset({"delete", "removed", "image"})
_SUFFIXES = ("", "-devel", "-debuginfo", "-utils", "-checkinstall", "-plugins", "-data")
_USERS = ("alice", "bob", "carol", "dave", "erin", "виктор")
_CHROOT_BASE_SIZE = 150
_CHROOT_BR_SIZE = 90
_SRPM_LOG_SHARE = 0.03
_OCTAL_STEP = 0o100
_MINUTE = 60 * SECOND
# Many small tasks draw on that many sets of packages: composing must be fast, not varied.
_VARIETY = 40


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How big a sample task is: ``packages`` are package files that get into the database."""

    subtasks: int = 3
    architectures: tuple[str, ...] = ("x86_64", "i586")
    packages: int = 12
    log_bytes: int = 200_000
    state: str = "TESTED"


def sample_plan(task_id: int, size: SampleSize, seed: int = 0) -> TaskPlan:
    """A task of that size; the same arguments give the same task."""
    rng = Random(f"task {seed}")
    state_time = at("2023-04-05 10:20:30", rng.randrange(SECOND)) + task_id % 10_000 * _MINUTE
    task_try = rng.randint(1, 3)
    subtasks = _subtasks(size, seed, rng)
    arepo = _repackaged(subtasks, size)
    return TaskPlan(
        task_id=task_id,
        repo=rng.choice(("sisyphus", "p10", "p11", "c10f2")),
        state=size.state,
        task_try=task_try,
        task_iter=1,
        depends=tuple(task_id - back for back in (30, 7)[: rng.randrange(3)]),
        message="сборка по заявке #41234" if rng.random() < 0.3 else "",
        fail_early=rng.random() < 0.5,
        test_only=rng.random() < 0.3,
        shared=rng.random() < 0.1,
        architectures=size.architectures,
        subtasks=subtasks,
        approvals=tuple(_approvals(subtasks, state_time, rng)),
        events=tuple(_events(task_id, task_try, state_time)),
        arepo=arepo,
        previous=f"/repo/p10/task/_{(task_id - 8) // 1024}/{task_id - 8}",
        times=TaskTimes.ending(state_time),
    )


def sample_plans(
    first_id: int, count: int, size: SampleSize, seed: int = 0, *, max_subtasks: int | None = None
) -> Iterator[TaskPlan]:
    """Consecutive tasks; with ``max_subtasks`` of 1 to that many subtasks each."""
    for number in range(count):
        subtasks = size.subtasks if max_subtasks is None else 1 + number % max_subtasks
        this = SampleSize(
            subtasks, size.architectures, size.packages, size.log_bytes, size.state
        )  # fmt: skip
        yield sample_plan(first_id + number, this, seed * _VARIETY + number % _VARIETY)


def subtask_number(position: int) -> int:
    """The number of the first, second, ... subtask: octal hundreds."""
    return int(f"{(position + 1) * _OCTAL_STEP:o}")


def _subtasks(size: SampleSize, seed: int, rng: Random) -> tuple[Subtask, ...]:
    kinds = [_KINDS[i % len(_KINDS)] for i in range(size.subtasks)]
    built = sum(kind not in _WITHOUT_BUILDS for kind in kinds)
    # Each built subtask has one source package that counts, the others are binaries.
    quota = _shares(max(size.packages - built, built), built)
    logs = _shares(size.log_bytes, max(1, built * len(size.architectures)))
    subtasks = []
    for position, kind in enumerate(kinds):
        name = source_name(seed * 1009 + position + 17)
        version = f"{rng.randint(0, 9)}.{rng.randint(0, 20)}-alt{rng.randint(1, 4)}"
        builds: tuple[Build, ...] = ()
        if kind not in _WITHOUT_BUILDS:
            packages = _binaries(name, version, size.architectures, quota.pop())
            sizes = [logs.pop() for _ in size.architectures]
            builds = tuple(_builds(name, version, kind, packages, sizes, seed + position))
        subtasks.append(
            Subtask(
                subtask_number(position),
                kind,
                name,
                version,
                user=_USERS[position % 3],
                builds=builds,
                previous=_previous(kind, rng),
            )
        )
    return tuple(subtasks)


def _previous(kind: SubtaskKind, rng: Random) -> str | None:
    """The version that is replaced: most packages are not new."""
    if kind == "delete":
        return "0.1-alt1"
    return "0.0.9-alt1" if kind not in _WITHOUT_BUILDS and rng.random() < 0.8 else None


def _shares(total: int, parts: int) -> list[int]:
    """The total in about equal whole parts."""
    return [total // parts + (i < total % parts) for i in range(parts)] if parts else []


def _binaries(
    name: str, evr: str, architectures: Sequence[str], count: int
) -> dict[str, tuple[TaskRpm, ...]]:
    """That many different packages by architecture; a noarch one is built on all alike."""
    found: dict[str, list[TaskRpm]] = {arch: [] for arch in architectures}
    if count > len(architectures):
        documentation = make_rpm(f"{name}-doc", evr, "noarch", source=name)
        for packages in found.values():
            packages.append(documentation)
        count -= 1
    for i in range(count):
        arch = architectures[i % len(architectures)]
        round_ = i // len(architectures)
        again = str(round_ // len(_SUFFIXES) or "")
        suffix = _SUFFIXES[round_ % len(_SUFFIXES)]
        found[arch].append(make_rpm(f"{name}{again}{suffix}", evr, arch, source=name))
    return {arch: tuple(packages) for arch, packages in found.items()}


def _builds(
    name: str,
    evr: str,
    kind: SubtaskKind,
    packages: dict[str, tuple[TaskRpm, ...]],
    log_sizes: Sequence[int],
    seed: int,
) -> Iterator[Build]:
    copied = kind == "copy"
    for (arch, binaries), size in zip(packages.items(), log_sizes, strict=True):
        srpm_log_size = int(size * _SRPM_LOG_SHARE)
        yield Build(
            arch,
            make_rpm(name, evr, "src", buildtime=1_680_600_000 + len(arch)),
            binaries,
            status=None if copied else b"built\n",
            chroot_base=None if copied else _chroot("base", arch, _CHROOT_BASE_SIZE),
            chroot_br=None if copied else _chroot(f"br{seed % 5}", arch, _CHROOT_BR_SIZE),
            log=LogPattern(size - srpm_log_size, "build", seed),
            srpm_log=None if copied else LogPattern(srpm_log_size, "srpm", seed),
        )


@cache
def _chroot(salt: str, arch: str, size: int) -> tuple[ChrootPackage, ...]:
    offset = sum(salt.encode())
    return tuple(ChrootPackage(source_name(offset * 977 + i), "1-alt1", arch) for i in range(size))


def _repackaged(subtasks: Sequence[Subtask], size: SampleSize) -> tuple[TaskRpm, ...]:
    """Some 32-bit packages for 64-bit systems, where both architectures are built."""
    if not {"x86_64", "i586"} <= {*size.architectures}:
        return ()
    return tuple(
        make_rpm(f"i586-{subtask.name}", subtask.evr, "i586", source=subtask.name)
        for subtask in subtasks[::4]
        if subtask.builds
    )


def _approvals(subtasks: Sequence[Subtask], time: int, rng: Random) -> Iterator[Approval]:
    for position, subtask in enumerate(subtasks):
        if subtask.kind == "removed" or position % 3:
            continue
        voted = time - rng.randrange(1, 100) * _MINUTE
        yield Approval("approved", subtask.number, "carol", voted, "looks fine")
        if position % 6 == 0:
            yield Approval("disapproved", subtask.number, "erin", voted + SECOND, "рано\n\nжду")


def _events(task_id: int, tries: int, end: int) -> Iterator[EventLog]:
    """A log for each try; only the last one succeeds."""
    for number in range(1, tries + 1):
        start = end - (tries - number + 1) * 200 * _MINUTE
        lines = [f"{girar_stamp(start)} :: task #{task_id} started by alice:"]
        lines += [f"#{subtask_number(i)} build 1.0-alt1 from /people/alice/x.git" for i in range(3)]
        for step in range(40):
            stamp = girar_stamp(start + (step + 1) * 2 * _MINUTE)
            lines.append(f"{stamp} :: [x86_64] #100 step {step}: done")
            lines.append(f"[x86_64] output of step {step}, без времени")
        result = "TESTED" if number == tries else "FAILED"
        last = start + 100 * _MINUTE
        lines.append(f"{girar_stamp(last)} :: task #{task_id} {result}")
        yield EventLog(number, 1, ("\n".join(lines) + "\n").encode(), last)
