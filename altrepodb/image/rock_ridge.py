"""System use areas of ISO 9660 directory records: SUSP entries and what Rock Ridge says in them.

Sources of the format: IEEE P1281 (SUSP) and P1282 (Rock Ridge). Here are only bytes of one record;
areas that continue elsewhere are fetched by the caller's function.
"""

from __future__ import annotations

import calendar
import datetime
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["Continuation", "RockRidge", "read_rock_ridge", "record_time", "skip_of_root"]

MAX_CONTINUATIONS = 16
"""Names have 255 bytes and targets of links 4096, so few records need more than two."""
MAX_LINK_TARGET_BYTES = 4096

_EMPTY_TIME = bytes(7)
_XA_AREA_BYTES = 14
_QUARTER_HOUR_S = 15 * 60
_MAX_QUARTERS = 56
_NAME_CONTINUES = 1
_NAME_IS_SPECIAL = 2 | 4
_COMPONENT_CONTINUES = 1
_COMPONENT_NAMES = {2: b".", 4: b".."}
_COMPONENT_ROOT = 8

Fetch = Callable[["Continuation"], bytes]


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a system use area goes on: block, offset in it, and length in bytes."""

    block: int
    offset: int
    size: int


@dataclass(slots=True)
class RockRidge:
    """What Rock Ridge says about a record; None where it says nothing.

    ``mtime`` is in seconds since 1970 UTC. ``child_block`` is where a relocated directory really
    is; ``is_relocated`` marks its record there, which is not to be shown.
    """

    name: bytes | None = None
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    mtime: int | None = None
    link_target: bytes = b""
    child_block: int | None = None
    is_relocated: bool = False
    _link: _LinkTarget = field(default_factory=lambda: _LinkTarget())


class _LinkTarget:
    """A target that is put together from the components of SL entries."""

    def __init__(self) -> None:
        self._components: list[bytes] = []
        self._continues = False

    def add(self, body: bytes) -> None:
        position = 1
        while position < len(body):
            flags, size = struct.unpack_from("BB", body, position)
            text = body[position + 2 : position + 2 + size]
            if len(text) != size:
                raise ValueError("a link's target is cut off")
            self._add_component(flags, text)
            position += 2 + size

    def _add_component(self, flags: int, text: bytes) -> None:
        if flags & _COMPONENT_ROOT:
            self._components, text = [], b""
        text = _COMPONENT_NAMES.get(flags & 6, text)
        if self._continues:
            self._components[-1] += text
        else:
            self._components.append(text)
        self._continues = bool(flags & _COMPONENT_CONTINUES)

    def path(self) -> bytes:
        return b"/" if self._components == [b""] else b"/".join(self._components)


def skip_of_root(area: bytes) -> int | None:
    """How many bytes to pass over in every other area, from that of the root's own record.

    None when there is no SP entry, and so neither SUSP nor Rock Ridge.
    """
    for start in (0, _XA_AREA_BYTES):
        if area[start : start + 2] == b"SP" and area[start + 4 : start + 6] == b"\xbe\xef":
            return area[start + 6] if len(area) > start + 6 else None
    return None


def read_rock_ridge(area: bytes, fetch: Fetch) -> RockRidge:
    """What a system use area says. Raises ValueError or struct.error for damage."""
    found = RockRidge()
    for signature, body in _iter_entries(area, fetch):
        read = _READERS.get(signature)
        if read is not None:
            read(found, body)
    found.link_target = found._link.path()
    if len(found.link_target) > MAX_LINK_TARGET_BYTES:
        raise ValueError("a link's target is too long")
    return found


def _iter_entries(area: bytes, fetch: Fetch) -> Iterator[tuple[bytes, bytes]]:
    """Signatures and contents of the entries, from continued areas too."""
    for _ in range(MAX_CONTINUATIONS):
        continuation = None
        position = 0
        while position + 4 <= len(area) and area[position + 2]:
            size = area[position + 2]
            signature = area[position : position + 2]
            body = area[position + 4 : position + size]
            if len(body) != size - 4:
                raise ValueError(f"entry {signature!r} has a wrong length")
            if signature == b"ST":
                break
            if signature == b"CE":
                block, offset, length = struct.unpack("<I4xI4xI4x", body)
                continuation = Continuation(block, offset, length)
            else:
                yield signature, body
            position += size
        if continuation is None:
            return
        area = fetch(continuation)
    raise ValueError("a system use area goes on too often")


def _read_name(found: RockRidge, body: bytes) -> None:
    if not body[0] & _NAME_IS_SPECIAL:
        found.name = (found.name or b"") + body[1:]


def _read_attributes(found: RockRidge, body: bytes) -> None:
    # Each number is there in both byte orders.
    found.mode, found.uid, found.gid = struct.unpack_from("<I12xI4xI", body)


def _read_device(found: RockRidge, body: bytes) -> None:
    high, low = struct.unpack_from("<I4xI", body)
    # Some writers put the whole of an old 16-bit number into the lower half.
    major, minor = (high, low) if high or low <= 0xFF else (low >> 8, low & 0xFF)
    if major > 0xFFF or minor > 0xFFFFF:
        raise ValueError(f"device {major}:{minor} cannot be")
    found.rdev = os.makedev(major, minor)


def _read_times(found: RockRidge, body: bytes) -> None:
    flags = body[0]
    if not flags & 2:
        return
    size, read = (17, _long_time) if flags & 0x80 else (7, record_time)
    start = 1 + size * (flags & 1)
    found.mtime = read(body[start : start + size])


def _read_child(found: RockRidge, body: bytes) -> None:
    found.child_block = struct.unpack_from("<I", body)[0]


def _mark_relocated(found: RockRidge, body: bytes) -> None:
    found.is_relocated = True


_READERS: dict[bytes, Callable[[RockRidge, bytes], None]] = {
    b"NM": _read_name,
    b"PX": _read_attributes,
    b"PN": _read_device,
    b"TF": _read_times,
    b"SL": lambda found, body: found._link.add(body),
    b"CL": _read_child,
    b"RE": _mark_relocated,
}


def record_time(stamp: bytes) -> int:
    """Seconds since 1970 UTC of a time of seven bytes, whose last is its zone; 0 when not set.

    Raises ValueError or struct.error when it is no time.
    """
    if stamp == _EMPTY_TIME:
        return 0
    year, month, day, hour, minute, second, quarters = struct.unpack("6Bb", stamp)
    return _seconds((1900 + year, month, day, hour, minute, second), quarters)


def _long_time(stamp: bytes) -> int:
    """The same of the form with sixteen digits and a zone."""
    digits, quarters = struct.unpack("16sb", stamp)
    if not digits.strip(b"0\0"):
        return 0
    edges = (0, 4, 6, 8, 10, 12, 14)
    numbers = [int(digits[start:end]) for start, end in pairwise(edges)]
    return _seconds(tuple(numbers), quarters)


def _seconds(numbers: tuple[int, ...], quarters: int) -> int:
    year, month, day, hour, minute, second = numbers
    if abs(quarters) > _MAX_QUARTERS:
        raise ValueError(f"a zone of {quarters} quarter-hours cannot be")
    local = datetime.datetime(year, month, day, hour, minute, second)
    return calendar.timegm(local.timetuple()) - quarters * _QUARTER_HOUR_S
