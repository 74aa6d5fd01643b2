"""The consuming side of a service: connected for ever, declared, bound, with its messages.

The broker may be away, restart, cut connections, close channels, delete the queue or refuse a
declaration: the consumer says so, waits, and comes back, and everything is declared and bound
again each time. It never ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pika import BasicProperties, exceptions, spec

from altrepodb.errors import AltrepodbError, ConfigurationError
from altrepodb.uploaderd.actions import Delivery, Settle, Tag
from altrepodb.uploaderd.broker import BROKER_ERRORS, explain, reconnect_delays
from altrepodb.uploaderd.link import Channel, Connection, open_connection
from altrepodb.uploaderd.notice import Notify
from altrepodb.uploaderd.settings import Binding, ServiceSettings

__all__ = ["Consumer"]

_ACCESS_REFUSED = 403
_RESOURCE_LOCKED = 405
REFUSED_RETRY_S = 60.0
BINDING_RETRY_S = 30.0
_LOGGED_AGAIN_S = 600.0
_NOTICE_AFTER_S = 300.0
_CLOSE_WAIT_S = 2.0
_CONSUMER_TIMEOUT_SINCE = (3, 12)
_CONSUMER_TIMEOUT_MARGIN_S = 3600.0


class _QueueRefusedError(AltrepodbError):
    """The queue can neither be declared nor be used as it is."""


class Consumer:
    """Receives the messages of one queue and settles them.

    ``receive`` is called with every delivery, ``lose_channel`` when all tags have become void,
    ``tell`` when ``state`` or ``detail`` have changed. ``notify`` takes notices.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        receive: Callable[[Delivery], None],
        lose_channel: Callable[[], None],
        tell: Callable[[], None],
        notify: Notify,
    ) -> None:
        self.state = "connecting"
        self.detail = ""
        self.reconnects = 0
        self._settings = settings
        self._receive = receive
        self._lose_channel = lose_channel
        self._tell = tell
        self._notify = notify
        self._logger = logging.getLogger(f"altrepodb.{settings.name}")
        self._channel: Channel | None = None
        self._channels = 0
        self._asking: asyncio.Future[Any] | None = None
        self._unbound: list[Binding] = []
        self._complained: set[Binding] = set()
        self._is_draining = False
        self._away_since = 0.0
        self._logged = 0.0
        self._has_notified = False
        self._has_consumed = False

    async def run(self) -> None:
        """Consume until cancelled."""
        delays = reconnect_delays()
        while True:
            try:
                connection = await open_connection(self._settings.amqp, self._settings.name)
            except (*BROKER_ERRORS, ConfigurationError) as error:
                self._be_away(error)
                await asyncio.sleep(next(delays))
                continue
            try:
                await self._serve(connection)
            except BROKER_ERRORS as error:
                self._be_away(error)
            finally:
                self._drop_channel()
                await connection.close(_CLOSE_WAIT_S)
            if self._has_consumed:
                delays, self._has_consumed = reconnect_delays(), False
            self.reconnects += 1
            await asyncio.sleep(next(delays))

    def settle(self, action: Settle) -> None:
        """Acknowledge or reject, if the tag is one of the channel that is open now."""
        channel = self._channel
        if channel is None or action.tag.channel != self._channels:
            return
        # A channel that is just closing: the message will be delivered again.
        with suppress(*BROKER_ERRORS):
            if action.verdict == "ack":
                channel.raw.basic_ack(action.tag.number)
            else:
                channel.raw.basic_reject(action.tag.number, requeue=action.verdict == "requeue")

    def ask_whether_settled(self, answer: Callable[[], None]) -> bool:
        """Have ``answer`` called when the broker has seen all that was settled so far.

        Returns whether the question could be asked.
        """
        channel = self._channel
        if channel is None or not channel.raw.is_open:
            return False
        number = self._channels

        def on_answer(asking: asyncio.Future[Any]) -> None:
            failed = asking.cancelled() or asking.exception() is not None
            if not failed and number == self._channels:
                answer()

        # The broker handles the methods of a channel in order, and this one changes nothing
        # for consumers that exist.
        prefetch_count = self._settings.prefetch_count
        self._asking = asyncio.ensure_future(
            channel.call("basic_qos", prefetch_count=prefetch_count)
        )
        self._asking.add_done_callback(on_answer)
        return True

    async def drain(self) -> None:
        """Take no more messages; those that are here can still be settled."""
        self._is_draining = True
        channel = self._channel
        if channel is not None and channel.raw.is_open:
            with suppress(*BROKER_ERRORS):
                for tag in list(channel.raw.consumer_tags):
                    await channel.call("basic_cancel", consumer_tag=tag)

    # --- being connected

    async def _serve(self, connection: Connection) -> None:
        """Declare, bind and consume until the connection is lost, which is raised."""
        watch = asyncio.ensure_future(self._watch_bindings(connection))
        try:
            while True:
                try:
                    await self._declare(connection)
                    await self._consume(connection, watch)
                except _QueueRefusedError as error:
                    self._be_refused(error)
                    await asyncio.wait({connection.lost}, timeout=REFUSED_RETRY_S)
                except exceptions.AMQPChannelError as error:
                    # The connection may be good: a consumer time-out closes the channel only.
                    self._be_away(error)
                    await asyncio.wait({connection.lost}, timeout=next(reconnect_delays()))
                if connection.lost.done():
                    raise connection.lost.result()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _consume(self, connection: Connection, watch: asyncio.Future[None]) -> None:
        """Consume until the queue is gone; raises what closes the channel."""
        channel = self._channel
        if channel is None or not channel.raw.is_open:
            channel = await connection.channel()
            self._take_channel(channel)
            await channel.call("basic_qos", prefetch_count=self._settings.prefetch_count)
        cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        channel.raw.add_on_cancel_callback(
            lambda _: None if cancelled.done() else cancelled.set_result(None)
        )
        if not self._is_draining:
            await self._start(connection, channel)
        self._be_running()
        await asyncio.wait({cancelled, channel.closed, watch}, return_when=asyncio.FIRST_COMPLETED)
        if channel.closed.done():
            raise channel.closed.result()
        if watch.done():
            watch.result()
        self._logger.warning("queue %s is gone, it is made anew", self._settings.queue.name)

    async def _start(self, connection: Connection, channel: Channel) -> None:
        try:
            await channel.call(
                "basic_consume",
                queue=self._settings.queue.name,
                on_message_callback=self._on_message,
                arguments=self._consumer_arguments(connection),
            )
        except exceptions.ChannelClosedByBroker as error:
            if error.reply_code not in (_ACCESS_REFUSED, _RESOURCE_LOCKED):
                raise
            raise _QueueRefusedError(f"{self._settings.queue.name}: {error.reply_text}") from error

    def _consumer_arguments(self, connection: Connection) -> dict[str, Any]:
        """Where the broker knows it, how long a message may be held."""
        seconds = self._settings.load_timeout
        if not seconds or connection.broker_version < _CONSUMER_TIMEOUT_SINCE:
            return {}
        waiting = max(self._settings.retry_delays) + _CONSUMER_TIMEOUT_MARGIN_S
        return {"x-consumer-timeout": int((seconds + waiting) * 1000)}

    def _on_message(
        self, _channel: Any, method: spec.Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        headers = properties.headers or {}
        count = headers.get("x-delivery-count", 0)
        self._receive(
            Delivery(
                tag=Tag(self._channels, method.delivery_tag or 0),
                routing_key=method.routing_key or "",
                body=body,
                redelivered=bool(method.redelivered),
                count=count if isinstance(count, int) else 0,
                properties=properties,
            )
        )

    def _take_channel(self, channel: Channel) -> None:
        self._channel = channel
        self._channels += 1
        # At once, not when the loop comes to it: a tag must not outlive its channel.
        channel.raw.add_on_close_callback(lambda *_: self._drop_channel(channel))

    def _drop_channel(self, channel: Channel | None = None) -> None:
        if self._channel is not None and channel in (None, self._channel):
            self._channel = None
            self._lose_channel()

    # --- declaring

    async def _declare(self, connection: Connection) -> None:
        """Declare the queue as it always was, with its type as the only argument.

        Raises _QueueRefusedError.
        """
        queue = self._settings.queue
        channel = await connection.channel()
        try:
            await channel.call(
                "queue_declare",
                queue=queue.name,
                durable=queue.durable,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                arguments={"x-queue-type": queue.type},
            )
            channel.raw.close()
        except exceptions.ChannelClosedByBroker as error:
            # Somebody else may have declared it.
            may_exist = error.reply_code == _ACCESS_REFUSED
            if not may_exist or not await self._is_declared(connection):
                raise _QueueRefusedError(f"queue {queue.name}: {error.reply_text}") from error
        await self._bind_all(connection)

    async def _is_declared(self, connection: Connection) -> bool:
        channel = await connection.channel()
        try:
            await channel.call("queue_declare", queue=self._settings.queue.name, passive=True)
        except exceptions.ChannelClosedByBroker:
            return False
        channel.raw.close()
        return True

    async def _bind_all(self, connection: Connection) -> None:
        """Bind, then unbind, in the order of the file; what is missing is tried again later."""
        queue = self._settings.queue
        self._unbound = [
            binding
            for binding in queue.bind_at_startup
            if not await self._bind(connection, binding, "queue_bind")
        ]
        for binding in queue.unbind_at_startup:
            await self._bind(connection, binding, "queue_unbind")

    async def _bind(self, connection: Connection, binding: Binding, method: str) -> bool:
        try:
            channel = await connection.channel()
            await channel.call(
                method,
                queue=self._settings.queue.name,
                exchange=binding.exchange,
                routing_key=binding.routing_key,
            )
            channel.raw.close()
        except exceptions.ChannelClosedByBroker as error:
            if binding not in self._complained:
                self._complained.add(binding)
                self._logger.warning("%s %s: %s", method, binding.exchange, error.reply_text)
            return False
        self._complained.discard(binding)
        return True

    async def _watch_bindings(self, connection: Connection) -> None:
        """Try again to bind to exchanges that were missing."""
        while True:
            await asyncio.sleep(BINDING_RETRY_S)
            missing, self._unbound = self._unbound, []
            for binding in missing:
                if not await self._bind(connection, binding, "queue_bind"):
                    self._unbound.append(binding)

    # --- telling

    def _be_running(self) -> None:
        if self._away_since:
            seconds = time.monotonic() - self._away_since
            self._logger.info("consumes again after %.0f s", seconds)
            if self._has_notified:
                self._notify(self._settings.name, "INFO", "MESSAGE", "consumes again")
        elif self.state != "running":
            self._logger.info(
                "consumes %s, %s", self._settings.queue.name, self._settings.amqp.describe()
            )
        self._away_since, self._logged, self._has_notified = 0.0, 0.0, False
        self._has_consumed = True
        self._change("running", "")

    def _be_away(self, error: BaseException) -> None:
        """Say that the broker is away: at first, and every ten minutes."""
        is_ours = isinstance(error, AltrepodbError)
        reason = str(error if is_ours else explain(error, self._settings.amqp))
        self._complain("connecting", reason, after_s=_NOTICE_AFTER_S)

    def _be_refused(self, error: AltrepodbError) -> None:
        self._complain("failed", str(error), after_s=0.0)

    def _complain(self, state: str, reason: str, after_s: float) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if not self._logged or now - self._logged >= _LOGGED_AGAIN_S:
            self._logged = now
            self._logger.warning("%s", reason)
        else:
            self._logger.debug("%s", reason)
        if now - self._away_since >= after_s and not self._has_notified:
            self._has_notified = True
            payload = {"state": state.upper(), "reason": reason}
            self._notify(self._settings.name, "WARNING", "SERVICE_ERROR", reason, payload)
        self._change(state, reason)

    def _change(self, state: str, detail: str) -> None:
        if (state, detail) != (self.state, self.detail):
            self.state, self.detail = state, detail
            self._tell()
