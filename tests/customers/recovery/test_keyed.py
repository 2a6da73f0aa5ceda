"""A restore at a provider with idempotency keys: what was made since the backup may be in use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from customers.models import Operation
from portal.installation import epochs
from tests.customers.recovery.restoring import lost_by_the_restore, release, scan
from tests.customers.sub_accounts import SubDesk, sub_desk
from tests.support.sandbox import SandboxProcess


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> Iterator[SubDesk]:
    epochs.forget_epoch()
    yield sub_desk(sandbox)
    epochs.forget_epoch()


def _restored(desk: SubDesk) -> None:
    scan(desk)
    release(desk)


def test_a_key_that_may_be_in_use_is_left_for_review(desk: SubDesk) -> None:
    account = desk.created()
    operation = desk.ask_key(account)
    with lost_by_the_restore():
        assert desk.perform(operation).state == "succeeded"
        [made] = desk.keys(account)
    _restored(desk)
    desk.drain(operation)
    operation.refresh_from_db()
    assert (operation.state, operation.error_kind) == ("needs_attention", "restored")
    assert desk.keys(account) == [made]


def test_a_key_that_was_never_sent_is_created(desk: SubDesk) -> None:
    account = desk.created()
    operation = desk.ask_key(account)
    with lost_by_the_restore():
        pass
    _restored(desk)
    desk.drain(operation)
    assert Operation.objects.get(pk=operation.pk).state == "succeeded"
    assert len(desk.keys(account)) == 1


def test_an_account_sent_since_the_backup_is_found(desk: SubDesk) -> None:
    create = desk.ask_create()
    with lost_by_the_restore():
        assert desk.perform(create).state == "succeeded"
    _restored(desk)
    desk.drain(create)
    assert Operation.objects.get(pk=create.pk).state == "succeeded"
    assert len(desk.children()) == 1
