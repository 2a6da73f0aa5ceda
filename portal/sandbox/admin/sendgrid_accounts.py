"""Admin API for SendGrid accounts: creating and changing them without the API, and the actual usage."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from portal.sandbox.admin.overrides import add_override, clear_overrides, list_overrides, overrides_of
from portal.sandbox.admin.own_switches import own_switches, set_own
from portal.sandbox.admin.request import Asked, Refused, one_or_many, sending_of, times
from portal.sandbox.admin.switches import OWN
from portal.sandbox.clock import day_of, is_zone, iso, moment_of
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.credits import Credits, counted
from portal.sandbox.sendgrid.statistics import requests_by_day
from portal.sandbox.sendgrid.usage import SENDERS, History, PeriodUse, history_periods, period_use

CHANGED_AT_BIRTH = ("state", "state_at", "sending", "username", "reputation", "subusers", "timezone", "switches")
DEFAULT_OFFERINGS = ({"name": "postkeeper.ei.essentials-50k.v1", "type": "package"},)
PLAIN_CHANGES = {
    "email": "UPDATE account SET email = ? WHERE id = ?",
    "username": "UPDATE account SET username = ? WHERE id = ?",
    "reputation": "UPDATE account SET reputation = ? WHERE id = ?",
    "subusers": "UPDATE account SET subusers = ? WHERE id = ?",
    "anchor_day": "UPDATE account SET anchor_day = ? WHERE id = ?",
}


def list_accounts(asked: Asked) -> object:
    rows = asked.db.execute("SELECT * FROM account ORDER BY seq").fetchall()
    counts = Counter("deleted" if row["deleted_at"] is not None else row["state"] for row in rows)
    return {"count": len(rows), "counts": counts, "accounts": [_shown(asked, row) for row in rows]}


def one_account(asked: Asked) -> object:
    return _shown(asked, _account(asked))


def change_account(asked: Asked) -> object:
    account = _account(asked)
    _change(asked, account, asked.body)
    return _shown(asked, sendgrid_accounts.row_of(asked.db, account["id"]))


def remove_account(asked: Asked) -> object:
    sendgrid_accounts.delete(asked.db, _account(asked)["id"], asked.now)
    return {"deleted": True}


def add_usage(asked: Asked, account: sqlite3.Row, field: str) -> object:
    """Add the number of emails in `field` to the account's usage."""
    at = moment_of(asked.body["at"]) if asked.body.get("at") else asked.now
    count = asked.body[field]
    if type(count) is not int or count < 0:
        raise Refused(400, f"{field} must be a whole number, 0 or more")
    if at < account["created_at"]:
        raise Refused(400, "the account did not exist at that time")
    sender = asked.body.get("sender", "account")
    if sender not in SENDERS:
        raise Refused(400, f"sender must be one of {', '.join(SENDERS)}")
    sendgrid_accounts.add_usage(asked.db, account["id"], at, count, sender)
    return {"added": count, "at": iso(at)}


def add_adjustment(asked: Asked) -> object:
    """Set the counter of the running billing period: from then on it continues from `used`."""
    account = _account(asked)
    at = moment_of(asked.body["at"]) if asked.body.get("at") else asked.now
    used = asked.body["used"]
    if type(used) is not int or used < 0:
        raise Refused(400, "used must be a whole number, 0 or more")
    sendgrid_accounts.note(asked.db, account["id"], at, "adjustment", used)
    return {"used": used, "at": iso(at)}


def clear_adjustments(asked: Asked) -> object:
    query = "DELETE FROM history WHERE account = ? AND kind = 'adjustment'"
    return {"cleared": asked.db.execute(query, (_account(asked)["id"],)).rowcount}


def truth(asked: Asked) -> object:
    """Return the actual usage per account and billing period as of `at` or now, including deleted accounts."""
    now = moment_of(asked.query["at"]) if asked.query.get("at") else asked.now
    if "account" in asked.query:
        rows = asked.db.execute("SELECT * FROM account WHERE id = ?", (asked.query["account"],)).fetchall()
    else:
        rows = asked.db.execute("SELECT * FROM account ORDER BY seq").fetchall()
    return {"now": iso(now), "accounts": [_truth(asked, row, now) for row in rows]}


def _new_account(asked: Asked, given: Mapping[str, Any]) -> dict[str, Any]:
    organisation = given.get("organisation", "reseller-global")
    profile = dict(given.get("profile", {}))
    if "email" in given:
        profile["email"] = given["email"]
    at = moment_of(given["created_at"]) if given.get("created_at") else asked.now
    zone = given.get("switches", {}).get("reset_zone")
    account = sendgrid_accounts.open_account(
        asked.store,
        organisation=organisation,
        region=given.get("region", "eu" if organisation == "reseller-eu" else "global"),
        profile=profile,
        offerings=[{"quantity": 1, **item} for item in given.get("offerings", DEFAULT_OFFERINGS)],
        at=at,
        test=bool(given.get("test", False)),
        anchor_day=given.get("anchor_day") or (day_of(at, zone).day if is_zone(zone) else None),
    )
    later = {name: value for name, value in given.items() if name in CHANGED_AT_BIRTH}
    # Values given for a new account apply from its creation, unless a time is given for the state.
    _change(asked, account, {"at": iso(at), **later})
    return _shown(asked, sendgrid_accounts.row_of(asked.db, account["id"]))


