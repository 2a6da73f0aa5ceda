"""The calendar and the questions about it, as pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Hold, Operation, Schedule
from customers.schedules import due as due_schedules
from customers.schedules import holds
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.customers.page_helpers import HTMX, hidden, prose_of, text_of
from tests.support.people import sign_in

NOW = timezone.now()
# A summer's day to come, and the Sunday in March when clocks in Oslo go from 02:00 to 03:00.
SUMMER = date(NOW.year + 1, 7, 1)
SPRING = next(date(NOW.year + 1, 3, 31 - n) for n in range(7) if date(NOW.year + 1, 3, 31 - n).weekday() == 6)
OFFERINGS = [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in (PACKAGE, ADDON)]


@pytest.fixture
def account(desk: Desk) -> Account:
    User.objects.filter(pk=desk.person.pk).update(timezone="Europe/Oslo")
    account = desk.created()
    Account.objects.filter(pk=account.pk).update(
        offerings=OFFERINGS, usage_start_on=NOW.date(), usage_end_on=NOW.date() + timedelta(days=20)
    )
    return account


@pytest.fixture
def client(desk: Desk, account: Account) -> Client:
    return sign_in(Client(), User.objects.get(pk=desk.person.pk))


def post(client: Client, name: str, row: Any, **said: str) -> Any:
    url = reverse(f"customers:{name}", args=[row.public_id])
    tokens = {}
    if name in ("schedule-new", "schedule-edit", "account-suspend"):
        page = client.get(url)
        names = [each for each in ("client_token", "hold") if f'name="{each}"' in text_of(page)]
        tokens = {each: hidden(page, each) for each in names}
    return client.post(url, tokens | said)


def rows(account: Account, person: User, count: int) -> None:
    """`count` suspends to come, an hour apart, and as many that were cancelled."""
    common = {"account": account, "kind": "suspend", "base_version": 1, "reason": "x", "created_at": NOW}
    coming = [
        Schedule(requested_by=person, due_at=NOW + timedelta(hours=n + 1), client_token=f"coming {n}", **common)
        for n in range(count)
    ]
    past = [
        Schedule(
            requested_by=person, due_at=NOW, client_token=f"past {n}", state="cancelled",
            ended_at=NOW - timedelta(hours=n), **common,
        )
        for n in range(count)
    ]  # fmt: skip
    Schedule.objects.bulk_create(coming + past, batch_size=1000)


def test_a_suspend_on_a_day_in_the_persons_zone(client: Client, account: Account) -> None:
    answer = post(
        client, "schedule-new", account, kind="suspend", when="day", on=SUMMER.isoformat(), at="09:00", reason="Due"
    )
    assert answer.status_code == 303
    schedule = Schedule.objects.get()
    assert (schedule.due_at.isoformat(), schedule.zone) == (f"{SUMMER}T07:00:00+00:00", "Europe/Oslo")
    page = prose_of(client.get(reverse("customers:coming")))
    assert f"{SUMMER:%A} 1 July {SUMMER.year}" in page
    assert "Dates and times in Europe/Oslo" in page
    assert "09:00 Northwind" in page
    assert f"1 Jul {SUMMER.year} 09:00 CEST" in prose_of(client.get(answer.headers["Location"]))


def test_what_was_typed_stays_with_what_is_wrong(client: Client, account: Account) -> None:
    answer = post(
        client, "schedule-new", account, kind="offerings", when="day", on=SPRING.isoformat(), at="02:30", reason="Why"
    )
    assert answer.status_code == 422
    page = text_of(answer)
    assert "Select the new package." in page
    assert "This time doesn't exist on that day" in page
    assert f'value="{SPRING}"' in page
    assert "> Why</textarea>" in page
    assert not Schedule.objects.exists()


def test_a_year_out_of_all_bounds_is_an_error_of_the_form(client: Client, account: Account) -> None:
    for day in ("9999-12-31", "0001-01-01"):
        said = {"kind": "suspend", "when": "day", "on": day, "at": "23:59", "reason": "Due"}
        assert "Check the year." in text_of(post(client, "schedule-new", account, **said))
        assert "Check the year." in text_of(post(client, "hold-place", account, last_on=day, reason="Due"))


def test_a_package_at_the_cycles_end_and_where_that_is_not_known(client: Client, account: Account) -> None:
    url = reverse("customers:schedule-new", args=[account.public_id])
    assert "At the end of the billing period" in text_of(client.get(url))
    post(client, "schedule-new", account, kind="offerings", package=BIGGER.name, when="cycle", reason="They grow")
    schedule = Schedule.objects.get()
    assert schedule.cycle_end_on == NOW.date() + timedelta(days=20)
    assert {row["name"] for row in schedule.payload["offerings"]} == {BIGGER.name, ADDON.name}
    assert "Change package to Pro 300K" in prose_of(client.get(reverse("customers:coming")))
    Account.objects.update(usage_end_on=None)
    unknown = text_of(client.get(url))
    assert "so select a date" in unknown
    assert 'value="cycle"' not in unknown


def test_edited_and_cancelled(client: Client, account: Account) -> None:
    post(client, "schedule-new", account, kind="suspend", when="day", on=SUMMER.isoformat(), at="09:00", reason="Due")
    schedule = Schedule.objects.get()
    said = {
        "kind": "suspend",
        "when": "day",
        "on": (SUMMER + timedelta(days=1)).isoformat(),
        "at": "10:00",
        "reason": "Later",
    }
    older = post(client, "schedule-edit", schedule, version="7", **said)
    assert older.status_code == 409
    assert "saved changes" in text_of(older)
    assert post(client, "schedule-edit", schedule, version="1", **said).status_code == 303
    schedule.refresh_from_db()
    assert (schedule.due_at.isoformat(), schedule.reason) == (f"{SUMMER + timedelta(days=1)}T08:00:00+00:00", "Later")
    assert post(client, "schedule-cancel", schedule).status_code == 303
    past = prose_of(client.get(reverse("customers:coming"), {"view": "past"}))
    assert "Canceled By Customer success." in past
    verbs = AuditEvent.objects.filter(verb__startswith="schedule.").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["schedule.asked", "schedule.edited", "schedule.cancelled"]


def test_a_hold_shows_everywhere_and_can_be_overridden(client: Client, account: Account) -> None:
    day = (NOW + timedelta(days=4)).date()
    assert post(client, "hold-place", account, last_on=day.isoformat(), reason="Pays on Friday").status_code == 303
    page = text_of(client.get(reverse("customers:account", args=[account.public_id])))
    assert "Do not suspend (marked by Customer success)" in page
    assert "Pays on Friday" in page
    assert ">Do not suspend</span>" in text_of(client.get(reverse("customers:list")))
    assert "“Do not suspend” ends" in prose_of(client.get(reverse("customers:coming"), {"kind": "hold"}))
    question = client.get(reverse("customers:account-suspend", args=[account.public_id]), **HTMX)
    assert "Do not suspend (marked by Customer success)" in text_of(question)
    refused = post(client, "account-suspend", account, reason="Abuse")
    assert refused.status_code == 422
    assert "Confirm that you want to suspend it anyway" in text_of(refused)
    assert post(client, "account-suspend", account, reason="Abuse", despite_hold="on").status_code == 303
    hold = Hold.objects.get()
    assert Operation.objects.get(kind="suspend").payload["despite_hold"] == str(hold.public_id)
    assert AuditEvent.objects.get(verb="account.suspend_asked").after["despite_hold"] == str(hold.public_id)
    assert post(client, "hold-release", hold).status_code == 422
    assert post(client, "hold-release", hold, reason="Paid").status_code == 303
    assert ">Held</span>" not in text_of(client.get(reverse("customers:list")))
    assert "Removed by Customer success" in prose_of(client.get(reverse("customers:coming"), {"view": "past"}))


def test_the_tick_counts_for_the_hold_that_was_shown(client: Client, desk: Desk, account: Account) -> None:
    """Between the question and its answer a colleague released the hold, and placed another one."""
    asked = Command(desk.person, NOW, reason="Pays on Friday")
    shown = holds.place_hold(asked, account=account, until=None)
    url = reverse("customers:account-suspend", args=[account.public_id])
    page = client.get(url)
    said = {name: hidden(page, name) for name in ("client_token", "hold")}
    said |= {"reason": "Abuse", "despite_hold": "on"}
    holds.release(asked, hold=shown)
    other = holds.place_hold(replace(asked, reason="A court order"), account=account, until=None)
    refused = client.post(url, said)
    assert refused.status_code == 422
    assert "“Do not suspend” changed since you confirmed. Review it, then confirm again." in prose_of(refused)
    assert "A court order" in prose_of(refused)
    assert "Abuse" in text_of(refused)
    assert not Operation.objects.filter(kind="suspend").exists()
    assert "despite_hold" not in refused.context["form"].data
    assert client.post(url, said | {"hold": hidden(refused, "hold")}).status_code == 303
    assert Operation.objects.get(kind="suspend").payload["despite_hold"] == str(other.public_id)


def test_a_skipped_one_comes_home_to_who_asked(client: Client, desk: Desk, account: Account) -> None:
    post(client, "schedule-new", account, kind="suspend", when="day", on=SUMMER.isoformat(), at="09:00", reason="Due")
    holds.place_hold(Command(desk.person, NOW, reason="Pays on Friday"), account=account, until=None)
    schedule = Schedule.objects.get()
    due_schedules.run_schedule(schedule.pk, now=schedule.due_at)
    Schedule.objects.update(ended_at=NOW)
    home = prose_of(client.get(reverse("home")))
    assert "Your skipped scheduled changes" in home
    assert "Marked “Do not suspend” by Customer success: Pays on Friday" in home
    assert "Skipped Marked “Do not suspend” by" in prose_of(client.get(reverse("customers:coming"), {"view": "past"}))
    other = User.objects.create_user(email="other@postkeeper.example", name="Other", role="admin")
    assert "skipped scheduled changes" not in prose_of(sign_in(Client(), other).get(reverse("home")))


@pytest.mark.long
def test_the_calendar_is_paged_and_its_queries_do_not_grow(client: Client, desk: Desk, account: Account) -> None:
    def queries(**asked: str) -> int:
        with CaptureQueriesContext(database) as seen:
            assert client.get(reverse("customers:coming"), asked).status_code == 200
        return len(seen)

    rows(account, desk.person, 3)
    queries()  # the session and whatever else is read once
    few = {view: queries(view=view) for view in ("", "past")}
    Schedule.objects.all().delete()
    rows(account, desk.person, 5_000)
    assert {view: queries(view=view) for view in ("", "past")} == few
    assert queries(page="100") == few[""]
    last = prose_of(client.get(reverse("customers:coming"), {"page": "100"}))
    assert "4,951" in last


def test_filters_and_an_empty_calendar(client: Client, desk: Desk, account: Account) -> None:
    assert "No scheduled changes" in text_of(client.get(reverse("customers:coming")))
    rows(account, desk.person, 1)
    for asked, seen in (
        ({"kind": "suspend"}, True),
        ({"kind": "hold"}, False),
        ({"connection": str(desk.connection.public_id), "person": str(desk.person.public_id)}, True),
        ({"person": str(account.public_id)}, False),
        ({"q": "NORTH", "kind": "suspend"}, True),
        ({"q": "nobody"}, False),
    ):
        page = text_of(client.get(reverse("customers:coming"), asked, **HTMX))
        assert ("No results" not in page) is seen, asked
        assert "<html" not in page
