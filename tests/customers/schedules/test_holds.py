"""Holds: who may place and release one, when one holds, and that it falls silent by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from customers.models import Account, Hold
from customers.operations.commands import UnableToAsk
from customers.schedules import holds
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.customers.conftest import Desk

NOW = timezone.now()


@pytest.fixture
def account(desk: Desk) -> Account:
    return desk.created()


def place(desk: Desk, account: Account, **more: object) -> Hold:
    asked = {"reason": "They pay on Friday", "until": None, "now": NOW, "actor": desk.person} | more
    return holds.place_hold(account=account, **asked)  # type: ignore[arg-type]


class TestWhenItHolds:
    def test_until_its_moment_and_not_after(self, desk: Desk, account: Account) -> None:
        until = NOW + timedelta(days=2)
        hold = place(desk, account, until=until)
        assert holds.held([account.pk], now=until - timedelta(seconds=1)) == {account.pk: hold}
        assert holds.held([account.pk], now=until) == {}
        assert place(desk, account, now=until).pk != hold.pk  # an expired one is in nobody's way

    def test_without_a_moment_until_it_is_released(self, desk: Desk, account: Account) -> None:
        hold, other = place(desk, account), desk.created("other@fjord.example")
        assert set(holds.held([account.pk, other.pk], now=NOW + timedelta(days=999))) == {account.pk}
        holds.release(actor=desk.person, hold=hold, reason="They paid", now=NOW)
        assert holds.held([account.pk], now=NOW) == {}
        with pytest.raises(UnableToAsk, match="does not hold any more"):
            holds.release(actor=desk.person, hold=hold, reason="Again", now=NOW)
        told = AuditEvent.objects.filter(verb__startswith="hold.").order_by("pk").values_list("verb", "reason")
        assert list(told) == [("hold.placed", "They pay on Friday"), ("hold.released", "They paid")]


class TestWhatIsRefused:
    def test_a_second_one_names_who_holds_it(self, desk: Desk, account: Account) -> None:
        place(desk, account)
        with pytest.raises(UnableToAsk, match="Customer success holds it already"):
            place(desk, account)

    def test_a_moment_gone_by_no_reason_a_deleted_account(self, desk: Desk, account: Account) -> None:
        for wrong, words in (({"until": NOW}, "to come"), ({"reason": "  "}, "Say why")):
            with pytest.raises(UnableToAsk, match=words):
                place(desk, account, **wrong)
        Account.objects.filter(pk=account.pk).update(state="deleted")
        with pytest.raises(UnableToAsk, match="nothing to hold"):
            place(desk, account)
        assert not Hold.objects.exists()

    @pytest.mark.parametrize("facts", [{"role": "auditor"}, {"role": "finance"}, {"role": "admin", "is_active": False}])
    def test_who_may_not(self, desk: Desk, account: Account, facts: Any) -> None:
        other = User.objects.create_user(email="other@postkeeper.example", name="Other", **facts)
        with pytest.raises(UnableToAsk, match="Your role"):
            place(desk, account, actor=other)
        with pytest.raises(UnableToAsk, match="Your role"):
            holds.release(actor=other, hold=place(desk, account), reason="x", now=NOW)
