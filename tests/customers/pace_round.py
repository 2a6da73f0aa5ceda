"""Eight processes that ask one provider as fast as their common pace lets them; each counts what it was answered.

`python -m tests.customers.pace_round '{"kind": ..., "redis": ..., ...}'` prints one JSON object per process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import django

PROCESSES = 8


def one(facts: dict[str, Any]) -> Counter[str]:
    from customers.connections.rate_limit import Shared  # noqa: PLC0415 after Django is set up
    from portal.providers import ConnectionConfig, NotSent, RateLimited, client  # noqa: PLC0415
    from portal.providers.rate_limit import UTILIZATION, Pacing, Rate  # noqa: PLC0415

    pacer = Pacing(
        Shared(facts["redis"]),
        name="round",
        rate=Rate(10 * UTILIZATION, facts["burst"]),
        each_endpoint=False,
        pause=1,
        patience=2,
        background=facts.get("background", False),
    )
    config = ConnectionConfig(
        kind=facts["kind"], base_url=facts["base_url"], api_key=facts["key"], account_id=facts.get("account", "")
    )
    provider = client(config, pacer=pacer)
    counts: Counter[str] = Counter()
    while time.time() < facts["until"]:
        try:
            next(iter(provider.list_accounts(patience=0)), None)
            counts["answered"] += 1
        except RateLimited:
            counts["refused"] += 1
        except NotSent as held:
            counts["held"] += 1
            again = held.retry_at or datetime.now(UTC)
            time.sleep(max(0.0, (again - datetime.now(UTC)).total_seconds()))
    return counts


def main() -> None:
    django.setup()
    facts = json.loads(sys.argv[1])
    facts["until"] = time.time() + facts["seconds"]
    children = []
    for _ in range(PROCESSES):
        child = os.fork()
        if child == 0:
            os.write(1, (json.dumps(one(facts)) + "\n").encode())
            os._exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0


if __name__ == "__main__":
    main()
