"""Drafts from the database: what is rated, what is rated again, and what is not."""

from __future__ import annotations

import pytest

from billing.pricing.statements.drafts import draft_of
from customers.models import Customer
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, customer_with

pytestmark = pytest.mark.django_db


def lines_of(customer: Customer) -> list[tuple[str, int]]:
    return [
        (line.kind, line.amount_minor)
        for statement in draft_of(customer, NOVEMBER, now=NOW)
        for line in statement.lines.all()
    ]


def test_a_draft_has_base_and_overage() -> None:
    customer, account = customer_with(used=130_500)
    (draft,) = draft_of(customer, NOVEMBER, now=NOW)
    assert (draft.currency, draft.total_minor, draft.is_exact) == ("EUR", 8995 + 2593, True)
    assert lines_of(customer) == [("base", 8995), ("overage", 2593)]
    line = draft.lines.get(kind="overage")
    assert (line.account, line.customer, line.connection) == (account, customer, account.connection)
    assert (line.quantity, line.days, line.of_days) == (30_500, 30, 30)
