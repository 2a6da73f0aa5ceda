"""Closing a month: what closes, what is held back, numbers, and what a later run does."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from billing.closing.matching.commands import accept_difference
from billing.closing.runs import worker
from billing.closing.runs.commands import request_close, review_begins
from billing.closing.runs.verification import verify_closed_months
from billing.closing.runs.worker import close_month, due_closings
from billing.models import (
    BillingTerms,
    InvoiceComparison,
    MonthClosing,
    PriceList,
    ProviderInvoice,
    Statement,
    StatementCase,
    UsagePeriod,
)
from billing.pricing.rating.engine import rate
from billing.pricing.statements.drafts import draft_of, rate_month
from billing.pricing.statements.frozen import FrozenCases
from billing.pricing.statements.numbers import billing_terms
from customers.models import Connection, Customer
from portal.access.models import User
from portal.approvals.actions import action_of
from portal.approvals.commands import approve, request_approval
from portal.approvals.forms import RuleForm
from portal.approvals.gate import ApprovalRequired
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval, ApprovalRule
from portal.approvals.queries import rule_row
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.closing.closed import LATER, block, close, compared, finance, request, unblock
from tests.billing.closing.invoiced import invoice, line
from tests.billing.pricing.statements.agreed import (
    NOVEMBER,
    NOW,
    account,
    contract,
    customer_with,
    figure,
    price_list,
)
from tests.support.approvals import switch_on
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db
OCTOBER, DECEMBER = date(2026, 10, 1), date(2026, 12, 1)
JANUARY = LATER.replace(year=2027, month=1)


def customers(number: int, prices: PriceList | None = None) -> list[Customer]:
    """Customers with one account each, who pay a base fee."""
    prices = prices or price_list()
    found = []
    for _ in range(number):
        one = account()
        contract(one.customer, prices)
        figure(one, 130_500)
        found.append(one.customer)
    return found


def numbers() -> list[int | None]:
    return list(Statement.objects.filter(side="sell").order_by("customer").values_list("number", flat=True))


class TestClose:
    def test_statements_are_closed_and_numbered(self) -> None:
        customers(3)
        run = close()
        assert (run.state, run.seq, run.statements_closed, run.held_back) == ("closed", 1, 3, 0)
        assert (run.customers_total, run.customers_done) == (3, 3)
        assert numbers() == [1, 2, 3]
        row = Statement.objects.filter(side="sell").first()
        assert row is not None
        assert (row.state, row.closing, len(row.digest)) == ("closed", run, 64)
        assert run.totals["sell"] == {"EUR": {"statements": 3, "minor": 3 * (8995 + 2593)}}
        assert run.contents["statements"]["rows"] == 3

    def test_the_case_gives_the_same_lines(self) -> None:
        customer, _one = customer_with(used=130_500)
        close()
        statement = Statement.objects.get(customer=customer)
        (case,) = FrozenCases().read([statement.frozen.case])
        lines = [int(each.amount * 100) for each in rate(case).lines]
        assert lines == list(statement.lines.order_by("n").values_list("amount_minor", flat=True)) == [8995, 2593]

    def test_figures_that_changed_are_rated_first(self) -> None:
        customer, _one = customer_with()
        rate_month(NOVEMBER, now=NOW)
        UsagePeriod.objects.update(used=130_500, high=130_500)
        close()
        assert Statement.objects.get(customer=customer).total_minor == 8995 + 2593

    def test_what_is_blocked_closes_in_a_later_run(self) -> None:
        _first, second, _third = customers(3)
        block(second)
        run = close()
        assert (run.statements_closed, run.held_back, numbers()) == (2, 1, [1, None, 2])
        UsagePeriod.objects.filter(account=second.accounts.get()).update(used=0, high=0)
        unblock(second)
        again = close()
        assert (again.n, again.seq, again.prev_hash, again.statements_closed) == (2, 2, run.row_hash, 1)
        assert numbers() == [1, 3, 2]
        assert Statement.objects.get(customer=second).total_minor == 8995
        assert verify_closed_months().problems == []

    def test_an_accepted_blocker_holds_nothing_back(self) -> None:
        (first,) = customers(1)
        block(first, accepted="Agreed by phone.")
        run = close()
        assert (run.statements_closed, run.contents["acceptances"]["rows"]) == (1, 1)

    def test_no_contract_closes_once_accepted_and_unnumbered(self) -> None:
        one = account()
        figure(one, 5)
        run = close()
        assert (run.statements_closed, run.held_back) == (0, 1)
        block(one.customer, accepted="A trial.")
        run = close()
        assert (run.statements_closed, run.held_back) == (1, 0)
        statement = Statement.objects.get(side="sell")
        assert (statement.number, statement.currency, statement.state) == (None, "", "closed")
        assert not StatementCase.objects.exists()

    def test_a_known_quantity_is_not_at_least(self) -> None:
        customer_with()
        assert close().at_least == 0

    def test_an_interval_that_is_exact_in_money(self) -> None:
        customer_with()
        UsagePeriod.objects.update(status="interval", used=50_000, high=60_000)
        assert close().at_least == 1

    def test_the_audit_log_has_the_head(self) -> None:
        customers(1)
        run = close()
        event = AuditEvent.objects.get(verb="month.closed")
        assert event.after["head"] == f"1:{run.row_hash}"
        assert (event.after["first_number"], event.after["last_number"]) == (1, 1)
        asked = AuditEvent.objects.get(verb="month.close_requested")
        assert (asked.actor, asked.after["month"]) == (finance(), "2026-11")

    def test_a_closed_month_is_not_rated_again(self) -> None:
        customer, _one = customer_with()
        close()
        UsagePeriod.objects.update(used=900_000, high=900_000)
        rate_month(NOVEMBER, now=LATER)
        (kept,) = draft_of(customer, NOVEMBER, now=LATER)
        assert kept.total_minor == 8995


class TestConnections:
    def test_cost_closes_with_its_invoices(self) -> None:
        _customer, one = customer_with()
        comparison = compared(one.connection, 9000, 8000)
        later = line(minor=9000, start=date(2026, 12, 1), end=date(2026, 12, 31))
        other = invoice(one.connection, later, number="B", currency="USD")
        run = close()
        statement = Statement.objects.get(side="cost")
        assert (statement.state, statement.number, statement.closing) == ("closed", None, run)
        for each in (other, comparison):
            each.refresh_from_db()
        first = ProviderInvoice.objects.exclude(pk=other.pk).get()
        assert (first.closing, other.closing, comparison.closing) == (run, None, run)
        (told,) = run.totals["connections"]
        assert (told["invoice_minor"], told["cost_minor"]) == (9000, 8000)
        assert run.contents["invoices"]["rows"] == run.contents["comparisons"]["rows"] == 1

    def test_an_invoice_entered_meanwhile_closes_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was compared with the others, so it must not count in the next month again."""
        _customer, one = customer_with()
        compared(one.connection, 9000, 8000)
        whole = worker.compare_with_invoices

        def compare(*arguments: Any, **facts: Any) -> Any:
            if not ProviderInvoice.objects.filter(number="late").exists():
                invoice(one.connection, line(minor=50), number="late", currency="USD")
            return whole(*arguments, **facts)

        monkeypatch.setattr(worker, "compare_with_invoices", compare)
        run = close()
        assert InvoiceComparison.objects.get().invoice_minor == 9050
        assert ProviderInvoice.objects.filter(closing=run).count() == 2

    def test_a_blocked_connection_is_held_back_alone(self) -> None:
        _customer, one = customer_with()
        comparison = compared(one.connection, 9000, 8000, tolerance=0)
        run = close()
        assert (run.statements_closed, run.held_back) == (1, 1)
        comparison.refresh_from_db()
        assert comparison.closing is None
        accept_difference(Command(finance(), LATER), comparison=comparison, reason="A credit follows.")
        run = close()
        comparison.refresh_from_db()
        assert (run.statements_closed, run.held_back, comparison.closing) == (1, 0, run)

    def test_no_difference_is_accepted_meanwhile(self) -> None:
        """The approver of the close did not see it."""
        _customer, one = customer_with()
        comparison = compared(one.connection, 9000, 8000, tolerance=0)
        request()
        with pytest.raises(Refusal, match="being closed"):
            accept_difference(Command(finance(), LATER), comparison=comparison, reason="A credit follows.")


