"""kombu's Redis broker with a channel that survives a crash or hang of Redis.

Seen with kombu 5.7.0. If a worker holds messages while Redis crashes, its channel is closed twice: the first attempt
fails half way, the second returns the messages over a closed connection, and the worker stops ("Unrecoverable error:
AttributeError"). If Redis hangs while a task ends, acknowledging it times out ("Couldn't ack") and the message counts
as held forever; once that reaches the prefetch limit, the worker silently takes no more messages. No message is worth
that: the row of a lost or repeated one is found in the database.

For the same reason the length of a queue is limited. The oldest messages of a full queue are dropped.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

from portal.queue_settings import LONGEST, NAMES

SCHEMES = ("redis", "rediss")


class QoS(redis.QoS):
    """QoS that drops a message locally even if Redis was not reached; it returns after the visibility timeout."""

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
                client.ltrim(queue, 0, LONGEST - 1)  # new messages are added on the left

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
