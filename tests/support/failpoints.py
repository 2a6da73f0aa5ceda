"""Named points of the portal's work at which a test stops, breaks or kills a worker. The portal knows nothing of them.

Each point is the moment before or after a function of the portal, where an end of the process leaves work half done;
docs/decisions/proof.md describes the result of each. Two more are in the provider's client: the request has been sent,
the answer has begun (tests/simulation/wire.py).

    with failpoints.installed(at): ...        `at` is called with the name of each point that is passed
    tests/support/crashing_settings.py        a real process that kills itself at the point PORTAL_CRASH_AT
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from customers.models import Operation
from customers.observed import account_list
from customers.operations import conclusions, executor, read_back, transitions

At = Callable[[str], None]
Name = Callable[[Operation], str]
POINTS = (
    "after_claim", "before_intent", "after_intent", "after_answer", "in_result", "after_result", "in_read_back",
    "in_settled", "in_walk", "in_dispatch",
)  # fmt: skip


@dataclass(frozen=True)
class Seam:
    """A function of the portal and the points around it. A name may depend on the operation, as it is before the
    call; "" is no point."""

    module: Any
    function: str
    before: str | Name = ""
    after: str | Name = ""

    def around(self, at: At) -> Callable[..., Any]:
        right = getattr(self.module, self.function)

        @wraps(right)
        def wrapper(*args: Any, **more: Any) -> Any:
            names = [each if isinstance(each, str) else each(args[0]) for each in (self.before, self.after)]
            if names[0]:
                at(names[0])
            result = right(*args, **more)
            if names[1]:
                at(names[1])
            return result

        return wrapper


SEAMS = (
    Seam(executor, "_work", before="after_claim"),
    Seam(executor, "_commit_intent", before="before_intent"),
    Seam(transitions, "intend", after="after_intent"),
    Seam(executor, "_record_answer", before="after_answer", after="after_result"),
    # The last statement of the transaction that writes a result: of a send, or of what was found without one.
    Seam(conclusions, "_write", after=lambda operation: "in_result" if operation.state == "sending" else "in_settled"),
    Seam(
        read_back,
        "read_after_success",
        before=lambda operation: "" if operation.kind == "delete" else "in_read_back",
    ),
    Seam(account_list, "_see_all", after="in_walk"),  # the list is stored, nothing is concluded from it
    Seam(transitions, "_end_lost_claim", before="in_dispatch"),  # the fence is raised, the row not moved
)


def parts(at: At) -> list[tuple[Any, str, Any]]:
    """Return module, name and wrapper of each function that has a point."""
    return [(seam.module, seam.function, seam.around(at)) for seam in SEAMS]


@contextmanager
def installed(at: At) -> Iterator[None]:
    before = [(seam.module, seam.function, getattr(seam.module, seam.function)) for seam in SEAMS]
    _install(parts(at))
    try:
        yield
    finally:
        _install(before)


def kill_at(point: str) -> None:
    """From now on this process kills itself at the point."""
    assert point in POINTS, point
    _install(parts(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None))


def _install(functions: list[tuple[Any, str, Any]]) -> None:
    for module, name, function in functions:
        setattr(module, name, function)
