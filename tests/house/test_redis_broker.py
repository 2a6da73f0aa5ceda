"""What a worker holds when Redis dies must not end the worker. Found by `make chaos PART=redis`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Queue

from portal.queue_settings import LONGEST
from tests.support.processes import told_by
from tests.support.redis import Redis

pytestmark = pytest.mark.redis


@pytest.fixture
def own_redis(redis_server: Redis) -> Iterator[Redis]:
    """One that may be killed; needs the programs that `redis_server` looks for."""
    server = Redis()
    server.start()
    yield server
    server.remove()


def test_every_process_uses_our_message_brokers(tmp_path: Path) -> None:
    """In a process of its own: this one imports the brokers whatever the portal does."""
    story = "import json, portal.celery; from kombu import transport; print(json.dumps(transport.TRANSPORT_ALIASES))"
    known = told_by(story, "sqlite:///:memory:", tmp_path)
    ours = {scheme: path for scheme, path in known.items() if path.startswith("portal.")}
    assert ours == {
        "redis": "portal.brokers.redis:RedisTransport",
        "rediss": "portal.brokers.redis:RedisTransport",
        "folder": "portal.brokers.folder:FolderTransport",
    }


def test_a_message_held_while_redis_dies_is_left_behind(own_redis: Redis) -> None:
    connection = Connection(own_redis.url)
    with connection.SimpleQueue("ops") as queue:
        queue.put({"look": 17})
    channel = connection.default_channel
    bound = Queue("ops")(channel)
    bound.declare()
    message = bound.get()
    assert message is not None

    own_redis.stop(kill=True)
    # What Celery's consumer leaves behind where its first attempt to close fails half way (seen; not always so).
    channel._disconnect_pools()
    connection.transport.client = None
    connection.close()

    message.ack_log_error(None, ())  # the task has ended meanwhile
    channel.basic_reject(message.delivery_tag)
    assert channel.closed


@pytest.mark.parametrize("how", ["ack", "reject"])
def test_what_could_not_be_acknowledged_is_not_held_for_ever(own_redis: Redis, how: str) -> None:
    with Connection(own_redis.url) as connection:
        with connection.SimpleQueue("ops") as queue:
            queue.put({"look": 17})
        channel = connection.default_channel
        channel.basic_qos(0, 1, False)
        bound = Queue("ops")(channel)
        bound.declare()
        message = bound.get()
        assert message is not None
        assert not channel.qos.can_consume()
        own_redis.stop(kill=True)
        with pytest.raises(connection.connection_errors):
            getattr(message, how)()
        assert channel.qos.can_consume()


def test_where_nobody_reads_a_queue_its_oldest_messages_go(own_redis: Redis) -> None:
    with Connection(own_redis.url) as connection, connection.SimpleQueue("ops") as queue:
        for n in range(LONGEST + 50):
            queue.put({"n": n})
        assert queue.qsize() == LONGEST
        assert queue.get(timeout=60).payload == {"n": 50}, "and the rest in order"
