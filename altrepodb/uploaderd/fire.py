"""One message for a service, published so that a queue has surely taken it.

The configuration is a JSON file: host, port, vhost, exchange, username, password, cacert, key,
cert, known_branches, timeout (seconds) and routing_keys (service -> key, for services that listen
to another one).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import NackError

from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd.broker import (
    BROKER_ERRORS,
    BrokerRefusedError,
    BrokerUnavailableError,
    connect,
    explain,
)
from altrepodb.uploaderd.json_settings import JsonObject, read_object
from altrepodb.uploaderd.settings import AmqpSettings, read_amqp

__all__ = ["SERVICES", "FireSettings", "Shot", "make_shot", "publish", "read_fire_settings"]

logger = logging.getLogger(__name__)

_BRANCHES = ("p9", "p10", "sisyphus")
_TIMEOUT_S = 10.0
_MAX_TIMEOUT_S = 3600.0
_MAX_TASK = 0xFFFFFFFF
_TASK_STATES = (
    *("awaiting", "building", "committing", "deleted", "done", "eperm", "failed", "failing"),
    *("new", "pending", "postponed", "swept", "tested"),
)
_CONNECTION_KEYS = (
    *("host", "port", "vhost", "exchange", "username", "password", "cacert", "key", "cert"),
)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class FireSettings:
    """The broker, how long all of it may take, and what the services listen to."""

    amqp: AmqpSettings
    timeout_s: float = _TIMEOUT_S
    known_branches: tuple[str, ...] = _BRANCHES
    routing_keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shot:
    """One message."""

    exchange: str
    routing_key: str
    body: bytes


# --- configuration


def read_fire_settings(path: Path) -> FireSettings:
    """Read the configuration. Raises ConfigurationError with all that is wrong."""
    top = read_object(path)
    timeout_s = top.number("timeout", _TIMEOUT_S, low=0.1, high=_MAX_TIMEOUT_S)
    settings = FireSettings(
        amqp=_connection(top, timeout_s),
        timeout_s=timeout_s,
        known_branches=top.texts("known_branches", _BRANCHES),
        routing_keys=top.text_map("routing_keys", {}),
    )
    for service in settings.routing_keys:
        if service not in SERVICES:
            top.problems.errors.append(f"{path}: routing_keys: {service}: no such service")
    top.warn_about_unknown()
    for warning in top.problems.warnings:
        logger.warning("%s", warning)
    top.problems.raise_if_any()
    return settings


def _connection(top: JsonObject, timeout_s: float) -> AmqpSettings:
    """The keys of the connection, which stand beside the others; an empty value is none."""
    values = {key: top.values[key] for key in _CONNECTION_KEYS if top.has(key)}
    given = {key: value for key, value in values.items() if value != ""}
    port = given.get("port")
    if isinstance(port, str) and re.fullmatch("[0-9]{1,5}", port):
        # As older files have it.
        given["port"] = int(port)
    section = JsonObject(given, top.where, top.problems)
    for key in ("host", "exchange"):
        section.text(key, is_required=True)
    return replace(
        read_amqp(section, has_queue=False),
        information="ALTRepoDB amqpfire",
        # The connection ends before a heartbeat would be due.
        heartbeat=0,
        connection_timeout=timeout_s,
        blocked_timeout=timeout_s,
    )


# --- messages


def make_shot(settings: FireSettings, service: str, parameters: Sequence[str]) -> Shot:
    """The message that starts a service. Raises ConfigurationError for wrong parameters."""
    kind = SERVICES[service]
    if len(parameters) != len(kind.parameters):
        expected = " ".join(kind.parameters) or "none"
        given = " ".join(parameters) or "none"
        raise ConfigurationError(f"{service}: expected the parameters: {expected}; got: {given}")
    routing_key = settings.routing_keys.get(service, kind.routing_key)
    body = kind.body(settings, routing_key, *parameters)
    return Shot(settings.amqp.exchange, routing_key, json.dumps(body).encode())


def _nothing(settings: FireSettings, routing_key: str) -> dict[str, Any]:
    return {}


def _repository(settings: FireSettings, routing_key: str, branch: str, day: str) -> dict[str, Any]:
    if branch not in settings.known_branches:
        known = ", ".join(settings.known_branches)
        raise ConfigurationError(f"repo: {branch!r} is none of the known branches: {known}")
    return {"branch": branch, "date": _day(day)}


def _day(text: str) -> str:
    if text == "today":
        return date.today().isoformat()
    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigurationError(
            f"repo: expected a day as YYYY-MM-DD or today, got {text!r}"
        ) from None


def _task(settings: FireSettings, routing_key: str, number: str, state: str) -> dict[str, Any]:
    """What the build system sends when a task changes its state, to have it loaded again."""
    if not re.fullmatch("[1-9][0-9]{0,9}", number) or int(number) > _MAX_TASK:
        raise ConfigurationError(f"task: expected the number of a task, got {number!r}")
    if state.lower() not in _TASK_STATES:
        raise ConfigurationError(f"task: {state!r} is none of {', '.join(_TASK_STATES)}")
    return {
        "taskid": int(number),
        "state": state.upper(),
        "_routing_key": routing_key,
        "_timestamp": f"{time.time():.4f}",
    }


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a service is started: its key, its parameters by name, and what makes the body."""

    routing_key: str
    parameters: tuple[str, ...] = ()
    body: Callable[..., dict[str, Any]] = _nothing


