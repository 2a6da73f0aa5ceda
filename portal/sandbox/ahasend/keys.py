"""API keys of AhaSend's sub accounts, operations 9 to 13. Only the answer to a create contains the secret."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from portal.sandbox.admin.request import row_or_404
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend.accounts import find as find_account
from portal.sandbox.ahasend.accounts import list_reply
from portal.sandbox.ahasend.fields import body_of, changes, identifier, networks, text
from portal.sandbox.ahasend.scopes import child_scopes
from portal.sandbox.clock import iso
from portal.sandbox.messages import Call, Reply, json_reply


def list_keys(call: Call) -> Reply:
    account = find_account(call)
    query = "SELECT * FROM aha_key WHERE account = ? AND deleted_at IS NULL AND created_at <= ?"
    return list_reply(call, f"keys of {account['id']}", query, (account["id"], call.now), lambda _, row: shown(row))


def create(call: Call) -> Reply:
    body = body_of(call, set(FIELDS))
    given = _parsed(call, {"label": None, "scopes": None, **body, "ip_allow_list": body.get("ip_allow_list") or []})
    account = find_account(call)
    row = rows.add_key(
        call.store,
        account["id"],
        label=given["label"],
        scopes=given["scopes"],
        ip_allow_list=given["ip_allow_list"],
        at=call.now,
    )
    return json_reply(201, {**shown(row), "secret_key": row["secret"]})


def read(call: Call) -> Reply:
    return json_reply(200, shown(_find(call)))


def update(call: Call) -> Reply:
    """Update a key: missing or null values stay, `[]` allows every address."""
    identifier(call, "child")
    identifier(call, "key")
    body = body_of(call, set(FIELDS))
    given = _parsed(call, {name: body[name] for name in FIELDS if body.get(name) is not None})
    row = _find(call)
    current = {"label": row["label"], "scopes": rows.scopes_of(row), "ip_allow_list": json.loads(row["ip_allow_list"])}
    # The order of scopes and networks is not significant.
    changes(_unordered(given), _unordered(current))
    new = {**current, **given}
    known = json.loads(row["scopes"])
    entries = rows.scope_entries(call.store, row["account"], row["id"], scopes=new["scopes"], at=call.now, known=known)
    call.db.execute(
        "UPDATE aha_key SET label = ?, scopes = ?, ip_allow_list = ?, updated_at = ? WHERE id = ?",
        (new["label"], json.dumps(entries), json.dumps(new["ip_allow_list"]), call.now, row["id"]),
    )
    return read(call)


def delete(call: Call) -> Reply:
    row = _find(call)
    call.db.execute("UPDATE aha_key SET deleted_at = ? WHERE id = ?", (call.now, row["id"]))
    return json_reply(200, {"message": f"api key {row['id']} ({row['label']}) deleted successfully"})


def shown(row: sqlite3.Row) -> dict[str, Any]:
    """Return a key without its secret."""
    scopes = [
        {
            "id": entry["id"],
            "created_at": iso(entry["at"]),
            "updated_at": iso(entry["at"]),
            "api_key_id": entry["api_key_id"],
            "scope": entry["scope"],
            "domain_id": entry["domain_id"],
        }
        for entry in json.loads(row["scopes"])
    ]
    return {
        "object": "api_key",
        "id": row["id"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "last_used_at": None if row["last_used_at"] is None else iso(row["last_used_at"]),
        "account_id": row["account"],
        "label": row["label"],
        "public_key": row["public_key"],
        "scopes": scopes,
        "ip_allow_list": json.loads(row["ip_allow_list"]),
    }


def _find(call: Call) -> sqlite3.Row:
    key_id = identifier(call, "key")
    account = find_account(call)
    query = "SELECT * FROM aha_key WHERE id = ? AND account = ? AND deleted_at IS NULL AND created_at <= ?"
    return row_or_404(call.db, query, key_id, account["id"], call.now, missing="api key not found")


def _parsed(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parse(call, given[name]) for name, parse in FIELDS.items() if name in given}


def _scopes(call: Call, value: object) -> list[str]:
    owned = call.db.execute("SELECT domain FROM aha_domain WHERE account = ?", (identifier(call, "child"),))
    return child_scopes(value, [row["domain"] for row in owned])


FIELDS: dict[str, Callable[[Call, object], Any]] = {
    "label": lambda _, value: text(value, "label"),
    "scopes": _scopes,
    "ip_allow_list": lambda _, value: networks(value),
}


def _unordered(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sorted(value) if isinstance(value, list) else value for name, value in given.items()}