class TestRefusals:
    def test_only_who_may_close_months(self) -> None:
        with pytest.raises(Refusal, match="role"):
            request(person=UserFactory(role="customer_success"))

    def test_a_month_in_its_draft_days(self) -> None:
        customers(1)
        BillingTerms.objects.create(pk=1, grace_days=5)
        assert review_begins(NOVEMBER, billing_terms()) == date(2026, 12, 6)
        with pytest.raises(Refusal, match="from 6 Dec"):
            request()
        assert request(now=LATER + timedelta(days=1)).state == "running"

    def test_a_month_after_one_that_is_open(self) -> None:
        customers(1)
        for month in (OCTOBER, NOVEMBER, DECEMBER):
            rate_month(month, now=JANUARY)
        close(OCTOBER)
        with pytest.raises(Refusal, match="November 2026 isn't closed yet"):
            request(DECEMBER, now=JANUARY)
        assert close().state == "closed"
        assert request(DECEMBER, now=JANUARY).state == "running"

    def test_a_month_before_the_first_closed_one(self) -> None:
        """It was billed elsewhere: any month may be the first."""
        customers(1)
        rate_month(OCTOBER, now=NOW)
        close()
        with pytest.raises(Refusal, match="October 2026 stays a draft"):
            request(OCTOBER)

    def test_a_month_that_is_being_closed(self) -> None:
        customers(1)
        request()
        with pytest.raises(Refusal, match="is being closed"):
            request()

    def test_a_month_of_which_nothing_is_left(self) -> None:
        customers(1)
        close()
        with pytest.raises(Refusal, match="Every statement of November 2026 is closed"):
            request()


