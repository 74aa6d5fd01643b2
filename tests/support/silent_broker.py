"""Something that speaks AMQP as a broker does up to a method that it never answers.

It wants no heartbeats, so that nothing else tells the client of its silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pika import frame, spec

__all__ = ["SilentBroker", "silent_broker"]

_PROTOCOL_HEADER_BYTES = 8
_FRAME_BYTES = 1 << 17
_PROPERTIES: dict[str, Any] = {
    "version": "3.10.8",
    "capabilities": {"publisher_confirms": True, "basic.nack": True},
}
_ANSWERS: dict[str, Any] = {
    "Connection.StartOk": lambda _: spec.Connection.Tune(0, _FRAME_BYTES, 0),
    "Connection.Open": lambda _: spec.Connection.OpenOk(),
    "Connection.Close": lambda _: spec.Connection.CloseOk(),
    "Channel.Open": lambda _: spec.Channel.OpenOk(),
    "Channel.Close": lambda _: spec.Channel.CloseOk(),
    "Basic.Qos": lambda _: spec.Basic.QosOk(),
    "Basic.Consume": lambda asked: spec.Basic.ConsumeOk(asked.consumer_tag),
    "Confirm.Select": lambda _: spec.Confirm.SelectOk(),
    "Exchange.Declare": lambda _: spec.Exchange.DeclareOk(),
    "Queue.Declare": lambda asked: spec.Queue.DeclareOk(asked.queue, 0, 0),
    "Queue.Bind": lambda _: spec.Queue.BindOk(),
}


class SilentBroker:
    """``silent_at`` is the method that is not answered, nor is anything on its channel then.

    ``blocks`` tells the client at that moment that it is blocked. ``methods`` are all that came,
    ``ended`` counts the connections that the client has ended.
    """

    def __init__(self, silent_at: str, *, times_answered: int = 0, blocks: bool = False) -> None:
        self.port = 0
        self.connections = 0
        self.ended = 0
        self.methods: list[str] = []
        self._silent_at = silent_at
        self._times_answered = times_answered
        self._blocks = blocks

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client ends it."""
        self.connections += 1
        await reader.readexactly(_PROTOCOL_HEADER_BYTES)
        start = spec.Connection.Start(0, 9, _PROPERTIES, "PLAIN", "en_US")
        writer.write(frame.Method(0, start).marshal())
        received, mute = b"", set[int]()
        try:
            while data := await reader.read(_FRAME_BYTES):
                received += data
                while (found := frame.decode_frame(received))[1] is not None:
                    received = received[found[0] :]
                    if isinstance(found[1], frame.Method):
                        self._answer(found[1], writer, mute)
        except ConnectionError:
            # The client may drop it with data under way.
            pass
        finally:
            self.ended += 1
            writer.close()

    def _answer(self, method: Any, writer: asyncio.StreamWriter, mute: set[int]) -> None:
        number, name = method.channel_number, method.method.NAME
        self.methods.append(name)
        if name == self._silent_at and self.methods.count(name) > self._times_answered:
            mute.add(number)
            if self._blocks:
                writer.write(frame.Method(0, spec.Connection.Blocked("memory")).marshal())
        if name in _ANSWERS and number not in mute:
            writer.write(frame.Method(number, _ANSWERS[name](method.method)).marshal())


@asynccontextmanager
async def silent_broker(
    silent_at: str, *, times_answered: int = 0, blocks: bool = False
) -> AsyncIterator[SilentBroker]:
    """A broker that listens on a port of this machine."""
    broker = SilentBroker(silent_at, times_answered=times_answered, blocks=blocks)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        broker.port = server.sockets[0].getsockname()[1]
        yield broker
