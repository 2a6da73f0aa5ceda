"""The audit page, its filters and its export."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal import audit
from portal.access.models import User
from portal.audit import verbs
from portal.audit.differences import differences
from portal.audit.models import AuditEvent
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor() -> User:
    return UserFactory(role="auditor", name="Au Ditor", timezone="Europe/Oslo")


@pytest.fixture
def page(auditor: User) -> Client:
    return sign_in(Client(), auditor)


def _seen(page: Client, query: str = "") -> list[str]:
    return [entry.event.verb for entry in page.get(f"/audit/?{query}").context["entries"]]


def test_each_filter_narrows_the_list(page: Client, auditor: User) -> None:
    nadia, customer = UserFactory(name="Nadia Berg"), CustomerFactory(company_name="Larkfield Outdoor")
    audit.record(actor=nadia, verb="customer.edited", obj=customer, customer=customer)
    audit.record(actor=None, verb="operation.failed", obj=customer, customer=customer)
    audit.record(actor=auditor, verb="staff.signed_in", obj=auditor)
    assert _seen(page) == ["staff.signed_in", "operation.failed", "customer.edited"]
    assert _seen(page, f"person={nadia.public_id}") == ["customer.edited"]
    assert _seen(page, "person=portal") == ["operation.failed"]
    assert _seen(page, "verb=staff.signed_in") == ["staff.signed_in"]
    assert _seen(page, "customer=larkfield") == ["operation.failed", "customer.edited"]
    assert _seen(page, f"customer={customer.public_id}&verb=customer.edited") == ["customer.edited"]
    assert _seen(page, "page=zz") == _seen(page)
    for query in ("person=nonsense", "from=never", "to=2026-99-99", "account=1"):
        assert _seen(page, query) == []


def test_days_are_the_persons_own(page: Client) -> None:
    AuditEvent.objects.create(verb="a.b", at=datetime(2026, 11, 18, 23, 30, tzinfo=UTC))  # the 19th in Oslo
    assert _seen(page, "from=2026-11-19&to=2026-11-19") == ["a.b"]
    assert _seen(page, "to=2026-11-18") == []


def test_differences_are_readable_and_only_what_differs(page: Client, auditor: User) -> None:
    offering = {"name": "postkeeper.ei.pro-100k.v1", "type": "package", "quantity": 1}
    event = audit.record(
        actor=auditor, verb="account.offerings_asked", obj=None,
        before={"role": "auditor", "same": 1, "offerings": [offering], "on": True},
        after={"role": "x", "same": 1, "offerings": [], "on": False, "api_key": "k-secret"},
    )  # fmt: skip
    found = {each.label: (each.before, each.after) for each in differences(event)}
    assert found == {
        "Role": ("Auditor", "x"),
        "Offerings": ("Pro 100K", "none"),
        "Day": ("yes", "no"),
        "Api key": ("", "[hidden]"),
    }
    text = " ".join(page.get("/audit/").content.decode().split())
    assert "<del>Pro 100K</del> </td> <td> none </td>" in text
    assert "k-secret" not in text


def test_codes_are_shown_in_words(page: Client, auditor: User) -> None:
    settings_ = {"name": "Larkfield"}
    event = audit.record(
        actor=auditor, verb="account.settings_asked", obj=None,
        before={
            "monthly_cap": 250, "state": "stopped_by_us", "what": "addon_add",
            "settings": settings_,
        },
        after={
            "monthly_cap": 0, "state": "needs_attention", "what": "key_create", "settings": settings_,
            "kind": "ahasend", "usage_source": "overview_json", "v2_auth": "header", "field": "existence",
        },
    )  # fmt: skip
    assert {each.label: (each.before, each.after) for each in differences(event)} == {
        "Monthly cap": ("250 emails/month", "No cap"),
        "State": ("Suspended", "Needs review"),
        "Action": ("Add add-on", "Create API key"),
        "Provider": ("", "AhaSend"),
        "Usage source": ("", "v2 overview (JSON)"),
        "v2 API authentication": ("", "API key in header"),
        "Drift": ("", "Existence"),
    }
    assert "No cap" in page.get("/audit/").content.decode()


def test_the_address_of_an_actor_is_headed_as_one(page: Client, auditor: User) -> None:
    AuditEvent.objects.create(verb="staff.signed_in", actor=auditor, ip="192.0.2.7")
    text = page.get("/audit/").content.decode()
    assert "<dt>IP address</dt>" in text


def test_events_are_lines_grouped_by_day_of_the_reader(page: Client, time_machine: Any) -> None:
    time_machine.move_to(datetime(2026, 11, 20, 9, tzinfo=UTC), tick=False)
    for day, hour in ((18, 7), (19, 12), (19, 23), (20, 8)):  # 23:00 is the next day in Oslo
        AuditEvent.objects.create(verb="note.added", at=datetime(2026, 11, day, hour, tzinfo=UTC), reason="Why.")
    text = " ".join(page.get("/audit/").content.decode().split())
    days = re.findall(r'class="pk-log-day" id="day-([\d-]+)"> (.*?)<time', text)
    assert days == [("2026-11-20", "Today · "), ("2026-11-19", "Yesterday · "), ("2026-11-18", "")]
    assert text.count("pk-log-event") == 4
    assert "Times in Europe/Oslo" in text
    assert ">00:00</time>" in text


def test_people_and_the_portal_are_apart(page: Client, auditor: User) -> None:
    audit.record(actor=auditor, verb="customer.edited", obj=None)
    audit.record(actor=None, verb="operation.failed", obj=None)
    audit.record(actor=None, verb="staff.sign_in_failed", obj=None)
    assert _seen(page, "by=people") == ["staff.sign_in_failed", "customer.edited"]
    assert _seen(page, "by=portal") == ["operation.failed"]
    assert _seen(page, "person=portal") == ["operation.failed"]
    assert _seen(page, "by=robots") == []


@pytest.mark.parametrize(("period", "count"), [("today", 1), ("7d", 2), ("30d", 3), ("month", 3), ("", 4)])
def test_periods_end_today(page: Client, time_machine: Any, period: str, count: int) -> None:
    time_machine.move_to(datetime(2026, 11, 20, 9, tzinfo=UTC), tick=False)
    for day in (datetime(2026, 11, 19, 23, 30, tzinfo=UTC), datetime(2026, 11, 14, tzinfo=UTC),
                datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 10, 21, tzinfo=UTC)):  # fmt: skip
        AuditEvent.objects.create(verb="note.added", at=day)
    assert len(_seen(page, f"period={period}")) == count


def test_a_range_that_ends_before_it_begins_is_refused(page: Client) -> None:
    answer = page.get("/audit/?from=2026-11-20&to=2026-11-18")
    assert answer.status_code == 400
    assert "“To” is before “From”." in answer.content.decode()


def test_an_unknown_event_is_refused(page: Client) -> None:
    answer = page.get("/audit/?verb=account.exploded")
    assert answer.status_code == 400
    assert "Event: unknown value “account.exploded”" in answer.content.decode()


def test_an_event_leads_to_its_object_and_customer(page: Client) -> None:
    customer = CustomerFactory(company_name="Larkfield Outdoor")
    audit.record(actor=None, verb="customer.edited", obj=customer, after={"phone": "1"})
    text = page.get("/audit/").content.decode()
    assert f'<a href="/customers/{customer.public_id}/">Larkfield Outdoor</a>' in text


def test_many_differences_of_one_event_are_cut(page: Client) -> None:
    audit.record(actor=None, verb="price_list.prices_imported", obj=None, after={f"name {n}": n for n in range(60)})
    text = page.get("/audit/").content.decode()
    assert "20 more changes. Export the log to see them." in " ".join(text.split())
    assert "Name 39" in text
    assert "Name 40<" not in text


def test_an_empty_log_and_an_empty_result_say_what_to_do(page: Client) -> None:
    assert "No matching events" in page.get("/audit/?verb=role.created").content.decode()
    assert not AuditEvent.objects.exists()
    assert "No events yet" in page.get("/audit/").content.decode()


def test_what_people_typed_is_escaped(page: Client) -> None:
    evil = "<script>alert(1)</script>"
    audit.record(actor=None, verb=evil[:50], obj=None, before={evil: evil}, reason=evil)
    text = page.get(f"/audit/?customer={evil}").content.decode() + page.get("/audit/").content.decode()
    assert evil not in text
    assert "&lt;script&gt;" in text


def test_a_page_costs_the_same_for_few_and_many_events(page: Client) -> None:
    counts = []
    page.get("/audit/")
    for many in (2, 60):
        for n in range(many):
            audit.record(actor=None, verb="note.added", obj=None, reason=str(n))
        with CaptureQueriesContext(connection) as queries:
            page.get("/audit/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_export_follows_the_filters_and_escapes_formulas(page: Client, auditor: User) -> None:
    audit.record(actor=auditor, verb="note.added", obj=None, reason="=HYPERLINK(1)", after={"text": "x"})
    audit.record(actor=None, verb="operation.failed", obj=None)
    response = page.get("/audit/export/?verb=note.added")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    raw = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(raw)))
    assert [(row["actor"], row["verb"], row["after"], row["reason"]) for row in rows] == [
        ("Au Ditor", "note.added", "Note: x", "'=HYPERLINK(1)")
    ]


def test_the_title_of_a_verb_names_the_event_and_its_actor() -> None:
    assert verbs.title_of("operation.succeeded") == "Operation succeeded"
    assert verbs.title_with_actor("operation.succeeded", "") == "Operation succeeded"
    assert verbs.title_with_actor("account.suspend_asked", "Ada") == "Account suspension requested by Ada"
    assert verbs.title_of("invoice.closed_again") == "Invoice: closed again"
    assert verbs.icon_of("invoice.closed_again") == "point"


def test_every_verb_in_the_code_has_its_words() -> None:
    literal = re.compile(r'verb="([a-z_]+\.[a-z_]+)"')
    rooms = [settings.BASE_DIR / room for room in ("portal", "customers", "billing")]
    used = {verb for room in rooms for file in room.rglob("*.py") for verb in literal.findall(file.read_text())}
    assert used - set(verbs.VERBS) == set()
    assert len(used) > 15


def test_every_icon_of_a_verb_exists() -> None:
    sprite = (settings.BASE_DIR / "static/img/icons.svg").read_text()
    assert [verb for verb, look in verbs.VERBS.items() if f'id="{look.icon}"' not in sprite] == []


def test_fragments_are_parts_of_the_page(page: Client) -> None:
    text = page.get("/audit/", HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in text
    assert "pk-chips" in text
