"""kombu's Redis broker, with a channel that can be left behind when Redis is gone.

Where a worker holds messages while Redis dies, kombu closes its channel twice: the first attempt fails half way, the
second wants to give the messages back over a connection that is not there any more, and the worker ends ("Unrecoverable
error: AttributeError"; seen with kombu 5.7.0). The same happens to a task that ends afterwards and is acknowledged on
the channel of old. Neither is worth anything here: what a lost message pointed at is found in the database.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

SCHEMES = ("redis", "rediss")


class Channel(redis.Channel):
    do_restore = False

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    Channel = Channel


for _scheme in SCHEMES:
    TRANSPORT_ALIASES[_scheme] = f"{__name__}:Transport"
