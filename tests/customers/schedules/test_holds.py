"""Holds: who may place and release one, when one holds, and that it falls silent by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from customers.models import Account, Hold
from customers.schedules import holds
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import Desk

NOW = timezone.now()


@pytest.fixture
def account(desk: Desk) -> Account:
    return desk.created()


def place(desk: Desk, account: Account, **more: object) -> Hold:
    asked: dict[str, Any] = {"reason": "They pay on Friday", "until": None, "actor": desk.person, "now": NOW} | more
    command = Command(asked["actor"], asked["now"], reason=asked["reason"])
    return holds.place_hold(command, account=account, until=asked["until"])


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
        holds.release(Command(desk.person, NOW, reason="They paid"), hold=hold)
        assert holds.held([account.pk], now=NOW) == {}
        with pytest.raises(Refusal, match="“Do not suspend” has already ended"):
            holds.release(Command(desk.person, NOW, reason="Again"), hold=hold)
        told = AuditEvent.objects.filter(verb__startswith="hold.").order_by("pk").values_list("verb", "reason")
        assert list(told) == [("hold.placed", "They pay on Friday"), ("hold.released", "They paid")]


class TestWhatIsRefused:
    def test_a_second_one_names_who_holds_it(self, desk: Desk, account: Account) -> None:
        place(desk, account)
        with pytest.raises(Refusal, match="Customer success already marked this account"):
            place(desk, account)

    def test_a_moment_gone_by_no_reason_a_deleted_account(self, desk: Desk, account: Account) -> None:
        for wrong, words in (({"until": NOW}, "future date"), ({"reason": "  "}, "Enter a reason")):
            with pytest.raises(Refusal, match=words):
                place(desk, account, **wrong)
        Account.objects.filter(pk=account.pk).update(state="deleted")
        with pytest.raises(Refusal, match="can't be marked"):
            place(desk, account)
        assert not Hold.objects.exists()

    @pytest.mark.parametrize("facts", [{"role": "auditor"}, {"role": "finance"}, {"role": "admin", "is_active": False}])
    def test_who_may_not(self, desk: Desk, account: Account, facts: Any) -> None:
        other = User.objects.create_user(email="other@postkeeper.example", name="Other", **facts)
        with pytest.raises(Refusal, match="Your role"):
            place(desk, account, actor=other)
        with pytest.raises(Refusal, match="Your role"):
            holds.release(Command(other, NOW, reason="x"), hold=place(desk, account))
