"""Sending domains of an AhaSend account, called with its own key; and operation 14, called by the parent.

The published state (`in_place`) and the result of the last check (`propagated`) are separate: the admin API sets the
first, only a check copies it to the second. The records are invented.
"""

import base64
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from portal.sandbox.admin.request import Refused
from portal.sandbox.ahasend import accounts
from portal.sandbox.ahasend.fields import body_of, host_name
from portal.sandbox.ahasend.scopes import require_for
from portal.sandbox.ahasend.store import new_id
from portal.sandbox.clock import iso
from portal.sandbox.messages import Call, Reply, json_reply
from portal.sandbox.store import Store, first_row

SUBDOMAINS = ("tracking_subdomain", "return_path_subdomain", "subscription_subdomain", "media_subdomain")
FIELDS = {"domain", "dkim_private_key", "dkim_selector", "dkim_rotation_interval_days", *SUBDOMAINS}
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,62}(?<!-)")
MISSING = (
    "EXISTS (SELECT 1 FROM json_each(records) WHERE json_extract(value, '$.required')"
    " AND NOT json_extract(value, '$.propagated'))"
)


def list_domains(call: Call) -> Reply:
    query, values = "SELECT * FROM aha_domain WHERE account = ?", (call.organisation,)
    wanted = call.request.query.get("dns_valid")
    if wanted not in (None, "true", "false"):
        raise Refused(400, "dns_valid must be true or false")
    if wanted is not None:
        query += f" AND {MISSING} = {int(wanted == 'false')}"
    return accounts.list_reply(call, "domains", query, values, lambda _, row: shown(row))


def create(call: Call) -> Reply:
    body = body_of(call, FIELDS)
    name = host_name(body.get("domain"), "domain").lower()
    settings = _settings(body)
    if find(call.db, call.organisation, name) is not None:
        raise Refused(409, "the domain exists already")
    add(call.store, call.organisation, name, call.now, settings)
    return json_reply(201, shown(existing(call.db, call.organisation, name)))


def read(call: Call) -> Reply:
    return json_reply(200, shown(_own(call)))


def delete(call: Call) -> Reply:
    require_for(call, "domains:delete", _name(call))
    call.db.execute("DELETE FROM aha_domain WHERE id = ?", (_own(call)["id"],))
    return json_reply(200, {"message": "domain deleted successfully"})


def check_dns(call: Call) -> Reply:
    """Check the records. A check less than a minute old is not repeated; its result is returned again."""
    row = _own(call)
    if row["checked_at"] is None or call.now - row["checked_at"] >= call.switch("aha_dns_cache_seconds"):
        look(call.db, row, call.now, published_after=call.switch("aha_dns_publish_seconds"))
    return read(call)


def unpause(call: Call) -> Reply:
    """Resume a paused domain (operation 14, called by the parent). It is only in newer documentation, in no schema."""
    account = accounts.find(call)
    row = existing(call.db, account["id"], _name(call))
    call.db.execute("UPDATE aha_domain SET paused = 0 WHERE id = ?", (row["id"],))
    return json_reply(200, {**shown(row), "paused": False})


def find(db: sqlite3.Connection, account_id: str, name: str) -> sqlite3.Row | None:
    return first_row(db, "SELECT * FROM aha_domain WHERE account = ? AND domain = ?", account_id, name)


def existing(db: sqlite3.Connection, account_id: str, name: str) -> sqlite3.Row:
    row = find(db, account_id, name)
    if row is None:
        raise Refused(404, "domain not found")
    return row


def add(store: Store, account_id: str, name: str, at: float, settings: Mapping[str, Any]) -> None:
    records = _records(store, name, settings)
    store.db.execute(
        "INSERT INTO aha_domain (id, account, domain, records, settings, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new_id(store), account_id, name, json.dumps(records), json.dumps(dict(settings)), at, at),
    )


def look(db: sqlite3.Connection, row: sqlite3.Row, at: float, *, published_after: float = 0) -> None:
    """Check the records: copy their published state. With `published_after`, all of them are published that many
    seconds after the domain was added."""
    there = 0 < published_after <= at - row["created_at"]
    records = [{**record, "in_place": there or record["in_place"]} for record in json.loads(row["records"])]
    records = [{**record, "propagated": record["in_place"]} for record in records]
    db.execute(
        "UPDATE aha_domain SET records = ?, checked_at = ?, updated_at = ? WHERE id = ?",
        (json.dumps(records), at, at, row["id"]),
    )


def is_valid(row: sqlite3.Row) -> bool:
    """Return whether every required record was found by the last check."""
    return all(record["propagated"] for record in json.loads(row["records"]) if record["required"])


def shown(row: sqlite3.Row) -> dict[str, Any]:
    records = [
        {name: value for name, value in record.items() if name != "in_place"} for record in json.loads(row["records"])
    ]
    settings = json.loads(row["settings"])
    return {
        "object": "domain",
        "id": row["id"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "domain": row["domain"],
        "account_id": row["account"],
        "dns_records": records,
        "last_dns_check_at": None if row["checked_at"] is None else iso(row["checked_at"]),
        "dns_valid": is_valid(row),
        **{name: settings.get(name) for name in SUBDOMAINS},
        "dkim_rotation_interval_days": settings.get("dkim_rotation_interval_days"),
        "dkim_selector": settings.get("dkim_selector"),
        "rotation_ready": False,
        "dsn_recipient": None,
    }


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a domain. A private key is accepted and not stored: nothing is signed here."""
    given = {name: body[name] for name in FIELDS - {"domain", "dkim_private_key"} if body.get(name) is not None}
    days = given.get("dkim_rotation_interval_days")
    if days is not None and (type(days) is not int or days < 1):
        raise Refused(400, "dkim_rotation_interval_days must be a number of days")
    for name in (*SUBDOMAINS, "dkim_selector"):
        if name not in given:
            continue
        if not isinstance(given[name], str):
            raise Refused(400, f"{name} must be a text")
        given[name] = given[name].strip().lower()
        if name == "dkim_selector" and not given[name]:
            del given[name]
        elif not LABEL.fullmatch(given[name]):
            raise Refused(400, f"{name} must be a DNS label")
    return given


def _records(store: Store, name: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    public_key = base64.b64encode(store.rng("aha").randbytes(294)).decode()
    selector = settings.get("dkim_selector", "ahasend")
    wanted = (
        ("TXT", "DKIM", f"{selector}._domainkey.{name}", f"v=DKIM1; k=rsa; p={public_key}", True),
        (
            "CNAME",
            "Return path",
            f"{settings.get('return_path_subdomain', 'psrp')}.{name}",
            "bounce.sandbox.example",
            True,
        ),
        ("TXT", "SPF", name, "v=spf1 include:spf.sandbox.example ~all", True),
        ("TXT", "DMARC", f"_dmarc.{name}", "v=DMARC1; p=none", False),
        ("CNAME", "Tracking", f"{settings.get('tracking_subdomain', 'click')}.{name}", "track.sandbox.example", False),
    )
    return [
        {
            "type": kind,
            "label": label,
            "host": host,
            "content": content,
            "required": required,
            "propagated": False,
            "in_place": False,
        }
        for kind, label, host, content, required in wanted
    ]


def _name(call: Call) -> str:
    return host_name(call.ids["domain"], "domain").lower()


def _own(call: Call) -> sqlite3.Row:
    return existing(call.db, call.organisation, _name(call))
