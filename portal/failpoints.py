"""Named points at which a test may kill the process. In production they do nothing and cannot be switched on.

They stand where a death leaves something half done; docs/decisions/proof.md says what each one leaves. Two more are not
ours to name, because they lie in the provider's client: the request has left, the answer has begun (tests/simulation).
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
