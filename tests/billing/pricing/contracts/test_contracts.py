"""Contracts: from a draft to the one in force, with commit, discounts and overrides, corrected and ended."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing.models import Contract, PriceList
from billing.pricing.contract_days import contract_in_force, contracts_in_force, ending
from billing.pricing.contracts import commands
from customers.models import Customer
from portal.audit.models import AuditEvent
from portal.refusals import Refusal
from tests.billing.pricing.pages import (
    BASE,
    IP,
    OVERAGE,
    by,
    client_of,
    contract_of,
    new_list,
    page_of,
    posted,
    published,
    saved,
    words_of,
)
from tests.support.edits import fields_of
from tests.support.factories import PACKAGE, AccountFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db
JANUARY, JULY = date(2026, 1, 1), date(2026, 7, 1)


@pytest.fixture
def finance() -> Client:
    return client_of()


@pytest.fixture
def prices() -> PriceList:
    row = new_list()
    published(row, BASE, OVERAGE, IP, since=date(2020, 1, 1))
    return row


@pytest.fixture
def customer() -> Customer:
    return CustomerFactory(company_name="Larkfield Outdoor")


def today() -> date:
    return timezone.now().date()


def url(route: str, row: Any, query: str = "") -> str:
    return reverse(f"billing:{route}", args=[row.public_id]) + query


def draft_of(client: Client, customer: Customer) -> Contract:
    posted(client, url("contract-start", customer))
    return customer.contracts.get(published_at=None)


class TestADraft:
    def test_from_the_customer_to_a_published_contract(
        self, finance: Client, customer: Customer, prices: PriceList
    ) -> None:
        draft = draft_of(finance, customer)
        facts = {
            "valid_from": "2026-01-01", "list_sendgrid": str(prices.public_id), "commit": "500",
            "purchase_order": "PO-7", "accounting_reference": "10042",
        }  # fmt: skip
        saved(finance, url("contract-edit", draft), **facts)
        saved(finance, url("contract-discount", draft), percent="10", kinds=["base", "overage"])
        query = f"?component=overage&offering={PACKAGE}"
        assert (
            f"component=overage&amp;offering={PACKAGE}" in finance.get(url("contract-override", draft)).content.decode()
        )
        saved(finance, url("contract-override", draft, query), included="150,000")
        page = finance.get(url("contract", draft)).content.decode()
        for route in ("contract-edit", "contract-discount", "contract-override", "contract-publish"):
            assert url(route, draft) in page
        text = page_of(finance, "contract", draft.public_id)
        for words in ("€500.00 per month", "10%", "Base fee and Overage", "Included: 150,000", "PO-7", "10042"):
            assert words in text
        draft.refresh_from_db()
        posted(finance, url("contract-publish", draft), edits=str(draft.edits))
        stored = Contract.objects.get()
        assert stored.currency == "EUR"
        assert [row.price_list for row in stored.price_lists.all()] == [prices]
        assert stored.terms == {
            "price_lists": [str(prices.public_id)],
            "commit": {"amount": "500.00", "prorated": False},
            "discounts": [
                {"valid_from": "2026-01-01", "valid_until": None, "percent": "10.00", "kinds": ["base", "overage"]}
            ],
            "overrides": [
                {"valid_from": "2026-01-01", "valid_until": None, "offering": PACKAGE, "component": "overage",
                 "included": 150_000}
            ],
        }  # fmt: skip
        assert contract_in_force(customer, date(2026, 11, 30)) == stored
        assert "€500.00" in words_of(finance.get(url("customer-contracts", customer), headers={"HX-Request": "true"}))

    def test_lists_of_two_currencies_are_refused(self, finance: Client, customer: Customer, prices: PriceList) -> None:
        dollars = new_list("Dollars", kind="ahasend", currency="USD")
        draft = draft_of(finance, customer)
        lists = {"list_sendgrid": str(prices.public_id), "list_ahasend": str(dollars.public_id)}
        text = words_of(saved(finance, url("contract-edit", draft), 422, **lists))
        assert "A contract has lists of one currency" in text

    def test_terms_are_edited_and_removed(self, finance: Client, customer: Customer, prices: PriceList) -> None:
        draft = draft_of(finance, customer)
        saved(finance, url("contract-edit", draft), valid_from="2026-01-01", list_sendgrid=str(prices.public_id))
        for percent in ("10", "20"):
            saved(finance, url("contract-discount", draft), percent=percent, kinds=["base"])
        saved(finance, url("contract-discount", draft, "?n=1"), percent="25")
        draft.refresh_from_db()
        assert [each["percent"] for each in draft.terms["discounts"]] == ["10.00", "25.00"]
        remove = url("contract-term-remove", draft, "?part=discounts&n=0")
        was = '{"valid_from": "2026-01-01", "valid_until": null, "percent": "10.00", "kinds": ["base"]}'
        posted(finance, remove, was=was)
        posted(finance, remove, was=was)  # sent twice: the other one stays
        draft.refresh_from_db()
        assert [each["percent"] for each in draft.terms["discounts"]] == ["25.00"]
        assert finance.get(url("contract-discount", draft, "?n=1")).status_code == 404

    @pytest.mark.parametrize(
        ("facts", "says"),
        [({"percent": "0", "kinds": ["base"]}, "above 0"), ({"percent": "7,5", "kinds": ["base"]}, "such as 7.5"),
         ({"percent": "101", "kinds": ["base"]}, "up to 100"),
         ({"percent": "5"}, "required"), ({"percent": "5", "kinds": ["commit"]}, "not one of"),
         ({"percent": "5", "kinds": ["base"], "valid_until": "2025-12-31"}, "before the first day")],
    )  # fmt: skip
    def test_discounts_that_are_refused(
        self, finance: Client, customer: Customer, facts: dict[str, Any], says: str
    ) -> None:
        draft = draft_of(finance, customer)
        saved(finance, url("contract-edit", draft), valid_from="2026-01-01")
        assert says in words_of(saved(finance, url("contract-discount", draft), 422, **facts))

    def test_an_override_needs_a_value(self, finance: Client, customer: Customer, prices: PriceList) -> None:
        draft = draft_of(finance, customer)
        saved(finance, url("contract-edit", draft), valid_from="2026-01-01", list_sendgrid=str(prices.public_id))
        query = f"?component=base&offering={PACKAGE}"
        assert "at least one value" in words_of(saved(finance, url("contract-override", draft, query), 422))
        saved(finance, url("contract-override", draft, query), bill_when_suspended="no", amount="-5")
        draft.refresh_from_db()
        [override] = draft.terms["overrides"]
        assert (override["bill_when_suspended"], override["amount"]) == (False, "-5.00")
        saved(finance, url("contract-override", draft, "?n=0"), bill_when_suspended="", amount="7")
        draft.refresh_from_db()
        assert "bill_when_suspended" not in draft.terms["overrides"][0]
        assert finance.get(url("contract-override", draft, "?component=base&offering=x")).status_code == 404

    def test_a_term_that_another_person_changed_is_shown_with_both(self, finance: Client, customer: Customer) -> None:
        draft = draft_of(finance, customer)
        saved(finance, url("contract-edit", draft), valid_from="2026-01-01")
        saved(finance, url("contract-discount", draft), percent="10", kinds=["base"])
        edit = url("contract-discount", draft, "?n=0")
        opened = fields_of(finance.get(edit).content.decode()) | {"kinds": ["base"]}
        saved(client_of(name="Ada"), edit, percent="15", kinds=["base"])
        text = words_of(posted(finance, edit, 409, **(opened | {"percent": "20"})))
        assert "15.00" in text
        assert "20" in text
        draft.refresh_from_db()
        assert draft.terms["discounts"][0]["percent"] == "15.00"


class TestPublish:
    def test_what_is_not_complete_is_refused(self, customer: Customer, prices: PriceList) -> None:
        draft = commands.start_contract(by(), customer=customer)

        def publish() -> None:
            draft.refresh_from_db()
            commands.publish_contract(by(), contract=draft, seen_edits=draft.edits)

        with pytest.raises(Refusal, match="at least one price list"):
            publish()
        commands.edit_contract(by(), contract=draft, facts={"list_sendgrid": str(prices.public_id)})
        with pytest.raises(Refusal, match="first day"):
            publish()
        commands.edit_contract(by(), contract=draft, facts={"valid_from": JANUARY})
        empty = new_list("Empty", kind="ahasend")
        commands.edit_contract(by(), contract=draft, facts={"list_ahasend": str(empty.public_id)})
        with pytest.raises(Refusal, match="no published version"):
            publish()
        commands.edit_contract(by(), contract=draft, facts={"list_ahasend": ""})
        discount = {"valid_from": "2026-01-01", "valid_until": None, "percent": "5.00", "kinds": ["base"]}
        for _each in range(2):
            commands.replace_term(by(), contract=draft, part="discounts", index=None, value=discount, was=None)
        with pytest.raises(Refusal, match="Two discounts of the same kind"):
            publish()
        commands.replace_term(by(), contract=draft, part="discounts", index=0, value=None, was=discount)
        publish()

    def test_the_publish_page_names_what_is_missing(
        self, finance: Client, customer: Customer, prices: PriceList
    ) -> None:
        draft = draft_of(finance, customer)
        page = finance.get(url("contract-publish", draft)).content.decode()
        assert "It needs a first day and at least one price list." in page
        assert ">Publish contract</button>" not in page
        facts = {"valid_from": "2026-01-01", "list_sendgrid": str(prices.public_id)}
        saved(finance, url("contract-edit", draft), **facts)
        page = finance.get(url("contract-publish", draft)).content.decode()
        assert "It needs a first day" not in page
        assert ">Publish contract</button>" in page

    def test_a_stale_page_publishes_nothing(self, finance: Client, customer: Customer, prices: PriceList) -> None:
        draft = draft_of(finance, customer)
        saved(finance, url("contract-edit", draft), valid_from="2026-01-01", list_sendgrid=str(prices.public_id))
        assert "Review it again" in words_of(posted(finance, url("contract-publish", draft), 422, edits="0"))

    def test_the_database_keeps_what_is_published(self, customer: Customer, prices: PriceList) -> None:
        found = contract_of(customer, prices, since=JANUARY)
        with pytest.raises(DatabaseError), transaction.atomic():
            Contract.objects.filter(pk=found.pk).update(terms={})
        with pytest.raises(Refusal, match="published this contract"):
            commands.edit_contract(by(), contract=found, facts={"note": "x"})


class TestInForce:
    def test_the_latest_first_day_counts_and_then_the_number(self, customer: Customer, prices: PriceList) -> None:
        first = contract_of(customer, prices, since=JANUARY)
        later = contract_of(customer, prices, since=JULY, until=date(2026, 8, 31))
        assert contract_in_force(customer, date(2025, 12, 31)) is None
        assert contract_in_force(customer, date(2026, 6, 30)) == first
        assert contract_in_force(customer, date(2026, 8, 31)) == later
        assert contract_in_force(customer, date(2026, 9, 1)) is None
        corrected = contract_of(customer, prices, since=JULY, until=None)
        assert contract_in_force(customer, date(2026, 9, 1)) == corrected
        for day in (JANUARY, JULY, date(2026, 9, 1)):
            assert list(contracts_in_force(day)) == [contract_in_force(customer, day)]

    def test_ending_leaves_out_what_is_followed(self, prices: PriceList) -> None:
        day = date(2026, 6, 1)
        ends, followed, renewed = (CustomerFactory() for _each in range(3))
        until = date(2026, 6, 30)
        found = contract_of(ends, prices, since=JANUARY, until=until)
        contract_of(ends, prices, since=date(2026, 7, 2), until=None)
        contract_of(followed, prices, since=JANUARY, until=until)
        contract_of(followed, prices, since=JULY, until=None)
        contract_of(renewed, prices, since=JANUARY, until=until)
        contract_of(renewed, prices, since=JANUARY, until=None)
        assert list(ending(day, date(2026, 6, 30))) == [found]
        assert list(ending(day, date(2026, 6, 29))) == []

    def test_an_end_keeps_earlier_months_as_they_were(self, customer: Customer, prices: PriceList) -> None:
        found = contract_of(customer, prices, since=JANUARY, commit="500.00")
        ended = commands.end_contract(by(), contract=found, last_on=date(2026, 8, 14))
        assert (ended.valid_from, ended.valid_until) == (date(2026, 8, 1), date(2026, 8, 14))
        assert ended.terms == found.terms
        assert contract_in_force(customer, date(2026, 7, 31)) == found
        assert contract_in_force(customer, date(2026, 8, 14)) == ended
        assert contract_in_force(customer, date(2026, 8, 15)) is None
        assert AuditEvent.objects.latest("id").verb == "contract.ended"

    def test_an_end_takes_the_draft(self, customer: Customer, prices: PriceList) -> None:
        found = contract_of(customer, prices, since=JANUARY)
        draft = commands.start_contract(by(), customer=customer)
        ended = commands.end_contract(by(), contract=found, last_on=JULY)
        assert ended.pk == draft.pk

    @pytest.mark.parametrize(
        ("last_on", "says"), [(date(2025, 12, 1), "begins after"), (date(2026, 12, 1), "already ends")]
    )
    def test_ends_that_are_refused(self, customer: Customer, prices: PriceList, last_on: date, says: str) -> None:
        found = contract_of(customer, prices, since=JANUARY, until=date(2026, 9, 30))
        with pytest.raises(Refusal, match=says):
            commands.end_contract(by(), contract=found, last_on=last_on)

    def test_only_the_contract_in_force_is_ended(self, customer: Customer, prices: PriceList) -> None:
        first = contract_of(customer, prices, since=JANUARY)
        contract_of(customer, prices, since=JULY)
        with pytest.raises(Refusal, match="Another contract"):
            commands.end_contract(by(), contract=first, last_on=date(2026, 9, 1))


class TestTheList:
    @pytest.fixture
    def contracts(self, prices: PriceList) -> None:
        now, soon = today(), today() + timedelta(days=20)
        for name, since, until in (
            ("Current", now - timedelta(days=90), None),
            ("Ending", now - timedelta(days=90), soon),
            ("Future", now + timedelta(days=40), None),
            ("Past", now - timedelta(days=90), now - timedelta(days=5)),
        ):
            account = AccountFactory(customer=CustomerFactory(company_name=name, may_be_bare=False))
            contract_of(account.customer, prices, since=since, until=until)
        AccountFactory(customer=CustomerFactory(company_name="Nothing", may_be_bare=False))
        CustomerFactory(company_name="Bare")

    @pytest.mark.usefixtures("contracts")
    def test_filters(self, finance: Client) -> None:
        names = ("Current", "Ending", "Future", "Past", "Nothing", "Bare")
        day = today() + timedelta(days=50)
        shown = {
            "": {"Current", "Ending", "Future"}, "?ending=30": {"Ending"}, "?show=all": set(names[:4]),
            "?show=without": {"Future", "Past", "Nothing"}, f"?on={day}": {"Current", "Future"},
            f"?show=without&on={day}": {"Ending", "Past", "Nothing"}, "?show=drafts": set(), "?q=curr": {"Current"},
        }  # fmt: skip
        for query, expected in shown.items():
            page = finance.get(reverse("billing:contracts") + query).content.decode()
            assert {each for each in names if f">{each}</a>" in page} == expected, query
        page_of(finance, "contracts", query="?ending=31", status=400)

    def test_of_one_list(self, finance: Client, customer: Customer, prices: PriceList) -> None:
        contract_of(customer, prices, since=JANUARY)
        other = new_list("Other")
        assert "Larkfield" in page_of(finance, "contracts", query=f"?list={prices.public_id}")
        assert "Larkfield" not in page_of(finance, "contracts", query=f"?list={other.public_id}")

    def test_as_many_queries_for_more_rows(self, finance: Client, prices: PriceList) -> None:
        counts = []
        for _each in range(5):
            contract_of(AccountFactory().customer, prices, since=JANUARY)
            page_of(finance, "contracts")
            with CaptureQueriesContext(connection) as queries:
                page_of(finance, "contracts")
            counts.append(len(queries))
        assert len(set(counts)) == 1


class TestWhoMay:
    def test_customer_success_reads_and_changes_nothing(self, customer: Customer, prices: PriceList) -> None:
        found = contract_of(customer, prices, since=JANUARY, commit="500.00")
        client = client_of("customer_success")
        assert "€500.00" in page_of(client, "contract", found.public_id)
        assert "Larkfield" in page_of(client, "contracts")
        for route in ("contract-edit", "contract-discount", "contract-override", "contract-publish", "contract-end"):
            assert client.get(url(route, found)).status_code == 403
        assert client.post(url("contract-start", customer)).status_code == 403

    def test_commands_ask_for_the_permission(self, customer: Customer) -> None:
        with pytest.raises(Refusal, match="role"):
            commands.start_contract(by(UserFactory(role="auditor")), customer=customer)


def test_the_end_page(finance: Client, customer: Customer, prices: PriceList) -> None:
    found = contract_of(customer, prices, since=today() - timedelta(days=90))
    assert "End contract" in page_of(finance, "contract", found.public_id)
    posted(finance, url("contract-end", found), last_on=f"{today() + timedelta(days=10)}")
    assert customer.contracts.count() == 2
    assert "begins after" in words_of(posted(finance, url("contract-end", found), 422, last_on="2001-01-01"))


def test_an_end_does_not_replace_a_draft_that_nobody_saw(
    finance: Client, customer: Customer, prices: PriceList
) -> None:
    found = contract_of(customer, prices, since=today() - timedelta(days=90))
    assert 'name="edits"' not in finance.get(url("contract-end", found)).content.decode()
    draft = commands.start_contract(by(), customer=customer)
    commands.edit_contract(by(), contract=draft, facts={"note": "New terms"})
    page = posted(finance, url("contract-end", found), 422, last_on=f"{today()}")
    assert "was changed after you opened this page" in words_of(page)
    assert 'name="edits" value="1"' in page.content.decode()
    assert f'value="{today()}"' in page.content.decode()
    posted(finance, url("contract-end", found), last_on=f"{today()}", edits="1")
    assert customer.contracts.get(valid_until=today()).note == ""


def test_the_customers_page_links_to_contracts(customer: Customer) -> None:
    page = client_of("customer_success").get(reverse("customers:detail", args=[customer.public_id])).content.decode()
    assert url("customer-contracts", customer) in page
