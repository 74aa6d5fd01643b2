"""What is checked of every message before a service sees it: size, encoding, JSON, depth."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from altrepodb.uploaderd.service_type import Drop

__all__ = ["MAX_BODY_BYTES", "MAX_DEPTH", "read_body"]

MAX_BODY_BYTES = 16 << 20
MAX_DEPTH = 64


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds. Raises Drop when it is no sound one.

    Every string in it can be encoded, and every number is finite.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Drop(f"body: {len(body)} bytes, expected {MAX_BODY_BYTES} at most")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Drop(f"body: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Drop(f"body: not JSON at character {error.pos}") from None
    except RecursionError:
        raise Drop(f"body: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Drop(f"body: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Drop(f"body: expected a JSON object, got {type(value).__name__}")
    _check_depth(body, value)
    _check_text(body, value)
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("a number is out of range")
    return number


def _check_depth(body: bytes, value: Any) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise Drop(f"body: nested deeper than {MAX_DEPTH} levels")


def _check_text(body: bytes, value: Any) -> None:
    """Only an escape can bring half a surrogate pair, which nothing later could encode."""
    if b"\\u" not in body:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Drop("body: a text is not Unicode") from None
