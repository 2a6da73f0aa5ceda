"""What blocks a month: found from findings and lines, kept with its owner, accepted with a reason."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.closing.blockers.commands import BlockerChanged, accept_blocker, assign_blockers, withdraw_acceptance
from billing.closing.blockers.queries import held_back, month_blockers
from billing.closing.blockers.refresh import refresh_month
from billing.models import (
    Blocker,
    InvoiceComparison,
    PriceList,
    Side,
    Statement,
    StatementFinding,
    Status,
    UsagePeriod,
)
from billing.pricing.statements.drafts import rate_month
from customers.models import Account, Customer
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    account,
    contract,
    customer_with,
    figure,
    price_list,
)
from tests.support.factories import CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


def found() -> list[Blocker]:
    """Rate the month, look at what blocks it, and return the open blockers."""
    rate_month(NOVEMBER, now=NOW)
    refresh_month(NOVEMBER, now=NOW)
    return list(Blocker.objects.filter(resolved_at=None, accepted_at=None).order_by("-weight", "id"))


def finance() -> Command:
    person: User = UserFactory(role="finance")
    return Command(person, NOW)


def another(used: int | None) -> tuple[Customer, Account]:
    """Another customer, by the price list of the first one."""
    one = account()
    contract(one.customer, PriceList.objects.get())
    figure(one, used)
    return one.customer, one


def unknown() -> tuple[Customer, Account]:
    """A customer that the accounting tool doesn't know."""
    customer, one = customer_with()
    Customer.objects.update(external_reference="")
    return customer, one


def test_an_exact_statement_with_a_reference_is_free() -> None:
    customer_with()
    assert found() == []


def test_a_missing_figure_blocks_its_customer_alone() -> None:
    customer_with()
    customer, one = another(used=None)
    (blocker,) = found()
    assert (blocker.kind, blocker.customer, blocker.account) == ("missing", customer, one)
    assert blocker.money_minor is None  # nothing limits the overage
    every = set(Blocker.objects.values_list("customer", flat=True))
    assert held_back(Side.SELL, NOVEMBER, list(every)) == {customer.pk}


def test_an_interval_blocks_only_if_its_ends_differ() -> None:
    _customer, one = customer_with(used=10_000)
    UsagePeriod.objects.filter(account=one).update(status=Status.INTERVAL, high=90_000)
    assert found() == []  # both ends are within the quota
    UsagePeriod.objects.filter(account=one).update(high=130_500)
    (blocker,) = found()
    assert (blocker.kind, blocker.account, blocker.money_minor, blocker.currency) == ("interval", one, 2593, "EUR")


def test_a_customer_without_a_reference_is_blocked() -> None:
    customer, _one = unknown()
    (blocker,) = found()
    assert (blocker.kind, blocker.customer, blocker.money_minor) == ("no_reference", customer, 8995)
    customer.external_reference = "C-7"
    customer.save(update_fields=["external_reference"])
    assert found() == []


def test_currencies_of_a_customer_are_not_added() -> None:
    customer, _one = unknown()
    rate_month(NOVEMBER, now=NOW)
    inputs = Statement.objects.get(customer=customer).inputs
    facts = {"month": NOVEMBER, "currency": "USD", "total_minor": 5, "lines_count": 1, "rated_at": NOW}
    Statement.objects.create(side=Side.SELL, customer=customer, inputs=inputs, **facts)
    assert [(each.currency, each.money_minor) for each in found()] == [("EUR", 8995), ("USD", 5)]


def test_an_offering_without_a_price_is_one_per_customer() -> None:
    customer, _one = customer_with()
    for _n in range(2):
        figure(account(customer, package="sg.unpriced"), 0)
    (blocker,) = found()
    assert (blocker.kind, blocker.offering, blocker.account) == ("unpriced", "sg.unpriced", None)
    assert blocker.detail["count"] == 2


def test_a_customer_without_a_contract_is_blocked() -> None:
    price_list(BASE)
    one = account()
    figure(one)
    (blocker,) = found()
    assert (blocker.kind, blocker.customer, blocker.money_minor) == ("no_contract", one.customer, None)


def test_a_difference_above_the_tolerance_blocks() -> None:
    _customer, one = customer_with()
    facts = {"connection": one.connection, "month": NOVEMBER, "currency": "EUR", "compared_at": NOW}
    row = InvoiceComparison.objects.create(**facts, invoice_minor=10_000, cost_minor=9_000, tolerance_minor=1_000)
    assert found() == []
    InvoiceComparison.objects.filter(pk=row.pk).update(carried_minor=1)
    (blocker,) = found()
    assert (blocker.kind, blocker.connection, blocker.money_minor) == ("difference", one.connection, 1_001)
    assert held_back(Side.COST, NOVEMBER, [one.connection_id]) == {one.connection_id}
    InvoiceComparison.objects.filter(pk=row.pk).update(accepted_minor=1_001)
    assert found() == []


