"""Overrides: fields of an account's next answers that are replaced, so that they contradict each other or the truth."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from portal.sandbox.admin.request import Asked, Refused

Answer = dict[str, Any]


def overridden(db: sqlite3.Connection, account_id: str, operation: str, answer: Answer) -> Answer:
    """Return the answer with its fields replaced, and count it."""
    rows = db.execute(
        "SELECT id, fields FROM override WHERE account = ? AND operation = ? ORDER BY id", (account_id, operation)
    ).fetchall()
    for row in rows:
        answer = _merged(answer, json.loads(row["fields"]))
        db.execute("UPDATE override SET remaining = remaining - 1 WHERE id = ?", (row["id"],))
    if rows:
        db.execute("DELETE FROM override WHERE remaining <= 0")
    return answer


def overrides_of(db: sqlite3.Connection, account_id: str) -> list[dict[str, Any]]:
    rows = db.execute(
        "SELECT id, operation, fields, remaining FROM override WHERE account = ? ORDER BY id", (account_id,)
    )
    return [{**dict(row), "fields": json.loads(row["fields"])} for row in rows]


def add_override(asked: Asked, account_id: str, *operations: str) -> object:
    """Arm an override of one of `operations`, the first unless told."""
    operation, fields = asked.body.get("operation", operations[0]), asked.body["fields"]
    count = asked.body.get("count")
    if operation not in operations:
        raise Refused(400, f"operation must be one of {', '.join(operations)}")
    if not isinstance(fields, dict) or not fields:
        raise Refused(400, "fields must be an object with at least one field")
    if count is not None and not (type(count) is int and count > 0):
        raise Refused(400, "count must be a whole number, 1 or more, or null")
    cursor = asked.db.execute(
        "INSERT INTO override (account, operation, fields, remaining) VALUES (?, ?, ?, ?)",
        (account_id, operation, json.dumps(fields), count),
    )
    return {"id": cursor.lastrowid}


def list_overrides(asked: Asked, account_id: str) -> object:
    return {"overrides": overrides_of(asked.db, account_id)}


def clear_overrides(asked: Asked, account_id: str) -> object:
    """Remove the override in the path, or all of the account's."""
    id_ = asked.ids.get("override")
    query = "DELETE FROM override WHERE account = ? AND (id = ? OR ? IS NULL)"
    return {"cleared": asked.db.execute(query, (account_id, id_, id_)).rowcount}


def _merged(known: Mapping[str, Any], fields: Mapping[str, Any]) -> Answer:
    """Replace fields; null leaves one out. Objects are merged, a list of accounts by their ID."""
    merged = dict(known)
    for name, value in fields.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(known.get(name), dict):
            merged[name] = _merged(known[name], value)
        elif isinstance(value, dict) and isinstance(known.get(name), list):
            merged[name] = [_merged(entry, value.get(entry["account_id"], {})) for entry in known[name]]
        else:
            merged[name] = value
    return merged
