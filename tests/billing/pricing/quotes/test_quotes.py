"""Prices beside a choice: new accounts, the offerings editor, scheduled and bulk changes, and the bill so far."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Status
from billing.pricing.quotes.bulk_quotes import bulk_quote
from billing.pricing.quotes.monthly import Quoter
from billing.pricing.quotes.statement_effect import statement_effect
from customers.bulk.commands import plan_bulk_change
from customers.models import Account, ChangeSet
from customers.schedules.commands import schedule_change
from portal.commands import Command
from portal.providers import ProviderOffering
from tests.billing.pricing.pages import words_of
from tests.billing.pricing.statements.agreed import account, contract, figure, offerings, price_list
from tests.support.clocks import stop_clocks
from tests.support.factories import (
    ADDON,
    PACKAGE,
    AccountFactory,
    ConnectionFactory,
    CustomerFactory,
    OfferingFactory,
    UserFactory,
)
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TODAY = NOW.date()
BIGGER = "postkeeper.ei.pro-300k.v1"
BASE = {"offering": PACKAGE, "component": "base", "amount": "89.95"}
OVERAGE = {
    "offering": PACKAGE, "component": "overage", "included": 100_000, "per": 1000,
    "tiers": [{"up_to": None, "rate": "0.85"}],
}  # fmt: skip
BIG_BASE = {"offering": BIGGER, "component": "base", "amount": "249"}
BIG_OVERAGE = {**OVERAGE, "offering": BIGGER, "included": 300_000}
IP = {"offering": ADDON, "component": "dedicated_ip", "amount": "30", "included": 1}
PRICES = (BASE, OVERAGE, BIG_BASE, BIG_OVERAGE, IP)
SMALL, BIG = ((PACKAGE, 1),), ((BIGGER, 1),)


@pytest.fixture(autouse=True)
def _november(db: None, time_machine: Any) -> None:
    stop_clocks(time_machine, NOW)


@pytest.fixture
def success() -> Client:
    return sign_in(Client(), UserFactory(role="customer_success"))


def agreed(used: int = 150_000, **terms: Any) -> Account:
    """An account of November with its figure so far, whose customer has a contract."""
    found = account(usage_start_on=date(2026, 11, 1), usage_end_on=date(2026, 11, 30))
    contract(found.customer, price_list(*PRICES), **terms)
    figure(found, used, status=Status.OPEN, high=None)
    for name in (PACKAGE, BIGGER):
        OfferingFactory(connection=found.connection, name=name)
    OfferingFactory(connection=found.connection, name=ADDON, type="addon", entitlements={})
    return found


def quoter_of(one: Account) -> Quoter:
    return Quoter([one.customer_id], today=TODAY)


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": "package", "quantity": 1} for name in names]


def test_a_quote_has_the_contracts_prices() -> None:
    discount = {"valid_from": "2020-01-01", "percent": "10", "kinds": ["base"]}
    one = agreed(discounts=[discount], commit={"amount": "500"})
    quote = quoter_of(one).monthly(one.customer_id, "sendgrid", (*SMALL, (ADDON, 3)))
    # 89.95 less 9.00 (8.995 half up), and two of three addresses at 30.
    assert quote.total_minor == 8995 - 900 + 6000
    assert quote.is_whole
    assert (quote.included, quote.overage, quote.commit) == (100_000, "€0.85 per 1,000 emails", "€500.00")


def test_an_unpriced_offering_makes_it_a_least() -> None:
    one = agreed()
    quote = quoter_of(one).monthly(one.customer_id, "sendgrid", (*SMALL, ("postkeeper.x.new.v1", 1)))
    assert quote.total_minor == 8995
    assert not quote.is_whole
    assert len(quote.unpriced) == 1


def test_one_time_charges_stand_beside_the_month() -> None:
    found = account()
    setup = {"offering": PACKAGE, "component": "one_time", "amount": "50"}
    contract(found.customer, price_list(BASE, setup))
    for is_new, once in ((True, 5000), (False, 0)):
        quote = quoter_of(found).monthly(found.customer_id, "sendgrid", SMALL, is_new=is_new)
        assert (quote.total_minor, quote.once_minor) == (8995, once)


def test_without_a_contract_the_only_list_counts() -> None:
    customer = CustomerFactory()
    assert Quoter([customer.pk], today=TODAY).monthly(customer.pk, "sendgrid", SMALL).problem == "no_contract"
    price_list(*PRICES, name="Only")
    quote = Quoter([customer.pk], today=TODAY).monthly(customer.pk, "sendgrid", SMALL)
    assert (quote.default_list, quote.total_minor) == ("Only", 8995)
    price_list(*PRICES, name="Another")
    assert Quoter([customer.pk], today=TODAY).monthly(customer.pk, "sendgrid", SMALL).problem == "no_contract"


def test_a_suspended_account_costs_as_its_price_says() -> None:
    found = account()
    contract(found.customer, price_list({**BASE, "bill_when_suspended": False}))
    quoter = quoter_of(found)
    for state, expected in (("active", 8995), ("stopped_by_us", 0), ("deleted", 0)):
        assert quoter.monthly(found.customer_id, "sendgrid", SMALL, state=state).total_minor == expected


def test_an_upgrade_prorates_this_months_statement() -> None:
    one = agreed()
    effect = statement_effect(one, now_items=SMALL, after_items=BIG, on=TODAY, now=NOW)
    assert effect
    # 20 days at 89.95 and 10 days at 249 of 30; overage of 50,000 emails goes, by the package of the last day.
    assert [(each.kind, each.before_minor, each.after_minor) for each in effect.rows] == [
        ("base", 8995, 5997 + 8300),
        ("overage", 4250, 0),
    ]
    assert (effect.days, effect.of_days, effect.is_least) == (10, 30, True)


def test_earlier_changes_of_the_period_stay() -> None:
    one = agreed(used=0)
    offerings(one, date(2026, 11, 11), (BIGGER, 1))
    effect = statement_effect(one, now_items=BIG, after_items=SMALL, on=TODAY, now=NOW)
    assert effect
    # 10 days at 89.95 and 20 at 249, and with the change 10 days each at 249 and again at 89.95.
    assert [(each.before_minor, each.after_minor) for each in effect.rows] == [(2998 + 16600, 2998 + 8300 + 2998)]


def test_incurred_overage_stays_after_an_upgrade() -> None:
    one = account(usage_start_on=date(2026, 11, 1), usage_end_on=date(2026, 11, 30))
    prices = [{**each, "when_changed": "incurred"} if each["component"] == "overage" else each for each in PRICES]
    contract(one.customer, price_list(*prices))
    figure(one, 150_000, status=Status.OPEN, high=None)
    effect = statement_effect(one, now_items=SMALL, after_items=BIG, on=TODAY, now=NOW)
    assert effect
    assert [(each.before_minor, each.after_minor) for each in effect.rows if each.kind == "overage"] == [(4250, 4250)]


def test_a_minimum_commit_swallows_the_difference() -> None:
    one = agreed(used=0, commit={"amount": "500"})
    effect = statement_effect(one, now_items=SMALL, after_items=BIG, on=TODAY, now=NOW)
    assert effect
    assert effect.total.moved_minor == 0
    assert [(each.kind, each.moved_minor) for each in effect.rows] == [("base", 5302), ("commit", -5302)]


def test_a_change_after_the_period_has_full_prices() -> None:
    one = agreed()
    effect = statement_effect(one, now_items=SMALL, after_items=BIG, on=date(2026, 12, 1), now=NOW)
    assert effect
    assert (effect.month, effect.total.before_minor, effect.total.after_minor) == (date(2026, 12, 1), 8995, 24900)


def test_the_editor_shows_now_after_and_difference(success: Client) -> None:
    one = agreed()
    sent = {
        "base": json.dumps(rows(PACKAGE)), "version": one.version, "client_token": uuid4().hex, "package": BIGGER,
    }  # fmt: skip
    words = words_of(success.post(reverse("billing:quote-offerings", args=[one.public_id]), sent))
    for text in ("€89.95", "€249.00", "+€159.05", "Statement of November 2026", "10 of 30 days", "\u2212€42.50"):
        assert text in words, text
    same = words_of(success.post(reverse("billing:quote-offerings", args=[one.public_id]), sent | {"package": PACKAGE}))
    assert "Statement of" not in same


def test_a_new_account_shows_its_price(success: Client) -> None:
    one = agreed()
    asked = {"connection": one.connection.public_id, "package": BIGGER, f"addon-{ADDON}": "2"}
    url = reverse("billing:quote-new-account")
    words = words_of(success.get(url, asked | {"customer": one.customer.public_id}))
    assert "€279.00" in words
    assert "Above 300,000 emails" in words
    words = words_of(success.get(url, asked))
    assert "By the price list “Standard”. Nothing is billed until finance publishes a contract." in words
    assert "Choose a package" in words_of(success.get(url, asked | {"package": ""}))


def test_an_account_without_offerings_has_a_price(success: Client) -> None:
    connection = ConnectionFactory(kind="ahasend")
    price_list({"offering": "", "component": "base", "amount": "12"}, kind="ahasend", name="Every account")
    words = words_of(success.get(reverse("billing:quote-new-account"), {"connection": connection.public_id}))
    assert "€12.00" in words


def test_a_broken_list_shows_a_muted_sentence(success: Client) -> None:
    one = account()
    contract(one.customer, price_list({"offering": PACKAGE, "component": "base", "amount": "cheap"}))
    OfferingFactory(connection=one.connection)
    asked = {"connection": one.connection.public_id, "customer": one.customer.public_id, "package": PACKAGE}
    answer = success.get(reverse("billing:quote-new-account"), asked)
    assert answer.status_code == 200
    assert "The price couldn't be calculated." in words_of(answer)


def test_a_scheduled_change_shows_its_price(success: Client) -> None:
    one = agreed()
    url = reverse("billing:quote-schedule", args=[one.public_id])
    words = words_of(success.get(url, {"kind": "offerings", "package": BIGGER, "when": "cycle"}))
    assert "+€159.05" in words
    assert "The change counts from 1 Dec" in words
    assert "Without overage: the billing period hasn't begun." in words
    assert words_of(success.get(url, {"kind": "offerings", "package": "", "when": "cycle"})) == ""
    on = {"kind": "offerings", "package": BIGGER, "when": "day", "on": "2026-11-26", "at": "09:00"}
    assert "5 of 30 days" in words_of(success.get(url, on))


def bulk(accounts: list[Account], kind: str = "package", **wanted: Any) -> ChangeSet:
    command = Command(UserFactory(role="admin"), NOW, reason="Test", token=uuid4().hex)
    return plan_bulk_change(command, kind=kind, wanted=wanted, account_ids=[each.pk for each in accounts])


def test_a_bulk_change_shows_sums_and_unpriced(success: Client) -> None:
    first = agreed()
    connection, prices = first.connection, first.customer.contracts.get().price_lists.get().price_list
    second, without = (AccountFactory(connection=connection) for _ in range(2))
    contract(second.customer, prices)
    dollars = AccountFactory(connection=connection)
    contract(dollars.customer, price_list(*PRICES, currency="USD", name="Dollars"))
    unpriced = AccountFactory(connection=connection)
    contract(unpriced.customer, price_list(BASE, name="Small"))
    made = bulk([first, second, without, dollars, unpriced], offering=BIGGER)
    quote = bulk_quote(made, today=TODAY)
    assert [(each.currency, each.accounts, each.moved) for each in quote.rows] == [
        ("EUR", 2, "+€318.10"),
        ("USD", 1, "+$159.05"),
    ]
    assert (quote.unpriced, quote.without, quote.priced) == (1, 1, 3)
    answer = success.get(reverse("billing:quote-bulk", args=[made.public_id]), {"account": [first.public_id]})
    assert f'id="price-{first.public_id}"' in answer.content.decode()
    assert f'id="price-{second.public_id}"' not in answer.content.decode()
    assert "1 account has an offering without a price. 1 account has no contract" in words_of(answer)


def test_a_bulk_change_leaves_out_what_it_skips() -> None:
    one = agreed()
    has_it = AccountFactory(connection=one.connection, offerings=rows(BIGGER))
    without = AccountFactory(connection=one.connection)
    contract(has_it.customer, one.customer.contracts.get().price_lists.get().price_list)
    quote = bulk_quote(bulk([one, has_it, without], offering=BIGGER), today=TODAY)
    # The only list in force quotes an account without a contract, and nothing is billed for it.
    assert (quote.accounts, quote.without, quote.rows[0].accounts) == (2, 1, 1)


def test_a_bulk_suspension_shows_what_goes_on() -> None:
    one = agreed()
    (row,) = bulk_quote(bulk([one], "suspend"), today=TODAY).rows
    assert (row.now, row.after) == ("€89.95", "€89.95")


def test_a_bulk_change_asks_as_often_for_many() -> None:
    connection, prices, counts = ConnectionFactory(), price_list(*PRICES), []
    for name in (PACKAGE, BIGGER):
        OfferingFactory(connection=connection, name=name)
    for number in (2, 9):
        accounts = AccountFactory.create_batch(number, connection=connection)
        for each in accounts:
            contract(each.customer, prices)
        made = bulk(accounts, offering=BIGGER)
        with CaptureQueriesContext(database) as asked:
            bulk_quote(made, today=TODAY)
        counts.append(len(asked))
    assert counts == [4, 4]


def test_the_bill_so_far_is_that_of_the_account(success: Client) -> None:
    one = agreed()
    other = account(one.customer, connection=one.connection)
    figure(other, 0)
    url = reverse("billing:account-bill", args=[one.public_id])
    words = words_of(success.get(url))
    for text in ("Bill so far", "November 2026", "€89.95", "€42.50", "Total, at least €132.45", "€89.95 per month"):
        assert text in words, text
    offerings(one, date(2026, 11, 10), (PACKAGE, 1), ("postkeeper.x.new.v1", 1))
    assert "Offering without a price: postkeeper.x.new.v1" in words_of(success.get(url))


def test_the_bill_leaves_out_what_is_only_noted(success: Client) -> None:
    one = account()
    contract(one.customer, price_list(*PRICES))
    figure(one, 0, allowed=50_000)
    words = words_of(success.get(reverse("billing:account-bill", args=[one.public_id])))
    assert "Quota differs" not in words
    assert "at least" not in words


def test_the_bill_names_scheduled_changes(success: Client) -> None:
    one = agreed()
    command = Command(UserFactory(role="admin"), NOW, reason="Test", token=uuid4().hex)
    chosen = [ProviderOffering(BIGGER, "package", 1)]
    schedule_change(command, account=one, kind="offerings", due_at=NOW + timedelta(days=3), offerings=chosen)
    words = words_of(success.get(reverse("billing:account-bill", args=[one.public_id])))
    assert "€249.00 per month (+€159.05)" in words


def test_an_account_without_a_contract_has_no_bill(success: Client) -> None:
    one = account()
    words = words_of(success.get(reverse("billing:account-bill", args=[one.public_id])))
    assert "No contract" in words
    assert "The customer has no contract in force, so nothing is billed." in words


def test_test_accounts_are_not_billed(success: Client) -> None:
    one = account(is_test=True)
    contract(one.customer, price_list(*PRICES))
    assert "Test accounts aren't billed." in words_of(
        success.get(reverse("billing:account-bill", args=[one.public_id]))
    )


def test_no_quote_has_cost(success: Client) -> None:
    one = agreed()
    price_list({**BASE, "amount": "77.77"}, name="Cost list", side="cost")
    pages = [
        success.get(reverse("billing:account-bill", args=[one.public_id])),
        success.get(reverse("billing:quote-new-account"), {"connection": one.connection.public_id, "package": PACKAGE}),
    ]
    for page in pages:
        assert "77.77" not in page.content.decode()
        assert "Cost list" not in page.content.decode()
