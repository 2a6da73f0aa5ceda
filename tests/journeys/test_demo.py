"""The demo against the truth: what the provider has and what the portal says differ only where it was planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.processes import Installation, installation

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("demo")]

PLANTED = "Larkspur Events"  # its create was answered with 504, and somebody made the same account by hand
STRANGER = "Internal tests"  # made in the provider's own console
SCAN = """
import json
from dataclasses import asdict
from customers.connections.client import client_for
from customers.models import Account, Connection, Customer, Operation
from customers.models.account import as_rows
from portal.audit.models import AuditEvent
there, here = {}, {}
for connection in Connection.objects.all():
    provider = client_for(connection)
    with_settings = connection.capabilities.settings
    rows = {row.provider_id: row for row in Account.objects.filter(connection=connection, provider_id__isnull=False)}
    there[connection.name] = {}
    for remote in provider.list_accounts():
        ref = rows[remote.id].ref if remote.id in rows else None
        if with_settings:
            holds, name = asdict(provider.details(ref).settings) if ref else {}, remote.settings.name
        else:
            holds, name = as_rows(provider.offerings(ref)) if ref else [], remote.email
        there[connection.name][remote.id] = [name, provider.state(ref).state if ref else "", holds]
    here[connection.name] = {
        row.provider_id: [row.settings["name"], row.state, row.settings] if with_settings
        else [row.email, row.state, row.offerings]
        for row in rows.values() if row.state != "deleted"
    }
states = {}
for state in Account.objects.values_list("state", flat=True):
    states[state] = states.get(state, 0) + 1
open_ones = {row.account.customer.company_name: row.state for row in Operation.objects.open()}
print(json.dumps({
    "there": there, "here": here, "states": states, "open": open_ones, "customers": Customer.objects.count(),
    "events": AuditEvent.objects.count(), "first": AuditEvent.objects.order_by("at").first().at.isoformat(),
    "in_order": list(AuditEvent.objects.order_by("id").values_list("at", flat=True))
    == sorted(AuditEvent.objects.values_list("at", flat=True)),
}))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("demo") / "data", PORTAL_DEMO="1", LOG_LEVEL="ERROR") as one:
        one.manage("prepare_demo")
        yield one


def _scan(demo: Installation) -> dict[str, Any]:
    return dict(json.loads(demo.python(SCAN).splitlines()[-1]))


def test_provider_and_portal_differ_only_where_it_was_planted(demo: Installation) -> None:
    found = _scan(demo)
    unknown = [
        (name, row[0])
        for name, accounts in found["there"].items()
        for number, row in accounts.items()
        if number not in found["here"][name]
    ]
    planted = ("SendGrid global", "it@larkspurevents.example")
    assert sorted(unknown) == [("AhaSend", STRANGER), planted, planted]
    for name, accounts in found["here"].items():
        assert accounts == {number: row for number, row in found["there"][name].items() if number in accounts}


def test_every_state_is_there_for_people_to_see(demo: Installation) -> None:
    found = _scan(demo)
    wanted = {"pending", "active", "stopped_by_us", "stopped_by_provider", "banned", "indeterminate", "deleted"}
    assert set(found["states"]) == wanted
    assert found["open"] == {PLANTED: "needs_attention", "Atlas Field Service": "needs_attention"}
    assert 65 <= found["customers"] <= 80
    assert found["in_order"]


CODES = """
from portal.audit.models import AuditEvent
from tests.audit.raw_codes import raw_codes
found = {text for event in AuditEvent.objects.all() for text in raw_codes(event)}
print(json.dumps(sorted(found)))
"""


def test_no_audit_event_shows_a_code(demo: Installation) -> None:
    assert json.loads(demo.python(f"import json{CODES}").splitlines()[-1]) == []


def test_the_clock_is_real_and_a_second_start_changes_nothing(demo: Installation) -> None:
    before = _scan(demo)
    demo.manage("prepare_demo")
    after = _scan(demo)
    assert after == before
    clock = demo.sandbox.admin.call("GET", "clock")
    assert not clock["frozen"]
    switches = demo.sandbox.admin.call("GET", "switches")["switches"]
    assert (switches["rate_per_minute"], switches["aha_default_sending"]) == (600, None)


def test_outside_the_demo_it_refuses(tmp_path: Path, demo: Installation) -> None:
    with pytest.raises(AssertionError, match="requires PORTAL_DEMO=1"):
        demo.manage("seed_demo", PORTAL_DEMO="0")
