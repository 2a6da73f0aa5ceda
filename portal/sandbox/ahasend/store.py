"""Rows of AhaSend's API: parent accounts, their sub accounts, keys, and usage.

A status is never stored: it follows from the account's own suspension and its parent's, so that a parent's suspension
does not change an account's own.
"""

import json
import sqlite3
import string
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from portal.sandbox.admin.request import row_or_404
from portal.sandbox.ahasend.scopes import EVERY_SCOPE
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.store import Store, first_row

LETTERS = string.ascii_letters + string.digits
Entry = dict[str, Any]
NO_CEILING = 10**15  # no limit on usage: a cap's effect is not documented


@dataclass(frozen=True, slots=True)
class Page:
    """Requested part of a list; `after` and `before` are positions (`seq`)."""

    limit: int
    after: int | None = None
    before: int | None = None


def default_parent(store: Store, wanted_id: str | None, wanted_key: str | None) -> tuple[str, str]:
    """Return the ID and the key of the default parent; created and stored if not given."""
    parent_id = wanted_id or store.meta("aha_parent") or new_id(store, "aha-parent")
    store.set_meta("aha_parent", parent_id)
    if store.db.execute("SELECT 1 FROM aha_account WHERE id = ?", (parent_id,)).fetchone() is None:
        add_account(store, id_=parent_id, parent=None, name="Sandbox Parent", website="reseller.example", at=0.0)
    row = store.db.execute(
        "SELECT id, secret FROM aha_key WHERE account = ? AND label = 'default' AND deleted_at IS NULL", (parent_id,)
    ).fetchone()
    if row is None:
        secret = wanted_key or make_secret(store, "aha-parent")
        store.db.execute("DELETE FROM aha_key WHERE secret = ?", (secret,))
        add_key(store, parent_id, label="default", scopes=EVERY_SCOPE, at=store.clock.now(), secret=secret)
    else:
        secret = wanted_key or row["secret"]
        store.db.execute("UPDATE aha_key SET secret = ? WHERE id = ?", (secret, row["id"]))
    return parent_id, secret


def new_id(store: Store, stream: str = "aha") -> str:
    return str(uuid.UUID(int=store.rng(stream).getrandbits(128), version=4))


def make_secret(store: Store, stream: str = "aha") -> str:
    return "aha-sk-" + "".join(store.rng(stream).choices(LETTERS, k=64))


# --- accounts -------------------------------------------------------------------------------------------


def add_account(
    store: Store,
    *,
    parent: str | None,
    name: str,
    website: str,
    at: float,
    monthly_credit: int = 0,
    id_: str | None = None,
) -> sqlite3.Row:
    """Add a sub account, or a parent. Only the ID is unique; names may repeat."""
    id_ = id_ or new_id(store)
    store.db.execute(
        "INSERT INTO aha_account (id, parent, name, website, monthly_credit, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (id_, parent, name, website, monthly_credit, at),
    )
    sendgrid_accounts.note(store.db, id_, at, "plan", {"allotment": NO_CEILING, "free": False})
    sendgrid_accounts.note(store.db, id_, at, "state", "activated")
    sending = store.switches["aha_default_sending"]
    if parent is not None and sending:
        sendgrid_accounts.note(store.db, id_, at, "sending", {"seed": uuid.UUID(id_).int & 0xFFFFFF, **sending})
    return account(store.db, id_)


def account(db: sqlite3.Connection, id_: str) -> sqlite3.Row:
    """Return a sub account or a parent, deleted or not, with the parent's suspension."""
    return row_or_404(db, "SELECT * FROM aha_account_seen WHERE id = ?", id_, missing=f"no account {id_}")


def children(db: sqlite3.Connection, parent: str) -> list[sqlite3.Row]:
    """Return all sub accounts, including deleted ones."""
    return db.execute("SELECT * FROM aha_account_seen WHERE parent = ? ORDER BY seq", (parent,)).fetchall()


def status_of(row: sqlite3.Row) -> str:
    if row["deleted_at"] is not None:
        return "deleted"
    if row["odd_status"]:
        return str(row["odd_status"])
    if row["suspended"]:
        return "suspended"
    return "parent-suspended" if row["parent_suspended"] else "active"


def set_suspended(db: sqlite3.Connection, id_: str, *, suspended: bool, at: float, reason: str | None = None) -> None:
    db.execute(
        "UPDATE aha_account SET suspended = ?, reason = ?, odd_status = NULL WHERE id = ?", (suspended, reason, id_)
    )
    note_sending(db, [account(db, id_), *children(db, id_)], at)


def note_sending(db: sqlite3.Connection, rows: Iterable[sqlite3.Row], at: float) -> None:
    """Record for the usage engine whether the accounts may send from now on."""
    for row in rows:
        if row["deleted_at"] is None:
            sendgrid_accounts.note(db, row["id"], at, "state", "activated" if status_of(row) == "active" else "stopped")


