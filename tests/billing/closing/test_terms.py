"""Billing terms: who changes them, and what can't change."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from billing.models import BillingTerms
from billing.pricing.statements.drafts import rate_month
from portal.audit.models import AuditEvent
from tests.billing.closing.closed import close
from tests.billing.pricing.pages import client_of, page_of, saved, words_of
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, customer_with

pytestmark = pytest.mark.django_db


def save(status: int = 303, role: str = "finance", **values: Any) -> Any:
    return saved(client_of(role), reverse("billing:billing-terms"), status, **values)


def test_finance_changes_the_terms_and_it_is_audited() -> None:
    save(grace_days=5, number_prefix="RE-", default_account_code="8400")
    stored = BillingTerms.objects.get()
    assert (stored.grace_days, stored.number_prefix, stored.default_account_code) == (5, "RE-", "8400")
    event = AuditEvent.objects.get(verb="billing.terms_edited")
    assert event.before == {"grace_days": 3, "number_prefix": "", "default_account_code": ""}
    assert event.after == {"grace_days": 5, "number_prefix": "RE-", "default_account_code": "8400"}
    assert "RE-000001" in page_of(client_of(), "billing-terms")
    save(grace_days=5)
    assert AuditEvent.objects.filter(verb="billing.terms_edited").count() == 1


def test_others_read_the_terms_alone() -> None:
    page = page_of(client_of("auditor"), "billing-terms")
    assert "Finance and admins can change these terms." in page
    assert "Save billing terms" not in page
    assert client_of("auditor").post(reverse("billing:billing-terms"), {"grace_days": 9}).status_code == 403


def test_wrong_values_are_refused_and_kept() -> None:
    answer = save(status=422, grace_days=61, number_prefix="A B")
    assert "Use letters, digits" in words_of(answer)
    assert 'value="A B"' in answer.content.decode()
    assert not BillingTerms.objects.exists()


def test_a_prefix_stays_once_a_statement_has_a_number(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)
    customer_with()
    rate_month(NOVEMBER, now=NOW)
    close()
    assert "it can't change" in words_of(save(status=422, number_prefix="X"))
    save(grace_days=4)