SERVICES: Mapping[str, _Kind] = {
    "repo": _Kind("repo.load", ("BRANCH", "DATE"), _repository),
    "watch": _Kind("watch.load"),
    "repocop": _Kind("repocop.load"),
    "beehive": _Kind("beehive.load"),
    "spdx": _Kind("spdx.load"),
    "task": _Kind("task.state", ("ID", "STATE"), _task),
}
"""The services that can be started from here, by the word that names them."""


# --- publishing


def publish(settings: FireSettings, shot: Shot) -> None:
    """Publish the message; on return a queue has it.

    Raises BrokerUnavailableError when the broker cannot be reached or does not answer in time,
    BrokerRefusedError and UnroutableError when it does not take the message.
    """
    if not settings.amqp.cacert and settings.amqp.host not in _LOCAL_HOSTS:
        logger.warning("%s: no cacert, so the password travels in the clear", settings.amqp.host)
    failures: list[BaseException] = []
    # A broker that stands still keeps a blocking client for ever; the process need not wait.
    thread = threading.Thread(target=_publish, args=(settings, shot, failures), daemon=True)
    thread.start()
    thread.join(settings.timeout_s)
    if thread.is_alive():
        raise BrokerUnavailableError(
            f"broker {settings.amqp.host}:{settings.amqp.port}: "
            f"no answer for {settings.timeout_s:g} s"
        )
    if failures:
        raise failures[0]


def _publish(settings: FireSettings, shot: Shot, failures: list[BaseException]) -> None:
    try:
        connection = connect(settings.amqp, "amqpfire")
        try:
            _publish_by(connection, settings.amqp, shot)
        finally:
            with suppress(*BROKER_ERRORS):
                connection.close()
    except BaseException as error:
        # For the thread that waits.
        failures.append(error)


def _publish_by(connection: pika.BlockingConnection, amqp: AmqpSettings, shot: Shot) -> None:
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(shot.exchange, passive=True)
        channel.basic_publish(
            shot.exchange,
            shot.routing_key,
            shot.body,
            pika.BasicProperties(
                content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
            ),
            mandatory=True,
        )
    except NackError as error:
        raise BrokerRefusedError(
            f"broker {amqp.host}:{amqp.port}: a queue does not take the message"
        ) from error
    except BROKER_ERRORS as error:
        raise explain(error, amqp) from error
