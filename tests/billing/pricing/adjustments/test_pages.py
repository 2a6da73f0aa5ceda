"""What pages and files say of adjustments: what they correct, why, and where they went."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Statement
from tests.billing.closing.closed import close
from tests.billing.pricing.adjustments.late import DECEMBER, adjustments, store_version
from tests.billing.pricing.statements.agreed import NOVEMBER, customer_with
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def drafts(time_machine: Any) -> tuple[Statement, Statement]:
    """A closed statement of November, and the draft of December that adjusts it."""
    time_machine.move_to("2026-12-10T12:00:00Z", tick=False)
    customer, one = customer_with(used=120_000, commit={"amount": "120"})
    period = one.usage_periods.get()
    store_version(period)
    close()
    store_version(period, used=130_500)
    assert len(adjustments(customer)) == 2
    return Statement.objects.get(month=NOVEMBER, side="sell"), Statement.objects.get(month=DECEMBER)


def read(name: str, statement: Statement) -> str:
    client = Client()
    sign_in(client, UserFactory(role="customer_success"))
    answer = client.get(reverse(f"billing:{name}", args=[statement.public_id]))
    content = answer.getvalue() if answer.streaming else answer.content
    return " ".join(content.decode().split()) if name == "statement" else content.decode()


def test_an_adjustment_says_what_it_corrects(drafts: tuple[Statement, Statement]) -> None:
    closed, draft = drafts
    page = read("statement", draft)
    assert "Adjustment: Overage" in page
    assert f"Statement {closed.number:06}, line 2, November 2026" in page
    assert f"{reverse('billing:statement', args=[closed.public_id])}#line-2" in page
    assert "120,000 emails (final) \u2192 130,500 emails (final)" in page
    assert "20,000 for \u20ac17.00" in page
    assert "30,500 for \u20ac25.93" in page
    assert "The provider reported a new value." in page


def test_a_true_up_that_shrank_has_no_quantity(drafts: tuple[Statement, Statement]) -> None:
    page = read("statement", drafts[1])
    assert "Adjustment: Minimum commit" in page
    assert "\u2212\u20ac8.93" in page


def test_a_closed_statement_says_what_adjusted_it(drafts: tuple[Statement, Statement]) -> None:
    closed, draft = drafts
    page = read("statement", closed)
    assert "Adjusted by" in page
    assert reverse("billing:statement", args=[draft.public_id]) in page
    assert "2 lines" in page
    assert "Adjusted by" not in read("statement", draft)


def test_the_file_names_the_adjusted_statement(drafts: tuple[Statement, Statement]) -> None:
    closed, draft = drafts
    rows = list(csv.DictReader(io.StringIO(read("statement-export", draft).lstrip("\ufeff"))))
    told = [(row["kind"], row["quantity"], row["amount"], row["adjusts statement"]) for row in rows]
    assert told[-2:] == [
        ("Adjustment", "10500", "8.93", str(closed.number)),
        ("Adjustment", "0", "-8.93", str(closed.number)),
    ]
