"""What a publisher does about a broker that takes events and confirms none."""

from __future__ import annotations

import asyncio
from itertools import repeat
from pathlib import Path

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.uploaderd import link, publishing
from altrepodb.uploaderd.actions import Publish
from altrepodb.uploaderd.publishing import EventPublisher
from altrepodb.uploaderd.service_type import ServiceType
from altrepodb.uploaderd.settings import AmqpSettings, ServiceSettings
from tests.support.silent_broker import silent_broker

KIND = ServiceType("test", frozenset(), lambda _: None, lambda *_: None, lambda *_: None)


EVENT = Publish(1, "test-ex", "test.key", b"{}", None, "event")


@pytest.mark.parametrize(
    ("blocks", "reasons"),
    [
        (False, ["no confirmation in 1 s"]),
        # Then blocked_timeout is the limit.
        (True, ["the broker takes no messages", "Blocked connection timeout expired."]),
    ],
)
def test_an_event_that_is_not_confirmed_is_published_again(
    monkeypatch: pytest.MonkeyPatch, blocks: bool, reasons: list[str]
) -> None:
    # A second is enough for all other answers, even on a busy machine.
    monkeypatch.setattr(link, "ANSWER_S", 1.0)
    monkeypatch.setattr(publishing, "reconnect_delays", lambda: repeat(0.05))
    monkeypatch.setattr(publishing, "_CLOSE_WAIT_S", 0.1)
    troubles: list[str] = []

    async def main() -> None:
        async with silent_broker("Basic.Publish", blocks=blocks) as broker:
            settings = ServiceSettings(
                type=KIND,
                file=Path("test.json"),
                database=DatabaseSettings(host="x"),
                amqp=AmqpSettings("127.0.0.1", broker.port, blocked_timeout=3),
            )
            publisher = EventPublisher(
                settings, lambda *_: None, lambda: troubles.append(publisher.trouble)
            )
            running = asyncio.ensure_future(publisher.run())
            publisher.publish(EVENT)
            while broker.methods.count("Basic.Publish") < 2:
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            where = f"broker 127.0.0.1:{broker.port}: "
            assert [text.removeprefix(where) for text in troubles][: len(reasons)] == reasons

    asyncio.run(asyncio.wait_for(main(), 60))
