"""Wall clock times of a zone as seconds since 1970."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import ConfigurationError
from altrepodb.sources.zones import MAX_EPOCH, check_epoch, source_zone, to_epoch


@pytest.fixture
def host_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def epoch(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=timezone.utc).timestamp())  # type: ignore[misc, arg-type]


def test_named_zone() -> None:
    assert to_epoch(datetime(2023, 3, 15, 3, 40), source_zone("Europe/Moscow")) == epoch(
        2023, 3, 15, 0, 40
    )


@pytest.mark.parametrize("name", ["Europe/Berlin", None])
def test_ambiguous_and_skipped_hours(name: str | None, host_zone: None) -> None:
    zone = source_zone(name)
    # 02:30 comes twice on this day, first in summer time.
    assert to_epoch(datetime(2023, 10, 29, 2, 30), zone) == epoch(2023, 10, 29, 0, 30)
    assert to_epoch(datetime(2023, 10, 29, 2, 30, fold=1), zone) == epoch(2023, 10, 29, 0, 30)
    # 02:30 does not come on this one; it is 03:30 in summer time.
    assert to_epoch(datetime(2023, 3, 26, 2, 30), zone) == epoch(2023, 3, 26, 1, 30)


def test_stated_zone_wins() -> None:
    moment = datetime(2023, 3, 15, 3, 40, tzinfo=timezone.utc)
    assert to_epoch(moment, source_zone("Europe/Moscow")) == epoch(2023, 3, 15, 3, 40)


@pytest.mark.parametrize(
    "moment", [datetime(1969, 12, 31, 23, 59, 59), datetime(2106, 2, 8), datetime.min, datetime.max]
)
@pytest.mark.parametrize("name", ["UTC", None])
def test_out_of_range(moment: datetime, name: str | None) -> None:
    with pytest.raises(ValueError, match="out of range"):
        to_epoch(moment, source_zone(name))


def test_limits() -> None:
    assert check_epoch(0) == 0
    assert check_epoch(MAX_EPOCH) == MAX_EPOCH
    for seconds in (-1, MAX_EPOCH + 1):
        with pytest.raises(ValueError, match="out of range"):
            check_epoch(seconds)


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "Europe", "a\0b", "/etc"])
def test_no_zone(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no such time zone"):
        source_zone(name)


@settings(deadline=None)
@given(st.integers(0, MAX_EPOCH))
def test_instants_come_back(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    assert to_epoch(moment, None) == seconds
    assert to_epoch(moment.replace(tzinfo=None), source_zone("UTC")) == seconds
