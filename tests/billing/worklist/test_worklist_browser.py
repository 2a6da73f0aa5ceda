"""Values of the provider that contradict each other, decided in a real browser; the simulator gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from billing.models import Anomaly, Decision, UsagePeriod
from billing.usage.decisions import decide_anomalies
from customers.connections import commands as connection_commands
from customers.models import Account
from portal.access.models import User
from portal.commands import Command
from tests.billing.conftest import Meter
from tests.billing.usage.test_pool_sandbox import Reseller
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
NOVEMBER = datetime(2026, 11, 5, 12, tzinfo=UTC)


class Desk:
    """One person's browser with the list of usage to decide."""

    def __init__(self, page: Page, live_server: Any, person: User) -> None:
        self.page, self.url = page, live_server.url
        cookies = sign_in(Client(), person).cookies
        page.context.add_cookies([{"name": n, "value": c.value, "url": self.url} for n, c in cookies.items()])

    def open(self) -> Page:
        self.page.goto(self.url + reverse("billing:worklist"))
        return self.page

    def dialog(self, row: int = 0) -> Locator:
        self.open().get_by_role("cell").get_by_role("link", name="Decide").nth(row).click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return dialog

    def decide(self, choice: str, reason: str, *, row: int = 0) -> None:
        dialog = self.dialog(row)
        dialog.get_by_role("radio", name=choice).check()
        dialog.get_by_label("Reason").fill(reason)
        dialog.locator("button.pk-primary").click()
        expect(dialog).to_be_hidden()
        expect(self.page.locator("#messages")).to_contain_text(re.compile("Decision saved|decided together"))


@pytest.fixture
def desk(page: Page, live_server: Any, transactional_db: None) -> Desk:
    return Desk(page, live_server, UserFactory(role="finance", name="Fiona Finance"))


def read_at(meter: Meter, moment: datetime) -> None:
    meter.at(moment)
    meter.read()


def adjusted(meter: Meter, *values: tuple[int, int]) -> Account:
    """An account whose counter the provider sets at noon of these days of November."""
    meter.at(NOVEMBER - timedelta(days=2))
    account = meter.account()
    for day, used in values:
        meter.at(NOVEMBER.replace(day=day))
        meter.sandbox.admin.call("POST", f"accounts/{account.provider_id}/adjustments", {"used": used})
        meter.read()
    return account


def figure(account: Account) -> tuple[str, int | None]:
    period = UsagePeriod.objects.filter(account=account).order_by("-start_on")[0]
    return ("disputed" if period.status == "disputed" else "decided"), period.used


class TestACounterThatFell:
    VALUES = ((5, 100_000), (8, 20_000), (12, 90_000), (16, 150_000))

    @pytest.mark.parametrize(("choice", "used"), [("Correction", 150_000), ("Reset", 250_000), ("New period", 150_000)])
    def test_it_is_decided(self, meter: Meter, desk: Desk, choice: str, used: int) -> None:
        account = adjusted(meter, *self.VALUES)
        assert figure(account) == ("disputed", 150_000)
        expect(desk.open().locator("#rail-to-decide")).to_contain_text("1")
        desk.decide(choice, "SendGrid support confirmed it.")
        assert figure(account) == ("decided", used)
        [decision] = Decision.objects.all()
        assert decision.reason == "SendGrid support confirmed it."

    def test_a_dropped_value_leaves_the_next_contradiction(self, meter: Meter, desk: Desk) -> None:
        account = adjusted(meter, *self.VALUES)
        dialog = desk.dialog()
        expect(dialog.get_by_text("It stays disputed")).to_be_visible()
        desk.page.keyboard.press("Escape")
        desk.decide("Wrong response", "A known outage.")
        assert figure(account) == ("disputed", 150_000)
        desk.decide("Wrong response", "The same outage.")
        assert figure(account) == ("decided", 150_000)

    def test_it_is_undone_on_the_page_of_decisions(self, meter: Meter, desk: Desk) -> None:
        account = adjusted(meter, *self.VALUES)
        desk.decide("New period", "They said so.")
        assert UsagePeriod.objects.filter(account=account, start_on__month=11).count() == 2
        desk.open().get_by_role("link", name="Decided").click()
        desk.page.get_by_role("link", name="View").first.click()
        desk.page.get_by_role("link", name="Undo decision").click()
        undo = desk.page.get_by_role("button", name="Undo decision")
        desk.page.get_by_label("Reason").fill("It was another account.")
        undo.click()
        expect(undo).to_be_hidden()
        assert UsagePeriod.objects.filter(account=account, start_on__month=11).count() == 1
        assert figure(account) == ("disputed", 150_000)

    def test_who_is_second_keeps_the_typed_reason(self, meter: Meter, desk: Desk) -> None:
        adjusted(meter, *self.VALUES)
        dialog = desk.dialog()
        dialog.get_by_role("radio", name="Reset").check()
        dialog.get_by_label("Reason").fill("My long explanation.")
        other = UserFactory(role="finance", name="Frank First")
        [anomaly] = Anomaly.objects.filter(closed_at=None)
        decide_anomalies(Command(other, reason="I called them."), anomalies=[anomaly], verdict="correction")
        dialog.get_by_role("button", name="Save decision").click()
        expect(dialog.get_by_text("Frank First was first: Correction")).to_be_visible()
        expect(dialog.get_by_text("I called them.")).to_be_visible()
        expect(dialog.get_by_text("My long explanation.")).to_be_visible()


