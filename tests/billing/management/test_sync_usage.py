"""`manage.py sync_usage`: says what it did, and its status tells a script whether it worked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing.models import SyncRun, UsageSnapshot
from customers.models import Connection
from tests.billing.conftest import Meter


def sync(**options: Any) -> str:
    out = io.StringIO()
    call_command("sync_usage", stdout=out, stderr=out, **options)
    return out.getvalue()


def test_it_reads_and_says_so(meter: Meter) -> None:
    meter.account(per_day=100)
    gone = meter.account()
    meter.sandbox.admin.delete_account(gone.provider_id or "")
    text = sync(connection="SendGrid test")
    assert "Completed with errors. 2 accounts, 1 synced" in text
    assert "1 x Account not found at the provider" in text
    assert "Nothing was synced again" in sync()


def test_a_dry_run_asks_nothing(meter: Meter) -> None:
    meter.account()
    assert "1 accounts, usage source credits" in sync(dry_run=True)
    assert meter.sandbox.admin.requests("credits") == []
    assert SyncRun.objects.count() == 0


def test_a_night_that_was_missed_has_its_own_slot(meter: Meter) -> None:
    meter.account(per_day=100)
    sync(date="2026-11-10")
    sync(date="2026-11-10")
    assert list(SyncRun.objects.values_list("slot", flat=True)) == ["2026-11-10"]
    assert UsageSnapshot.objects.count() == 1


@pytest.mark.parametrize(("options", "words"), [
    ({"date": "tomorrow"}, "must be a date"),
    ({"date": "2999-01-01"}, "in the future"),
    ({"connection": "Nobody"}, "No connection"),
])  # fmt: skip
def test_a_wrong_option_is_named(meter: Meter, options: dict[str, str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        sync(**options)


def test_a_refused_key_ends_with_an_error(meter: Meter) -> None:
    for _ in range(3):
        meter.account()
    meter.sandbox.admin.revoke_key(meter.sandbox.key)
    with pytest.raises(CommandError, match="Not completed: SendGrid test"):
        sync()
    assert Connection.objects.get().paused == "auth"
