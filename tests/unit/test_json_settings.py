"""Reading JSON settings: every problem is found and named, no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd.json_settings import ConfigurationProblems, JsonObject, read_object


def problems_of(settings: JsonObject) -> tuple[str, ...]:
    with pytest.raises(ConfigurationProblems) as caught:
        settings.finish()
    return caught.value.problems


def test_good_values_are_returned() -> None:
    values = {"a": "x", "b": 3, "c": 1.5, "d": True, "e": ["p", "q"], "f": {"k": "v"}, "g": [1, 2]}
    settings = JsonObject({**values, "_remark": 1, "#other": 2, "h": [{"n": 1}]})
    assert settings.text("a") == "x"
    assert settings.integer("b", 1, low=1, high=3) == 3
    assert settings.number("c", 1.0, low=0, high=2) == 1.5
    assert settings.boolean("d", False) is True
    assert settings.texts("e", ()) == ("p", "q")
    assert settings.text_map("f", {}) == {"k": "v"}
    assert settings.numbers("g", (), low=0, high=9) == (1.0, 2.0)
    assert [item.integer("n", 0, low=0, high=9) for item in settings.sections("h")] == [1]
    settings.finish()


def test_defaults_stand_in() -> None:
    settings = JsonObject({})
    assert settings.text("a", "x") == "x"
    assert settings.integer("b", 7, low=1, high=9) == 7
    assert settings.texts("e", ("p",)) == ("p",)
    assert settings.text_map("f", {"k": "v"}) == {"k": "v"}
    assert settings.path("g", Path("/tasks")) == Path("/tasks")
    assert settings.section("s").values == {}
    settings.finish()


@pytest.mark.parametrize("value", [True, "3", 3.0, None, 0, 4, [], 10**400])
def test_wrong_integers(value: Any) -> None:
    settings = JsonObject({"n": value}, "file")
    assert settings.integer("n", 2, low=1, high=3) == 2
    (problem,) = problems_of(settings)
    assert problem.startswith("file: n: expected a whole number from 1 to 3, got ")
    assert len(problem) < 150


@pytest.mark.parametrize("value", [True, "3", float("nan"), float("inf"), None, 4.1])
def test_wrong_numbers(value: Any) -> None:
    settings = JsonObject({"n": value})
    assert settings.number("n", 2, low=1, high=4) == 2
    assert len(problems_of(settings)) == 1


def test_all_problems_at_once_with_hints_and_without_secrets() -> None:
    settings = JsonObject(
        {
            "amqp": {"hots": "x", "password": 123456, "queue": []},
            "kind": "quorun",
            "names": ["a", ""],
            "empty": "",
        },
        "a.json",
    )
    amqp = settings.section("amqp")
    amqp.text("host")
    amqp.text("password")
    amqp.section("queue")
    amqp.refuse_unknown()
    settings.text("kind", choices=("classic", "quorum"))
    settings.texts("names", ())
    settings.text("empty", may_be_empty=False)
    settings.path("missing", Path(), is_required=True)
    assert problems_of(settings) == (
        "a.json: amqp: password: expected a text, got a number",
        "a.json: amqp: queue: expected an object, got an array",
        "a.json: amqp: hots: unknown key (did you mean host?)",
        'a.json: kind: expected one of classic, quorum, got "quorun" (did you mean quorum?)',
        "a.json: names: expected an array of texts that are not empty, got an array",
        'a.json: empty: expected a text that is not empty, got ""',
        "a.json: missing: expected a text, got nothing",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1,}', "not JSON at line 1"),
        (b"[]", "expected an object, got an array"),
        (b"null", "expected an object, got null"),
        (b'{"a": 1, "a": 2}', "a: stands there twice"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": ' + b"[" * 200_000, "not JSON"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_files_that_hold_no_object(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_object(file)
    assert str(file) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_object(tmp_path / "x.json")
