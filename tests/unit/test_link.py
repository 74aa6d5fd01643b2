"""Something that listens and is no broker, or is one that does not answer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
from pika.exceptions import ConnectionBlockedTimeout

from altrepodb.uploaderd import link
from altrepodb.uploaderd.broker import BROKER_ERRORS
from altrepodb.uploaderd.settings import AmqpSettings
from tests.support.silent_broker import SilentBroker, silent_broker


@pytest.mark.parametrize("is_rude", [False, True])
def test_an_attempt_always_has_an_end(is_rude: bool) -> None:
    """The other side says nothing, or closes in the middle of the handshake."""

    async def attempt(port: int) -> None:
        settings = AmqpSettings(host="127.0.0.1", port=port, connection_timeout=0.3)
        await link.open_connection(settings, "test")

    async def main() -> None:
        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(8)
            if not is_rude:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(hear, "127.0.0.1", 0, family=socket.AF_INET)
        async with server:
            with pytest.raises(BROKER_ERRORS):
                await attempt(server.sockets[0].getsockname()[1])
        await asyncio.sleep(0.1)

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 60


class TestSilence:
    """The broker answers everything except one method."""

    @pytest.mark.parametrize(
        ("silent_at", "what"), [("Channel.Open", "channel"), ("Queue.Declare", "queue_declare")]
    )
    def test_the_connection_is_lost(
        self, monkeypatch: pytest.MonkeyPatch, silent_at: str, what: str
    ) -> None:
        # A second is enough for the other answers, even on a busy machine.
        monkeypatch.setattr(link, "ANSWER_S", 1.0)

        async def main() -> None:
            async with silent_broker(silent_at) as broker:
                connection = await link.open_connection(_settings(broker), "test")
                with pytest.raises(TimeoutError, match=f"^no answer to {what} in 1 s$") as caught:
                    channel = await connection.channel()
                    await channel.call("queue_declare", queue="x")
                assert connection.lost.result() is caught.value
                await _until(lambda: broker.ended == 1)

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_blocked_connection_has_another_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link, "ANSWER_S", 1.0)

        async def main() -> None:
            async with silent_broker("Queue.Declare", blocks=True) as broker:
                settings = _settings(broker, blocked_timeout=3)
                connection = await link.open_connection(settings, "test")
                channel = await connection.channel()
                with pytest.raises(ConnectionBlockedTimeout):
                    await channel.call("queue_declare", queue="x")

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_closing_does_not_wait_for_a_channel_that_stands_still(self) -> None:
        async def main() -> None:
            async with silent_broker("Queue.Declare") as broker:
                connection = await link.open_connection(_settings(broker), "test")
                channel = await connection.channel()
                waiting = asyncio.ensure_future(channel.call("queue_declare", queue="x"))
                await _until(lambda: "Queue.Declare" in broker.methods)
                await connection.close(0.2)
                assert connection.lost.done()
                await _until(lambda: broker.ended == 1)
                with pytest.raises(BROKER_ERRORS):
                    await waiting

        asyncio.run(asyncio.wait_for(main(), 60))


def _settings(broker: SilentBroker, blocked_timeout: float = 300) -> AmqpSettings:
    return AmqpSettings(host="127.0.0.1", port=broker.port, blocked_timeout=blocked_timeout)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)
