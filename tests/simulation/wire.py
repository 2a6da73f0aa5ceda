"""Where the socket would be: the portal's own HTTP client on this side, the sandbox's own application on the other.

Nothing of either is replaced but the transport. What a request does at the provider is written down here, at the moment
it is done, with the operation that a worker performs just then: the ground truth that no belief of ours can bend.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import formatdate
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
import urllib3

from portal.providers import sockets as ours
from portal.sandbox.app import Application
from portal.sandbox.messages import Reply, Request

# The operation that is performed just now, in this worker.
PERFORMING: ContextVar[int | None] = ContextVar("performing", default=None)
READ_TIMEOUT = 30.0
TABLES = {"account": "account", "aha_account": "account", "aha_key": "key", "aha_message": "message"}


def nothing(_: object) -> None:
    """Where nobody wants to know, nor to interfere."""


@dataclass(frozen=True)
class Change:
    """One request that may change something, as it reached the provider."""

    operation: int | None
    method: str
    path: str
    made: tuple[tuple[str, str], ...] = ()


@dataclass
class Wire:
    """Hands each request to the sandbox. `stop` is called at the two points inside the client at which a worker may
    die or be stopped; `look` before every change; `refuse` says whether the connection is refused this time."""

    app: Application
    shift: Callable[[float], None]
    stop: Callable[[str], None] = nothing
    look: Callable[[int], None] = nothing
    refuse: Callable[[], bool] = lambda: False
    changes: list[Change] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def made(self, what: str) -> dict[str, int | None]:
        """The ids of everything of a kind that a request of ours made, and the operation it was made for."""
        return {id_: change.operation for change in self.changes for kind, id_ in change.made if kind == what}

    def exchange(self, prepared: requests.PreparedRequest) -> requests.Response:
        if self.refuse():
            self.seen["refused"] += 1
            ours._current.get().unsent = True
            raise requests.ConnectionError(ConnectionRefusedError())
        operation, changes = PERFORMING.get(), prepared.method != "GET"
        if changes and operation is not None:
            self.look(operation)
        self.stop("request_left")
        before = self.newest() if changes else {}
        reply = self.app.handle(_request(prepared))
        if changes:
            self.changes.append(Change(operation, str(prepared.method), prepared.path_url, self.since(before)))
        self.stop("answer_begun")
        return self._deliver(reply)

    def newest(self) -> dict[str, int]:
        db = self.app.store.db
        return {table: db.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchone()[0] for table in TABLES}  # noqa: S608

    def since(self, before: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
        db: sqlite3.Connection = self.app.store.db
        return tuple(
            (TABLES[table], row["id"])
            for table, seq in before.items()
            for row in db.execute(f"SELECT id FROM {table} WHERE seq > ?", (seq,))  # noqa: S608
        )

    def _deliver(self, reply: Reply) -> requests.Response:
        if reply.wait_before:
            self.shift(reply.wait_before)
        if reply.delivery != "plain" or reply.status >= 500 or reply.status == 429:
            self.seen[reply.delivery if reply.delivery != "plain" else f"status-{reply.status}"] += 1
        if reply.delivery == "reset":
            raise requests.ConnectionError(ConnectionResetError())
        if reply.delivery in ("hang", "drip"):
            self.shift(READ_TIMEOUT)
            raise requests.ReadTimeout
        cut = reply.delivery == "truncated"
        response = requests.Response()
        response.status_code = reply.status
        response.headers.update({"Date": formatdate(self.app.store.clock.now(), usegmt=True), **reply.headers})
        response.raw = _Cut(reply.body[: len(reply.body) // 2]) if cut else BytesIO(reply.body)
        return response


class _Cut(BytesIO):
    """The connection ends in the middle of the body."""

    def read(self, size: int | None = -1) -> bytes:
        if got := super().read(size):
            return got
        raise urllib3.exceptions.IncompleteRead(0, 1)


class Adapter:
    """What `portal.providers.http` needs of an adapter of `requests`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        return self._wire.exchange(request)

    def close(self) -> None:
        """There is no connection to close."""


def _request(prepared: requests.PreparedRequest) -> Request:
    target = urlsplit(prepared.path_url)
    body = prepared.body or b""
    return Request(
        method=str(prepared.method),
        path=unquote(target.path),
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers={name.lower(): str(value) for name, value in prepared.headers.items()},
        body=body.encode() if isinstance(body, str) else body,
    )
