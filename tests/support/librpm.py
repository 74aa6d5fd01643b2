"""Ask librpm what a package says: an oracle that shares no code with ours.

The Python binding is used where it can be imported, the `rpm` command elsewhere.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import rpm
except ImportError:  # pragma: no cover - depends on the machine
    rpm = None

_FIELD_END = "\x1f"
_RECORD_END = "\x1e"
_ABSENT = "(none)"
_SKIP_VERIFICATION = -1


def has_command() -> bool:
    """Whether the rpm command is installed."""
    return shutil.which("rpm") is not None


def has_binding() -> bool:
    """Whether librpm can be asked from Python."""
    return rpm is not None


def read_tags(path: Path, tags: Sequence[str]) -> dict[str, list[str]]:
    """Values of the tags as texts; an absent tag gives an empty list."""
    if rpm is None:
        return _read_by_command(path, tags)
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(_SKIP_VERIFICATION)
    with path.open("rb") as file:
        header = transaction.hdrFromFdno(file.fileno())
    return {tag: _texts(header[tag]) for tag in tags}


def read_header_list(path: Path, tags: Sequence[str]) -> list[dict[str, list[str]]]:
    """Values of the tags in every header of a decompressed header list; binding only."""
    headers: list[Any] = rpm.readHeaderListFromFile(str(path))
    return [{tag: _texts(header[tag]) for tag in tags} for header in headers]


def check(paths: Sequence[Path]) -> list[str]:
    """Complaints of `rpm -K` about digests; an empty list when all are right."""
    command = ["rpm", "-K", "--nosignature", *map(str, paths)]
    result = _run(command)
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    bad = [line for line in lines if not line.endswith("digests OK")]
    return bad or (result.stderr.decode().splitlines() if result.returncode else [])


def unpack(path: Path) -> dict[str, tarfile.TarInfo]:
    """Members of the payload by name, as librpm reads it."""
    archive = _run(["rpm2archive", "--nocompression", "-"], path.read_bytes())
    if archive.returncode:
        raise ValueError(archive.stderr.decode())
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        return {member.name.removeprefix("./"): member for member in tar}


def _run(command: Sequence[str], data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C", "LANGUAGE": ""}
    return subprocess.run(command, input=data, capture_output=True, env=environment, check=False)


def _read_by_command(path: Path, tags: Sequence[str]) -> dict[str, list[str]]:
    query = _RECORD_END.join([f"[%{{{tag}}}{_FIELD_END}]" for tag in tags])
    output = _run(["rpm", "-qp", "--nosignature", "--nodigest", "--qf", query, str(path)]).stdout
    records = output.decode("utf-8", "surrogateescape").split(_RECORD_END)
    return {
        tag: [value for value in record.split(_FIELD_END)[:-1] if value != _ABSENT]
        for tag, record in zip(tags, records, strict=True)
    }


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [item.hex() if isinstance(item, bytes) else str(item) for item in values]
