"""Stored accounts: creating, finding and changing them, and their usage."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from portal.sandbox.admin.own_switches import switches_of
from portal.sandbox.admin.request import row_or_404
from portal.sandbox.clock import day_of
from portal.sandbox.sendgrid.credits import Credits, credits_at
from portal.sandbox.sendgrid.resets import Billing
from portal.sandbox.sendgrid.usage import Added, History, Moment, Sending
from portal.sandbox.store import Store, first_row

HELD = ("suspended", "banned", "indeterminate")
Offering = dict[str, Any]


def open_account(
    store: Store,
    *,
    organisation: str,
    region: str,
    profile: Mapping[str, str],
    offerings: list[Offering],
    at: float,
    test: bool = False,
    anchor_day: int | None = None,
    account_id: str = "",
) -> sqlite3.Row:
    """Add an account; never deduplicated, even with the same email."""
    rng = store.rng("account")
    account_id = account_id or f"sg{rng.getrandbits(128):032x}"
    user_id = rng.randrange(1_000_000, 10_000_000)
    email = profile.get("email")
    lag = store.switches["list_lag_seconds"], store.switches["create_lag_seconds"]
    store.db.execute(
        "INSERT INTO account (id, organisation, region, email, profile, username, user_id, test, state,"
        " offerings, reputation, anchor_day, created_at, updated_at, listed_at, ready_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'activated', '[]', ?, ?, ?, ?, ?, ?)",
        (
            account_id,
            organisation,
            region,
            email,
            json.dumps(profile),
            _free_username(store.db, organisation, email or account_id, account_id),
            user_id,
            test,
            round(rng.uniform(92, 100), 1),
            anchor_day or day_of(at, switches_of(store, organisation)["reset_zone"]).day,
            at,
            at,
            at + lag[0],
            at + lag[1],
        ),
    )
    note(store.db, account_id, at, "state", "activated")
    sending = store.switches["default_sending"]
    if sending:
        note(store.db, account_id, at, "sending", {"seed": user_id, **sending})
    set_offerings(store, row_of(store.db, account_id), offerings, at)
    return row_of(store.db, account_id)


def row_of(db: sqlite3.Connection, account_id: str) -> sqlite3.Row:
    return row_or_404(db, "SELECT * FROM account WHERE id = ?", account_id, missing=f"no account {account_id}")


def find(db: sqlite3.Connection, account_id: str, *, organisation: str, region: str, now: float) -> sqlite3.Row | None:
    """Return an account as visible now: not deleted, and not created in the future (a late create)."""
    query = "SELECT * FROM account WHERE id = ? AND organisation = ? AND region = ? AND deleted_at IS NULL"
    return first_row(db, f"{query} AND created_at <= ?", account_id, organisation, region, now)


def set_offerings(store: Store, account: sqlite3.Row, offerings: list[Offering], at: float) -> None:
    """Replace all offerings. The newest IP addresses are removed first; a free package removes subusers and
    addresses. Another package may restart the billing period."""
    db = store.db
    entries = catalogue(db, account["organisation"])
    before, name = _package_name(json.loads(account["offerings"])), _package_name(offerings)
    package = entries.get(name) if name is not None else None
    if before not in (None, name) and account_switches(store, account)["upgrade_restarts_period"]:
        note(db, account["id"], at, "restart", name)
    free = bool(package and package["free"])
    wanted = 0 if account["test"] or free else _addresses(entries, offerings)
    ips = json.loads(account["ips"])[:wanted]
    while len(ips) < wanted:
        ips.append(_address(account["seq"], len(ips), ips))
    db.execute(
        "UPDATE account SET offerings = ?, ips = ?, subusers = ?, updated_at = ? WHERE id = ?",
        (json.dumps(offerings), json.dumps(ips), 0 if free else account["subusers"], at, account["id"]),
    )
    allotment = _entitlement(package, "email_sends_max_monthly")
    note(db, account["id"], at, "plan", {"allotment": allotment, "free": free})


def set_state(db: sqlite3.Connection, account_id: str, state: str, at: float) -> None:
    db.execute("UPDATE account SET state = ?, updated_at = ? WHERE id = ?", (state, at, account_id))
    note(db, account_id, at, "state", state)
    if state == "banned":
        db.execute("UPDATE account SET subusers = 0, ips = '[]' WHERE id = ?", (account_id,))


def email_as(form: str, email: str) -> str:
    """Return `email` in the provider's form: as given, with its domain rewritten, or in capitals."""
    local, at, domain = email.rpartition("@")
    try:
        if form == "unicode":
            domain = domain.encode("ascii").decode("idna")
        elif form == "ascii":
            domain = domain.encode("idna").decode("ascii")
    except UnicodeError:  # what can't be rewritten is unchanged
        return email
    return email.upper() if form == "upper" else f"{local}{at}{domain}"


def delete(db: sqlite3.Connection, account_id: str, at: float) -> None:
    note(db, account_id, at, "state", "deleted")
    db.execute(
        "UPDATE account SET deleted_at = ?, offerings = '[]', ips = '[]', subusers = 0 WHERE id = ?",
        (at, account_id),
    )


