"""What tasks do beside calling one function."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from django.utils import timezone

from customers import tasks
from customers.bulk import run as bulk_run
from customers.models import AccountImport, ChangeSet
from customers.reconcile import account_import as account_imports
from portal import leases
from portal.clock import database_now
from portal.commands import Command
from tests.customers.bulk.test_commands import accounts, plan, submit
from tests.customers.conftest import Desk
from tests.customers.reconcile.test_account_import import proposed, there
from tests.support import messages


def bulk_change(desk: Desk) -> tuple[str, ChangeSet, Callable[[int], None]]:
    return bulk_run.RUN, submit(desk, plan(desk, accounts(desk, 2))), tasks.run_change_set


def account_import(desk: Desk) -> tuple[str, AccountImport, Callable[[int], None]]:
    there(desk, "ops@globex.example", "it@globex.example")
    made = proposed(desk)
    account_imports.start_import(Command(desk.person, timezone.now()), account_import=made)
    return account_imports.IMPORT_CHUNK, made, tasks.takeover_chunk


@pytest.mark.parametrize("run", [bulk_change, account_import])
def test_a_run_whose_time_is_up_is_enqueued_again_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, run: Callable[[Desk], tuple[str, ChangeSet, Callable[[int], None]]]
) -> None:
    name, made, task = run(desk)
    with monkeypatch.context() as patch, messages.sent() as found:
        clock = count(step=100)
        patch.setattr(leases, "monotonic", lambda: next(clock))
        task(made.pk)
    made.refresh_from_db()
    assert ((name, made.pk) in found, made.state, made.lease_until) == (True, "running", None)
    assert made.not_before <= database_now()
    with messages.sent() as found:
        task(made.pk)
    made.refresh_from_db()
    assert ((name, made.pk) in found, made.state) == (False, "ended")
