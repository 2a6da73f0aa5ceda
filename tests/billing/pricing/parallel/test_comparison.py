"""A spreadsheet of November compared with the draft statements: matching, results with reasons, and repeating it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import ParallelMonth, ParallelResult, ParallelRow
from billing.pricing.parallel import commands
from billing.pricing.parallel.comparison import compared
from billing.pricing.parallel.spreadsheet import POINT, read_sheet
from billing.pricing.statements.drafts import rate_month
from customers.models import Account, Customer
from portal.audit.models import AuditEvent
from tests.billing.pricing.pages import by, client_of, page_of, words_of
from tests.billing.pricing.parallel.sheets import csv_file
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    figure,
    offerings,
    price_list,
    publish,
    state,
)
from tests.support.factories import CustomerFactory

pytestmark = pytest.mark.django_db
State, Match = ParallelResult.State, ParallelRow.Match


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


class World:
    """Customers by name, all with one price list."""

    def __init__(self) -> None:
        self.prices = price_list(BASE, OVERAGE, {**BASE, "offering": "postkeeper.x.ip.v2", "component": "addon"})

    def customer(self, name: str, *used: int | None, **terms: Any) -> Customer:
        customer = CustomerFactory(company_name=name, may_be_bare=False)
        contract(customer, terms.pop("prices", self.prices), **terms)
        for each in used:
            figure(account(customer), each)
        return customer


@pytest.fixture
def world() -> World:
    return World()


def upload(*lines: str, header: str = "customer,amount,currency,account,note", currency: str = "EUR") -> ParallelMonth:
    text = "\n".join([header, *lines])
    sheet = read_sheet("november.csv", text.encode(), decimal=POINT, currency=currency)
    assert not sheet.errors
    return commands.upload_month(
        by(), month=NOVEMBER, filename="november.csv", rows=sheet.rows, currency=currency, ignored=sheet.ignored
    )


def results(parallel: ParallelMonth) -> dict[str, ParallelResult]:
    return {each.label: each for each in parallel.results.all()}


def codes(result: ParallelResult) -> list[str]:
    return [each["code"] for each in result.reasons]


def test_rows_match_by_reference_and_name(world: World) -> None:
    world.customer("Northwind", 0)
    Customer.objects.filter(company_name="Northwind").update(external_reference="CRM-7")
    world.customer("Straße & Söhne", 0)
    for _ in range(2):
        CustomerFactory(company_name="Twin")
    parallel = upload("CRM-7,1", "STRASSE &  söhne,2", "twin,3", "Nobody,4", header="customer,amount")
    found = list(parallel.rows.values_list("customer_text", "match", "customer__company_name"))
    assert found == [
        ("CRM-7", Match.REFERENCE, "Northwind"),
        ("STRASSE & söhne", Match.NAME, "Straße & Söhne"),
        ("twin", Match.SEVERAL, None),
        ("Nobody", Match.NONE, None),
    ]


def test_equal_different_and_why(world: World) -> None:
    world.customer("Equal", 0)
    world.customer("Overage missing", 130_500)
    world.customer("Unknown reason", 0)
    discount = {"valid_from": "2020-01-01", "percent": "10", "kinds": ["base"]}
    world.customer("Discount", 0, discounts=[discount])
    world.customer("Commit", 0, commit={"amount": "200"})
    lines = ["Equal,89.95", "Overage missing,89.95", "Unknown reason,80.01", "Discount,89.95", "Commit,89.95"]
    found = results(upload(*(f"{each},,," for each in lines)))
    assert found["Equal"].state == State.EQUAL
    assert {name: (each.state, codes(each), each.distance) for name, each in found.items() if name != "Equal"} == {
        "Overage missing": (State.DIFFERENT, ["kind"], 2593),
        "Unknown reason": (State.DIFFERENT, [], 994),
        "Discount": (State.DIFFERENT, ["discount"], 900),
        "Commit": (State.DIFFERENT, ["kind"], 11005),
    }
    assert found["Commit"].reasons[0]["kind"] == "commit"


def test_a_base_fee_prorated_in_ours(world: World) -> None:
    prices = price_list({**BASE, "on_close": "prorated"}, name="Prorated")
    customer = world.customer("Left", prices=prices)
    one = account(customer)
    figure(one, 0)
    state(one, date(2026, 11, 15), "deleted")
    found = results(upload("Left,89.95,,,"))["Left"]
    assert (found.ours_minor, codes(found)) == (4498, ["full"])


def test_only_theirs_and_only_ours(world: World) -> None:
    world.customer("Ours", 0)
    customer = CustomerFactory(company_name="No contract", may_be_bare=False)
    figure(account(customer), 0)
    CustomerFactory(company_name="No account")
    world.customer("Dollars", 0, prices=price_list(BASE, currency="USD", name="Dollars"))
    found = results(upload("No contract,1,,,", "No account,2,,,", "Dollars,89.95,EUR,,"))
    assert found["Ours"].state == State.ONLY_OURS
    assert found["No contract"].findings == [{"kind": "no_contract"}]
    assert found["No account"].findings == [{"kind": "no_statement"}]
    rows = ParallelResult.objects.filter(label="Dollars").order_by("currency").values_list("currency", "state")
    assert list(rows) == [("EUR", State.ONLY_THEIRS), ("USD", State.ONLY_OURS)]
    theirs = ParallelResult.objects.get(label="Dollars", currency="EUR")
    assert theirs.findings == [{"kind": "other_currency", "currencies": ["USD"]}]


def test_what_is_missing_is_named(world: World) -> None:
    customer = world.customer("Gap", None, 0)
    offerings(
        Account.objects.filter(customer=customer).order_by("pk")[1], date(2026, 11, 2), ("postkeeper.x.new.v1", 1)
    )
    found = results(upload("Gap,179.90,,,"))["Gap"]
    assert found.state == State.UNFINISHED
    assert {each["kind"]: each["n"] for each in found.findings} == {"missing": 1, "unpriced": 1}


def test_rows_of_single_accounts(world: World) -> None:
    customer = world.customer("Two", 130_500, 0)
    first, second = Account.objects.filter(customer=customer).order_by("pk")
    parallel = upload(f"Two,89.95,,{first.provider_id},", f"Two,89.95,,{second.provider_id.upper()},")
    found = {each.account_id: each for each in parallel.results.all()}
    assert (found[first.pk].state, codes(found[first.pk])) == (State.DIFFERENT, ["kind"])
    assert found[second.pk].state == State.EQUAL
    assert set(found) == {first.pk, second.pk}


def test_accounts_that_the_file_lacks_are_the_rest(world: World) -> None:
    customer = world.customer("Two", 0, 0)
    first, _second = Account.objects.filter(customer=customer).order_by("pk")
    parallel = upload(f"Two,89.95,,{first.provider_id},")
    found = {each.account_id: each.state for each in parallel.results.all()}
    assert found == {first.pk: State.EQUAL, None: State.ONLY_OURS}


def test_an_unknown_account_is_not_matched(world: World) -> None:
    world.customer("One", 0)
    parallel = upload("One,89.95,,sg-none,")
    assert parallel.rows.get().match == Match.NO_ACCOUNT
    assert {each.state for each in parallel.results.all()} == {State.UNMATCHED, State.ONLY_OURS}


def test_several_rows_are_added(world: World) -> None:
    world.customer("One", 0)
    found = results(upload("One,50,,,", "ONE,39.95,,,"))["One"]
    assert (found.state, found.lines) == (State.EQUAL, [2, 3])


def test_it_is_repeated_after_prices_changed(world: World) -> None:
    world.customer("One", 0)
    parallel = upload("One,99.00,,,")
    assert results(parallel)["One"].state == State.DIFFERENT
    publish(world.prices, {**BASE, "amount": "99"}, OVERAGE, since=date(2020, 1, 1))
    commands.compare_again(by(), parallel=parallel, seen_edits=parallel.edits)
    assert results(parallel)["One"].state == State.EQUAL
    assert AuditEvent.objects.filter(verb="parallel.compared").exists()


def test_a_row_is_matched_by_hand(world: World) -> None:
    customer = world.customer("Northwind", 0)
    parallel = upload("N. Wind,89.95,,,", "N. Wind,0,,,", "Stranger,5,,,")
    commands.match_customer(by(), parallel=parallel, text="N. Wind", customer=customer, seen_edits=0)
    parallel.refresh_from_db()
    assert results(parallel)["Northwind"].state == State.EQUAL
    commands.match_customer(by(), parallel=parallel, text="Stranger", customer=None, seen_edits=1)
    assert set(results(parallel)) == {"Northwind"}


def test_a_stale_page_changes_nothing(world: World) -> None:
    customer = world.customer("Northwind", 0)
    parallel = upload("N. Wind,89.95,,,")
    commands.compare_again(by(), parallel=parallel, seen_edits=0)
    with pytest.raises(commands.ParallelChanged):
        commands.match_customer(by(), parallel=parallel, text="N. Wind", customer=customer, seen_edits=0)
    assert parallel.rows.get().customer is None


def test_many_customers_are_left_to_a_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.customer("One", 0)
    monkeypatch.setattr(commands, "AT_ONCE", 0)
    parallel = upload("One,89.95,,,")
    assert parallel.state == ParallelMonth.State.COMPARING
    assert commands.due_months(now=NOW) == [parallel.pk]
    commands.compare_month(parallel.pk, now=NOW)
    commands.compare_month(parallel.pk, now=NOW)  # a message that came twice
    assert results(parallel)["One"].state == State.EQUAL
    assert commands.due_months(now=NOW) == []


def test_a_failure_is_tried_again_and_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_facts: Any) -> Iterable[Any]:
        raise RuntimeError("no")

    monkeypatch.setattr(commands, "compared", fail)
    parallel = upload("One,89.95,,,")
    for minute in range(1, 4):
        commands.compare_month(parallel.pk, now=datetime(2026, 12, 2, 13, minute, tzinfo=UTC))
    parallel.refresh_from_db()
    assert parallel.state == ParallelMonth.State.FAILED


def test_it_asks_as_often_for_many_rows(world: World) -> None:
    counts = []
    for number in (2, 9):
        names = [f"Customer {number} {n}" for n in range(number)]
        for name in names:
            world.customer(name, 130_500)
        rate_month(NOVEMBER, now=NOW)
        parallel = upload(*(f"{name},1,,," for name in names))
        with CaptureQueriesContext(database) as asked:
            list(compared(parallel))
        counts.append(len(asked))
    assert counts[0] == counts[1]


# -- pages


@pytest.fixture
def finance() -> Client:
    return client_of()


def sent(client: Client, text: str, status: int = 303, **facts: str) -> Any:
    said = {"month": "2026-11", "decimal": ",", "currency": "EUR", "file": csv_file(text)} | facts
    answer = client.post(reverse("billing:parallel-upload"), said)
    assert answer.status_code == status, words_of(answer)[:2000]
    return answer


def test_a_file_is_uploaded_and_shown(world: World, finance: Client) -> None:
    world.customer("Northwind", 130_500)
    answer = sent(finance, "customer;amount;region\nnorthwind;89,95;EMEA\nStranger;5\n")
    words = words_of(finance.get(answer["Location"]))
    for text in (
        "€94.95", "€115.88", "+€25.93", "Overage isn't in theirs: 1 line, €25.93", "Not matched", "Match customer",
        "Ignored columns: region.", "0 of 2 equal",
    ):  # fmt: skip
        assert text in words, text
    assert "Northwind" not in words_of(finance.get(answer["Location"] + "?show=unmatched"))
    assert "Stranger" in words_of(finance.get(answer["Location"] + "?q=strang"))
    assert "November 2026" in page_of(finance, "parallel-months")


def test_a_wrong_file_stores_nothing(finance: Client) -> None:
    words = words_of(sent(finance, "customer;amount\nA;89.95\n", 422))
    assert "Nothing was uploaded" in words
    assert "isn't an amount such as 1.234,50" in words
    assert not ParallelMonth.objects.exists()
    assert "name ends with" in words_of(sent(finance, "x", 422, file=csv_file("x", "a.pdf")))
    assert "Select how amounts" in words_of(sent(finance, "customer;amount\nA;1\n", 422, decimal=""))


def test_a_row_is_matched_on_its_page(world: World, finance: Client) -> None:
    customer = world.customer("Northwind Trading", 0)
    parallel = upload("Northwind,89.95,,,")
    url = reverse("billing:parallel-match", args=[parallel.public_id])
    assert "Northwind Trading" in words_of(finance.get(f"{url}?line=2"))
    assert "No matching customers" in words_of(finance.get(f"{url}?line=2&q=zzz"))
    answer = finance.post(f"{url}?line=2", {"edits": 0, "customer": customer.public_id})
    assert answer.status_code == 303
    assert results(parallel)["Northwind Trading"].state == State.EQUAL
    again = finance.post(f"{url}?line=2", {"edits": 0, "customer": ""}, follow=True)
    assert "Someone changed this comparison" in words_of(again)
    assert finance.get(f"{url}?line=99").status_code == 404


def test_the_comparison_is_exported(world: World, finance: Client) -> None:
    world.customer("Northwind", 130_500)
    parallel = upload("Northwind,89.95,,,", "=cmd(),1,,,")
    answer = finance.get(reverse("billing:parallel-export", args=[parallel.public_id]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    known_by = Customer.objects.get(company_name="Northwind").external_reference
    assert (
        f'"2026-11","Northwind","{known_by}","","EUR",89.95,115.88,115.88,25.93,"different","Overage isn\'t in theirs'
        in text
    )
    assert '"\'=cmd()"' in text
    assert finance.get(reverse("billing:parallel-export", args=[parallel.public_id]) + "?show=x").status_code == 400


def test_who_may_upload_and_read(world: World) -> None:
    world.customer("Northwind", 0)
    parallel = upload("Northwind,89.95,,,")
    success = client_of("customer_success")
    assert "Northwind" in page_of(success, "parallel-month", parallel.public_id)
    assert "Compare again" not in page_of(success, "parallel-month", parallel.public_id)
    for name, args in (("parallel-upload", []), ("parallel-compare", [parallel.public_id])):
        assert success.post(reverse(f"billing:{name}", args=args)).status_code == 403


def test_progress_ends_with_a_link(world: World, finance: Client) -> None:
    parallel = upload("One,1,,,")
    assert "Show results" in page_of(finance, "parallel-progress", parallel.public_id)
    ParallelMonth.objects.update(state="comparing")
    assert "is being compared" in page_of(finance, "parallel-month", parallel.public_id)


@pytest.mark.parametrize("query", ["show=x", "currency=x", "page=x"])
def test_an_unknown_filter_lists_nothing(world: World, finance: Client, query: str) -> None:
    parallel = upload("One,1,,,")
    page_of(finance, "parallel-month", parallel.public_id, query=f"?{query}", status=400)
