"""The columns that the database keeps for lists."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from customers.models import Account
from customers.observed.usage_readings import mark_late_usage
from tests.support.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("used", "allowed", "level"),
    [
        (0, 100_000, 0),
        (9_999, 100_000, 0),
        (79_999, 100_000, 7),
        (80_000, 100_000, 8),
        (4, 5, 8),
        (100_000, 100_000, 10),
        (100_001, 100_000, 11),
        (250_000, 100_000, 25),
        (10**15, 10, 30_000),
        (5, 0, None),
        (5, None, None),
        (None, 100_000, None),
    ],
)
def test_the_level_is_the_tenth_of_the_quota(used: int | None, allowed: int | None, level: int | None) -> None:
    account = AccountFactory(usage_used=used, usage_allowed=allowed)
    assert Account.objects.values_list("quota_level", flat=True).get(pk=account.pk) == level


def late() -> set[str]:
    return set(Account.objects.filter(usage_is_late=True).values_list("email", flat=True))


def test_late_usage_is_marked_until_it_is_read() -> None:
    now = timezone.now()
    for name, facts in {
        "old": {"usage_read_at": now - timedelta(hours=37)},
        "fresh": {"usage_read_at": now - timedelta(hours=35)},
        "never": {"usage_read_at": None},
        "new": {"usage_read_at": None},
        "deleted": {"usage_read_at": now - timedelta(hours=37), "state": "deleted"},
        "pending": {"pending": True},
    }.items():
        account = AccountFactory(email=f"{name}@a.example", **facts)
        created = now if name == "new" else now - timedelta(days=9)
        Account.objects.filter(pk=account.pk).update(created_at=created)
    assert (mark_late_usage(now=now), late()) == (2, {"old@a.example", "never@a.example"})
    assert mark_late_usage(now=now) == 0, "nothing is written twice"
    change("old", usage_read_at=now)
    assert late() == {"never@a.example"}
    later = now + timedelta(hours=37)
    assert mark_late_usage(now=later) == 3
    change("never", state="deleted")
    assert late() == {"old@a.example", "fresh@a.example", "new@a.example"}


def change(name: str, **facts: Any) -> None:
    Account.objects.filter(email=f"{name}@a.example").update(**facts)
