"""Connecting to something that listens and is no broker."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from altrepodb.uploaderd import link
from altrepodb.uploaderd.broker import BROKER_ERRORS
from altrepodb.uploaderd.settings import AmqpSettings


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
    assert time.monotonic() - started < 20
