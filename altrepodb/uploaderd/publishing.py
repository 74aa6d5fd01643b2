"""Confirmed publishing of a service, beside its consumption and never in its way.

It has a connection of its own, since the broker blocks one that publishes when memory is short,
and acknowledgements must not wait for that.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from pika import BasicProperties, exceptions, spec

from altrepodb.errors import AltrepodbError, ConfigurationError
from altrepodb.uploaderd import link
from altrepodb.uploaderd.actions import Publish
from altrepodb.uploaderd.broker import BROKER_ERRORS, explain, reconnect_delays
from altrepodb.uploaderd.link import Channel, Connection, open_connection
from altrepodb.uploaderd.retry_queue import retry_arguments, return_exchange
from altrepodb.uploaderd.settings import ServiceSettings

__all__ = ["EventPublisher", "event_body", "event_properties"]

_DROPPED_HEADERS = frozenset({"x-delivery-count", "x-acquired-count", "x-death"})
_PERSISTENT: Literal[2] = 2
_NOT_FOUND = 404
_CLOSE_WAIT_S = 2.0
_NACK_PAUSE_S = 1.0


class _NowhereError(AltrepodbError):
    """What must reach a queue cannot: it is not there, and must not or cannot be made."""


class EventPublisher:
    """Publishes what it is given, in order, until the broker has confirmed it.

    ``published`` is called with the number of every publish and an empty text, or with why a
    dead letter or a retry has nowhere to go. ``tell`` is called when ``trouble`` has changed.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        published: Callable[[int, str], None],
        tell: Callable[[], None],
    ) -> None:
        self.trouble = ""
        self._settings = settings
        self._published = published
        self._tell = tell
        self._logger = logging.getLogger(f"altrepodb.{settings.name}")
        self._waiting: deque[Publish] = deque()
        self._sent: dict[int, Publish] = {}
        self._known_exchanges: set[str] = set()
        self._returned = ""
        self._last_tag = 0
        self._heard = 0.0
        """When the broker had last nothing to confirm, blocked us, or confirmed something."""
        self._has_confirmed = False
        self._has_work = asyncio.Event()

    def publish(self, publish: Publish) -> None:
        """Publish as soon as the broker takes it."""
        self._waiting.append(publish)
        self._has_work.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        delays = reconnect_delays()
        while True:
            await self._has_work.wait()
            try:
                connection = await open_connection(
                    self._settings.amqp, f"{self._settings.name} publisher"
                )
            except (*BROKER_ERRORS, ConfigurationError) as error:
                self._be_in_trouble(error)
                await asyncio.sleep(next(delays))
                continue
            try:
                connection.raw.add_on_connection_blocked_callback(
                    lambda *_: self._set_trouble("the broker takes no messages")
                )
                connection.raw.add_on_connection_unblocked_callback(lambda *_: self._be_heard())
                await self._serve(connection)
            except BROKER_ERRORS as error:
                self._be_in_trouble(error)
            finally:
                self._take_back()
                await connection.close(_CLOSE_WAIT_S)
            if self._has_confirmed:
                delays, self._has_confirmed = reconnect_delays(), False
            await asyncio.sleep(next(delays))

    async def _serve(self, connection: Connection) -> None:
        """Publish until the connection or a channel is lost, which is raised."""
        channel = await connection.channel()
        self._last_tag = 0
        await channel.call("confirm_delivery", ack_nack_callback=self._on_confirmation)
        channel.raw.add_on_return_callback(self._on_return)
        while True:
            self._has_work.clear()
            while self._waiting and self._may_send(self._waiting[0]):
                await self._send(connection, channel, self._waiting.popleft())
            await self._wait_for_work(connection, channel)

    async def _wait_for_work(self, connection: Connection, channel: Channel) -> None:
        """Raises what closes the channel, or TimeoutError when confirmations do not come."""
        loop = asyncio.get_running_loop()
        work: asyncio.Future[Any] = asyncio.ensure_future(self._has_work.wait())
        closed: asyncio.Future[Any] = channel.closed
        limit_s = link.ANSWER_S if self._sent else None
        try:
            await asyncio.wait({work, closed}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
        if closed.done():
            raise closed.result()
        if not self._sent or connection.is_blocked:
            self._heard = loop.time()
        elif loop.time() - self._heard >= link.ANSWER_S:
            await connection.drop(error := TimeoutError(f"no confirmation in {link.ANSWER_S:g} s"))
            raise error

    def _may_send(self, publish: Publish) -> bool:
        """A message that may be returned travels alone, so that its return is known as its own."""
        return not self._sent or not (
            publish.is_mandatory or any(sent.is_mandatory for sent in self._sent.values())
        )

    async def _send(self, connection: Connection, channel: Channel, publish: Publish) -> None:
        try:
            await self._find_exchange(connection, publish)
        except _NowhereError as error:
            self._published(publish.number, str(error))
            return
        except BaseException:
            self._waiting.appendleft(publish)
            raise
        self._last_tag += 1
        if not self._sent:
            self._heard = asyncio.get_running_loop().time()
        self._sent[self._last_tag] = publish
        self._returned = ""
        channel.raw.basic_publish(
            publish.exchange,
            publish.routing_key,
            event_body(publish),
            event_properties(publish),
            mandatory=publish.is_mandatory,
        )

    async def _find_exchange(self, connection: Connection, publish: Publish) -> None:
        """Look for the exchange, since to publish to a missing one closes the channel."""
        if publish.exchange in self._known_exchanges:
            return
        if publish.purpose == "retry":
            await self._make_retry_queue(connection, publish)
        elif not await self._is_there(connection, publish.exchange):
            if publish.purpose == "dead letter":
                raise _NowhereError(f"no exchange {publish.exchange}")
            setup = await connection.channel()
            await setup.call(
                "exchange_declare",
                exchange=publish.exchange,
                exchange_type="topic",
                durable=True,
            )
            setup.raw.close()
        self._known_exchanges.add(publish.exchange)

    async def _is_there(self, connection: Connection, exchange: str) -> bool:
        setup = await connection.channel()
        try:
            await setup.call("exchange_declare", exchange=exchange, passive=True)
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            return False
        setup.raw.close()
        return True

    async def _make_retry_queue(self, connection: Connection, publish: Publish) -> None:
        queue = self._settings.queue.name
        aside, back = publish.exchange, return_exchange(queue)
        arguments = retry_arguments(queue, publish.delay_s)
        setup = await connection.channel()
        try:
            for exchange in (aside, back):
                await setup.call(
                    "exchange_declare", exchange=exchange, exchange_type="fanout", durable=True
                )
            await setup.call("queue_declare", queue=aside, durable=True, arguments=arguments)
            await setup.call("queue_bind", queue=queue, exchange=back)
            await setup.call("queue_bind", queue=aside, exchange=aside)
        except exceptions.ChannelClosedByBroker as error:
            raise _NowhereError(error.reply_text) from error
        setup.raw.close()

    # --- what the broker says

    def _on_confirmation(self, frame: Any) -> None:
        method = frame.method
        last = method.delivery_tag
        tags = [tag for tag in self._sent if tag == last or (method.multiple and tag <= last)]
        for tag in tags:
            publish = self._sent.pop(tag)
            if isinstance(method, spec.Basic.Nack):
                # A queue that is full refuses the next attempt just as quickly.
                asyncio.get_running_loop().call_later(_NACK_PAUSE_S, self.publish, publish)
                self._set_trouble("the broker refuses messages")
            else:
                self._has_confirmed = True
                self._be_heard()
                self._published(publish.number, self._returned if publish.is_mandatory else "")
        self._has_work.set()

    def _on_return(self, _channel: Any, method: spec.Basic.Return, *_: Any) -> None:
        self._returned = f"{method.exchange}: {method.reply_text}"

    def _take_back(self) -> None:
        """What was not confirmed is published again."""
        self._known_exchanges.clear()
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        if self._waiting:
            self._has_work.set()

    def _be_heard(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._set_trouble("")

    def _be_in_trouble(self, error: BaseException) -> None:
        is_ours = isinstance(error, AltrepodbError)
        self._set_trouble(str(error if is_ours else explain(error, self._settings.amqp)))

    def _set_trouble(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            self._logger.warning("events wait: %s", trouble)
        self._tell()


def event_body(publish: Publish) -> bytes:
    """The body of an event: the received one, with what the service adds to it."""
    if not publish.added:
        return publish.body
    return json.dumps(json.loads(publish.body) | dict(publish.added)).encode()


def event_properties(publish: Publish) -> BasicProperties:
    """The received properties without the broker's own marks, persistent."""
    received: BasicProperties = publish.properties or BasicProperties()
    headers = {
        key: value
        for key, value in (received.headers or {}).items()
        if key not in _DROPPED_HEADERS and not key.startswith("x-first-death-")
    }
    return BasicProperties(
        content_type=received.content_type or "application/json",
        content_encoding=received.content_encoding,
        headers={**headers, **publish.headers} or None,
        delivery_mode=_PERSISTENT,
        priority=received.priority,
        correlation_id=received.correlation_id,
        reply_to=received.reply_to,
        message_id=received.message_id,
        timestamp=received.timestamp,
        type=received.type,
        app_id=received.app_id,
    )
