"""AhaSend's sub accounts, operations 1, 2 and 4 to 8, called by their parent."""

import sqlite3
from collections.abc import Callable
from typing import Any

from portal.sandbox.admin.request import Refused, row_or_404
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend.fields import (
    LONGEST_REASON,
    body_of,
    changes,
    credit,
    cursor,
    host_name,
    identifier,
    page_of,
    text,
)
from portal.sandbox.clock import iso
from portal.sandbox.messages import Call, Reply, json_reply

FIELDS: dict[str, Callable[[object], Any]] = {
    "name": lambda value: text(value, "name"),
    "website": lambda value: host_name(value, "website"),
    "monthly_credit": credit,
}


def find(call: Call) -> sqlite3.Row:
    """Return the sub account in the path. Unknown, deleted, another parent's and (after a late create) not yet created
    are all 404."""
    query = "SELECT * FROM aha_account_seen WHERE id = ? AND parent = ? AND deleted_at IS NULL AND created_at <= ?"
    values = (identifier(call, "child"), call.organisation, call.now)
    return row_or_404(call.db, query, *values, missing="account not found")


def list_accounts(call: Call) -> Reply:
    visible = call.now - call.switch("aha_list_lag_seconds")
    query = "SELECT * FROM aha_account_seen WHERE parent = ? AND deleted_at IS NULL AND created_at <= ?"
    return list_reply(call, "sub-accounts", query, (call.organisation, visible), shown)


def create(call: Call) -> Reply:
    body = body_of(call, set(FIELDS))
    row = rows.add_account(
        call.store,
        parent=call.organisation,
        name=text(body.get("name"), "name"),
        website=host_name(body.get("website"), "website"),
        monthly_credit=credit(0 if body.get("monthly_credit") is None else body["monthly_credit"]),
        at=call.now,
    )
    call.account = row
    return json_reply(201, shown(call, row))


def read(call: Call) -> Reply:
    return json_reply(200, shown(call, find(call)))


def update(call: Call) -> Reply:
    """Update like a PATCH: missing or null values stay."""
    identifier(call, "child")
    body = body_of(call, set(FIELDS))
    given = {name: parse(body[name]) for name, parse in FIELDS.items() if body.get(name) is not None}
    row = find(call)
    new = {**dict(row), **changes(given, dict(row))}
    call.db.execute(
        "UPDATE aha_account SET name = ?, website = ?, monthly_credit = ? WHERE id = ?",
        (new["name"], new["website"], new["monthly_credit"], row["id"]),
    )
    return read(call)


def delete(call: Call) -> Reply:
    rows.delete(call.db, find(call)["id"], call.now)
    return json_reply(200, {"message": "sub account deleted"})


def suspend(call: Call) -> Reply:
    identifier(call, "child")
    reason = text(body_of(call, {"reason"}).get("reason"), "reason", LONGEST_REASON)
    row = find(call)
    if rows.status_of(row) == "suspended":
        return _repeated(call)
    rows.set_suspended(call.db, row["id"], suspended=True, at=call.now, reason=reason)
    return read(call)


def unsuspend(call: Call) -> Reply:
    row = find(call)
    status = rows.status_of(row)
    if status == "active":
        return _repeated(call)
    if status == "parent-suspended":
        if call.switch("aha_unsuspend_parent_suspended") == 409:
            raise Refused(409, "the parent account is suspended")
        return read(call)
    rows.set_suspended(call.db, row["id"], suspended=False, at=call.now)
    return read(call)


def shown(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    counted = call.db.execute("SELECT count(*) AS domains FROM aha_domain WHERE account = ?", (row["id"],)).fetchone()
    last = rows.last_activity(call.db, row, call.now)
    return {
        "object": "sub_account",
        "id": row["id"],
        "parent_account_id": row["parent"],
        "created_at": iso(row["created_at"] + call.switch("clock_skew_seconds")),
        "name": row["name"],
        "website": row["website"],
        "status": rows.status_of(row),
        "monthly_credit": row["monthly_credit"],
        "domain_count": counted["domains"],
        "member_count": row["member_count"],
        "last_activity_at": None if last is None else iso(last),
    }


def list_reply(
    call: Call,
    noun: str,
    query: str,
    values: tuple[object, ...],
    show: Callable[[Call, sqlite3.Row], dict[str, Any]],
) -> Reply:
    """Return one page of a list, with the cursors of the next and previous page."""
    wanted = page_of(call, noun)
    newest_first = call.switch("aha_list_order") == "reversed"
    found, earlier, later = rows.page(call.db, query, values, wanted, newest_first=newest_first)
    pagination: dict[str, Any] = {"has_more": later}
    odd = call.switch("aha_list_cursor")
    if later and odd != "missing":
        pagination["next_cursor"] = cursor(noun, found[-1]["seq"])
        if odd == "stuck" and call.request.query.get("after"):
            pagination["next_cursor"] = call.request.query["after"]
    if earlier:
        pagination["previous_cursor"] = cursor(noun, found[0]["seq"])
    return json_reply(200, {"object": "list", "data": [show(call, row) for row in found], "pagination": pagination})


def _repeated(call: Call) -> Reply:
    status = call.switch("aha_repeated_state")
    if status != 200:
        raise Refused(status, "the account is in that state already")
    return read(call)
