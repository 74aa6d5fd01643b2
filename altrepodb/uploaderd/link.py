"""A connection to the broker that never blocks: pika's callbacks as things to wait for.

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


class Channel:
    """A channel whose methods can be awaited; what closes it ends the waiting.

    ``closed`` is done when it is closed, with the reason as its result.
    """

    def __init__(self, raw: pika.channel.Channel) -> None:
        self.raw = raw
        self.closed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _, reason: _resolve(self.closed, reason))

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the broker and return its answer.

        Raises what closed the channel instead.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        getattr(self.raw, method)(callback=lambda frame: _resolve(answer, frame), **arguments)
        return await _first(answer, self.closed)


class Connection:
    """An open connection. ``lost`` is done when it is over, with the reason as its result."""

    def __init__(self, raw: AsyncioConnection, lost: asyncio.Future[BaseException]) -> None:
        self.raw = raw
        self.lost = lost

    @property
    def broker_version(self) -> tuple[int, ...]:
        """The version that the broker tells, for example ``(3, 10, 8)``."""
        text = (self.raw.server_properties or {}).get("version", b"")
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        return tuple(int(part) for part in str(text).split(".") if part.isdecimal())

    async def channel(self) -> Channel:
        """Open a channel. Raises what ended the connection instead."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.raw.channel(on_open_callback=lambda raw: _resolve(opened, raw))
        return Channel(await _first(opened, self.lost))

    async def close(self, wait_s: float) -> None:
        """End it; what the broker does not answer in time is left to the system."""
        if self.raw.is_open:
            self.raw.close()
        if not self.lost.done():
            await asyncio.wait({self.lost}, timeout=wait_s)


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


async def _first(answer: asyncio.Future[Any], failure: asyncio.Future[BaseException]) -> Any:
    """The answer, unless the failure comes first; then it is raised."""
    await asyncio.wait({answer, failure}, return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        return answer.result()
    raise failure.result()
