"""Times without a zone -> seconds since 1970 UTC.

Directory listings and CSV files state wall clock times of a zone that one has to know. An hour
that comes twice in autumn means its first occurrence; a time that a spring night skips is
shifted forward by what was skipped.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from altrepodb.errors import ConfigurationError

__all__ = ["MAX_EPOCH", "check_epoch", "source_zone", "to_epoch"]

MAX_EPOCH = 0xFFFFFFFF
"""The last second of the type DateTime, in February 2106."""


def source_zone(name: str | None) -> ZoneInfo | None:
    """The zone of a name such as ``Europe/Moscow``; None is the zone of this host.

    Raises ConfigurationError for a name that no zone has.
    """
    if not name:
        return None
    try:
        return ZoneInfo(name)
    # What a wrong name makes zoneinfo raise depends on what stands under that path.
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(f"source_timezone: {name!r}: no such time zone") from error


def to_epoch(moment: datetime, zone: ZoneInfo | None) -> int:
    """Seconds since 1970 UTC of a time; one without a zone is read in the given one.

    Raises ValueError when the type DateTime cannot hold it.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone, fold=0)
    try:
        seconds = int(moment.timestamp() // 1)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{moment}: out of range") from error
    return check_epoch(seconds)


def check_epoch(seconds: int) -> int:
    """The seconds themselves. Raises ValueError when the type DateTime cannot hold them."""
    if not 0 <= seconds <= MAX_EPOCH:
        raise ValueError(f"{seconds} s since 1970: out of range")
    return seconds
