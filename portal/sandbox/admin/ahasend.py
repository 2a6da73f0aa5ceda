"""Admin API for AhaSend: parents, sub accounts, stored answers, and the actual usage."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from portal.sandbox.admin.overrides import add_override, clear_overrides, list_overrides, overrides_of
from portal.sandbox.admin.own_switches import set_own
from portal.sandbox.admin.request import Asked, Refused, one_or_many, sending_of, times
from portal.sandbox.admin.sendgrid_accounts import add_usage
from portal.sandbox.admin.switches import AHA_OWN
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend import usage as ahasend_usage
from portal.sandbox.ahasend.scopes import EVERY_SCOPE
from portal.sandbox.clock import iso, moment_of
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.resets import CALENDAR_MONTHS, Period, periods

COLUMNS = {
    "name": "UPDATE aha_account SET name = ? WHERE id = ?",
    "website": "UPDATE aha_account SET website = ? WHERE id = ?",
    "monthly_credit": "UPDATE aha_account SET monthly_credit = ? WHERE id = ?",
    "member_count": "UPDATE aha_account SET member_count = ? WHERE id = ?",
}
CHANGES = {*COLUMNS, "status", "reason", "sending", "currency", "switches", "at"}


def parents(asked: Asked) -> object:
    found = asked.db.execute("SELECT * FROM aha_account_seen WHERE parent IS NULL ORDER BY seq").fetchall()
    return {"parents": [_shown(row) for row in found]}


def new_parent(asked: Asked) -> object:
    """Create another parent with its own key with all scopes."""
    name = asked.body.get("name", "Another Parent")
    website = asked.body.get("website", "reseller.example")
    row = rows.add_account(asked.store, id_=asked.body.get("id"), parent=None, name=name, website=website, at=0.0)
    key = rows.add_key(asked.store, row["id"], label="default", scopes=EVERY_SCOPE, at=asked.now)
    return {**_shown(row), "key": key["secret"]}


def list_accounts(asked: Asked) -> object:
    """Return every sub account, including deleted ones."""
    found = asked.db.execute("SELECT * FROM aha_account_seen WHERE parent IS NOT NULL ORDER BY seq").fetchall()
    shown = [_shown(row) for row in found if asked.query.get("parent") in (None, row["parent"])]
    counts = Counter(account["status"] for account in shown)
    return {"count": len(shown), "counts": counts, "accounts": shown}


def one_account(asked: Asked) -> object:
    return _shown(account_of(asked))


def change_account(asked: Asked) -> object:
    account = account_of(asked)
    _change(asked, account, asked.body)
    return _shown(rows.account(asked.db, account["id"]))


def remove_account(asked: Asked) -> object:
    rows.delete(asked.db, account_of(asked)["id"], asked.now)
    return {"deleted": True}


def kept_answers(asked: Asked) -> object:
    """Return the stored idempotency keys, without the answers themselves."""
    found = asked.db.execute(
        "SELECT account, key, operation, status, lease_until, finished_at, expires_at FROM aha_idempotency"
        " ORDER BY lease_until, key"
    ).fetchall()
    return {"kept": [{**dict(row), **times(row, "lease_until", "finished_at", "expires_at")} for row in found]}


def truth(asked: Asked) -> object:
    """Return every period of every parent with each sub account, also those that the API reports as removed."""
    found = asked.db.execute("SELECT * FROM aha_account WHERE parent IS NULL ORDER BY seq").fetchall()
    wanted = [row for row in found if asked.query.get("parent") in (None, row["id"])]
    return {"now": iso(asked.now), "parents": [_truth(asked, row["id"]) for row in wanted]}


def _truth(asked: Asked, parent_id: str) -> dict[str, Any]:
    shown = []
    for period in _periods(asked, parent_id):
        bill = ahasend_usage.bill(asked.store, parent_id, period, asked.now)
        each = [
            {"id": row["id"], "name": row["name"], "removed": row in bill.removed, "count": bill.count(row)}
            for row in (*bill.children, *bill.removed)
        ]
        shown.append({**ahasend_usage.shown(bill), "over": period.resets_at <= asked.now, "accounts": each})
    return {"id": parent_id, "periods": shown, "overrides": overrides_of(asked.db, parent_id)}


def _periods(asked: Asked, parent_id: str) -> Iterator[Period]:
    first = asked.db.execute(
        "SELECT min(at) AS at FROM (SELECT created_at AS at FROM aha_account WHERE parent = ?"
        " UNION ALL SELECT at FROM usage_added WHERE account = ?)",
        (parent_id, parent_id),
    ).fetchone()["at"]
    return periods(CALENDAR_MONTHS, min(asked.now, asked.now if first is None else first), asked.now)


def _new_account(asked: Asked, given: Mapping[str, Any]) -> dict[str, Any]:
    parent = given.get("parent") or asked.store.meta("aha_parent")
    at = moment_of(given["created_at"]) if given.get("created_at") else asked.now
    row = rows.add_account(
        asked.store,
        parent=parent,
        name=given["name"],
        website=given.get("website", "shop.example.com"),
        monthly_credit=given.get("monthly_credit", 0),
        at=at,
    )
    later = {name: value for name, value in given.items() if name not in ("parent", "created_at")}
    _change(asked, row, {"at": iso(at), **later})
    return _shown(rows.account(asked.db, row["id"]))


def _change(asked: Asked, account: sqlite3.Row, given: Mapping[str, Any]) -> None:
    if unknown := set(given) - CHANGES:
        raise Refused(400, f"unknown account fields: {', '.join(sorted(unknown))}")
    at = moment_of(given["at"]) if given.get("at") else asked.now
    for name, statement in COLUMNS.items():
        if name in given:
            asked.db.execute(statement, (given[name], account["id"]))
    if "sending" in given:
        sendgrid_accounts.note(asked.db, account["id"], at, "sending", sending_of(given["sending"]))
    if account["parent"] is not None and {"currency", "switches"} & set(given):
        raise Refused(400, "currency and switches are a parent's")
    if "currency" in given:
        sendgrid_accounts.note(asked.db, account["id"], at, "currency", str(given["currency"]))
    set_own(asked.store, account["id"], given.get("switches", {}), AHA_OWN)
    if "status" in given:
        _set_status(asked, account, given, at)


def _set_status(asked: Asked, account: sqlite3.Row, given: Mapping[str, Any], at: float) -> None:
    """Set the status; `deleted` deletes, and any other value than `active` and `suspended` is returned unchanged."""
    word = given["status"]
    if word == "deleted":
        rows.delete(asked.db, account["id"], at)
        return
    suspended = word == "suspended"
    rows.set_suspended(asked.db, account["id"], suspended=suspended, at=at, reason=given.get("reason"))
    if word not in ("active", "suspended"):
        asked.db.execute("UPDATE aha_account SET odd_status = ? WHERE id = ?", (str(word), account["id"]))
        rows.note_sending(asked.db, [rows.account(asked.db, account["id"])], at)


def _parent_id(asked: Asked) -> str:
    account = account_of(asked)
    if account["parent"] is not None:
        raise Refused(400, "the usage response is a parent's")
    return str(account["id"])


def account_of(asked: Asked) -> sqlite3.Row:
    return rows.account(asked.db, asked.ids["account"])


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    shown = {
        name: row[name] for name in ("id", "parent", "name", "website", "monthly_credit", "member_count", "reason")
    }
    return {**shown, "status": rows.status_of(row), **times(row, "created_at", "deleted_at")}


ACCOUNT = "/_admin/aha/accounts/(?P<account>[^/]+)"
ACTIONS: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
    ("GET", "/_admin/aha/parents", parents),
    ("POST", "/_admin/aha/parents", new_parent),
    ("GET", "/_admin/aha/accounts", list_accounts),
    ("POST", "/_admin/aha/accounts", one_or_many(_new_account)),
    ("GET", ACCOUNT, one_account),
    ("PATCH", ACCOUNT, change_account),
    ("DELETE", ACCOUNT, remove_account),
    ("POST", f"{ACCOUNT}/usage", lambda asked: add_usage(asked, account_of(asked), "count")),
    ("GET", f"{ACCOUNT}/overrides", lambda asked: list_overrides(asked, _parent_id(asked))),
    ("POST", f"{ACCOUNT}/overrides", lambda asked: add_override(asked, _parent_id(asked), "aha-usage")),
    ("DELETE", rf"{ACCOUNT}/overrides(?:/(?P<override>\d+))?", lambda asked: clear_overrides(asked, _parent_id(asked))),
    ("GET", "/_admin/aha/kept", kept_answers),
    ("GET", "/_admin/aha/truth", truth),
)
