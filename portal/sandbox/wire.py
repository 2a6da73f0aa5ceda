"""What goes in and out of the sandbox, below HTTP's own details and above its transport."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from re import Pattern
from typing import Any

from portal.sandbox.store import Store

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Request:
    """`path` has no region prefix and no query; `headers` have lower-case names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    region: str | None = None


@dataclass(slots=True)
class Reply:
    """`delivery` says how the transport hands it over: plain, reset, hang, truncated or drip."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delivery: str = "plain"
    wait_before: float = 0.0
    drip_seconds: float = 0.0


@dataclass(slots=True)
class Call:
    """One provider request on its way through an API; `admit` fills in who is asking."""

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
    """One API family. `admit` finds out who asks (a Reply refuses); `error` words a status its way."""

    name: str
    routes: tuple[Route, ...]
    admit: Callable[[Call], Reply | None]
    error: Callable[[int], Reply]


def json_reply(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False).encode(), dict(JSON))


def html_reply(status: int, title: str, text: str = "") -> Reply:
    head = f"<!doctype html><html lang=en><head><title>{title}</title></head>"
    page = f"{head}<body><h1>{title}</h1>{text}</body></html>"
    return Reply(status, page.encode(), dict(HTML))


def plain_error(status: int, message: str, field: str | None = None, *, helpful: bool = False) -> Reply:
    """The general v3 shape; the edge's own answers carry `help` as well."""
    entry: dict[str, str | None] = {"message": message, "field": field}
    if helpful:
        entry["help"] = None
    return json_reply(status, {"errors": [entry]})


def too_many_requests() -> Reply:
    return json_reply(429, {"errors": [{"field": None, "message": "too many requests"}]})
