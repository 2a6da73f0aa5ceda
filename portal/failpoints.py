"""Named points at which a test may kill the process. In production they do nothing and cannot be enabled.

Each is at a point where a crash leaves work half done; docs/decisions/proof.md describes the result of each. Two more
are in the provider's client and not named here: the request has been sent, the answer has begun (tests/simulation).
"""

from __future__ import annotations

import os
import signal

from django.conf import settings

POINTS = (
    "after_claim", "before_intent", "after_intent", "after_answer", "in_result", "after_result", "in_read_back",
    "in_settled", "in_walk", "in_dispatch",
)  # fmt: skip


def crash_point(name: str) -> None:
    if not settings.PRODUCTION and os.environ.get("PORTAL_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
