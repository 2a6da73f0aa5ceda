"""Calls of the admin API, and their refusal."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portal.sandbox.sendgrid.usage import Sending
from portal.sandbox.store import Store

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


def sending_of(given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(given) - SENDING:
        raise Refused(400, f"a sending profile does not take {', '.join(sorted(unknown))}")
    if "weekday" in given and len(given["weekday"]) != len(Sending().weekday):
        raise Refused(400, "weekday takes seven factors, Monday first")
    return dict(given)