def _change(asked: Asked, account: sqlite3.Row, given: Mapping[str, Any]) -> None:
    at = moment_of(given["at"]) if given.get("at") else asked.now
    if "sending" in given:
        sendgrid_accounts.note(asked.db, account["id"], at, "sending", sending_of(given["sending"]))
    if given.get("restart_period"):
        sendgrid_accounts.note(asked.db, account["id"], at, "restart", None)
    set_own(asked.store, account["id"], given.get("switches", {}), OWN)
    if "timezone" in given:
        _set_timezone(asked, account, given["timezone"])
    if "offerings" in given:
        offerings = [{"quantity": 1, **item} for item in given["offerings"]]
        sendgrid_accounts.set_offerings(asked.store, account, offerings, at)
    if "state" in given:
        state_at = moment_of(given["state_at"]) if given.get("state_at") else at
        sendgrid_accounts.set_state(asked.db, account["id"], str(given["state"]), state_at)
    if "listed_at" in given:  # not in the list before then
        listed_at = moment_of(given["listed_at"])
        asked.db.execute("UPDATE account SET listed_at = ? WHERE id = ?", (listed_at, account["id"]))
    for name, statement in PLAIN_CHANGES.items():
        if name in given:
            _check_column(name, given[name])
            asked.db.execute(statement, (given[name], account["id"]))


def _set_timezone(asked: Asked, account: sqlite3.Row, zone: object) -> None:
    if not is_zone(zone):
        raise Refused(400, "timezone must be an IANA time zone")
    profile = json.dumps({**json.loads(account["profile"]), "timezone": zone})
    asked.db.execute("UPDATE account SET profile = ? WHERE id = ?", (profile, account["id"]))


def _check_column(name: str, value: object) -> None:
    if name == "anchor_day" and not (type(value) is int and 1 <= value <= 31):
        raise Refused(400, "anchor_day must be a day of the month, 1 to 31")


def _account(asked: Asked) -> sqlite3.Row:
    return sendgrid_accounts.row_of(asked.db, asked.ids["account"])


def _shown(asked: Asked, row: sqlite3.Row) -> dict[str, Any]:
    parsed = {name: json.loads(row[name]) for name in ("profile", "offerings", "ips")}
    shown = times(row, "created_at", "updated_at", "listed_at", "ready_at", "deleted_at")
    return {**dict(row), **parsed, **shown, "test": bool(row["test"]), "switches": own_switches(asked.store, row["id"])}


def _truth(asked: Asked, row: sqlite3.Row, now: float) -> dict[str, Any]:
    history, zone = sendgrid_accounts.history_of(asked.store, row), sendgrid_accounts.timezone_of(asked.store, row)
    uses = [period_use(history, period, now) for period in history_periods(history, now)]
    shown: dict[str, Any] = {name: row[name] for name in ("id", "organisation", "region", "email", "username", "state")}
    shown |= {"test": bool(row["test"]), **times(row, "deleted_at")}
    shown |= {"timezone": zone, "reset_zone": history.billing.zone}
    shown["cycles"] = [_true_period(history, use, now) for use in uses]
    shown["adjustments"] = [{"at": iso(at), "used": used} for at, used in history.adjustments if at <= now]
    shown["overrides"] = overrides_of(asked.db, row["id"])
    if "days" in asked.query and uses:
        first, last = day_of(history.moments[0].at, zone), day_of(now, zone)
        subusers = sendgrid_accounts.account_switches(asked.store, row)["stats_subusers"]
        by_day = requests_by_day(history, zone, first, last, now, subusers=subusers)
        shown["days"] = {day.isoformat(): count for day, count in sorted(by_day.items())}
    return shown


def _true_period(history: History, use: PeriodUse, now: float) -> dict[str, Any]:
    period = use.period
    return {
        "start": period.start.isoformat(),
        "next_reset": period.end.isoformat(),
        "starts_at": iso(period.starts_at),
        "resets_at": iso(period.resets_at),
        "allowed": use.allowed,
        "attempted": use.attempted,
        "used": use.used,
        "overage": Credits(period, use.allowed, use.used).overage,
        "counted": counted(history, period, now) if history.adjustments else use.used,
        "subusers": use.subusers,
        "marketing": use.marketing,
        "over": period.resets_at <= now,
    }


ACCOUNT = "/_admin/accounts/(?P<account>[^/]+)"
ACTIONS: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
    ("GET", "/_admin/accounts", list_accounts),
    ("POST", "/_admin/accounts", one_or_many(_new_account)),
    ("GET", ACCOUNT, one_account),
    ("PATCH", ACCOUNT, change_account),
    ("DELETE", ACCOUNT, remove_account),
    ("POST", f"{ACCOUNT}/usage", lambda asked: add_usage(asked, _account(asked), "requests")),
    ("POST", f"{ACCOUNT}/adjustments", add_adjustment),
    ("DELETE", f"{ACCOUNT}/adjustments", clear_adjustments),
    ("GET", f"{ACCOUNT}/overrides", lambda asked: list_overrides(asked, _account(asked)["id"])),
    ("POST", f"{ACCOUNT}/overrides", lambda asked: add_override(asked, _account(asked)["id"], "credits", "overview")),
    (
        "DELETE",
        rf"{ACCOUNT}/overrides(?:/(?P<override>\d+))?",
        lambda asked: clear_overrides(asked, _account(asked)["id"]),
    ),
    ("GET", "/_admin/truth", truth),
)
