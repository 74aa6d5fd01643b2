"""The one call of Telegram's Bot API that is needed: ``sendMessage``.

See https://core.telegram.org/bots/api#sendmessage. The token is part of the URL, so neither the
URL nor an exception that holds it is ever shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import requests
import urllib3

from altrepodb.http import USER_AGENT

__all__ = ["TelegramSettings", "Verdict", "send_message"]

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 15.0
_MAX_ANSWER_BYTES = 1 << 16
_DEFAULT_WAIT_S = 5.0
_MAX_WAIT_S = 3600.0
_MAX_REASON_CHARACTERS = 200
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class TelegramSettings:
    """Where notices go. ``pause_s`` passes between two messages: a group takes 20 a minute."""

    token: str = field(repr=False)
    chat_id: str
    api_url: str = "https://api.telegram.org"
    pause_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message.

    sent      it is in the chat
    wait      too many messages; try again after ``wait_s``
    refused   it will never be taken like this
    failed    no connection, or a trouble of the other end; try again
    """

    kind: Literal["sent", "wait", "refused", "failed"]
    reason: str = ""
    wait_s: float = 0.0


def send_message(settings: TelegramSettings, text: str, *, is_html: bool) -> Verdict:
    """Send one text to the chat. Blocks for about half a minute at most; raises nothing."""
    content = {"chat_id": settings.chat_id, "text": text, "disable_web_page_preview": True}
    if is_html:
        content["parse_mode"] = "HTML"
    try:
        with requests.post(
            f"{settings.api_url}/bot{settings.token}/sendMessage",
            json=content,
            headers={"User-Agent": USER_AGENT},
            timeout=(_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
        ) as response:
            return _verdict(response.status_code, _answer(response))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return Verdict("failed", f"Telegram: {_kind_of(error)}")


def _answer(response: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer, or an empty one."""
    body = response.raw.read(_MAX_ANSWER_BYTES, decode_content=True)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _verdict(status: int, answer: dict[str, Any]) -> Verdict:
    description = str(answer.get("description", ""))[:_MAX_REASON_CHARACTERS]
    reason = f"Telegram: status {status} {description}".rstrip()
    if status == 200:
        return Verdict("sent")
    if status == _TOO_MANY:
        return Verdict("wait", reason, _wait_s(answer))
    return Verdict("refused" if 400 <= status < 500 else "failed", reason)


def _wait_s(answer: dict[str, Any]) -> float:
    parameters = answer.get("parameters")
    wait = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait > 0:
        return _DEFAULT_WAIT_S
    return min(float(wait), _MAX_WAIT_S)


def _kind_of(error: BaseException) -> str:
    """The kind of failure only: the words of these exceptions contain the URL."""
    match error:
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "certificate or TLS failure"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return type(error).__name__
