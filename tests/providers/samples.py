"""One good body per operation, in our own words, with the reader that takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from portal.providers import AccountRef, UsageSource
from portal.providers.sendgrid.client import SendGrid

from .support import ACCOUNT_ID, PACKAGE, create

ACCOUNT = AccountRef(ACCOUNT_ID, "ops@northwind.test")

ACCOUNTS = {
    "accounts": [
        {
            "id": ACCOUNT_ID,
            "email": "ops@northwind.test",
            "created_at": "2026-03-02T08:15:00Z",
            "updated_at": "2026-05-11T17:40:12Z",
        }
    ],
    "pages": {"last": ACCOUNT_ID},
}
CREATED = {"account_id": ACCOUNT_ID}
OFFERINGS = {
    "offerings": [
        {"name": "acme.ei.pro-100k.v1", "type": "package", "quantity": 1},
        {"name": "acme.x.ip.v2", "type": "addon", "quantity": 2},
    ]
}
STATE = {"state": "activated"}
CATALOG = {
    "catalog": [
        {
            "offering": {"name": "acme.ei.free-100.v1", "type": "package", "quantity": 1},
            "entitlements": {
                "email_sends_max_monthly": 3000,
                "ip_count": 0,
                "teammates_max_total": 1,
                "users_max_total": 0,
            },
        },
        {"offering": {"name": "acme.x.ip.v2", "type": "addon"}, "entitlements": {"ip_count": 1}},
    ]
}
CREDITS = {
    "remain": 41200,
    "total": 100000,
    "overage": 7,
    "used": 58800,
    "last_reset": "2026-06-01",
    "next_reset": "2026-07-01",
    "reset_frequency": "monthly",
}
STATISTICS = [
    {
        "date": f"2026-06-0{day}",
        "stats": [{"metrics": {"blocks": 3, "delivered": count - 50, "processed": count - 2, "requests": count}}],
    }
    for day, count in ((1, 5880), (2, 0), (4, 410))
]
OVERVIEW = {
    "reputation": "97",
    "requests": "402118",
    "package": "Gold Package",
    "credits_allowed": "100000",
    "credits_used": "131250",
    "credits_remain": 9,
    "credits_overage": "31250",
    "billing_start_date": "2026-06-03",
    "billing_end_date": "2026-07-02",
    "billing_process_date": "2026-07-03",
}


def xml(overview: dict[str, Any] = OVERVIEW) -> bytes:
    fields = "".join(f"      <{name}>{value}</{name}>\n" for name, value in overview.items())
    document = f"<result>\n   <overview>\n{fields}   </overview>\n</result>\n"
    return f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{document}'.encode("latin-1")


@dataclass(frozen=True)
class Sample:
    body: bytes
    ask: Callable[[SendGrid], Any]
    status: int = 200


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


SAMPLES: dict[str, Sample] = {
    "list": Sample(_json(ACCOUNTS), lambda p: list(p.list_accounts(patience=0))),
    "create": Sample(_json(CREATED), create, 201),
    "offerings": Sample(_json(OFFERINGS), lambda p: p.offerings(ACCOUNT)),
    "replace": Sample(_json(OFFERINGS), lambda p: p.replace_offerings(ACCOUNT, PACKAGE)),
    "state": Sample(_json(STATE), lambda p: p.state(ACCOUNT)),
    "catalogue": Sample(_json(CATALOG), lambda p: p.catalog()),
    "credits": Sample(_json(CREDITS), lambda p: p.usage(ACCOUNT, UsageSource.CREDITS)),
    "statistics": Sample(_json(STATISTICS), lambda p: p.statistics(ACCOUNT, date(2026, 6, 1), date(2026, 6, 30))),
    "overview_json": Sample(_json(OVERVIEW), lambda p: p.usage(ACCOUNT, UsageSource.OVERVIEW_JSON)),
    "overview_xml": Sample(xml(), lambda p: p.usage(ACCOUNT, UsageSource.OVERVIEW_XML)),
    "identity": Sample(
        _json({"email": "ops@northwind.test", "username": "ops", "user_id": 4711203, "company": "Northwind"}),
        lambda p: p.identity(ACCOUNT),
    ),
    "refusal": Sample(
        _json({"errors": [{"message": "Field must be a valid email", "field": "email", "error_id": "10-40002"}]}),
        create,
        400,
    ),
}
