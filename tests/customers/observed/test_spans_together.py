"""Readings and conclusions of several processes at once: spans follow each other without a gap, one is current."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from customers.models import Account, AccountSpan
from customers.observed import accounts as observed_accounts
from portal.clock import database_now
from portal.providers import ProviderOffering
from tests.support.factories import AccountFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.mark.long
def test_each_change_is_one_span() -> None:
    for _round in rounds():
        account = AccountFactory(offerings=None, offerings_read_at=None)

        def read(n: int, account: Account = account) -> int:
            for turn in range(20):
                offering = ProviderOffering(f"pack-{(n + turn) % 3}", "package", 1)
                observed_accounts.record_offerings(account_id=account.pk, offerings=[offering], now=database_now())
            return n

        assert sorted(together(read, 4)) == [0, 1, 2, 3]
        spans = list(AccountSpan.objects.filter(account=account, kind="offerings").order_by("pk"))
        account.refresh_from_db()
        assert len(spans) > 1
        assert [each.package for each in spans if each.until_at is None] == [account.package]
        for before, after in itertools.pairwise(spans):
            assert before.value != after.value
            assert before.until_at == after.seen_at
            assert after.from_at is not None
            assert before.seen_at <= after.from_at <= after.seen_at + timedelta(0)