def test_an_undecided_figure_keeps_its_cost_statement_open() -> None:
    _customer, one = customer_with(used=None)
    found()
    assert held_back(Side.COST, NOVEMBER, [one.connection_id]) == {one.connection_id}


def test_owner_and_due_date_survive_another_look() -> None:
    customer_with(used=None)
    (blocker,) = found()
    command = finance()
    assert assign_blockers(command, pks=[blocker.pk], owner=command.person, due_on=NOVEMBER) == 1
    (again,) = found()
    assert (again.pk, again.owner, again.due_on) == (blocker.pk, command.person, NOVEMBER)


def test_what_is_gone_is_resolved_and_opens_again() -> None:
    _customer, one = customer_with(used=None)
    (blocker,) = found()
    UsagePeriod.objects.filter(account=one).delete()
    figure(one, 5)
    assert found() == []
    counts = month_blockers(NOVEMBER)
    assert (counts.open, counts.resolved, counts.done, counts.all) == (0, 1, 1, 1)
    UsagePeriod.objects.filter(account=one).delete()
    figure(one, None)
    assert [each.pk for each in found()] == [blocker.pk]


def test_an_accepted_one_blocks_no_longer() -> None:
    one = account()
    price_list(BASE)
    figure(one)
    (blocker,) = found()
    accept_blocker(finance(), blocker=blocker, seen=blocker.fingerprint, reason="Free for a year")
    assert found() == []
    assert held_back(Side.SELL, NOVEMBER, [one.customer_id]) == set()
    blocker.refresh_from_db()
    withdraw_acceptance(finance(), blocker=blocker)
    assert [each.pk for each in found()] == [blocker.pk]


def test_an_acceptance_ends_when_the_amount_changes() -> None:
    _customer, one = unknown()
    (blocker,) = found()
    accept_blocker(finance(), blocker=blocker, seen=blocker.fingerprint, reason="Sent by hand")
    UsagePeriod.objects.filter(account=one).update(used=130_500, high=130_500)
    (again,) = found()
    assert (again.pk, again.money_minor, again.accepted_reason) == (blocker.pk, 8995 + 2593, "")


def test_a_figure_cannot_be_accepted() -> None:
    customer_with(used=None)
    (blocker,) = found()
    with pytest.raises(Refusal, match="Decide the figure"):
        accept_blocker(finance(), blocker=blocker, seen=blocker.fingerprint, reason="Never mind")


def test_what_changed_since_it_was_read_is_not_accepted() -> None:
    unknown()
    (blocker,) = found()
    with pytest.raises(BlockerChanged):
        accept_blocker(finance(), blocker=blocker, seen="another", reason="Sent by hand")


def test_looking_takes_the_same_queries_for_many_customers() -> None:
    def queries() -> int:
        rate_month(NOVEMBER, now=NOW)
        with CaptureQueriesContext(connection) as captured:
            refresh_month(NOVEMBER, now=NOW)
        return len(captured)

    customer_with(used=None)
    queries()
    few = queries()
    for _n in range(5):
        another(used=None)
    queries()
    assert queries() == few


def test_a_report_that_never_became_final_can_be_accepted() -> None:
    _customer, one = customer_with()
    facts = {"side": "cost", "connection": one.connection, "month": NOVEMBER, "currency": "EUR", "rated_at": NOW}
    cost = Statement.objects.create(**facts, is_exact=False, findings_count=1)
    StatementFinding.objects.create(statement=cost, kind="not_final", detail={"period": {}})
    (blocker,) = found()
    assert (blocker.kind, blocker.connection) == ("report_not_final", one.connection)
    accept_blocker(finance(), blocker=blocker, seen=blocker.fingerprint, reason="The provider has no other")
    assert held_back(Side.COST, NOVEMBER, [one.connection_id]) == set()


def test_a_customer_and_a_connection_may_have_one_number() -> None:
    """Both are keys of one column: the month page failed where both had the same finding."""
    _customer, one = customer_with()
    owner = Customer.objects.filter(pk=one.connection_id).first() or CustomerFactory(pk=one.connection_id)
    facts = {"month": NOVEMBER, "currency": "EUR", "rated_at": NOW, "is_exact": False, "findings_count": 1}
    sold = Statement.objects.create(**facts, side="sell", customer=owner)
    cost = Statement.objects.create(**facts, side="cost", connection=one.connection)
    for statement in (sold, cost):
        StatementFinding.objects.create(statement=statement, kind="unpriced", offering="acme.ip", detail={})
    refresh_month(NOVEMBER, now=NOW)
    blockers = Blocker.objects.filter(kind="unpriced").values_list("customer", "connection")
    assert set(blockers) == {(owner.pk, None), (None, one.connection_id)}
