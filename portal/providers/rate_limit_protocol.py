"""How fast a provider may be asked: what a kind of provider takes, and what an HTTP client expects of its pacer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Pace:
    """What a kind of provider takes: `per_minute` steadily, and `burst` at once on top of it.

    `each_endpoint`: counted for every class of endpoints on its own, else for all together. `pause`: seconds to keep
    silent after a 429 that names no time, doubled with each further one in a row.
    """

    per_minute: int
    burst: int
    each_endpoint: bool
    pause: float


class Pacer(Protocol):
    """Asked before each request and told of each answer. Safe for several threads; several pacers, also of several
    processes, may keep one count."""

    def wait(self, endpoint: str, *, seconds: float) -> datetime | None:
        """Wait for this call's turn, at most `seconds`. None: go. A time (aware UTC): not before then."""
        ...

    def learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> datetime | None:
        """What an answer says of the limit (header names in lower case). After a 429: when to ask again."""
        ...
