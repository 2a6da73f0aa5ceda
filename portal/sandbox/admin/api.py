"""Admin API under /_admin/: JSON in, JSON out, its own key; never logged, rate limited or affected by faults.

README.md lists its endpoints.
"""

import hmac
import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from portal.sandbox import faults
from portal.sandbox.admin import ahasend, ahasend_account, sendgrid_accounts
from portal.sandbox.admin.own_switches import own_switches, set_own
from portal.sandbox.admin.request import Asked, Refused, row_or_404, sending_of
from portal.sandbox.admin.switches import OWN, UnableToSwitch
from portal.sandbox.clock import iso, moment_of
from portal.sandbox.messages import Reply, Request, json_reply
from portal.sandbox.seed import add_key, add_organisation
from portal.sandbox.sendgrid.accounts import catalogue as catalogue_of
from portal.sandbox.store import Store

HEADER = "x-sandbox-admin"
FAULT_FIELDS = {"name", "operation", "count", "probability", "after", "email", "params"}


def handle(store: Store, request: Request, *, admin_key: str, reset: Callable[[], None]) -> Reply:
    if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), admin_key.encode()):
        return json_reply(401, {"error": "the admin API requires its key in the X-Sandbox-Admin header"})
    if (request.method, request.path) == ("POST", "/_admin/reset"):
        reset()
        return json_reply(200, {"reset": True})
    try:
        body = json.loads(request.body or b"{}")
        for method, path, action in ACTIONS:
            match = re.fullmatch(path, request.path)
            if match and method == request.method:
                with store.transaction():
                    return json_reply(200, action(Asked(store, body, request.query, match.groupdict())))
    except Refused as refused:
        return json_reply(refused.status, {"error": str(refused)})
    except (ValueError, TypeError, KeyError, AttributeError, sqlite3.IntegrityError) as error:
        return json_reply(400, {"error": f"{type(error).__name__}: {error}"})
    return json_reply(404, {"error": "no such admin API endpoint", "calls": [f"{m} {p}" for m, p, _ in ACTIONS]})


def organisations(asked: Asked) -> object:
    rows = asked.db.execute("SELECT id, name, username, password FROM organisation ORDER BY rowid")
    return {"organisations": [{**dict(row), "switches": own_switches(asked.store, row["id"])} for row in rows]}


def new_organisation(asked: Asked) -> object:
    id_ = asked.body["id"]
    add_organisation(asked.store, id_, asked.body.get("name", id_), asked.body.get("username", id_))
    key = add_key(asked.store, organisation=id_, region=asked.body.get("region", "global"), label="default")
    row = asked.db.execute("SELECT * FROM organisation WHERE id = ?", (id_,)).fetchone()
    return {**dict(row), "key": key}


def change_organisation(asked: Asked) -> object:
    """Set switches for all accounts of an organization."""
    if unknown := set(asked.body) - {"switches"}:
        raise Refused(400, f"unknown organization fields: {', '.join(sorted(unknown))}")
    query = "SELECT id, name, username, password FROM organisation WHERE id = ?"
    row = row_or_404(asked.db, query, asked.ids["id"], missing="no such organization")
    set_own(asked.store, row["id"], asked.body["switches"], OWN)
    return {**dict(row), "switches": own_switches(asked.store, row["id"])}


