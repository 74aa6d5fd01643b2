"""The broker as everybody here reaches it: parameters, what went wrong, confirmed publishing.

``connect`` and ``Publisher`` block and serve programs and threads that only publish. The services
consume with a connection that never blocks; both use the parameters and the words of this module.

What may go wrong, as the exceptions of pika 1.3 and later and of Python's ssl tell it:

    refused, closed, lost, timed out, blocked          BrokerUnavailableError (a later run may work)
    password, vhost, certificate, protocol, permission  BrokerRefusedError
"""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import pika
from pika import exceptions
from pika.adapters.blocking_connection import BlockingChannel

from altrepodb.errors import AltrepodbError, ConfigurationError, TemporaryError
from altrepodb.uploaderd.settings import AmqpSettings

__all__ = [
    "BROKER_ERRORS",
    "BrokerError",
    "BrokerRefusedError",
    "BrokerUnavailableError",
    "Publisher",
    "UnroutableError",
    "connect",
    "explain",
    "parameters",
    "reconnect_delays",
]

BROKER_ERRORS = (exceptions.AMQPError, OSError)
"""All that pika lets out; errors of TLS are not of its family."""

DURABLE_TOPIC = {"exchange_type": "topic", "durable": True}

_ACCESS_REFUSED = 403
_NOT_FOUND = 404
_PRECONDITION_FAILED = 406
_FIRST_DELAY_S = 1.0
_LAST_DELAY_S = 60.0
_JITTER = 0.1
_ATTEMPTS = 2


class BrokerError(AltrepodbError):
    """The broker did not do what it was asked for."""


class BrokerRefusedError(BrokerError):
    """The broker, or the check of its certificate, says no; only a person can cure it."""


class UnroutableError(BrokerError):
    """A message that had to reach a queue reached none."""


class BrokerUnavailableError(TemporaryError):
    """The broker cannot be reached, has gone away, or takes no messages now."""


def parameters(settings: AmqpSettings, name: str) -> pika.ConnectionParameters:
    """How to connect; ``name`` says who we are in the broker's list of connections.

    Raises ConfigurationError when a certificate cannot be read.
    """
    return pika.ConnectionParameters(
        host=settings.host,
        port=settings.port,
        virtual_host=settings.vhost,
        credentials=pika.PlainCredentials(settings.username, settings.password),
        heartbeat=settings.heartbeat,
        socket_timeout=settings.connection_timeout,
        stack_timeout=settings.connection_timeout,
        blocked_connection_timeout=settings.blocked_timeout,
        client_properties={
            "product": settings.product,
            "information": settings.information,
            "version": settings.version,
            "connection_name": settings.connection_name or _connection_name(name),
        },
        ssl_options=_tls(settings),
    )


def connect(settings: AmqpSettings, name: str) -> pika.BlockingConnection:
    """Connect, and wait for it at most about twice ``connection_timeout``.

    Raises ConfigurationError, BrokerUnavailableError and BrokerRefusedError.
    """
    try:
        return pika.BlockingConnection(parameters(settings, name))
    except BROKER_ERRORS as error:
        raise explain(error, settings) from error


def explain(error: BaseException, settings: AmqpSettings) -> BrokerError | BrokerUnavailableError:
    """One of our errors for one of pika's, of ssl's or of the system's, with a line for people."""
    where = f"broker {settings.host}:{settings.port}"
    match error:
        case ssl.SSLCertVerificationError():
            return BrokerRefusedError(f"{where}: certificate: {error.verify_message}")
        case ssl.SSLError():
            return BrokerRefusedError(f"{where}: TLS: {error.reason or 'failed'}")
        case exceptions.ProbableAuthenticationError() | exceptions.AuthenticationError():
            return BrokerRefusedError(f"{where}: user {settings.username}: login refused")
        case exceptions.ProbableAccessDeniedError():
            return BrokerRefusedError(
                f"{where}: vhost {settings.vhost}: no access for user {settings.username}"
            )
        case exceptions.IncompatibleProtocolError() if settings.cacert:
            # That is how pika tells that the broker hung up before it said a word.
            wanted = "another client certificate" if settings.cert else "a client certificate"
            return BrokerRefusedError(f"{where}: hung up after TLS began; it may want {wanted}")
        case exceptions.IncompatibleProtocolError():
            return BrokerRefusedError(f"{where}: does not speak AMQP without TLS")
        case exceptions.UnroutableError():
            return UnroutableError(f"{where}: no queue takes the message")
        case exceptions.ChannelClosedByBroker():
            return _channel_error(where, error)
        case exceptions.ConnectionClosedByBroker():
            return BrokerUnavailableError(f"{where}: closed: {error.reply_text}")
        case _:
            return BrokerUnavailableError(f"{where}: {_reason(error)}")


