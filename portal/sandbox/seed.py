"""Initial data of a sandbox: two organizations and a parent account with a key each, the demo catalog, and requested
options."""

import json
import random
import string
from dataclasses import dataclass

from portal.sandbox import faults
from portal.sandbox.ahasend import store as ahasend_store
from portal.sandbox.many import add_accounts
from portal.sandbox.sendgrid.catalogue import DEMO
from portal.sandbox.store import Store

# id -> name, region of its key, v2 username
ORGANISATIONS = {
    "reseller-global": ("Sandbox Reseller", "global", "sandbox-reseller"),
    "reseller-eu": ("Sandbox Reseller EU", "eu", "sandbox-reseller-eu"),
}
LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Start:
    """Start options. None keeps the stored value, or creates one."""

    sendgrid_key: str | None = None
    sendgrid_eu_key: str | None = None
    ahasend_key: str | None = None
    ahasend_account: str | None = None
    admin_key: str | None = None
    latency_ms: int | None = None
    rate: int | None = None
    dns_seconds: int | None = None
    accounts: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    key: str
    eu_key: str
    username: str
    password: str
    admin_key: str
    ahasend_key: str
    ahasend_account: str


def begin(store: Store, start: Start) -> Credentials:
    """Add missing initial data to the store without losing any; also called after a reset."""
    with store.transaction() as db:
        for id_, (name, _, username) in ORGANISATIONS.items():
            if db.execute("SELECT 1 FROM organisation WHERE id = ?", (id_,)).fetchone() is None:
                add_organisation(store, id_, name, username)
        key = _default_key(store, "reseller-global", start.sendgrid_key)
        eu_key = _default_key(store, "reseller-eu", start.sendgrid_eu_key)
        admin_key = start.admin_key or store.meta("admin_key") or _text(store.rng("secret"), 32)
        store.set_meta("admin_key", admin_key)
        for switch, value in (
            ("latency_ms", start.latency_ms),
            ("rate_per_minute", start.rate),
            ("aha_dns_publish_seconds", start.dns_seconds),
        ):
            if value is not None:
                store.switches.set(switch, value)
        store.keep_switches()
        if start.faults:
            db.execute("DELETE FROM fault")
        for text in start.faults:
            faults.arm_text(store, text)
        parent, parent_key = ahasend_store.default_parent(store, start.ahasend_account, start.ahasend_key)
        if start.accounts:
            add_accounts(store, start.accounts, parent=parent)
        login = db.execute("SELECT username, password FROM organisation WHERE id = 'reseller-global'").fetchone()
    return Credentials(key, eu_key, login["username"], login["password"], admin_key, parent_key, parent)


def add_organisation(store: Store, id_: str, name: str, username: str) -> None:
    store.db.execute(
        "INSERT INTO organisation VALUES (?, ?, ?, ?)", (id_, name, username, _text(store.rng("secret"), 20))
    )
    store.db.executemany(
        "INSERT INTO catalogue (organisation, name, type, display_name, free, entitlements) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (id_, entry.name, entry.type, entry.display_name, entry.free, json.dumps(entry.entitlements))
            for entry in DEMO
        ],
    )


def add_key(
    store: Store,
    *,
    organisation: str,
    region: str,
    label: str,
    key: str | None = None,
    reseller: bool = True,
    missing_scopes: tuple[str, ...] = (),
) -> str:
    """Add a key; if not given, one is created in the provider's format, `SG.` and two parts."""
    if key is None:
        rng = store.rng("secret")
        key = f"SG.{_text(rng, 22)}.{_text(rng, 43)}"
    store.db.execute(
        "INSERT OR REPLACE INTO api_key (key, label, organisation, region, reseller, missing_scopes)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (key, label, organisation, region, reseller, json.dumps(missing_scopes)),
    )
    return key


def _default_key(store: Store, organisation: str, wanted: str | None) -> str:
    region = ORGANISATIONS[organisation][1]
    row = store.db.execute(
        "SELECT key FROM api_key WHERE organisation = ? AND label = 'default'", (organisation,)
    ).fetchone()
    if row is not None and wanted in (None, row["key"]):
        return str(row["key"])
    store.db.execute("DELETE FROM api_key WHERE organisation = ? AND label = 'default'", (organisation,))
    return add_key(store, organisation=organisation, region=region, label="default", key=wanted)


def _text(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(LETTERS, k=length))
