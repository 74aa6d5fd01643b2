"""Notices as texts: every kind of payload, and no input that breaks the markup or the limit."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb.uploaderd.notice_text import MAX_UNITS, format_notice, utf16_units

TIMESTAMP = 1795437103.58
ENTITY = re.compile("&(?:lt|gt|amp);")


def body(**changes: Any) -> bytes:
    content = {
        "subject": "repo_loader",
        "severity": "CRITICAL",
        "type": "SERVICE_WORKER_ERROR",
        "message": "Invalid repository path: /nonexist",
        "timestamp": TIMESTAMP,
        "payload": {"branch": "p9"},
        **changes,
    }
    return json.dumps(content).encode()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_notice() -> None:
    text = format_notice(body())
    assert text.html == (
        "2026-11-23 12:31:43\n[CRITICAL] SERVICE_WORKER_ERROR in <b>repo_loader</b>\n\n"
        "Invalid repository path: /nonexist\n\n"
        'payload:\n<pre>{\n  "branch": "p9"\n}</pre>'
    )
    assert text.plain == text.html.replace("<b>", "").replace("</b>", "").replace(
        "<pre>", ""
    ).replace("</pre>", "")


def shown_payload(payload: Any) -> str:
    return format_notice(body(payload=payload)).html.partition("<pre>")[2].removesuffix("</pre>")


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ('b\'{"branch": "p9"}\'', '{\n  "branch": "p9"\n}'),
        ("b\"{'it': 1}\"", "{'it': 1}"),
        ('b\'{"who": "\\xd0\\x9f"}\'', '{\n  "who": "П"\n}'),
        ("b'it\\'s \\xff'", "it's \\xff"),
        ("b'unfinished", "b'unfinished"),
        ("b'a' * 10", "b'a' * 10"),
        ("<&>", "&lt;&amp;&gt;"),
        ("Петрова's", "Петрова's"),
        ({"state": "FAILED", "reason": "dead workers"}, None),
        ([1, None], "[\n  1,\n  null\n]"),
        (5, "5"),
        ("", ""),
    ],
)
def test_payloads(payload: Any, shown: str | None) -> None:
    expected = json.dumps(payload, indent=2) if shown is None else shown
    assert shown_payload(payload) == expected


def test_no_payload() -> None:
    assert format_notice(body(payload=None)).html.endswith("/nonexist")


@pytest.mark.parametrize(
    ("raw", "start", "end"),
    [
        (b"hello <b>", "this is no notice, it is not JSON:", "<pre>hello &lt;b&gt;</pre>"),
        (b"[1]", "this is no notice, it is no object:", "<pre>[1]</pre>"),
        (b'{"subject": "x"}', "this notice has no severity, type", '<pre>{"subject": "x"}</pre>'),
        (b"\xff\xfe", "this is no notice", "<pre>\\xff\\xfe</pre>"),
        (b"", "this is no notice", "<pre>(empty)</pre>"),
        (b"[" * 100_000, "this is no notice", "…</pre>"),
    ],
)
def test_what_is_no_notice(raw: bytes, start: str, end: str) -> None:
    text = format_notice(raw).html
    assert text.startswith(start)
    assert text.endswith(end)


@pytest.mark.parametrize("filler", ["x", "&", "Ж", "😀", "<"])
def test_long_texts_are_cut_with_a_mark(filler: str) -> None:
    text = format_notice(body(message=filler * 10_000, payload={"key": filler * 10_000}))
    check(text.html, text.plain)
    assert text.html.count("…") == 2
    assert text.html.endswith("…</pre>")
    assert utf16_units(text.html) > MAX_UNITS - 16


@pytest.mark.parametrize("timestamp", [None, "soon", 1e300, -1e18, [], {}, True, "1660211234.5"])
def test_odd_times(timestamp: Any) -> None:
    text = format_notice(body(timestamp=timestamp))
    check(text.html, text.plain)


class Checker(HTMLParser):
    """Refuses what Telegram refuses: other tags, and tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("b", "pre") and not attrs and not self.open
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(marked: str, plain: str) -> None:
    assert 0 < utf16_units(marked) <= MAX_UNITS
    assert 0 < utf16_units(plain) <= MAX_UNITS
    assert "\0" not in marked
    marked.encode()
    plain.encode()
    assert "&" not in ENTITY.sub("", marked)
    checker = Checker()
    checker.feed(marked)
    checker.close()
    assert checker.open == []


TEXTS = st.text(st.characters(), max_size=60) | st.sampled_from(
    ["<&>" * 900, "😀" * 3000, "b'\\xff'", "b'{\"a\": 1}'", "b'" + "\\x00" * 9 + "'", "\udce4"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["subject", "severity", "type", "message", "timestamp", "payload"]), VALUES
    )
)
def test_any_values_give_a_valid_text(changes: dict[str, Any]) -> None:
    text = format_notice(body(**changes))
    check(text.html, text.plain)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_valid_text(raw: bytes) -> None:
    text = format_notice(raw)
    check(text.html, text.plain)
