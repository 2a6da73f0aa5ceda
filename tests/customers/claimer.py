"""One worker of `test_claim_processes`: a process with connections of its own, which does one thing to many rows.

`python -m tests.customers.claimer WHAT SEED`: rows come as one JSON list on a line of standard input, then a line that
says go; what came of them goes out as one JSON object. WHAT is claim, hold or perform.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from random import Random

import django
from django.db import connection

django.setup()

from django.utils import timezone  # noqa: E402

from customers.connections import client as connection_client  # noqa: E402
from customers.operations import executor, transitions  # noqa: E402
from portal import providers  # noqa: E402


def claim(pk: int) -> bool:
    return transitions.claim(pk, now=timezone.now()) is not None


def hold(pk: int) -> bool:
    return transitions.claim_for_verification(pk, now=timezone.now()) is not None


def perform(pk: int) -> bool:
    executor.perform(
        pk,
        connect=lambda each: providers.client(connection_client.config_of(each), on_exchange=connection_client._note),
    )
    return False  # what became of it stands in its row


WHAT: dict[str, Callable[[int], bool]] = {each.__name__: each for each in (claim, hold, perform)}


def main(what: str, seed: int) -> None:
    connection.ensure_connection()
    rows: list[int] = json.loads(sys.stdin.readline())
    print("ready", flush=True)  # noqa: T201 the test reads it
    sys.stdin.readline()
    # Neighbours in time work on the same few rows, as workers do when every message was sent three times.
    chance = Random(seed)
    rows = [pk for start in range(0, len(rows), 10) for pk in chance.sample(rows[start : start + 10] * 3, 30)]
    print(json.dumps([pk for pk in rows if WHAT[what](pk)]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