def reconnect_delays() -> Iterator[float]:
    """Seconds to wait before each further attempt: 1, 2, 4 and so on to 60, a tenth up or down."""
    delay = _FIRST_DELAY_S
    while True:
        yield delay * random.uniform(1 - _JITTER, 1 + _JITTER)
        delay = min(2 * delay, _LAST_DELAY_S)


class Publisher:
    """Publishes with the broker's confirmation, on a connection of its own, opened when needed.

    A context manager, used by one thread. A connection that was lost is opened anew once; a
    publisher that rests for longer than the heartbeat calls ``keep_alive`` meanwhile.
    """

    def __init__(self, settings: AmqpSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: pika.BasicProperties | None = None,
        *,
        is_mandatory: bool = False,
        is_declared: bool = False,
    ) -> None:
        """Publish one message; on return the broker has taken responsibility for it.

        ``is_declared`` makes a missing exchange, a durable one of type topic.
        Raises UnroutableError for a mandatory message that no queue takes, and as ``connect``.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                channel = self._open_channel()
                channel.basic_publish(exchange, routing_key, body, properties, is_mandatory)
                return
            except BROKER_ERRORS as error:
                is_missing = _is_missing(error)
                if not is_missing and not isinstance(error, exceptions.UnroutableError):
                    self.close()
                if attempt == _ATTEMPTS or not ((is_missing and is_declared) or _is_lost(error)):
                    raise explain(error, self._settings) from error
                if is_missing:
                    self._declare(exchange)

    def keep_alive(self) -> None:
        """Answer heartbeats; a connection that is lost is forgotten."""
        if self._connection is not None:
            try:
                self._connection.process_data_events(0)
            except BROKER_ERRORS:
                self.close()

    def close(self) -> None:
        """End the connection, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            with suppress(*BROKER_ERRORS):
                connection.close()

    def _open_channel(self) -> BlockingChannel:
        if self._connection is None or not self._connection.is_open:
            self._connection = pika.BlockingConnection(parameters(self._settings, self._name))
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def _declare(self, exchange: str) -> None:
        """Make the exchange; one of another type that somebody made meanwhile will do."""
        try:
            self._open_channel().exchange_declare(exchange, **DURABLE_TOPIC)  # type: ignore[arg-type]
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code != _PRECONDITION_FAILED:
                raise explain(error, self._settings) from error
        except BROKER_ERRORS as error:
            self.close()
            raise explain(error, self._settings) from error


def _connection_name(name: str) -> str:
    return f"{name}@{socket.gethostname()}[{os.getpid()}]"


def _tls(settings: AmqpSettings) -> pika.SSLOptions | None:
    if not settings.cacert:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.cacert)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert and settings.key:
            context.load_cert_chain(settings.cert, settings.key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        files = ", ".join(filter(None, (settings.cacert, settings.cert, settings.key)))
        raise ConfigurationError(f"{files}: cannot be used for TLS: {reason}") from error
    return pika.SSLOptions(context, settings.server_hostname or settings.host)


def _channel_error(where: str, error: Any) -> BrokerError | BrokerUnavailableError:
    text = f"{where}: {error.reply_text}"
    if error.reply_code in (_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED):
        return BrokerRefusedError(text)
    return BrokerUnavailableError(text)


def _reason(error: BaseException) -> str:
    """The innermost cause that has words; pika wraps them several times."""
    inner: Any = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    if getattr(inner, "exceptions", None):
        return _reason(inner.exceptions[-1])
    if isinstance(getattr(inner, "exception", None), BaseException):
        return _reason(inner.exception)
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, exceptions.ChannelClosedByBroker) and error.reply_code == _NOT_FOUND


def _is_lost(error: BaseException) -> bool:
    """Whether a connection that was good before turned out to be gone."""
    return isinstance(
        error,
        exceptions.ConnectionClosed
        | exceptions.StreamLostError
        | exceptions.ConnectionWrongStateError
        | exceptions.ChannelWrongStateError
        | exceptions.AMQPHeartbeatTimeout,
    )
