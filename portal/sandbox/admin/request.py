"""Calls of the admin API, and their refusal."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portal.sandbox.clock import iso
from portal.sandbox.sendgrid.usage import Sending
from portal.sandbox.store import Store, first_row

SENDING = set(Sending.__dataclass_fields__) - {"since"}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    store: Store
    body: Mapping[str, Any]
    query: Mapping[str, str]
    ids: Mapping[str, str]

    @property
    def db(self) -> sqlite3.Connection:
        return self.store.db

    @property
    def now(self) -> float:
        return self.store.clock.now()


def row_or_404(db: sqlite3.Connection, query: str, *values: object, missing: str) -> sqlite3.Row:
    """Return the first row of `query`. Raises `Refused`."""
    row = first_row(db, query, *values)
    if row is None:
        raise Refused(404, missing)
    return row


def one_or_many(create: Callable[[Asked, Mapping[str, Any]], dict[str, Any]]) -> Callable[[Asked], object]:
    """Return a call that creates one account, or many under `accounts`, as in the provider's console: without an API
    call."""

    def created(asked: Asked) -> object:
        if "accounts" in asked.body:
            return {"accounts": [create(asked, given) for given in asked.body["accounts"]]}
        return create(asked, asked.body)

    return created


def times(row: sqlite3.Row, *names: str) -> dict[str, str | None]:
    return {name: None if row[name] is None else iso(row[name]) for name in names}


def sending_of(given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(given) - SENDING:
        raise Refused(400, f"unknown sending profile fields: {', '.join(sorted(unknown))}")
    if "weekday" in given and len(given["weekday"]) != len(Sending().weekday):
        raise Refused(400, "weekday must be seven factors, Monday first")
    if not 0 <= given.get("subuser_share", 0) <= 1:
        raise Refused(400, "subuser_share must be a share from 0 to 1")
    return dict(given)
