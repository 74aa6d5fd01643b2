"""A notice as a text for people: HTML as Telegram knows it, and plain.

    2022-08-11 10:01:02
    [CRITICAL] SERVICE_WORKER_ERROR in <b>repo_loader</b>

    Invalid repository path: /nonexist

    payload:
    <pre>{...}</pre>

Whatever the bytes are, the result is a valid text of bounded length. Old notices carry a payload
in Python's printed form of a byte string; new ones carry the thing itself.
"""

from __future__ import annotations

import ast
import html
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["MAX_UNITS", "NoticeText", "format_notice", "utf16_units"]

MAX_UNITS = 4096
"""What Telegram takes at most, in UTF-16 code units."""

_KEYS = ("subject", "severity", "type", "message", "timestamp", "payload")
_MAX_WORD_UNITS = 100
_MAX_MESSAGE_UNITS = 2500
_MAX_PRINTED_BYTES = 1 << 20
_CUT_MARK = "…"
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The same text twice."""

    html: str
    plain: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of text in one tag, or in none; ``units`` bound it, tags not counted."""

    text: str
    tag: str = ""
    units: int = MAX_UNITS


def format_notice(body: bytes) -> NoticeText:
    """The text of a message that should be a notice. Times are those of this host."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return _odd("this is no notice, it is not JSON:", body)
    if not isinstance(content, dict):
        return _odd("this is no notice, it is no object:", body)
    missing = [key for key in _KEYS if key not in content]
    if missing:
        return _odd(f"this notice has no {', '.join(missing)}:", body)
    return _compose(_notice_parts(content))


def utf16_units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def _odd(remark: str, body: bytes) -> NoticeText:
    raw = body[: 4 * MAX_UNITS].decode("utf-8", "backslashreplace")
    return _compose([_Part(f"{remark}\n\n"), _Part(raw or "(empty)", "pre")])


def _notice_parts(content: dict[str, Any]) -> list[_Part]:
    parts = [
        _Part(_moment(content["timestamp"]), units=_MAX_WORD_UNITS),
        _Part(f"\n[{_text(content['severity'])}]", units=_MAX_WORD_UNITS),
        _Part(f" {_text(content['type'])}", units=_MAX_WORD_UNITS),
        _Part(" in "),
        _Part(_text(content["subject"]), "b", _MAX_WORD_UNITS),
        _Part(f"\n\n{_text(content['message'])}", units=_MAX_MESSAGE_UNITS),
    ]
    if content["payload"] is not None:
        parts += [_Part("\n\npayload:\n"), _Part(_indented(content["payload"]), "pre")]
    return parts


def _moment(timestamp: object) -> str:
    """Local date and time of seconds since 1970 UTC, or what stands there instead."""
    try:
        return datetime.fromtimestamp(float(timestamp)).strftime("%Y-%m-%d %H:%M:%S")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return _text(timestamp)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return f"({type(value).__name__})"


def _indented(payload: object) -> str:
    """The payload as indented JSON, or as the text it is when it is no JSON."""
    if isinstance(payload, str):
        text = _unprinted(payload)
        try:
            payload = json.loads(text)
        except (ValueError, RecursionError):
            return text
    try:
        return json.dumps(payload, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return _text(payload)


def _unprinted(text: str) -> str:
    """The text inside Python's printed form of a byte string; any other text as it is."""
    if not text.startswith(("b'", 'b"')) or len(text) > _MAX_PRINTED_BYTES:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else text


def _compose(parts: list[_Part]) -> NoticeText:
    """Both forms of the text; what does not fit into the longer one is cut off."""
    left = MAX_UNITS
    marked, plain = [], []
    for part in parts:
        tags = f"<{part.tag}></{part.tag}>" if part.tag else ""
        text = _cut(part.text, min(part.units, left - len(tags)))
        if not text:
            continue
        escaped = html.escape(text, quote=False)
        left -= utf16_units(escaped) + len(tags)
        marked.append(f"<{part.tag}>{escaped}</{part.tag}>" if part.tag else escaped)
        plain.append(text)
    return NoticeText("".join(marked), "".join(plain))


def _cut(text: str, units: int) -> str:
    """As much of the text as fits when it is escaped, with a mark where it was cut."""
    text = _UNWANTED.sub("\ufffd", text[: MAX_UNITS + 1])
    room = units - len(_CUT_MARK)
    used = fitting = 0
    for kept, character in enumerate(text, start=1):
        used += utf16_units(html.escape(character, quote=False))
        if used <= room:
            fitting = kept
        elif used > units:
            return text[:fitting] + _CUT_MARK if room > 0 else ""
    return text
