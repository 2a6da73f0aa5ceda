"""A month's invoices compared with cost and statements: results, sums, and what is carried on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from billing.closing.invoices import commands
from billing.closing.matching import comparison as comparing
from billing.closing.matching import current
from billing.closing.matching.commands import accept_difference
from billing.closing.matching.comparison import compare_with_invoices
from billing.closing.matching.current import (
    compare_connection,
    current_comparisons,
    differences_of,
    stale_connections,
)
from billing.closing.matching.scope import compared_invoices
from billing.models import (
    ConnectionBilling,
    InvoiceComparison,
    InvoiceMatch,
    MonthClosing,
    OpeningBalance,
    ProviderInvoice,
)
from billing.pricing.statements.drafts import rate_month
from customers.models import Account, Connection
from portal.audit.models import AuditEvent
from portal.refusals import Refusal
from tests.billing.closing.invoiced import agreed, by, invoice, line
from tests.billing.pricing.statements.agreed import FIRST, LAST, NOVEMBER, NOW, account, contract, figure, price_list
from tests.support.factories import ConnectionFactory, UserFactory

pytestmark = pytest.mark.django_db
DECEMBER, JANUARY = date(2026, 12, 1), date(2027, 1, 1)


def accounts(n: int, **facts: Any) -> list[Account]:
    """Accounts of one connection with their figures of November, within their package."""
    connection = ConnectionFactory()
    found = [account(connection=connection, **facts) for _ in range(n)]
    for each in found:
        figure(each)
    return found


def compared(connection: Connection, month: date = NOVEMBER) -> InvoiceComparison:
    (found,) = compare_with_invoices(connection.pk, month, now=NOW)
    return found


def results(comparison: InvoiceComparison) -> list[tuple[Any, ...]]:
    rows = InvoiceMatch.objects.filter(comparison=comparison).order_by("n")
    return list(rows.values_list("account", "kind", "result", "invoice_minor", "cost_minor"))


def close(comparison: InvoiceComparison) -> None:
    run = MonthClosing.objects.create(
        month=comparison.month, n=1, requested_by=UserFactory(role="finance"), requested_at=NOW, not_before=NOW
    )
    closes = compared_invoices(comparison.connection_id, comparison.month)
    ProviderInvoice.objects.filter(pk__in=closes, closing=None).update(closing=run)
    InvoiceComparison.objects.filter(pk=comparison.pk).update(closing=run)


def test_each_result_is_found() -> None:
    equal, dearer, missing, unknown = accounts(4)
    connection = agreed(equal, dearer, missing)
    unknown_line = line(unknown, 500, "overage")
    invoice(connection, line(equal), line(dearer, 9995), unknown_line, line(text="stranger"))
    found = compared(connection)
    assert results(found) == [
        (equal.pk, "base", "equal", 8995, 8995),
        (dearer.pk, "base", "different", 9995, 8995),
        (missing.pk, "base", "only_ours", None, 8995),
        (unknown.pk, "overage", "only_provider", 500, None),
        (unknown.pk, "base", "only_ours", None, 8995),
        (None, "base", "only_provider", 8995, None),
    ]
    assert (found.only_provider, found.only_ours, found.different, found.equal) == (2, 2, 1, 1)
    assert (found.invoice_minor, found.cost_minor) == (8995 * 2 + 9995 + 500, 4 * 8995)
    assert (found.invoices, found.billed, found.currency) == (1, {"EUR": 3 * 9500}, "EUR")
    largest = InvoiceMatch.objects.order_by("-distance").first()
    assert largest
    assert largest.distance == 8995


def test_what_nobody_is_billed_for_is_only_the_providers() -> None:
    (one,) = accounts(1)
    connection = agreed(one, billed=False)
    invoice(connection, line(one))
    found = compared(connection)
    match = found.matches.get()
    assert (match.result, match.is_billed, match.distance) == ("only_provider", False, 8995)
    assert (match.invoice_minor, match.cost_minor, found.difference_minor) == (8995, 8995, 0)


def test_a_test_account_needs_no_bill() -> None:
    (one,) = accounts(1, is_test=True)
    connection = agreed(one, billed=False)
    invoice(connection, line(one))
    assert [row[2] for row in results(compared(connection))] == ["equal"]


def test_billed_amounts_are_those_of_the_component() -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    invoice(connection, line(one), line(one, 700, "overage"))
    rows = compared(connection).matches.order_by("kind").values_list("kind", "billed_minor", "billed_currency")
    assert list(rows) == [("base", 9500, "EUR"), ("overage", None, "")]
    assert all(compared(connection).matches.values_list("is_billed", flat=True))


class TestPeriods:
    def test_the_month_is_that_in_which_the_service_ends(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        next_month = {"start": DECEMBER, "end": date(2026, 12, 31)}
        invoice(connection, line(one), number="fee of November", issued_on=date(2026, 10, 30))
        invoice(connection, line(one, 100, "overage"), line(one, 7777, **next_month), number="mixed")
        found = compared(connection)
        assert (found.invoice_minor, found.invoices) == (8995 + 100, 2)
        assert compared(connection, DECEMBER).invoice_minor == 7777

    def test_overlapping_periods_are_compared_as_sums(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        half = {"start": date(2026, 11, 10), "end": date(2026, 11, 12)}
        invoice(connection, line(one, 8000, end=date(2026, 11, 15)), line(one, 995, **half))
        assert results(compared(connection)) == [(one.pk, "base", "equal", 8995, 8995)]

    def test_other_periods_are_compared_apart(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        earlier = {"start": date(2026, 10, 1), "end": date(2026, 10, 31)}
        invoice(connection, line(one), line(one, 100, start=date(2026, 10, 2), end=FIRST), line(one, 1, **earlier))
        assert results(compared(connection)) == [(one.pk, "base", "different", 9095, 8995)]
        assert compared(connection, date(2026, 10, 1)).invoice_minor == 1


def test_tax_is_left_out_and_credit_stands_alone() -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    invoice(connection, line(one), line(None, 1900, "tax"), line(one, -500, "credit"))
    found = compared(connection)
    assert [row[1:] for row in results(found)] == [
        ("base", "equal", 8995, 8995),
        ("credit", "only_provider", -500, None),
    ]
    assert found.difference_minor == -500


def test_a_total_beyond_the_lines_is_compared() -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    invoice(connection, line(one), total_minor=9000)
    found = compared(connection)
    assert results(found)[1] == (None, "total", "only_provider", 5, None)
    assert found.difference_minor == 5


def test_an_invoice_without_lines_counts_in_its_month() -> None:
    connection = ConnectionFactory()
    entered = invoice(connection, total_minor=9000, issued_on=LAST)
    assert compared(connection).invoice_minor == 9000
    assert compared_invoices(connection.pk, NOVEMBER) == [entered.pk]


def test_withdrawn_invoices_are_left_out() -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    entered = invoice(connection, line(one))
    commands.withdraw_invoice(by(), invoice=entered, reason="Wrong")
    assert compared(connection).invoice_minor == 0


def test_currencies_are_never_added() -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    invoice(connection, line(one), currency="USD")
    found = {each.currency: each for each in compare_with_invoices(connection.pk, NOVEMBER, now=NOW)}
    assert {key: (each.invoice_minor, each.cost_minor) for key, each in found.items()} == {
        "EUR": (0, 8995),
        "USD": (8995, 0),
    }
    assert [row[2] for row in results(found["USD"])] == ["only_provider"]
    assert found["EUR"].billed == found["USD"].billed == {"EUR": 9500}


def test_chunks_give_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    found = accounts(5)
    connection = agreed(*found)
    strangers = [line(text=f"stranger {n}") for n in range(5)]
    invoice(connection, *map(line, found), *strangers)
    whole = results(compared(connection))
    InvoiceComparison.objects.all().delete()
    monkeypatch.setattr(comparing, "CHUNK", 2)
    assert results(compared(connection)) == whole
    assert len(whole) == 10


class TestExtras:
    IP = "postkeeper.x.ip.v2"

    def kinds(self, *names: str) -> list[tuple[Any, ...]]:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one), *(line(one, 100, "addon", offering=name) for name in names))
        return [row[1:4] for row in results(compared(connection))][1:]

    def test_each_offering_is_compared_by_itself(self) -> None:
        assert self.kinds("a", "b") == [("addon", "only_provider", 100)] * 2

    def test_without_an_offering_they_are_one(self) -> None:
        assert self.kinds("a", "") == [("addon", "only_provider", 200)]


class TestCarried:
    def test_the_difference_is_carried_on(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one, 9000))
        assert compared(connection).accumulated_minor == 5
        invoice(connection, line(one, 100, start=DECEMBER, end=DECEMBER), number="next")
        found = compared(connection, DECEMBER)
        assert (found.carried_minor, found.accumulated_minor) == (5, 105)

    def test_a_month_without_anything_has_what_is_carried(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one, 9000))
        current_comparisons(NOVEMBER, now=NOW)
        (found,) = current_comparisons(DECEMBER, now=NOW)
        assert (found.invoice_minor, found.accumulated_minor) == (0, 5)

    def test_opening_balances_are_carried_once(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        facts = {"connection": connection, "currency": "EUR", "description": "x", "entered_at": NOW}
        person = UserFactory(role="finance")
        OpeningBalance.objects.create(month=date(2026, 9, 1), amount_minor=700, entered_by=person, **facts)
        removed = {"removed_by": person, "removed_at": NOW}
        OpeningBalance.objects.create(month=FIRST, amount_minor=1, entered_by=person, **facts, **removed)
        invoice(connection, line(one))
        assert compared(connection).carried_minor == 700
        assert compared(connection, DECEMBER).carried_minor == 700

    def test_an_accepted_difference_ends_there(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one, 9000))
        found = accept_difference(by(), comparison=compared(connection), reason="Rounding")
        assert (found.accumulated_minor, AuditEvent.objects.latest("pk").reason) == (0, "Rounding")
        invoice(connection, line(one, 100, "overage"), number="late")
        assert compared(connection).accumulated_minor == 100
        with pytest.raises(Refusal, match="changed while"):
            accept_difference(by(), comparison=found, reason="Again")

    def test_accepting_needs_a_reason_and_an_open_month(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        found = compared(connection)
        with pytest.raises(Refusal, match="why"):
            accept_difference(by(), comparison=found, reason=" ")
        close(found)
        MonthClosing.objects.update(state="failed")
        with pytest.raises(Refusal, match="changed"):
            accept_difference(by(), comparison=found, reason="x")

    def test_differences_above_the_tolerance_are_listed(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one, 8000))
        ConnectionBilling.objects.update(tolerance_minor=994)
        found = compared(connection)
        assert list(differences_of(NOVEMBER)) == [found]
        ConnectionBilling.objects.update(tolerance_minor=995)
        compared(connection)
        assert not differences_of(NOVEMBER)


class TestClosed:
    def test_a_closed_comparison_stays(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one))
        close(compared(connection))
        invoice(connection, line(one, 100, "overage"), number="late")
        assert compared(connection).invoice_minor == 8995
        assert stale_connections(NOVEMBER) == set()

    def test_a_late_line_counts_once_in_the_open_month(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one))
        close(compared(connection))
        invoice(connection, line(one, 100, "overage"), number="late")
        found = compared(connection, DECEMBER)
        assert (found.invoice_minor, found.accumulated_minor) == (100, 100)
        assert found.matches.get().is_billed
        assert compare_with_invoices(connection.pk, JANUARY, now=NOW)[0].invoice_minor == 0
        close(found)
        assert compared(connection, JANUARY).invoice_minor == 0


class TestHeldBack:
    """November is held back: its comparison is open, while that of December is closed."""

    def held_back(self) -> tuple[Connection, Account]:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one))
        compared(connection)
        invoice(connection, line(one, 700, start=DECEMBER, end=DECEMBER), number="B")
        close(compared(connection, DECEMBER))
        return connection, one

    def test_its_lines_count_there_alone(self) -> None:
        connection, _one = self.held_back()
        (found,) = compare_with_invoices(connection.pk, JANUARY, now=NOW)
        assert (found.invoice_minor, found.carried_minor) == (0, 700)

    def test_what_it_gets_later_is_carried(self) -> None:
        connection, one = self.held_back()
        invoice(connection, line(one, 300, "overage"), number="late")
        (found,) = compare_with_invoices(connection.pk, JANUARY, now=NOW)
        compare_connection(connection.pk, now=NOW)
        assert compared(connection).difference_minor == 300
        (found,) = compare_with_invoices(connection.pk, JANUARY, now=NOW)
        assert (found.invoice_minor, found.carried_minor) == (0, 1000)

    def test_a_late_line_counts_in_the_first_open_month(self) -> None:
        connection, one = self.held_back()
        late = line(one, 50, "overage", start=DECEMBER, end=DECEMBER)
        invoice(connection, late, number="late")
        (found,) = compare_with_invoices(connection.pk, JANUARY, now=NOW)
        assert (found.invoice_minor, found.accumulated_minor) == (50, 750)
        close(compared(connection))
        (found,) = compare_with_invoices(connection.pk, JANUARY, now=NOW)
        assert (found.invoice_minor, found.accumulated_minor) == (50, 750)

    def test_a_closed_month_without_anything_stays_empty(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        invoice(connection, line(one))
        close(compared(connection))
        october = line(one, 40, start=date(2026, 10, 1), end=date(2026, 10, 31))
        invoice(connection, october, number="late")
        assert compare_with_invoices(connection.pk, date(2026, 10, 1), now=NOW) == []
        assert compared(connection, DECEMBER).invoice_minor == 40


class TestCurrent:
    def test_it_is_compared_again_if_an_input_changed(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one)
        assert stale_connections(NOVEMBER) == {connection.pk}
        entered = invoice(connection, line(one))
        (found,) = current_comparisons(NOVEMBER, now=NOW)
        assert (found.equal, stale_connections(NOVEMBER)) == (1, set())
        commands.edit_line(by(), invoice=entered, n=1, facts={"amount": "90.00"})
        assert stale_connections(NOVEMBER) == {connection.pk}
        (found,) = current_comparisons(NOVEMBER, now=NOW)
        assert (found.different, found.only_provider, found.difference_minor) == (1, 1, 0)  # the total is as before

    def test_a_contract_makes_it_out_of_date(self) -> None:
        (one,) = accounts(1)
        connection = agreed(one, billed=False)
        invoice(connection, line(one))
        assert current_comparisons(NOVEMBER, now=NOW)[0].only_provider == 1
        contract(one.customer, price_list())
        rate_month(NOVEMBER, now=NOW)
        assert current_comparisons(NOVEMBER, now=NOW)[0].equal == 1

    def test_a_connection_without_anything_has_none(self) -> None:
        ConnectionFactory()
        assert (stale_connections(NOVEMBER), current_comparisons(NOVEMBER, now=NOW)) == (set(), [])

    def test_a_large_one_is_left_to_the_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[Any] = []
        monkeypatch.setattr(current, "AT_ONCE", 0)
        monkeypatch.setattr(current, "enqueue_on_commit", lambda *task: sent.append(task))
        (one,) = accounts(1)
        connection = agreed(one)
        assert current_comparisons(NOVEMBER, now=NOW) == []
        assert sent == [("billing.compare_invoices", connection.pk)]
        current.compare_connection(connection.pk, now=NOW)
        assert InvoiceComparison.objects.get(month=NOVEMBER).only_ours == 1

    def test_queries_do_not_grow(self, django_assert_num_queries: Any) -> None:
        for _ in range(3):
            (one,) = accounts(1)
            ConnectionBilling.objects.create(connection=one.connection)
            invoice(one.connection, line(one))
        current_comparisons(NOVEMBER, now=NOW)
        with django_assert_num_queries(11):
            current_comparisons(NOVEMBER, now=NOW)
