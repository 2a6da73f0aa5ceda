"""kombu's Redis broker, with a channel that outlives the death and the silence of Redis.

Seen with kombu 5.7.0. Where a worker holds messages while Redis dies, its channel is closed twice: the first attempt
fails half way, the second wants to give the messages back over a connection that is gone, and the worker ends
("Unrecoverable error: AttributeError"). And where Redis stands still while a task ends, acknowledging it times out
("Couldn't ack") and the message counts as held for ever: as many of them as the worker may hold, and it takes nothing
any more, without a word. No message is worth that: what a lost or repeated one points at is found in the database.

For the same reason a queue has a length here. Where nobody reads it, the oldest messages go.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

from portal.queue_settings import LONGEST, NAMES

SCHEMES = ("redis", "rediss")


class QoS(redis.QoS):
    """What Redis could not be told is let go here all the same; it comes again after the visibility timeout."""

    def ack(self, delivery_tag: Any) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


class RedisChannel(redis.Channel):
    QoS = QoS
    do_restore = False

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)  # type: ignore[no-untyped-call]  # kombu ships no types
        if queue in NAMES:
            with self.conn_or_acquire() as client:
                client.ltrim(queue, 0, LONGEST - 1)  # new ones come in on the left

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]


class RedisTransport(redis.Transport):
    Channel = RedisChannel


for _scheme in SCHEMES:
    TRANSPORT_ALIASES[_scheme] = f"{__name__}:RedisTransport"