def delete(db: sqlite3.Connection, id_: str, at: float) -> None:
    """Mark as deleted: usage stays, keys stop working."""
    db.execute("UPDATE aha_account SET deleted_at = ? WHERE id = ?", (at, id_))
    sendgrid_accounts.note(db, id_, at, "state", "deleted")


def currency_at(db: sqlite3.Connection, parent: str, now: float) -> str | None:
    """Return the currency that a parent changed to, or None."""
    query = "SELECT value FROM history WHERE account = ? AND kind = 'currency' AND at <= ? ORDER BY at DESC, id DESC"
    row = first_row(db, query, parent, now)
    return None if row is None else str(json.loads(row["value"]))


def last_activity(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> float | None:
    """Return the time of the last message or added usage, or now if a sending profile is active."""
    added = _latest(db, "SELECT max(at) AS at FROM usage_added WHERE account = ? AND at <= ?", row, now)
    if _latest(db, "SELECT max(at) AS at FROM history WHERE kind = 'sending' AND account = ? AND at <= ?", row, now):
        if status_of(row) == "active":
            return now
        stopped = _latest(db, "SELECT max(at) AS at FROM history WHERE account = ? AND at <= ?", row, now)
        return max(filter(None, (added, stopped)))
    return added


def _latest(db: sqlite3.Connection, query: str, row: sqlite3.Row, now: float) -> float | None:
    found = db.execute(query, (row["id"], now)).fetchone()["at"]
    return None if found is None else float(found)


# --- keys -----------------------------------------------------------------------------------------------


def add_key(
    store: Store,
    account_id: str,
    *,
    label: str,
    scopes: Sequence[str],
    at: float,
    ip_allow_list: Sequence[str] = (),
    secret: str | None = None,
) -> sqlite3.Row:
    key_id = new_id(store)
    public = "aha-pk-" + "".join(store.rng("aha").choices(LETTERS, k=32))
    store.db.execute(
        "INSERT INTO aha_key (id, account, label, public_key, secret, scopes, ip_allow_list, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key_id,
            account_id,
            label,
            public,
            secret or make_secret(store),
            json.dumps(scope_entries(store, account_id, key_id, scopes=scopes, at=at)),
            json.dumps(list(ip_allow_list)),
            at,
            at,
        ),
    )
    return key(store.db, key_id)


def key(db: sqlite3.Connection, key_id: str) -> sqlite3.Row:
    return row_or_404(db, "SELECT * FROM aha_key WHERE id = ?", key_id, missing=f"no key {key_id}")


def scope_entries(
    store: Store, account_id: str, key_id: str, *, scopes: Sequence[str], at: float, known: Iterable[Entry] = ()
) -> list[Entry]:
    """Return one entry per scope; entries the key already has are unchanged."""
    kept = {entry["scope"]: entry for entry in known}
    return [
        kept.get(scope)
        or {
            "id": new_id(store),
            "at": at,
            "api_key_id": key_id,
            "scope": scope,
            "domain_id": _domain_id(store.db, account_id, scope),
        }
        for scope in scopes
    ]


def scopes_of(row: sqlite3.Row) -> list[str]:
    return [entry["scope"] for entry in json.loads(row["scopes"])]


def _domain_id(db: sqlite3.Connection, account_id: str, scope: str) -> str | None:
    name = scope.rpartition(":")[2].strip("{}")
    row = db.execute("SELECT id FROM aha_domain WHERE account = ? AND domain = ?", (account_id, name)).fetchone()
    return None if row is None else str(row["id"])


# --- lists ----------------------------------------------------------------------------------------------


def page(
    db: sqlite3.Connection, query: str, values: Sequence[object], wanted: Page, *, newest_first: bool = False
) -> tuple[list[sqlite3.Row], bool, bool]:
    """Return one page of `query` (which ends in its WHERE) in the order of `seq`, and whether there is more before and
    after.

    Positions are row numbers: whatever is added or deleted between two pages, no remaining row is skipped or repeated.
    """
    onward, back = ("AND seq < ?", "AND seq > ?") if newest_first else ("AND seq > ?", "AND seq < ?")
    forward, reverse = ("ORDER BY seq DESC", "ORDER BY seq") if newest_first else ("ORDER BY seq", "ORDER BY seq DESC")
    if wanted.before is not None:
        found = db.execute(f"{query} {back} {reverse} LIMIT ?", (*values, wanted.before, wanted.limit)).fetchall()[::-1]
    elif wanted.after is not None:
        found = db.execute(f"{query} {onward} {forward} LIMIT ?", (*values, wanted.after, wanted.limit)).fetchall()
    else:
        found = db.execute(f"{query} {forward} LIMIT ?", (*values, wanted.limit)).fetchall()
    if not found:
        return [], False, False
    earlier = db.execute(f"{query} {back} LIMIT 1", (*values, found[0]["seq"])).fetchone()
    later = db.execute(f"{query} {onward} LIMIT 1", (*values, found[-1]["seq"])).fetchone()
    return found, earlier is not None, later is not None