class TestAContradiction:
    BEFORE = {"used": 40, "total": 100, "overage": 0, "remain": 60}
    CASES = {
        "500 of 100": {"used": 500, "total": 100, "overage": 0, "remain": 0},
        "10^12": {"used": 10**12, "total": 100, "overage": 10**12 - 100, "remain": 0},
        "39 days": {"used": 60, "total": 100, "overage": 0, "remain": 40, "next_reset": "2026-12-10"},
        "40 over of 50": {"used": 50, "total": 100, "overage": 40, "remain": 50},
    }

    def answered(self, meter: Meter, case: str) -> Account:
        """An account whose second answer contradicts itself."""
        meter.at(NOVEMBER)
        account = meter.account()
        for fields in (self.BEFORE, self.CASES[case]):
            override = {"operation": "credits", "fields": fields, "count": 1}
            meter.sandbox.admin.call("POST", f"accounts/{account.provider_id}/overrides", override)
            meter.read()
            meter.later(days=1)
        return account

    @pytest.mark.parametrize("case", CASES)
    def test_it_is_not_counted_until_decided(self, meter: Meter, desk: Desk, case: str) -> None:
        account = self.answered(meter, case)
        assert figure(account) == ("disputed", 40)
        desk.decide("Wrong response", "No such usage.")
        assert not Anomaly.objects.filter(closed_at=None).exists()
        assert figure(account) == ("decided", 40)

    @pytest.mark.parametrize("case", CASES)
    def test_it_counts_if_it_is_right(self, meter: Meter, desk: Desk, case: str) -> None:
        account = self.answered(meter, case)
        desk.decide("Right: count this value", "The contract says so.")
        assert figure(account) == ("decided", self.CASES[case]["used"])
        ends = {"39 days": "2026-12-09"}
        assert UsagePeriod.objects.get(account=account).end_on.isoformat() == ends.get(case, "2026-11-30")


@pytest.fixture
def reseller(transactional_db: None, sandbox: SandboxProcess) -> Reseller:
    connection = connection_commands.add_connection(
        Command(None),
        api_key=sandbox.ahasend_key,
        facts={
            "name": "AhaSend test",
            "kind": "ahasend",
            "base_url": sandbox.base_url,
            "usage_source": "pooled",
            "account_id": sandbox.ahasend_account,
        },
    )
    found = Reseller(sandbox, connection, UserFactory(role="finance"))
    found.at(NOVEMBER)
    return found


class TestAPooledReport:
    """EUR 20.00 becomes 9.90 while the emails rise; EUR becomes USD; 400,000 becomes 240,000."""

    def overridden(self, reseller: Reseller, fields: Callable[[str], dict[str, Any]]) -> list[Account]:
        accounts = [reseller.account(200_000), reseller.account(50_000)]
        reseller.tick(NOVEMBER + timedelta(days=2))
        path = f"aha/accounts/{reseller.sandbox.ahasend_account}/overrides"
        said = {"fields": fields(accounts[0].provider_id or ""), "count": 1}
        reseller.sandbox.admin.call("POST", path, said)
        reseller.tick(NOVEMBER + timedelta(days=3))
        return accounts

    CASES: dict[str, Callable[[str], dict[str, Any]]] = {
        "share": lambda key: {"sub_accounts": {key: {"allocated_cost": 9.9}}},
        "currency": lambda _key: {"currency": "eur"},
        "total": lambda _key: {"total": {"reception_count": 240_000}},
    }

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("choice", ["Right: count this value", "Wrong response"])
    def test_it_is_decided_as_a_whole(self, reseller: Reseller, desk: Desk, case: str, choice: str) -> None:
        accounts = self.overridden(reseller, self.CASES[case])
        assert figure(accounts[0])[0] == "disputed"
        before, after = UsagePeriod.objects.get(account=accounts[0]).account.usage_snapshots.order_by("as_of")
        assert after.used > before.used
        desk.decide(choice, "AhaSend support confirmed it.")
        assert not Anomaly.objects.filter(closed_at=None).exists()
        counted = before if choice == "Wrong response" else after
        period = UsagePeriod.objects.get(account=accounts[0])
        assert (period.used, period.currency, period.allocated_cost) == (
            counted.used,
            counted.currency,
            counted.allocated_cost,
        )
        page = desk.page
        page.goto(desk.url + reverse("billing:pool", args=[reseller.connection.public_id]) + "?month=2026-11")
        page.get_by_text("All usage snapshots of the period").click()
        words = "not counted" if choice == "Wrong response" else "counted by decision"
        expect(page.get_by_role("link", name=words)).to_be_visible()


def test_a_figure_that_never_comes_is_decided(meter: Meter, desk: Desk) -> None:
    account = adjusted(meter, (16, 90_000))
    meter.at(datetime(2026, 12, 2, 3, tzinfo=UTC))
    meter.read()
    UsagePeriod.objects.filter(account=account).update(ends_at=NOVEMBER)  # whatever day this runs
    assert UsagePeriod.objects.get(account=account, start_on__month=11).status == "interval"
    dialog = desk.dialog()
    dialog.get_by_role("radio", name="Enter the number").check()
    dialog.get_by_label("Emails in this billing period").fill("120000")
    dialog.get_by_label("Reason").fill("From the customer's own log.")
    dialog.get_by_role("button", name="Save decision").click()
    expect(dialog).to_be_hidden()
    expect(desk.page.get_by_text("Nothing to decide")).to_be_visible()
    period = UsagePeriod.objects.get(account=account, start_on__month=11)
    assert (period.status, period.reason, period.used) == ("final", "quantity", 120_000)
