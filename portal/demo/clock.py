"""Demo environment: the sandbox's admin API, and one clock shared by sandbox, Django and the portal's commands."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from django.utils import timezone

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is this machine


@dataclass(frozen=True)
class Sandbox:
    """Client of the sandbox's admin API (portal/sandbox/README.md)."""

    url: str
    admin_key: str

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 the demo's own sandbox on loopback
            f"{self.url}/_admin/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"X-Sandbox-Admin": self.admin_key},
        )
        with _OPENER.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def switch(self, name: str, value: object) -> None:
        self.call("PUT", "switches", **{name: value})

    def arm(self, fault: str, **fields: Any) -> int:
        """Enable a fault and return its number. `fields`: operation, email, count."""
        return int(self.call("POST", "faults", name=fault, **fields)["id"])

    @contextmanager
    def fault(self, name: str, **fields: Any) -> Iterator[None]:
        """Enable a fault inside the block only. `fields`: as of `arm`."""
        number = self.arm(name, **fields)
        try:
            yield
        finally:
            self.call("DELETE", f"faults/{number}")


class DemoClock:
    """Simulated clock. It runs from the time it was set to, and is only ever set forward."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.today = datetime.now(UTC)
        self._offset = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._offset, UTC)

    def move(self, at: datetime) -> None:
        """Advance to `at`, in the portal and the sandbox; do nothing if it has passed already."""
        if self._offset and at <= self.now():
            return
        self._offset = at.timestamp() - time.time()
        self.sandbox.call("POST", "clock", set=at.isoformat())

    @contextmanager
    def played(self) -> Iterator[None]:
        """Use this clock as Django's (creation times, the audit log) and disable the sandbox's rate limit inside the
        block. Afterwards all clocks show real time again."""
        self.sandbox.switch("rate_per_minute", 0)
        with patch.object(timezone, "now", self.now):
            yield
        self.sandbox.switch("rate_per_minute", 600)
        self.sandbox.call("POST", "clock", reset=True)
