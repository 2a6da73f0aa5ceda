"""Celery's consumer, whose heartbeat doesn't depend on the broker.

Celery sends its own heartbeat to the broker, which no one reads. While Redis is frozen its main loop waits for that
message, and while there is no connection it is one that retries: in both it would look hung.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import bootsteps
from celery.signals import heartbeat_sent
from celery.worker import consumer

from portal import liveness

HEARTBEAT_SECONDS = 2.0


class HeartbeatTimer(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
    """Celery's signal by a timer of the main loop, and no message."""

    requires = ("celery.worker.consumer.connection:Connection",)
    _timer: Any = None

    def start(self, parent: Any) -> None:
        heartbeat_sent.send(sender=parent)
        self._timer = parent.timer.call_repeatedly(HEARTBEAT_SECONDS, heartbeat_sent.send, (parent,))

    def stop(self, parent: Any) -> None:
        if self._timer:  # it is also stopped when there was no connection to start with
            parent.timer.cancel(self._timer)


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery ships no types
    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]  # Celery ships no types
        default_steps = (*consumer.Consumer.Blueprint.default_steps, HeartbeatTimer)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, without_heartbeat=True)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, reporting with each attempt and once a second between two. The loop that retries has no other place
        for it than the callback that Celery passes to `conn`."""
        conn.ensure_connection = partial(_ensure, conn.ensure_connection, liveness.short_name(self.hostname))
        return super().ensure_connected(conn)


def _ensure(connect: Any, name: str, *args: Any, callback: Any, **options: Any) -> Any:
    def call_and_report() -> None:
        callback()  # raises when the worker is to stop
        liveness.report(name)

    return connect(*args, callback=call_and_report, **options)
