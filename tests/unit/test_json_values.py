"""Values of JSON that others wrote: what is taken for a text, a number, a flag, a moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.json_values import (
    LARGEST_UINT32,
    count_under,
    flag_under,
    is_text,
    moment_under,
    number_of,
    number_under,
    text_under,
)

HUGE = (10**4000, -(10**4000), "9" * 5000, 1 << 32, str(1 << 32))
NO_NUMBERS: tuple[Any, ...] = (
    None, True, False, 1.0, "", " 1", "1 ", "+1", "-1", "1_0", "0x1", "٣", "²", [], {}, -1, *HUGE,
)  # fmt: skip


@pytest.mark.parametrize("value", ["", "x", "хорошо", "\0", "\udc80", "\udcff"])
def test_texts(value: str) -> None:
    assert is_text(value)
    if value:
        assert text_under({"x": value}, "x") == value


@pytest.mark.parametrize("value", [None, 5, b"x", [], "\ud800", "a\udfff", "\udc7f"])
def test_what_is_no_text(value: object) -> None:
    assert not is_text(value)
    with pytest.raises(SourceError, match=r"\Ax: expected a text\Z"):
        text_under({"x": value}, "x")


@given(st.text(st.characters(), max_size=5))
def test_what_is_a_text_can_be_stored(value: str) -> None:
    if is_text(value):
        assert value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == value


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (7, 7), ("7", 7), ("007", 7), (LARGEST_UINT32, LARGEST_UINT32),
     (str(LARGEST_UINT32), LARGEST_UINT32)],
)  # fmt: skip
def test_numbers(value: object, number: int) -> None:
    assert number_of(value) == number
    assert count_under({"x": value}, "x", 255) == min(number, 255)
    if number:
        assert number_under({"x": value}, "x") == number


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number(value: object) -> None:
    assert number_of(value) is None
    assert count_under({"x": value}, "x", 255) == 0
    for body in ({"x": value}, {"x": 0}, {}):
        with pytest.raises(SourceError, match=r"\Ax: expected a whole number above 0\Z"):
            number_under(body, "x")


def test_flags() -> None:
    assert [flag_under(body, "x") for body in ({}, {"x": None}, {"x": False}, {"x": True})] == [
        False, False, False, True
    ]  # fmt: skip
    for value in (0, 1, "true", "", []):
        with pytest.raises(SourceError, match=r"\Ax: expected true or false\Z"):
            flag_under({"x": value}, "x")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0), (1_660_211_234.99, 1_660_211_234), ("1660211234.5678", 1_660_211_234),
        ("1660211234", 1_660_211_234), (LARGEST_UINT32 + 0.9, LARGEST_UINT32), ("1e9", 10**9),
    ],
)  # fmt: skip
def test_moments(value: object, seconds: int) -> None:
    assert moment_under({"x": value}, "x") == seconds


@pytest.mark.parametrize(
    "value",
    [None, True, "", "soon", "nan", "inf", float("nan"), float("inf"), -1, [], {}, b"1", *HUGE],
)
def test_what_is_no_moment(value: object) -> None:
    with pytest.raises(SourceError, match=r"\Ax: expected seconds since 1970\Z"):
        moment_under({"x": value}, "x")
