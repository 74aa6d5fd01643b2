"""A connection to the broker that never blocks: pika's callbacks as things to wait for.

Each wait has a limit. A broker may stay silent for ever while its heartbeats go on: RabbitMQ's
channel stands still as long as the queue that it asks has no leader.

All of it belongs to the thread of the running event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorPhaseErrorBase,
)
from pika.exceptions import AMQPConnectionError

from altrepodb.uploaderd import broker
from altrepodb.uploaderd.settings import AmqpSettings

__all__ = ["Channel", "Connection", "open_connection"]

_ATTEMPT_FACTOR = 3
"""Times ``connection_timeout``: for the name, for TCP, and for TLS and the handshake."""
ANSWER_S = 60.0
"""How long the broker may take for one answer, unless it has blocked the connection."""


class Channel:
    """A channel whose methods can be awaited; what closes it ends the waiting.

    ``closed`` is done when it is closed, with the reason as its result.
    """

    def __init__(self, raw: pika.channel.Channel, connection: Connection) -> None:
        self.raw = raw
        self._connection = connection
        self.closed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _, reason: _resolve(self.closed, reason))

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the broker and return its answer.

        Raises what closed the channel instead, or TimeoutError; then the connection is lost.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        getattr(self.raw, method)(callback=lambda frame: _resolve(answer, frame), **arguments)
        return await self._connection.wait_for(method, answer, self.closed)


class Connection:
    """An open connection. ``lost`` is done when it is over, with the reason as its result."""

    def __init__(self, raw: AsyncioConnection, lost: asyncio.Future[BaseException]) -> None:
        self.raw = raw
        self.lost = lost
        self.is_blocked = False
        """Whether the broker reads nothing now, since its memory or disk is short."""
        self._is_dropped = False
        raw.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        raw.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))

    @property
    def broker_version(self) -> tuple[int, ...]:
        """The version that the broker tells, for example ``(3, 10, 8)``."""
        text = (self.raw.server_properties or {}).get("version", b"")
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        return tuple(int(part) for part in str(text).split(".") if part.isdecimal())

    async def channel(self) -> Channel:
        """Open a channel. Raises what ended the connection instead, or TimeoutError."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.raw.channel(on_open_callback=lambda raw: _resolve(opened, raw))
        return Channel(await self.wait_for("channel", opened, self.lost), self)

    async def wait_for(
        self, what: str, answer: asyncio.Future[Any], failure: asyncio.Future[BaseException]
    ) -> Any:
        """The answer, unless the failure comes first; then it is raised.

        When neither comes in time the connection is dropped and TimeoutError raised. The time of
        a connection that the broker has blocked is limited by ``blocked_timeout`` instead.
        """
        while not answer.done() and not failure.done():
            done, _ = await asyncio.wait(
                {answer, failure}, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not done and not self.is_blocked:
                await self.drop(error := TimeoutError(f"no answer to {what} in {ANSWER_S:g} s"))
                raise error
        if answer.done():
            return answer.result()
        raise failure.result()

    async def drop(self, reason: Exception) -> None:
        """End it without a word to the broker; ``lost`` is done with this reason then."""
        if not self._is_dropped and not self.lost.done():
            self._is_dropped = True
            # As pika does when heartbeats stay away; its close() waits for every channel's end.
            self.raw._terminate_stream(reason)  # type: ignore[attr-defined]
            await asyncio.wait({self.lost})

    async def close(self, wait_s: float) -> None:
        """End it, without a word where the broker does not answer in time."""
        if self.raw.is_open and not self._is_dropped:
            self.raw.close()
        if not self.lost.done():
            await asyncio.wait({self.lost}, timeout=wait_s)
        await self.drop(TimeoutError(f"no answer to close in {wait_s:g} s"))

    def _set_blocked(self, is_blocked: bool) -> None:
        self.is_blocked = is_blocked


async def open_connection(settings: AmqpSettings, name: str) -> Connection:
    """Connect. Raises one of ``BROKER_ERRORS``, or ConfigurationError."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Any] = loop.create_future()
    failed: asyncio.Future[BaseException] = loop.create_future()
    lost: asyncio.Future[BaseException] = loop.create_future()
    raw = AsyncioConnection(
        broker.parameters(settings, name),
        on_open_callback=lambda connection: _resolve(opened, connection),
        on_open_error_callback=lambda _, error: _resolve(failed, error),
        on_close_callback=lambda _, reason: _resolve(lost, reason),
        custom_ioloop=loop,
    )
    waited_s = _ATTEMPT_FACTOR * settings.connection_timeout
    await asyncio.wait({opened, failed}, timeout=waited_s, return_when=asyncio.FIRST_COMPLETED)
    if opened.done():
        return Connection(raw, lost)
    if failed.done():
        raise _cause(failed.result())
    # An attempt that breaks off within the handshake may end without a word from pika.
    opened.add_done_callback(lambda late: late.result().close())
    with suppress(*broker.BROKER_ERRORS):
        raw.close()
    raise TimeoutError(f"no connection within {waited_s:g} s")


def _cause(error: BaseException) -> BaseException:
    """What is behind the failure of an attempt; the wrappers are of no known family."""
    while isinstance(error, AMQPConnectionWorkflowFailed) and error.exceptions:
        error = error.exceptions[-1]
    while isinstance(error, AMQPConnectorPhaseErrorBase):
        error = error.exception
    if isinstance(error, broker.BROKER_ERRORS):
        return error
    return AMQPConnectionError(error)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
