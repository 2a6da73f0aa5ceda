"""The admin plane under /_admin/: JSON in, JSON out, its own key; never logged, limited or spoiled.

README.md has the table of what is here.
"""

import hmac
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portal.sandbox import accounts, faults
from portal.sandbox.clock import iso, moment_of
from portal.sandbox.start import add_key, add_organisation
from portal.sandbox.store import Store
from portal.sandbox.switches import UnableToSwitch
from portal.sandbox.usage import Sending, cycle_use, cycles, use_by_day
from portal.sandbox.wire import Reply, Request, json_reply

HEADER = "x-sandbox-admin"
SENDING = set(Sending.__dataclass_fields__) - {"since"}
FAULT_FIELDS = {"name", "operation", "count", "probability", "after", "email", "params"}


class Refused(Exception):  # noqa: N818 - a refusal, not a fault
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


def handle(store: Store, request: Request, *, admin_key: str, reset: Callable[[], None]) -> Reply:
    if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), admin_key.encode()):
        return json_reply(401, {"error": "the admin plane wants its key in X-Sandbox-Admin"})
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
    return json_reply(404, {"error": "no such admin call", "calls": [f"{m} {p}" for m, p, _ in ACTIONS]})


def organisations(asked: Asked) -> object:
    rows = asked.db.execute("SELECT id, name, username, password FROM organisation ORDER BY rowid")
    return {"organisations": [dict(row) for row in rows]}


def new_organisation(asked: Asked) -> object:
    id_ = asked.body["id"]
    add_organisation(asked.store, id_, asked.body.get("name", id_), asked.body.get("username", id_))
    key = add_key(asked.store, organisation=id_, region=asked.body.get("region", "global"), label="default")
    row = asked.db.execute("SELECT * FROM organisation WHERE id = ?", (id_,)).fetchone()
    return {**dict(row), "key": key}


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


