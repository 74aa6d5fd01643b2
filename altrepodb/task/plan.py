"""The plan of a task: what it adds to its branch and removes from it.

Formats: unified diffs of package and checksum lists, and tab-separated lists of additions and
removals, as girar writes them below ``plan/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from altrepodb.hashing import text_hash
from altrepodb.rpm.package_file import printable
from altrepodb.task.files import raw, regular_files

__all__ = ["Plan", "PlannedDigest", "PlannedPackage", "plan_hash", "read_plan"]

_HASH_LINE = re.compile(r"([+-])([0-9a-f]{64})\s+(\S.*)")
_ACTIONS = {"+": "add", "-": "delete"}
_SOURCE_ARCH = "src"
_LARGEST_SUBTASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PlannedPackage:
    """A line of a package list diff, completed from the lists of additions and removals."""

    action: str
    name: str
    evr: str
    arch: str
    file_name: str
    source_file: str
    component: str
    subtask: int


@dataclass(frozen=True, slots=True)
class PlannedDigest:
    """A line of a checksum list diff."""

    action: str
    arch: str
    file_name: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class _Record:
    """A line of add-src, add-bin, rm-src or rm-bin."""

    file_name: str
    arch: str
    component: str = ""
    path: str = ""
    subtask: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A trusted plan; an untrusted one is empty.

    ``source_paths`` names the source package of a subtask, ``binary_paths`` the binaries of a
    (subtask, architecture); paths lie inside the task tree and exist.
    """

    packages: list[PlannedPackage] = field(default_factory=list)
    digests: list[PlannedDigest] = field(default_factory=list)
    source_paths: dict[int, Path] = field(default_factory=dict)
    binary_paths: dict[tuple[int, str], list[Path]] = field(default_factory=dict)
    sha256_of: dict[str, bytes] = field(default_factory=dict)
    """SHA-256 of the files that the plan adds, by file name."""


def plan_hash(task_id: int, task_try: int, task_iter: int, arch: str) -> int:
    """The key of a plan's rows; readers compute the same in SQL."""
    return text_hash(f"{task_id}{task_try}{task_iter}{arch}".encode("utf-8", "surrogateescape"))


def read_plan(root: Path, warnings: list[str]) -> Plan:
    """Read the plan of the task below ``root``; unreadable lines are left out with a warning."""
    directory = root / "plan"
    additions = [
        *_records(directory / "add-src", 5, warnings),
        *_records(directory / "add-bin", 6, warnings),
    ]
    removals = [
        *_records(directory / "rm-src", 3, warnings),
        *_records(directory / "rm-bin", 4, warnings),
    ]
    described = {
        "add": {record.file_name: record for record in additions},
        "delete": {record.file_name: record for record in removals},
    }
    packages: dict[tuple[str, str], PlannedPackage] = {}
    digests: dict[tuple[str, str, str], PlannedDigest] = {}
    for path in regular_files(directory):
        if path.name.endswith(".list.diff"):
            for package in _package_diff(path, described, warnings):
                packages[package.arch, package.file_name] = package
        elif path.name.endswith(".hash.diff"):
            for digest in _hash_diff(path):
                digests[digest.arch, digest.action, digest.file_name] = digest
    source_paths: dict[int, Path] = {}
    binary_paths: dict[tuple[int, str], list[Path]] = {}
    for record in additions:
        existing = _existing_path(root, record.path, warnings)
        if existing is None:
            continue
        if record.arch == _SOURCE_ARCH:
            source_paths[record.subtask] = existing
        else:
            binary_paths.setdefault((record.subtask, record.arch), []).append(existing)
    sha256_of = {d.file_name: d.sha256 for d in digests.values() if d.action == "add"}
    return Plan(
        list(packages.values()), list(digests.values()), source_paths, binary_paths, sha256_of
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(raw(path).split("\n"), 1) if line)


def _records(path: Path, columns: int, warnings: list[str]) -> Iterator[_Record]:
    """The records of a list; ``columns`` is how many it has at least."""
    for line_number, line in _lines(path):
        fields = [part.strip() for part in line.split("\t")]
        record = _record(path.name, fields) if len(fields) >= columns else None
        if record is None:
            warnings.append(f"{printable(os.fspath(path))}: line {line_number}: left out")
        else:
            yield record


def _record(list_name: str, fields: list[str]) -> _Record | None:
    """One record, None when its subtask is no number."""
    match list_name:
        case "add-src":
            _, _, file_name, path, subtask = fields[:5]
            arch, component = _SOURCE_ARCH, ""
        case "add-bin":
            _, _, arch, file_name, path, subtask = fields[:6]
            component = fields[6] if len(fields) > 6 else ""
        case "rm-src":
            return _Record(fields[2], _SOURCE_ARCH)
        case _:
            return _Record(fields[3], fields[2], fields[4] if len(fields) > 4 else "")
    if not (subtask.isascii() and subtask.isdigit() and int(subtask[:20]) <= _LARGEST_SUBTASK):
        return None
    return _Record(file_name, arch, component, path, int(subtask))


def _diff_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, action and rest of the lines that a unified diff adds or removes."""
    for line_number, line in _lines(path):
        if line[0] in _ACTIONS and not line.startswith(("--- ", "+++ ")):
            yield line_number, _ACTIONS[line[0]], line[1:]


def _package_diff(
    path: Path, described: dict[str, dict[str, _Record]], warnings: list[str]
) -> Iterator[PlannedPackage]:
    is_source = path.name == "src.list.diff"
    for line_number, action, rest in _diff_lines(path):
        fields = [part.strip() for part in rest.split("\t")]
        if len(fields) < (3 if is_source else 5):
            warnings.append(f"{printable(os.fspath(path))}: line {line_number}: left out")
            continue
        if is_source:
            name, evr, file_name = fields[:3]
            arch, source_file = _SOURCE_ARCH, file_name
        else:
            name, evr, arch, file_name, source_file = fields[:5]
        record = described[action].get(file_name, _Record(file_name, arch))
        component = "" if is_source else record.component
        yield PlannedPackage(
            action, name, evr, arch, file_name, source_file, component, record.subtask
        )


def _hash_diff(path: Path) -> Iterator[PlannedDigest]:
    arch = path.name.split(".", 1)[0]
    for _, line in _lines(path):
        if found := _HASH_LINE.fullmatch(line.rstrip()):
            sign, digest, file_name = found.groups()
            yield PlannedDigest(_ACTIONS[sign], arch, file_name, bytes.fromhex(digest))


def _existing_path(root: Path, relative: str, warnings: list[str]) -> Path | None:
    """A path that the plan names, if it leads to a file inside the task tree."""
    path = root / relative
    parts = relative.split("/")
    if "\0" in relative or parts[0] != "build" or ".." in parts:
        warnings.append(f"{printable(os.fspath(root / 'plan'))}: path {relative!r}: left out")
        return None
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    is_inside = resolved.is_relative_to(root.resolve()) and resolved.is_file()
    return path if is_inside else None