def keys(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM api_key ORDER BY rowid").fetchall()
    return {"keys": [{**dict(row), "missing_scopes": json.loads(row["missing_scopes"])} for row in rows]}


def new_key(asked: Asked) -> object:
    organisation = asked.body.get("organisation", "reseller-global")
    region = "eu" if organisation == "reseller-eu" else "global"
    key = add_key(
        asked.store,
        organisation=organisation,
        region=asked.body.get("region", region),
        label=asked.body.get("label", "added"),
        key=asked.body.get("key"),
        reseller=bool(asked.body.get("reseller", True)),
        missing_scopes=tuple(asked.body.get("missing_scopes", ())),
    )
    return {"key": key}


def revoke_key(asked: Asked) -> object:
    done = asked.db.execute("UPDATE api_key SET revoked = 1 WHERE key = ?", (asked.body["key"],)).rowcount
    if not done:
        raise Refused(404, "no such key")
    return {"revoked": True}


def clock(asked: Asked) -> object:
    ticking = asked.store.clock.setting[1] is None
    return {"now": iso(asked.now), "epoch": asked.now, "frozen": not ticking}


def move_clock(asked: Asked) -> object:
    if unknown := set(asked.body) - {"advance_seconds", "set", "frozen", "reset"}:
        raise Refused(400, f"unknown clock fields: {', '.join(sorted(unknown))}")
    held = asked.store.clock
    if asked.body.get("reset"):
        held.setting = (0.0, None)
    if asked.body.get("set"):
        held.set(moment_of(asked.body["set"]))
    if "advance_seconds" in asked.body:
        held.advance(float(asked.body["advance_seconds"]))
    if "frozen" in asked.body:
        (held.freeze if asked.body["frozen"] else held.unfreeze)()
    asked.store.keep_clock()
    return clock(asked)


def list_faults(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM fault ORDER BY id").fetchall()
    return {"faults": [{**dict(row), "params": json.loads(row["params"])} for row in rows]}


def arm_fault(asked: Asked) -> object:
    if unknown := set(asked.body) - FAULT_FIELDS:
        raise Refused(400, f"unknown fault fields: {', '.join(sorted(unknown))}")
    given = dict(asked.body)
    return {"id": faults.arm(asked.store, given.pop("name"), **given)}


def clear_faults(asked: Asked) -> object:
    """Clear the fault in the path, or all of them."""
    id_ = asked.ids.get("id")
    return {"cleared": asked.db.execute("DELETE FROM fault WHERE id = ? OR ? IS NULL", (id_, id_)).rowcount}


def switches(asked: Asked) -> object:
    return {"switches": asked.store.switches.as_json()}


def set_switches(asked: Asked) -> object:
    before = dict(asked.store.switches.changed)
    try:
        for name in ("default_sending", "aha_default_sending"):
            if asked.body.get(name) is not None:
                sending_of(asked.body[name])
        for name, value in asked.body.items():
            asked.store.switches.set(name, value)
    except (UnableToSwitch, Refused):
        asked.store.switches.changed = before
        raise
    asked.store.keep_switches()
    return switches(asked)


def catalogue(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM catalogue ORDER BY position").fetchall()
    return {"catalogue": [{**dict(row), "entitlements": json.loads(row["entitlements"] or "null")} for row in rows]}


def put_offering(asked: Asked) -> object:
    """Add an entry to a catalog, or change it; `gone` removes it without changing accounts."""
    given = asked.body
    organisation = given.get("organisation", "reseller-global")
    known = catalogue_of(asked.db, organisation).get(given["name"])
    entry: dict[str, Any] = {
        "type": "addon",
        "display_name": given["name"],
        "free": 0,
        "entitlements": None,
        "gone": 0,
    }
    entry |= dict(known) if known is not None else {}
    entry |= {name: value for name, value in given.items() if name in entry}
    if "entitlements" in given:
        entry["entitlements"] = None if given["entitlements"] is None else json.dumps(given["entitlements"])
    values = [entry[name] for name in ("type", "display_name", "free", "entitlements", "gone")]
    asked.db.execute(
        "INSERT INTO catalogue (type, display_name, free, entitlements, gone, organisation, name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organisation, name) DO UPDATE SET type = excluded.type,"
        " display_name = excluded.display_name, free = excluded.free, entitlements = excluded.entitlements,"
        " gone = excluded.gone",
        (*values, organisation, given["name"]),
    )
    return {"name": given["name"], "organisation": organisation}


def request_log(asked: Asked) -> object:
    rows = asked.db.execute(
        "SELECT * FROM request_log WHERE id > ? AND (operation = ? OR ? = '') ORDER BY id LIMIT ?",
        (
            int(asked.query.get("since", "0")),
            asked.query.get("operation", ""),
            asked.query.get("operation", ""),
            int(asked.query.get("limit", "10000")),
        ),
    )
    return {"requests": [{**dict(row), "at": iso(row["at"]), "leaked": bool(row["leaked"])} for row in rows]}


def clear_log(asked: Asked) -> object:
    return {"cleared": asked.db.execute("DELETE FROM request_log").rowcount}


ACTIONS: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
    ("GET", "/_admin/organisations", organisations),
    ("POST", "/_admin/organisations", new_organisation),
    ("PATCH", "/_admin/organisations/(?P<id>[^/]+)", change_organisation),
    ("GET", "/_admin/keys", keys),
    ("POST", "/_admin/keys", new_key),
    ("POST", "/_admin/keys/revoke", revoke_key),
    *sendgrid_accounts.ACTIONS,
    ("GET", "/_admin/clock", clock),
    ("POST", "/_admin/clock", move_clock),
    ("GET", "/_admin/faults", list_faults),
    ("POST", "/_admin/faults", arm_fault),
    ("DELETE", "/_admin/faults", clear_faults),
    ("DELETE", r"/_admin/faults/(?P<id>\d+)", clear_faults),
    ("GET", "/_admin/switches", switches),
    ("PUT", "/_admin/switches", set_switches),
    ("GET", "/_admin/catalogue", catalogue),
    ("PUT", "/_admin/catalogue", put_offering),
    ("GET", "/_admin/requests", request_log),
    ("DELETE", "/_admin/requests", clear_log),
    *ahasend.ACTIONS,
    *ahasend_account.ACTIONS,
)
