"""Authentication: bearer keys of a reseller organization, each tied to a region."""

import json
import sqlite3

from portal.sandbox.messages import Call, Reply, plain_error
from portal.sandbox.store import first_row

MALFORMED = "Permission denied, wrong credentials"
UNKNOWN = "The provided authorization grant is invalid, expired, or revoked"


def bearer_of(call: Call) -> str | None:
    """Return the key in the Authorization header; None if it is missing or malformed."""
    scheme, _, key = call.request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and key and " " not in key else None


def key_row(call: Call, key: str) -> sqlite3.Row | None:
    return first_row(call.db, "SELECT * FROM api_key WHERE key = ? AND NOT revoked", key)


def enter(call: Call, row: sqlite3.Row) -> None:
    """Set the call's organization from the key, and its region from the base prefix, if any, else from the key."""
    call.key, call.key_label = row["key"], row["label"]
    call.organisation = row["organisation"]
    call.region = call.request.region or row["region"]


def admit_bearer(call: Call) -> Reply | sqlite3.Row:
    """Return the key's row, or a refusal in the format of v3's edge for most of its paths."""
    key = bearer_of(call)
    if key is None:
        return plain_error(401, MALFORMED, helpful=True)
    row = key_row(call, key)
    if row is None:
        return plain_error(401, UNKNOWN, helpful=True)
    enter(call, row)
    if call.switch("require_accept") and "accept" not in call.request.headers:
        return plain_error(406, "Accept header is required")
    return row


def lacks(row: sqlite3.Row, scope: str) -> bool:
    return scope in json.loads(row["missing_scopes"])
