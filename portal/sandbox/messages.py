"""Requests and replies of the sandbox, independent of the transport."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from re import Pattern
from typing import Any

from portal.sandbox.limits import Limiter
from portal.sandbox.store import Store

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` has no region prefix and no query; `headers` have lower-case names; `peer` is the client's
    address."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    region: str | None = None
    peer: str = ""


@dataclass(slots=True)
class Held:
    """Rest of a call that is held open: `resume` ends it, in its own transaction, after `seconds` or once its fault is
    cleared."""

    fault: int
    seconds: float
    resume: Callable[[], Reply]


@dataclass(slots=True)
class Reply:
    """A reply. `delivery` is how the transport sends it: plain, reset, hang, truncated or drip. With `held` it is not
    final yet."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delivery: str = "plain"
    wait_before: float = 0.0
    drip_seconds: float = 0.0
    held: Held | None = None


@dataclass(slots=True)
class Call:
    """One request during handling; `admit` sets the caller."""

    store: Store
    request: Request
    now: float
    operation: str
    base_url: str
    ids: Mapping[str, str]
    organisation: str = ""
    region: str = ""
    key: str = ""
    key_label: str = ""
    account: sqlite3.Row | None = None
    scopes: frozenset[str] = frozenset()
    limiter: Limiter | None = None
    groups: tuple[str, ...] = ()
    fault: str = ""

    @property
    def db(self) -> sqlite3.Connection:
        return self.store.db

    def switch(self, name: str) -> Any:
        return self.store.switches[name]


@dataclass(frozen=True, slots=True)
class Route:
    operation: str
    method: str
    path: Pattern[str]
    handler: Callable[[Call], Reply]
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Api:
    """One API family. `admit` authenticates the caller (a Reply refuses); `error` formats a status.

    With `own_edge` the family handles its quota, the errors of its edge and the faults inside its handlers itself;
    `reword` may then change every answer.
    """

    name: str
    routes: tuple[Route, ...]
    admit: Callable[[Call], Reply | None]
    error: Callable[[int], Reply]
    own_edge: bool = False
    reword: Callable[[Call, Reply], None] | None = None


def json_reply(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False).encode(), dict(JSON))


def html_reply(status: int, title: str, text: str = "") -> Reply:
    head = f"<!doctype html><html lang=en><head><title>{title}</title></head>"
    page = f"{head}<body><h1>{title}</h1>{text}</body></html>"
    return Reply(status, page.encode(), dict(HTML))


def plain_error(status: int, message: str, field: str | None = None, *, helpful: bool = False) -> Reply:
    """Return an error in the general v3 format; the edge's own answers have `help` as well."""
    entry: dict[str, str | None] = {"message": message, "field": field}
    if helpful:
        entry["help"] = None
    return json_reply(status, {"errors": [entry]})


def too_many_requests() -> Reply:
    return json_reply(429, {"errors": [{"field": None, "message": "too many requests"}]})