def list_accounts(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM account ORDER BY seq").fetchall()
    counts: dict[str, int] = {}
    for row in rows:
        word = "deleted" if row["deleted_at"] is not None else row["state"]
        counts[word] = counts.get(word, 0) + 1
    return {"count": len(rows), "counts": counts, "accounts": [_shown(row) for row in rows]}


def new_accounts(asked: Asked) -> object:
    """One account, or many under `accounts`, as somebody's console would make them: without an API call."""
    if "accounts" in asked.body:
        return {"accounts": [_new_account(asked, item) for item in asked.body["accounts"]]}
    return _new_account(asked, asked.body)


def one_account(asked: Asked) -> object:
    return _shown(_account(asked))


def change_account(asked: Asked) -> object:
    account = _account(asked)
    _change(asked, account, asked.body)
    return _shown(accounts.row_of(asked.db, account["id"]))


def remove_account(asked: Asked) -> object:
    accounts.delete(asked.db, _account(asked)["id"], asked.now)
    return {"deleted": True}


def add_usage(asked: Asked) -> object:
    account = _account(asked)
    at = moment_of(asked.body["at"]) if asked.body.get("at") else asked.now
    requests = asked.body["requests"]
    if type(requests) is not int or requests < 0:
        raise Refused(400, "requests must be a whole number, 0 or more")
    if at < account["created_at"]:
        raise Refused(400, "the account did not exist at that time")
    accounts.add_usage(asked.db, account["id"], at, requests)
    return {"added": requests, "at": iso(at)}


def truth(asked: Asked) -> object:
    """What was really sent, per account and billing cycle, deleted accounts included."""
    if "account" in asked.query:
        rows = asked.db.execute("SELECT * FROM account WHERE id = ?", (asked.query["account"],)).fetchall()
    else:
        rows = asked.db.execute("SELECT * FROM account ORDER BY seq").fetchall()
    return {"now": iso(asked.now), "accounts": [_truth(asked, row) for row in rows]}


def clock(asked: Asked) -> object:
    ticking = asked.store.clock.setting[1] is None
    return {"now": iso(asked.now), "epoch": asked.now, "frozen": not ticking}


def move_clock(asked: Asked) -> object:
    if unknown := set(asked.body) - {"advance_seconds", "set", "frozen", "reset"}:
        raise Refused(400, f"the clock does not take {', '.join(sorted(unknown))}")
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
        raise Refused(400, f"a fault does not take {', '.join(sorted(unknown))}")
    given = dict(asked.body)
    return {"id": faults.arm(asked.store, given.pop("name"), **given)}


def clear_faults(asked: Asked) -> object:
    if "id" in asked.ids:
        return {"cleared": asked.db.execute("DELETE FROM fault WHERE id = ?", (asked.ids["id"],)).rowcount}
    return {"cleared": asked.db.execute("DELETE FROM fault").rowcount}


def switches(asked: Asked) -> object:
    return {"switches": asked.store.switches.as_json()}


def set_switches(asked: Asked) -> object:
    before = dict(asked.store.switches.changed)
    try:
        if asked.body.get("default_sending") is not None:
            _sending(asked.body["default_sending"])
        for name, value in asked.body.items():
            asked.store.switches.set(name, value)
    except (UnableToSwitch, Refused):
        asked.store.switches.changed = before
        raise
    asked.store.keep_switches()
    return switches(asked)


def catalogue(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM catalogue ORDER BY position").fetchall()
    return {
        "catalogue": [
            {**dict(row), "entitlements": json.loads(row["entitlements"] or "null")} for row in rows
        ]
    }


def put_offering(asked: Asked) -> object:
    """Add an entry to a catalogue, or change it; `gone` takes it away without touching accounts."""
    given = asked.body
    organisation = given.get("organisation", "reseller-global")
    known = accounts.catalogue(asked.db, organisation).get(given["name"])
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


def _new_account(asked: Asked, given: Mapping[str, Any]) -> dict[str, Any]:
    organisation = given.get("organisation", "reseller-global")
    profile = dict(given.get("profile", {}))
    if "email" in given:
        profile["email"] = given["email"]
    at = moment_of(given["created_at"]) if given.get("created_at") else asked.now
    account = accounts.open_account(
        asked.store,
        organisation=organisation,
        region=given.get("region", "eu" if organisation == "reseller-eu" else "global"),
        profile=profile,
        offerings=[{"quantity": 1, **item} for item in given.get("offerings", DEFAULT_OFFERINGS)],
        at=at,
        test=bool(given.get("test", False)),
        anchor_day=given.get("anchor_day"),
    )
    later = {name: value for name, value in given.items() if name in CHANGED_AT_BIRTH}
    # What is told of a new account holds from its beginning, unless a time is given for the state.
    _change(asked, account, {"at": iso(at), **later})
    return _shown(accounts.row_of(asked.db, account["id"]))


def _change(asked: Asked, account: sqlite3.Row, given: Mapping[str, Any]) -> None:
    at = moment_of(given["at"]) if given.get("at") else asked.now
    if "sending" in given:
        accounts.note(asked.db, account["id"], at, "sending", _sending(given["sending"]))
    if "offerings" in given:
        accounts.set_offerings(
            asked.db, account, [{"quantity": 1, **item} for item in given["offerings"]], at
        )
    if "state" in given:
        state_at = moment_of(given["state_at"]) if given.get("state_at") else at
        accounts.set_state(asked.db, account["id"], str(given["state"]), state_at)
    for name, statement in PLAIN_CHANGES.items():
        if name in given:
            _check_column(name, given[name])
            asked.db.execute(statement, (given[name], account["id"]))


def _check_column(name: str, value: object) -> None:
    if name == "anchor_day" and not (type(value) is int and 1 <= value <= 31):
        raise Refused(400, "anchor_day is a day of the month, 1 to 31")


def _sending(given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(given) - SENDING:
        raise Refused(400, f"a sending profile does not take {', '.join(sorted(unknown))}")
    if "weekday" in given and len(given["weekday"]) != len(Sending().weekday):
        raise Refused(400, "weekday takes seven factors, Monday first")
    return dict(given)


def _account(asked: Asked) -> sqlite3.Row:
    try:
        return accounts.row_of(asked.db, asked.ids["account"])
    except LookupError as error:
        raise Refused(404, str(error)) from error


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    shown = dict(row)
    for name in ("profile", "offerings", "ips"):
        shown[name] = json.loads(shown[name])
    for name in ("created_at", "updated_at", "listed_at", "ready_at", "deleted_at"):
        shown[name] = iso(shown[name]) if shown[name] is not None else None
    return {**shown, "test": bool(shown["test"])}


def _truth(asked: Asked, row: sqlite3.Row) -> dict[str, Any]:
    history = accounts.history_of(asked.db, row)
    uses = [cycle_use(history, cycle, asked.now) for cycle in cycles(history, asked.now)]
    shown: dict[str, Any] = {
        name: row[name] for name in ("id", "organisation", "region", "email", "username", "state")
    }
    shown["test"] = bool(row["test"])
    shown["deleted_at"] = iso(row["deleted_at"]) if row["deleted_at"] is not None else None
    shown["cycles"] = [
        {
            "start": use.cycle.start.isoformat(),
            "next_reset": use.cycle.end.isoformat(),
            "allowed": use.allowed,
            "attempted": use.attempted,
            "used": use.used,
            "overage": use.overage,
            "over": use.cycle.end.isoformat() <= iso(asked.now)[:10],
        }
        for use in uses
    ]
    if "days" in asked.query and uses:
        by_day = use_by_day(history, uses[0].cycle.start, uses[-1].cycle.end, asked.now)
        shown["days"] = {day.isoformat(): count for day, count in sorted(by_day.items())}
    return shown


CHANGED_AT_BIRTH = ("state", "state_at", "sending", "username", "reputation", "subusers")
DEFAULT_OFFERINGS = ({"name": "postkeeper.ei.essentials-50k.v1", "type": "package"},)
PLAIN_CHANGES = {
    "email": "UPDATE account SET email = ? WHERE id = ?",
    "username": "UPDATE account SET username = ? WHERE id = ?",
    "reputation": "UPDATE account SET reputation = ? WHERE id = ?",
    "subusers": "UPDATE account SET subusers = ? WHERE id = ?",
    "anchor_day": "UPDATE account SET anchor_day = ? WHERE id = ?",
}

ACTIONS: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
    ("GET", "/_admin/organisations", organisations),
    ("POST", "/_admin/organisations", new_organisation),
    ("GET", "/_admin/keys", keys),
    ("POST", "/_admin/keys", new_key),
    ("POST", "/_admin/keys/revoke", revoke_key),
    ("GET", "/_admin/accounts", list_accounts),
    ("POST", "/_admin/accounts", new_accounts),
    ("GET", "/_admin/accounts/(?P<account>[^/]+)", one_account),
    ("PATCH", "/_admin/accounts/(?P<account>[^/]+)", change_account),
    ("DELETE", "/_admin/accounts/(?P<account>[^/]+)", remove_account),
    ("POST", "/_admin/accounts/(?P<account>[^/]+)/usage", add_usage),
    ("GET", "/_admin/truth", truth),
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
)
