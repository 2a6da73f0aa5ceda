"""Decisions on the drift board, while another process reads the account or decides as well."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Account, Operation
from customers.models.account import as_offerings
from customers.observed import accounts as observed_accounts
from portal.clock import database_now
from tests.customers.page_helpers import fields
from tests.support.factories import PACKAGE_ROW, SMALLER, AccountFactory, UserFactory
from tests.support.people import sign_in
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
SHOWN = [PACKAGE_ROW | {"name": SMALLER}]
ARRIVES = [PACKAGE_ROW | {"quantity": 7}]


@pytest.fixture
def staff(client: Client) -> Client:
    return sign_in(client, UserFactory())


@pytest.mark.long
def test_accept_takes_the_value_that_was_shown_or_none(staff: Client) -> None:
    """One process accepts what its page shows; in the other a reading brings another value."""

    def a_round() -> str:
        account = AccountFactory(offerings=SHOWN, offerings_read_at=database_now())
        act = reverse("customers:drift-act", args=[account.public_id, "offerings"])
        sent = {"choice": "accept", "reason": "As shown", **fields(staff.get(act))}

        def work(n: int) -> int:
            if n:
                observed_accounts.record_offerings(
                    account_id=account.pk, offerings=as_offerings(ARRIVES), now=database_now()
                )
                return 0
            return staff.post(act, sent).status_code

        [status] = [each for each in together(work, 2) if each]
        wanted = Account.objects.get(pk=account.pk).desired_offerings
        allowed = {303: SHOWN, 422: [PACKAGE_ROW]}
        return "as shown, or refused" if wanted == allowed.get(status) else f"{status}: {wanted}"

    assert Counter(a_round() for _ in rounds()) == {"as shown, or refused": len(rounds())}


@pytest.mark.long
def test_nobody_deletes_from_the_board(staff: Client) -> None:
    """Two people push a delete that both of them see, each with their own form."""

    def a_round() -> int:
        account = AccountFactory(desired_state="deleted")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        forms = [{"choice": "push", "reason": "Off with it", **fields(staff.get(act))} for _ in range(2)]
        together(lambda n: staff.post(act, forms[n]).status_code, 2)
        return Operation.objects.filter(account=account, kind="delete").count()

    assert Counter(a_round() for _ in rounds()) == {0: len(rounds())}