class TestWorker:
    def test_it_continues_where_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = customers(3)
        monkeypatch.setattr("billing.pricing.statements.drafts.lock_group", lambda pk: pk)
        run = request()
        assert close_month(run.pk, now=LATER, seconds=0)
        run.refresh_from_db()
        assert (run.customers_done, run.position, numbers()) == (1, found[0].pk, [1])
        assert due_closings(now=LATER + timedelta(seconds=9)) == [run.pk]
        assert not close_month(run.pk, now=LATER + timedelta(seconds=9))
        run.refresh_from_db()
        assert (run.state, run.customers_done, numbers()) == ("closed", 3, [1, 2, 3])

    def test_a_failure_leaves_no_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        customers(2)
        run = request()
        with monkeypatch.context() as patch:
            patch.setattr("billing.closing.runs.statements.update_rows", lambda *_: 1 / 0)
            at = LATER
            for _ in range(worker.TRIES):
                close_month(run.pk, now=at)
                at += timedelta(minutes=2)
        run.refresh_from_db()
        assert (run.state, run.customers_done, numbers()) == ("failed", 0, [])
        again = close()
        assert (again.pk, again.n, again.state, numbers()) == (run.pk, 1, "closed", [1, 2])

    def test_two_workers_do_not_share_a_run(self) -> None:
        customers(1)
        run = request()
        assert MonthClosing.objects.filter(state="running").claim(run.pk, now=LATER)
        assert not close_month(run.pk, now=LATER)
        assert numbers() == []
        assert not close_month(run.pk, now=LATER + timedelta(minutes=16))
        assert numbers() == [1]


class TestApproval:
    @pytest.fixture(autouse=True)
    def _rule(self) -> None:
        switch_on("close_month", threshold=100)
        UserFactory(role="admin")

    def requested(self) -> Approval:
        command = Command(finance(), LATER, token="form")
        with pytest.raises(ApprovalRequired) as needed:
            request_close(command, month=NOVEMBER, note="Last one")
        return request_approval(command, needed.value.change)

    def approve(self, approval: Approval) -> Any:
        other = User.objects.get(role="admin")
        return approve(Command(other, LATER), approval=approval, seen=approval.payload_hash)

    def test_a_difference_within_the_limit(self) -> None:
        customer_with()
        compared(Connection.objects.get(), 20_000, 10_000)
        assert request().state == "running"

    def test_no_approval_while_the_rule_is_off(self) -> None:
        ApprovalRule.objects.update(is_on=False)
        customer_with()
        compared(Connection.objects.get(), 90_000, 10_000)
        assert request().state == "running"

    @pytest.mark.parametrize(
        "facts",
        [
            {"theirs": 20_001},
            {"theirs": 10_000, "carried": -10_001},
            {"theirs": 10_000, "carried": 10_001, "accepted": 10_001},
        ],
    )
    def test_a_larger_difference_needs_approval(self, facts: dict[str, int]) -> None:
        customer_with()
        compared(Connection.objects.get(), ours=10_000, **facts)
        with pytest.raises(ApprovalRequired):
            request()
        assert not MonthClosing.objects.exists()

    def test_an_approved_request_closes(self) -> None:
        customer_with()
        compared(Connection.objects.get(), 90_000, 10_000)
        approval = self.requested()
        rows = action_of(approval).rows(approval)
        assert [str(value) for row in rows for value in row[1:]] == [
            "Open", "November 2026", "", Connection.objects.get().name, "", "Last one",
        ]  # fmt: skip
        run = self.approve(approval)
        assert (run.state, run.requested_by, run.note) == ("running", finance(), "Last one")
        approval.refresh_from_db()
        assert approval.state == "applied"
        event = AuditEvent.objects.get(verb="month.close_requested")
        assert event.after["approval"] == approval.code

    def test_a_difference_that_changed_meanwhile(self) -> None:
        customer_with()
        compared(Connection.objects.get(), 90_000, 10_000)
        approval = self.requested()
        invoice(Connection.objects.get(), line(minor=-80_000, kind="credit"), number="B", currency="USD")
        with pytest.raises(Refusal, match="changed since it was requested"):
            self.approve(approval)
        assert not MonthClosing.objects.exists()

    def test_the_rules_page_has_the_limit(self) -> None:
        row = rule_row(ApprovalRule.objects.get(kind="close_month"), now=LATER)
        assert row.limit == "A difference of more than 100."
        form = RuleForm(kind=ApprovalKind.CLOSE)
        assert list(form.fields) == ["is_on", "threshold"]
