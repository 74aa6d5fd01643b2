"""Typed reading of JSON settings that finds all that is wrong before it complains.

    settings = read_object(path)
    threads = settings.integer("threads_count", 4, low=1, high=1024)
    host = settings.section("amqp").text("host", "localhost")
    settings.finish()

Every reader returns a value of its type; what is wrong is noted with file, key, what was expected
and what was found, and the default stands in. ``finish`` raises ConfigurationProblems if anything
was noted. Keys that begin with ``_`` or ``#`` are comments. Values of keys that name a password or
a token are never shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from altrepodb.config import near_miss, settings_text
from altrepodb.errors import ConfigurationError

__all__ = ["ConfigurationProblems", "JsonObject", "Problems", "read_object"]

_SECRET_WORDS = ("password", "token", "secret")
_COMMENT_MARKS = ("_", "#")
_SHOWN_LENGTH = 60


class ConfigurationProblems(ConfigurationError):
    """All that is wrong in one or several files; ``problems`` has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(slots=True)
class Problems:
    """What was found wrong so far, and what is merely odd."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, error: ConfigurationError, prefix: str = "") -> None:
        """Note an error, or each of its problems, as found in ``prefix``."""
        lines = error.problems if isinstance(error, ConfigurationProblems) else (str(error),)
        self.errors.extend(f"{prefix}{line}" for line in lines)

    def raise_if_any(self) -> None:
        """Raise ConfigurationProblems if there is an error."""
        if self.errors:
            raise ConfigurationProblems(self.errors)


def read_object(path: Path, problems: Problems | None = None) -> JsonObject:
    """The object that a JSON file holds. Raises ConfigurationError when it holds none."""
    try:
        value = json.loads(
            settings_text(path), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        # Not the text at fault, which may be a password.
        place = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = str(error) if isinstance(error, _OddJson) else f"not JSON{place}"
        raise ConfigurationError(f"{path}: {reason}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: expected an object, got {_kind(value)}")
    return JsonObject(value, str(path), problems)


class JsonObject:
    """One object of a JSON document; ``where`` names file and object in messages.

    Its sections share ``problems`` with it.
    """

    def __init__(
        self, values: Mapping[str, Any], where: str = "", problems: Problems | None = None
    ) -> None:
        self.values = {k: v for k, v in values.items() if not k.startswith(_COMMENT_MARKS)}
        self.where = where
        self.problems = Problems() if problems is None else problems
        self._known: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is there; it counts as known now."""
        self._known.add(key)
        return key in self.values

    def text(
        self,
        key: str,
        default: str = "",
        *,
        is_required: bool = False,
        may_be_empty: bool = True,
        choices: Collection[str] = (),
    ) -> str:
        """A string; ``choices`` are the only ones allowed."""
        if not self._is_given(key, is_required, "a text"):
            return default
        value = self.values[key]
        if not isinstance(value, str):
            self._refuse(key, "a text")
        elif choices and value not in choices:
            self._refuse(key, f"one of {', '.join(choices)}", near_miss(value, choices))
        elif not value and not may_be_empty:
            self._refuse(key, "a text that is not empty")
        else:
            return value
        return default

    def path(self, key: str, default: Path, *, is_required: bool = False) -> Path:
        """A file or directory; nothing says whether it exists."""
        return Path(
            self.text(key, str(default), is_required=is_required, may_be_empty=False)
        ).expanduser()

    def boolean(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        value = self.values[key] if self.has(key) else default
        if isinstance(value, bool):
            return value
        self._refuse(key, "true or false")
        return default

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.values[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(key, f"a whole number from {low} to {high}")
            return default
        return value

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        value = self.values[key] if self.has(key) else default
        if not _is_number(value) or not low <= value <= high:
            self._refuse(key, f"a number from {low:g} to {high:g}")
            return default
        return float(value)

    def numbers(
        self, key: str, default: tuple[float, ...], *, low: float, high: float
    ) -> tuple[float, ...]:
        """An array of at least one number."""
        value = self.values[key] if self.has(key) else list(default)
        is_good = isinstance(value, list) and all(_is_number(v) and low <= v <= high for v in value)
        if not is_good or not value:
            self._refuse(key, f"an array of numbers from {low:g} to {high:g}")
            return default
        return tuple(map(float, value))

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """An array of texts, none of them empty."""
        value = self.values[key] if self.has(key) else list(default)
        if not isinstance(value, list) or not all(v and isinstance(v, str) for v in value):
            self._refuse(key, "an array of texts that are not empty")
            return default
        return tuple(value)

    def text_map(
        self, key: str, default: Mapping[str, str], *, is_required: bool = False
    ) -> dict[str, str]:
        """An object whose values are texts that are not empty."""
        section = self.section(key, is_required=is_required)
        if not self.has(key):
            return dict(default)
        return {name: section.text(name, may_be_empty=False) for name in section.values}

    def section(self, key: str, *, is_required: bool = False) -> JsonObject:
        """The object under a key, empty if it is not there."""
        where = f"{self.where}: {key}" if self.where else key
        value: Any = {}
        if self._is_given(key, is_required, "an object"):
            value = self.values[key]
            if not isinstance(value, dict):
                self._refuse(key, "an object")
                value = {}
        return JsonObject(value, where, self.problems)

    def sections(self, key: str, *, is_required: bool = False) -> list[JsonObject]:
        """The objects of the array under a key."""
        where = f"{self.where}: {key}" if self.where else key
        value: Any = []
        if self._is_given(key, is_required, "an array of objects"):
            value = self.values[key]
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                self._refuse(key, "an array of objects")
                value = []
        return [
            JsonObject(item, f"{where}[{index}]", self.problems) for index, item in enumerate(value)
        ]

    def complain(self, key: str, expected: str) -> None:
        """Note that the value of a key is not what was expected."""
        self._refuse(key, expected)

    def refuse_unknown(self, further: Collection[str] = ()) -> None:
        """Note every key that nobody asked for and that is not in ``further`` as an error."""
        self.problems.errors.extend(self._unknown(further, ""))

    def warn_about_unknown(self, further: Collection[str] = ()) -> None:
        """The same as a warning."""
        self.problems.warnings.extend(self._unknown(further, ", ignored"))

    def finish(self) -> None:
        """Refuse unknown keys; raise ConfigurationProblems if anything was noted."""
        self.refuse_unknown()
        self.problems.raise_if_any()

    def _unknown(self, further: Collection[str], verdict: str) -> list[str]:
        known = self._known | set(further)
        return [
            f"{self._place(key)}: unknown key{verdict}{near_miss(key, known) if known else ''}"
            for key in self.values
            if key not in known
        ]

    def _is_given(self, key: str, is_required: bool, expected: str) -> bool:
        if not self.has(key) and is_required:
            self.problems.errors.append(f"{self._place(key)}: expected {expected}, got nothing")
        return key in self.values

    def _refuse(self, key: str, expected: str, hint: str = "") -> None:
        got = _shown(key, self.values[key])
        self.problems.errors.append(f"{self._place(key)}: expected {expected}, got {got}{hint}")

    def _place(self, key: str) -> str:
        return f"{self.where}: {key}" if self.where else key


class _OddJson(ValueError):
    """Text that Python takes for JSON and that says two things at once, or nothing."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and not key.startswith(_COMMENT_MARKS):
            raise _OddJson(f"{key}: stands there twice")
        values[key] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise _OddJson(f"{name} is no number of JSON")


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


def _shown(key: str, value: object) -> str:
    if any(word in key.lower() for word in _SECRET_WORDS) or isinstance(value, list | dict):
        return _kind(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"