def note(db: sqlite3.Connection, account_id: str, at: float, kind: str, value: object) -> None:
    db.execute(
        "INSERT INTO history (account, at, kind, value) VALUES (?, ?, ?, ?)",
        (account_id, at, kind, json.dumps(value)),
    )


def add_usage(db: sqlite3.Connection, account_id: str, at: float, requests: int, sender: str = "account") -> None:
    db.execute(
        "INSERT INTO usage_added (account, at, requests, sender) VALUES (?, ?, ?, ?)",
        (account_id, at, requests, sender),
    )


def catalogue(db: sqlite3.Connection, organisation: str) -> dict[str, sqlite3.Row]:
    """Return the catalog by name and in order, including removed entries: accounts may still have them."""
    rows = db.execute("SELECT * FROM catalogue WHERE organisation = ? ORDER BY position", (organisation,))
    return {row["name"]: row for row in rows}


def account_switches(store: Store, account: sqlite3.Row) -> dict[str, Any]:
    """Return the switches as they apply to the account: its own values, its organization's, the sandbox's."""
    return switches_of(store, account["organisation"], account["id"])


def timezone_of(store: Store, account: sqlite3.Row) -> str:
    """Return the zone of the account's statistics, from its profile."""
    return str(json.loads(account["profile"]).get("timezone") or store.switches["account_timezone"])


def history_of(store: Store, account: sqlite3.Row) -> History:
    zone = account_switches(store, account)["reset_zone"]
    return history_by_id(store.db, account["id"], Billing(account["anchor_day"], zone), test=bool(account["test"]))


def history_by_id(db: sqlite3.Connection, account_id: str, billing: Billing, *, test: bool = False) -> History:
    query = "SELECT at, kind, value FROM history WHERE account = ? ORDER BY at, id"
    rows = db.execute(query, (account_id,)).fetchall()
    added = db.execute("SELECT at, requests, sender FROM usage_added WHERE account = ? ORDER BY at", (account_id,))
    restarts = [row["at"] for row in rows if row["kind"] == "restart"]
    return History(
        moments=_moments(row for row in rows if row["kind"] in ("state", "plan", "sending")),
        added=[Added(*row) for row in added],
        billing=replace(billing, restarts=restarts),
        test=test,
        adjustments=[(row["at"], json.loads(row["value"])) for row in rows if row["kind"] == "adjustment"],
    )


def current_credits(store: Store, account: sqlite3.Row, now: float) -> Credits:
    """Return what the provider's counter says now."""
    switches = account_switches(store, account)
    lag, hours = switches["credits_lag_seconds"], switches["ended_period_hours"]
    return credits_at(history_of(store, account), now, lag_seconds=lag, ended_hours=hours)


def is_free(db: sqlite3.Connection, account: sqlite3.Row) -> bool:
    entry = package_of(db, account)
    return entry is None or bool(entry["free"])


def package_of(db: sqlite3.Connection, account: sqlite3.Row) -> sqlite3.Row | None:
    name = _package_name(json.loads(account["offerings"]))
    return None if name is None else catalogue(db, account["organisation"]).get(name)


def _package_name(offerings: Iterable[Offering]) -> str | None:
    return next((item["name"] for item in offerings if item["type"] == "package"), None)


def _moments(rows: Iterable[sqlite3.Row]) -> list[Moment]:
    moments: list[Moment] = []
    last = Moment(at=0)
    for row in rows:
        value = json.loads(row["value"])
        active, allotment, free, sending = last.active, last.allotment, last.free, last.sending
        if row["kind"] == "state":
            active = value == "activated"
        elif row["kind"] == "plan":
            allotment, free = value["allotment"], value["free"]
        else:
            shape = tuple(value.get("weekday") or Sending().weekday)
            sending = Sending(**{**value, "weekday": shape, "since": row["at"]})
        last = Moment(row["at"], active, allotment, free, sending)
        moments.append(last)
    return moments


def _addresses(entries: Mapping[str, sqlite3.Row], offerings: list[Offering]) -> int:
    return sum(_entitlement(entries.get(item["name"]), "ip_count") * item.get("quantity", 1) for item in offerings)


def _entitlement(entry: sqlite3.Row | None, name: str) -> int:
    if entry is None or entry["entitlements"] is None:
        return 0
    return int(json.loads(entry["entitlements"]).get(name, 0))


def _address(seq: int, index: int, taken: list[str]) -> str:
    """Return an address from the range reserved for benchmarks, stable for an account and its index."""
    number = seq * 64 + index
    address = f"198.18.{number // 250 % 256}.{number % 250 + 1}"
    return address if address not in taken else f"198.19.{number // 250 % 256}.{number % 250 + 1}"


def _free_username(db: sqlite3.Connection, organisation: str, wanted: str, account_id: str) -> str:
    """Return a unique username: unlike emails they may not repeat, so a second account with the same email gets a
    suffix."""
    taken = db.execute(
        "SELECT 1 FROM account WHERE organisation = ? AND username = ?", (organisation, wanted)
    ).fetchone()
    return f"{wanted}-{account_id[2:14]}" if taken else wanted
