"""Admin API for keys, domains and messages of an AhaSend account."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from portal.sandbox.admin.ahasend import ACCOUNT, account_of
from portal.sandbox.admin.request import Asked, Refused, times
from portal.sandbox.ahasend import domains as ahasend_domains
from portal.sandbox.ahasend import keys as ahasend_keys
from portal.sandbox.ahasend import messages as ahasend_messages
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend.fields import networks
from portal.sandbox.ahasend.scopes import CHILD_SCOPES, EVERY_SCOPE
from portal.sandbox.messages import Call, Request


def list_keys(asked: Asked) -> object:
    """Return the keys, including deleted ones, without secrets."""
    found = asked.db.execute("SELECT * FROM aha_key WHERE account = ? ORDER BY seq", (account_of(asked)["id"],))
    return {"keys": [_shown_key(row) for row in found]}


def new_key(asked: Asked) -> object:
    account = account_of(asked)
    every = EVERY_SCOPE if account["parent"] is None else CHILD_SCOPES
    missing = asked.body.get("missing_scopes", ())
    row = rows.add_key(
        asked.store,
        account["id"],
        label=asked.body.get("label", "added"),
        scopes=asked.body.get("scopes") or [scope for scope in every if scope not in missing],
        ip_allow_list=networks(asked.body.get("ip_allow_list", [])),
        secret=asked.body.get("key"),
        at=asked.now,
    )
    return {**_shown_key(row), "key": row["secret"]}


def change_key(asked: Asked) -> object:
    row = _key(asked)
    if "ip_allow_list" in asked.body:
        entries = json.dumps(networks(asked.body["ip_allow_list"]))
        asked.db.execute("UPDATE aha_key SET ip_allow_list = ? WHERE id = ?", (entries, row["id"]))
    if "scopes" in asked.body:
        scopes = rows.scope_entries(asked.store, row["account"], row["id"], scopes=asked.body["scopes"], at=asked.now)
        asked.db.execute("UPDATE aha_key SET scopes = ? WHERE id = ?", (json.dumps(scopes), row["id"]))
    return _shown_key(rows.key(asked.db, row["id"]))


def revoke_key(asked: Asked) -> object:
    asked.db.execute("UPDATE aha_key SET deleted_at = ? WHERE id = ?", (asked.now, _key(asked)["id"]))
    return {"revoked": True}


def list_domains(asked: Asked) -> object:
    found = asked.db.execute("SELECT * FROM aha_domain WHERE account = ? ORDER BY seq", (account_of(asked)["id"],))
    return {"domains": [_shown_domain(row) for row in found]}


def new_domain(asked: Asked) -> object:
    account = account_of(asked)
    ahasend_domains.add(asked.store, account["id"], asked.body["domain"], asked.now, {})
    return _change_domain(asked, account["id"], asked.body["domain"])


def change_domain(asked: Asked) -> object:
    return _change_domain(asked, account_of(asked)["id"], asked.ids["domain"])


def list_messages(asked: Asked) -> object:
    account = account_of(asked)
    call = Call(asked.store, Request("GET", "", {}, {}, b""), asked.now, "", "", {})
    found = asked.db.execute("SELECT * FROM aha_message WHERE account = ? ORDER BY seq", (account["id"],)).fetchall()
    return {"messages": [ahasend_messages.shown(call, row) for row in found]}


def _change_domain(asked: Asked, account_id: str, name: str) -> dict[str, Any]:
    row = _domain(asked, account_id, name)
    wanted = asked.body.get("in_place", True if asked.body.get("verified") else None)
    if wanted is not None:
        labels = {record["label"] for record in json.loads(row["records"])}
        if unknown := set() if isinstance(wanted, bool) else set(wanted) - labels:
            raise Refused(400, f"unknown records: {', '.join(sorted(unknown))}")
        records = [_placed(record, wanted) for record in json.loads(row["records"])]
        asked.db.execute("UPDATE aha_domain SET records = ? WHERE id = ?", (json.dumps(records), row["id"]))
    if "paused" in asked.body:
        asked.db.execute("UPDATE aha_domain SET paused = ? WHERE id = ?", (bool(asked.body["paused"]), row["id"]))
    if asked.body.get("verified"):
        ahasend_domains.look(asked.db, _domain(asked, account_id, name), asked.now)
    return _shown_domain(_domain(asked, account_id, name))


def _placed(record: Mapping[str, Any], wanted: bool | Mapping[str, bool]) -> dict[str, Any]:
    """Return the record as published or not: `true` publishes every record, `{"DKIM": true}` that one."""
    there = wanted if isinstance(wanted, bool) else wanted.get(record["label"], record["in_place"])
    return {**record, "in_place": bool(there)}


def _domain(asked: Asked, account_id: str, name: str) -> sqlite3.Row:
    return ahasend_domains.existing(asked.db, account_id, name.lower())


def _key(asked: Asked) -> sqlite3.Row:
    return rows.key(asked.db, asked.ids["key"])


def _shown_key(row: sqlite3.Row) -> dict[str, Any]:
    scopes = {"scopes": rows.scopes_of(row)}
    return {**ahasend_keys.shown(row), **scopes, **times(row, "deleted_at")}


def _shown_domain(row: sqlite3.Row) -> dict[str, Any]:
    shown = {**ahasend_domains.shown(row), "dns_records": json.loads(row["records"]), "paused": bool(row["paused"])}
    return {**shown, **times(row, "checked_at")}


KEY = "/_admin/aha/keys/(?P<key>[^/]+)"
ACTIONS: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
    ("GET", f"{ACCOUNT}/keys", list_keys),
    ("POST", f"{ACCOUNT}/keys", new_key),
    ("PATCH", KEY, change_key),
    ("DELETE", KEY, revoke_key),
    ("GET", f"{ACCOUNT}/domains", list_domains),
    ("POST", f"{ACCOUNT}/domains", new_domain),
    ("PATCH", f"{ACCOUNT}/domains/(?P<domain>[^/]+)", change_domain),
    ("GET", f"{ACCOUNT}/messages", list_messages),
)
