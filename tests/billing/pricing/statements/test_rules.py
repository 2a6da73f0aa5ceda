"""The rules of rating, each once through the database: from spans, figures and contracts to lines."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.models import ConnectionBilling, Statement
from billing.pricing.statements.drafts import draft_of, rate_month
from customers.models import Account, Customer
from portal import audit
from tests.billing.pricing.statements.agreed import (
    BASE,
    FIRST,
    LAST,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    moment,
    offerings,
    price_list,
    publish,
    reading,
    span,
    state,
)
from tests.support.factories import PACKAGE, SMALLER, ConnectionFactory, CustomerFactory

pytestmark = pytest.mark.django_db
IP = "postkeeper.x.ip.v2"
SMALL = [
    {"offering": SMALLER, "component": "base", "amount": "19.95"},
    {**OVERAGE, "offering": SMALLER, "included": 40_000},
]


def drafts(customer: Customer, month: date = NOVEMBER) -> list[Statement]:
    return draft_of(customer, month, now=NOW)


def lines(customer: Customer, month: date = NOVEMBER) -> list[tuple[Any, ...]]:
    return [
        (line.kind, line.start_on.day, line.end_on.day, line.quantity, line.amount_minor)
        for draft in drafts(customer, month)
        for line in draft.lines.order_by("n")
    ]


def findings(customer: Customer) -> list[str]:
    return sorted(found.kind for draft in drafts(customer) for found in draft.findings.all())


class TestMonths:
    def test_a_period_belongs_to_the_month_of_its_last_day(self) -> None:
        one = account()
        contract(one.customer, price_list())
        figure(one, 5, start=date(2026, 10, 15), end=date(2026, 11, 14))
        assert lines(one.customer) == [("base", 15, 14, 1, 8995)]
        assert [line[:3] for line in lines(one.customer, date(2026, 10, 1))] == [("base", 15, 14)]

    def test_periods_before_billing_starts_are_left_out(self) -> None:
        customer, one = customer_with()
        ConnectionBilling.objects.create(connection=one.connection, starts_on=date(2026, 12, 1))
        assert lines(customer) == []
        ConnectionBilling.objects.update(starts_on=LAST, edits=1)
        assert lines(customer) == [("base", 1, 30, 1, 8995)]


class TestDays:
    def test_a_change_of_package_splits_the_base(self) -> None:
        one = account(package=SMALLER)
        contract(one.customer, price_list(BASE, OVERAGE, *SMALL))
        offerings(one, date(2026, 11, 16), (PACKAGE, 1))
        figure(one, 99_000)
        assert lines(one.customer) == [("base", 1, 15, 1, 998), ("base", 16, 30, 1, 4498)]

    def test_days_are_those_of_the_billing_zone(self) -> None:
        one = account(package=SMALLER)
        contract(one.customer, price_list(BASE, OVERAGE, *SMALL))
        ConnectionBilling.objects.create(connection=one.connection, zone="Asia/Tokyo")
        offerings(one, date(2026, 11, 15), (PACKAGE, 1), seen=datetime(2026, 11, 15, 16, tzinfo=UTC))
        figure(one, 0)
        assert [line[1:3] for line in lines(one.customer)] == [(1, 15), (16, 30)]

    def test_the_last_change_of_a_day_decides(self) -> None:
        one = account()
        contract(one.customer, price_list(BASE, OVERAGE, *SMALL))
        offerings(one, FIRST, (SMALLER, 1), seen=moment(date(2026, 11, 10), 8))
        offerings(one, FIRST, (PACKAGE, 1), seen=moment(date(2026, 11, 10), 9))
        figure(one, 0)
        assert lines(one.customer) == [("base", 1, 30, 1, 8995)]

    def test_a_change_between_two_days_is_uncertain(self) -> None:
        one = account(package=SMALLER)
        contract(one.customer, price_list(BASE, OVERAGE, *SMALL))
        seen, before = moment(date(2026, 11, 16)), moment(date(2026, 11, 14))
        offerings(one, FIRST, (PACKAGE, 1), seen=seen, from_at=before, source="reading")
        figure(one, 0)
        assert [line[1:3] for line in lines(one.customer)] == [(1, 15), (16, 30)]
        assert "uncertain_day" in findings(one.customer)

    def test_suspended_days_are_left_out_where_agreed(self) -> None:
        customer, one = customer_with({**BASE, "bill_when_suspended": False}, OVERAGE)
        state(one, date(2026, 11, 11), "stopped_by_us")
        state(one, date(2026, 11, 21), "active")
        assert lines(customer) == [("base", 1, 10, 1, 2998), ("base", 21, 30, 1, 2998)]

    def test_a_created_account_is_billed_from_its_day(self) -> None:
        one = account(spans=False)
        span(one, "state", "active", date(2026, 11, 21))
        offerings(one, date(2026, 11, 21), (PACKAGE, 1))
        contract(one.customer, price_list({**BASE, "on_start": "prorated"}, OVERAGE))
        figure(one, 0)
        assert lines(one.customer) == [("base", 21, 30, 1, 2998)]

    def test_a_deleted_account_is_billed_through_its_day(self) -> None:
        customer, one = customer_with({**BASE, "on_close": "prorated"}, OVERAGE)
        state(one, date(2026, 11, 15), "deleted")
        assert lines(customer) == [("base", 1, 15, 1, 4498)]


class TestUsageAtChanges:
    def changed(self, **terms: Any) -> tuple[Account, Any]:
        one = account(package=SMALLER)
        incurred = {"when_changed": "incurred"}
        contract(one.customer, price_list(BASE, OVERAGE | incurred, SMALL[0], SMALL[1] | incurred))
        return one, figure(one, 130_000)

    def test_the_reading_of_the_change_counts_exactly(self) -> None:
        one, period = self.changed()
        reading(one, period, moment(date(2026, 11, 16), 11), 60_000)
        at = moment(date(2026, 11, 16))
        reading(one, period, at.replace(hour=11, minute=59), 60_500)
        offerings(one, date(2026, 11, 16), (PACKAGE, 1), seen=at)
        overage = [line for line in lines(one.customer) if line[0] == "overage"]
        assert overage == [("overage", 1, 15, 20_500, 1743), ("overage", 16, 30, 30_000, 2550)]
        assert drafts(one.customer)[0].is_exact

    def test_without_one_both_ends_are_rated(self) -> None:
        one, period = self.changed()
        reading(one, period, moment(date(2026, 11, 14)), 50_000)
        offerings(one, date(2026, 11, 16), (PACKAGE, 1), source="reading")
        reading(one, period, moment(date(2026, 11, 17)), 70_000)
        (draft,) = drafts(one.customer)
        first = draft.lines.filter(kind="overage").earliest("n")
        assert (first.quantity, first.quantity_high) == (10_000, 30_000)
        assert (draft.is_exact, draft.total_high_minor is not None) == (False, True)


class TestComponents:
    def test_addons_and_dedicated_ips(self) -> None:
        price = {"offering": IP, "component": "dedicated_ip", "amount": "30", "prorated": True, "included": 1}
        one = account(spans=False)
        state(one, date(2024, 5, 1), "active", source="stored")
        offerings(one, date(2024, 5, 1), (PACKAGE, 1), (IP, 1), source="stored")
        offerings(one, date(2026, 11, 16), (PACKAGE, 1), (IP, 3))
        contract(one.customer, price_list(BASE, OVERAGE, price))
        figure(one, 0)
        assert lines(one.customer)[1:] == [("dedicated_ip", 16, 30, 2, 3000)]

    def test_one_time_fees_count_rises(self) -> None:
        price = {"offering": IP, "component": "one_time", "amount": "15"}
        customer, one = customer_with(BASE, OVERAGE, price)
        offerings(one, date(2026, 11, 16), (PACKAGE, 1), (IP, 2))
        assert lines(customer)[-1] == ("one_time", 1, 30, 2, 3000)

    def test_an_offering_without_a_price_is_a_finding(self) -> None:
        customer, one = customer_with()
        offerings(one, date(2026, 11, 16), (PACKAGE, 1), (IP, 2))
        assert findings(customer) == ["unpriced"]
        assert not drafts(customer)[0].is_exact


class TestContracts:
    def test_discount_and_minimum_commit(self) -> None:
        discount = {"valid_from": "2026-01-01", "percent": "10", "kinds": ["base"]}
        customer, _one = customer_with(discounts=[discount], commit={"amount": "100"})
        assert lines(customer) == [("base", 1, 30, 1, 8095), ("commit", 1, 30, 1, 1905)]

    def test_an_override_replaces_its_fields(self) -> None:
        override = {"valid_from": "2026-01-01", "offering": PACKAGE, "component": "overage", "included": 120_000}
        customer, _one = customer_with(used=130_000, overrides=[override])
        assert lines(customer)[1] == ("overage", 1, 30, 10_000, 850)
        assert drafts(customer)[0].lines.get(kind="overage").because["overrides"][0]["included"] == 120_000

    def test_the_version_of_the_first_day_counts(self) -> None:
        customer, _one = customer_with()
        prices = customer.contracts.get().price_lists.get().price_list
        publish(prices, {**BASE, "amount": "120"}, OVERAGE, since=date(2026, 11, 2))
        assert lines(customer) == [("base", 1, 30, 1, 8995)]
        publish(prices, {**BASE, "amount": "100"}, OVERAGE, since=FIRST)
        publish(prices, {**BASE, "amount": "99"}, OVERAGE, since=FIRST)
        assert lines(customer) == [("base", 1, 30, 1, 9900)]

    def test_a_later_contract_replaces_the_one_before(self) -> None:
        customer, _one = customer_with()
        contract(customer, price_list({**BASE, "amount": "50"}, OVERAGE, name="Other"), since=FIRST)
        assert lines(customer) == [("base", 1, 30, 1, 5000)]

    def test_without_a_contract_there_is_a_finding(self) -> None:
        one = account()
        figure(one, 7)
        (draft,) = drafts(one.customer)
        assert (draft.currency, draft.total_minor, draft.is_exact) == ("", 0, False)
        assert findings(one.customer) == ["no_contract"]

    def test_a_contract_that_ended_bills_nothing(self) -> None:
        one = account()
        contract(one.customer, price_list(), until=date(2026, 10, 31))
        figure(one, 7)
        assert findings(one.customer) == ["no_contract"]

    def test_two_currencies_are_two_statements(self) -> None:
        customer, _one = customer_with()
        other = account(customer)
        figure(other, 0, start=date(2026, 10, 20), end=date(2026, 11, 19))
        contract(customer, price_list(BASE, OVERAGE, name="Dollars", currency="USD"), since=FIRST)
        assert [(each.currency, each.total_minor) for each in drafts(customer)] == [("EUR", 8995), ("USD", 8995)]


class TestFigures:
    def test_an_interval_is_rated_at_both_ends(self) -> None:
        customer, one = customer_with(used=0)
        one.usage_periods.update(status="interval", used=90_000, high=110_000)
        (draft,) = drafts(customer)
        assert (draft.total_minor, draft.total_high_minor, draft.is_exact) == (8995, 8995 + 850, False)

    def test_an_interval_within_the_package_is_exact(self) -> None:
        customer, one = customer_with(used=0)
        one.usage_periods.update(status="interval", used=90_000, high=100_000)
        (draft,) = drafts(customer)
        assert (draft.total_minor, draft.total_high_minor, draft.is_exact) == (8995, None, True)

    def test_an_interval_without_a_most_is_open_ended(self) -> None:
        customer, one = customer_with(used=0)
        one.usage_periods.update(status="interval", used=90_000, high=None)
        (draft,) = drafts(customer)
        assert (draft.open_ended, draft.is_exact) == (True, False)
        assert "open_ended" in findings(customer)

    def test_a_missing_figure_bills_the_base(self) -> None:
        customer, _one = customer_with(used=None)
        assert lines(customer) == [("base", 1, 30, 1, 8995)]
        assert findings(customer) == ["missing"]

    def test_an_account_never_read_owes_its_base(self) -> None:
        one = account()
        contract(one.customer, price_list())
        assert lines(one.customer) == [("base", 1, 30, 1, 8995)]
        assert findings(one.customer) == ["missing", "never_read"]

    def test_its_period_follows_from_the_one_before(self) -> None:
        one = account()
        contract(one.customer, price_list())
        figure(one, 1, start=date(2026, 9, 15), end=date(2026, 10, 14))
        assert [line[1:3] for line in lines(one.customer)] == [(15, 14)]

    def test_none_that_overlaps_a_known_period(self) -> None:
        one = account()
        contract(one.customer, price_list())
        figure(one, 1, start=date(2026, 10, 1), end=date(2026, 10, 31))
        figure(one, 1, start=date(2026, 11, 15), end=date(2026, 12, 14))
        assert lines(one.customer) == []

    def test_another_quota_is_a_finding(self) -> None:
        customer, one = customer_with()
        one.usage_periods.update(allowed=90_000)
        assert findings(customer) == ["allowed_differs"]
        assert drafts(customer)[0].is_exact


class TestOwnership:
    def moved(self, on: date) -> tuple[Customer, Customer]:
        before, one = customer_with()
        after = CustomerFactory(may_be_bare=False)
        contract(after, before.contracts.get().price_lists.get().price_list)
        audit.record(actor=None, verb="account.adopted", obj=one, customer=before)
        Account.objects.filter(pk=one.pk).update(customer=after)
        told = {"before": {"customer": str(before)}}
        audit.record(actor=None, verb="account.moved", obj=one, customer=after, **told)
        return before, after

    def test_the_owner_on_the_last_day_pays(self, time_machine: Any) -> None:
        time_machine.move_to(moment(date(2026, 12, 1)), tick=False)
        before, after = self.moved(date(2026, 12, 1))
        assert (lines(before), lines(after)) == ([("base", 1, 30, 1, 8995)], [])

    def test_a_move_within_the_month_moves_the_bill(self, time_machine: Any) -> None:
        time_machine.move_to(moment(LAST), tick=False)
        before, after = self.moved(LAST)
        assert (lines(before), lines(after)) == ([], [("base", 1, 30, 1, 8995)])

    def test_test_accounts_have_no_lines(self) -> None:
        customer, one = customer_with()
        Account.objects.filter(pk=one.pk).update(is_test=True)
        assert lines(customer) == []

    def test_duplicates_have_no_lines(self) -> None:
        customer, one = customer_with()
        kept = account(customer, connection=ConnectionFactory())
        Account.objects.filter(pk=one.pk).update(duplicate_of=kept)
        assert all(line[0] != "base" or line[4] == 8995 for line in lines(customer))
        assert {row.account_id for draft in drafts(customer) for row in draft.lines.all()} == {kept.pk}


class TestProvidersWithoutPackages:
    def test_every_account_has_the_one_price(self) -> None:
        one = account(connection=ConnectionFactory(kind="ahasend", base_url="https://api.ahasend.com"), spans=False)
        state(one, date(2024, 5, 1), "active", source="stored")
        plain = [{**BASE, "offering": ""}, {**OVERAGE, "offering": ""}]
        contract(one.customer, price_list(*plain, kind="ahasend"))
        figure(one, 130_000, allowed=None, package="")
        assert lines(one.customer) == [("base", 1, 30, 1, 8995), ("overage", 1, 30, 30_000, 2550)]


class TestAgain:
    def test_nothing_is_written_twice(self) -> None:
        customer, _one = customer_with()
        first = rate_month(NOVEMBER, now=NOW)
        (draft,) = drafts(customer)
        keys = list(draft.lines.values_list("pk", flat=True))
        second = rate_month(NOVEMBER, now=datetime(2026, 12, 3, tzinfo=UTC))
        assert (first.rated, second.rated) == (1, 0)
        assert list(drafts(customer)[0].lines.values_list("pk", flat=True)) == keys

    def test_a_later_change_rates_nothing_again(self) -> None:
        customer, one = customer_with()
        rate_month(NOVEMBER, now=NOW)
        offerings(one, date(2026, 12, 20), (PACKAGE, 1), (IP, 1))
        assert rate_month(NOVEMBER, now=NOW).rated == 0
        assert lines(customer)

    def test_a_draft_without_inputs_is_removed(self) -> None:
        one = account()
        figure(one, 7)
        assert findings(one.customer) == ["no_contract"]
        Account.objects.filter(pk=one.pk).update(is_test=True)
        assert drafts(one.customer) == []

    def test_a_draft_whose_account_left_is_removed(self) -> None:
        one = account()
        figure(one, 7)
        assert findings(one.customer) == ["no_contract"]
        before = one.customer
        Account.objects.filter(pk=one.pk).update(customer=CustomerFactory(may_be_bare=False))
        assert drafts(before) == []
