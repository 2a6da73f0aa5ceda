"""API keys over real HTTP: in the end one living key whose secret was kept, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.models import Account, AccountKey, Attempt, KeySecret, Operation
from customers.models.operation_states import OperationState
from customers.monitoring import operation_invariants
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from customers.operations import conclusions, key_secrets, resolve, transitions
from customers.operations.kinds.table import kind_of
from portal import providers as portal_providers
from portal.commands import Command
from portal.providers import IdempotentBody, NewKey
from tests.customers.sub_accounts import HOUR, KEY, SubDesk, sub_desk
from tests.support import failpoints
from tests.support.sandbox import SandboxProcess


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


def _calls(operation: Operation) -> list[tuple[str, str]]:
    return list(operation.attempts.order_by("n").values_list("call", "outcome"))


def _one_living_key(desk: SubDesk, operation: Operation) -> None:
    """There is one key, we know it, and what we hold is its secret: it opens the account's own side."""
    operation.refresh_from_db()
    assert operation.state == "succeeded", operation.summary
    account = desk.account(operation)
    (there,) = desk.keys(account)
    assert operation.result == {"key_id": there.id}
    assert AccountKey.objects.get(account=account, gone_at=None).key_id == there.id
    held = KeySecret.objects.exclude(sealed="").get(account=account)
    assert held.key_id == there.id
    assert held.open().startswith("aha-sk-")
    assert desk.connect(desk.connection).sending(account.ref, held.open()).domains() == []


# -- creating ----------------------------------------------------------------------------------------------------


def test_a_key_is_made_and_its_secret_sealed(desk: SubDesk) -> None:
    operation = desk.perform(desk.ask_key(desk.created()))
    _one_living_key(desk, operation)
    row = KeySecret.objects.get()
    assert (row.holder, row.kept, row.shown_at) == (desk.person, False, None)
    assert row.expires_at - row.made_at == key_secrets.WAITS
    assert _calls(operation) == [("create key", "applied")]


# What became of the first send, what follows it, and the calls in order.
LOST = [
    # No answer at all and the key is there: the stored answer is fetched.
    ("reset-after", ["create key unknown", "create key applied"]),
    ("hang-after", ["create key unknown", "create key applied"]),
    # Nothing was made: the same is sent again.
    ("reset-before", ["create key unknown", "create key applied"]),
    ("status-500", ["create key unknown", "create key applied"]),
    ("html-502", ["create key unknown", "create key applied"]),
    # An answer without the secret: there is nothing to replay, or nothing to rely on.
    ("after-status-500", ["create key unknown", "delete orphan key prepared", "create key applied"]),
    ("after-status-504", ["create key unknown", "delete orphan key prepared", "create key applied"]),
    ("truncated", ["create key unknown", "delete orphan key prepared", "create key applied"]),
    # The provider's own process died behind the key: its lease stands in the way of a replay.
    (
        "crash-after",
        ["create key unknown", "create key rejected", "delete orphan key prepared", "create key applied"],
    ),
    ("crash-before", ["create key unknown", "create key rejected", "create key applied"]),
]


@pytest.mark.parametrize(("fault", "calls"), LOST, ids=[row[0] for row in LOST])
@pytest.mark.sample(4)
def test_a_create_whose_answer_was_lost(desk: SubDesk, fault: str, calls: list[str]) -> None:
    account = desk.created()
    desk.timeouts = 1.0
    desk.sandbox.admin.arm(fault, "aha-key-create")
    operation = desk.perform(desk.ask_key(account))
    assert operation.state == "unknown"
    desk.drain(operation)
    assert [call for call, _again in groupby(" ".join(each) for each in _calls(operation))] == calls
    _one_living_key(desk, operation)
    assert len({each.request for each in operation.attempts.filter(call="create key")}) == 1


@pytest.mark.parametrize("point", ["after_claim", "before_intent", "after_intent", "after_answer"])
@pytest.mark.parametrize("minutes", [0, 10])
def test_a_worker_that_dies_at_any_point_leaves_one_key(desk: SubDesk, point: str, minutes: int) -> None:
    operation = desk.ask_key(desk.created())
    with desk.dies_at(point):
        desk.perform(operation)
    desk.pass_time(60 * minutes)
    desk.drain(operation)
    _one_living_key(desk, operation)
    calls = [call for call, _outcome in _calls(operation)]
    if point == "after_answer":
        # Within minutes the stored answer is fetched; later the secret is lost, so the key is made anew.
        assert calls == (["create key", "delete orphan key", "create key"] if minutes else ["create key"] * 2)


def test_a_lost_orphan_delete_answer_still_changes_generation(desk: SubDesk) -> None:
    """Under the old key the stored answer would be replayed, and speak of a key that is gone."""
    account = desk.created()
    desk.sandbox.admin.arm("after-status-504", "aha-key-create")
    desk.sandbox.admin.arm("after-status-500", "aha-key-delete")
    operation = desk.drain(desk.ask_key(account))
    assert _calls(operation) == [
        ("create key", "unknown"), ("delete orphan key", "unknown"), ("create key", "applied"),
    ]  # fmt: skip
    _one_living_key(desk, operation)


def test_two_keys_of_one_label_are_deleted_before_a_new_create(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create")
    operation = desk.perform(desk.ask_key(account))
    provider = desk.connect(desk.connection)
    provider.create_key(account.ref, IdempotentBody(uuid4().hex, operation.body))
    desk.drain(operation)
    assert [outcome for call, outcome in _calls(operation) if call == "delete orphan key"] == ["prepared"] * 2
    _one_living_key(desk, operation)


def test_a_new_key_beside_another_of_its_label_is_not_trusted(desk: SubDesk) -> None:
    """The stored answer is forgotten between our look and our send: instead of a replay there is a second key."""
    account = desk.created()
    operation = desk.ask_key(account)
    with desk.dies_at("after_answer"):
        desk.perform(operation)
    desk.pass_time(100)
    transitions.expire_leases(now=desk.now)
    desk.perform(operation)
    desk.pass_time(10)

    def meanwhile(name: str) -> None:
        if name == "before_intent":
            desk.sandbox.admin.move_clock(seconds=600)

    with failpoints.installed(meanwhile):
        operation = desk.perform(operation)
    assert operation.state == "unknown"
    assert len(desk.keys(account)) == 2
    desk.drain(operation)
    _one_living_key(desk, operation)


def test_a_refusal_ends_it(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("status-400", "aha-key-create")
    operation = desk.perform(desk.ask_key(account))
    assert (operation.state, operation.error_kind) == ("failed", "rejected")
    assert desk.keys(account) == []


def test_a_refusal_after_an_uncertain_send_leaves_no_orphan(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create")
    desk.sandbox.admin.arm("status-400", "aha-key-create", count=None)
    operation = desk.drain(desk.ask_key(account))
    assert (operation.state, operation.error_kind) == ("failed", "rejected")
    assert _calls(operation)[-1] == ("create key", "rejected")
    assert desk.keys(account) == []


@pytest.mark.long
def test_a_create_that_was_sent_too_often_leaves_no_key(desk: SubDesk) -> None:
    """Its last send leaves a key like the others. A review that retries sends once more, and then deletes again."""
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create", count=None)
    operation = desk.drain(desk.ask_key(account))
    for creates in (8, 9):
        assert (operation.state, operation.error_kind) == ("needs_attention", "unknown")
        assert [call for call, _outcome in _calls(operation)].count("create key") == creates
        assert desk.keys(account) == []
        assert list(operation_invariants.sent_too_often(desk.now)) == []
        operation = Operation.objects.get(pk=operation.pk)
        resolve.resolve_retry(Command(desk.person, desk.now, reason="Provider works again"), operation=operation)
        if creates == 8:
            desk.drain(operation)
    desk.sandbox.admin.clear_faults()
    desk.drain(operation)
    _one_living_key(desk, operation)


@pytest.mark.long
def test_an_orphan_that_cant_be_deleted_comes_to_a_person(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create")
    desk.sandbox.admin.arm("status-403", "aha-key-delete", count=None)
    operation = desk.drain(desk.ask_key(account))
    assert operation.state == "needs_attention"
    assert operation.attempt_count < 12


def test_after_23_hours_the_orphan_key_is_deleted_not_replaced(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create")
    operation = desk.perform(desk.ask_key(account))
    desk.pass_time(23.5 * HOUR)
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("needs_attention", "too_late")
    assert _calls(operation) == [("create key", "unknown"), ("delete orphan key", "prepared")]
    assert desk.keys(account) == []


def _a_zombies_send(desk: SubDesk, asked: Operation) -> Callable[[], bool]:
    """A worker sends and freezes; its lease runs out. Returns what it does when it wakes up: record its answer."""
    zombie = transitions.claim(asked.pk, now=desk.now)
    assert zombie is not None
    go = kind_of(zombie).action.prepare(zombie, desk.connect(desk.connection), now=desk.now)
    attempt = transitions.intend(zombie, call=go.call, request=go.request, body=go.body, now=desk.now)
    done = go.send()
    desk.pass_time(100)
    desk.tidy()
    return lambda: conclusions.conclude(
        zombie, attempt, Attempt.Outcome.APPLIED, OperationState.SUCCEEDED, now=desk.now,
        evidence=portal_providers.Evidence(status=201), result=done.result, account=done.account, also=done.also,
    )  # fmt: skip


def test_an_answer_after_the_lost_lease_is_encrypted_and_used(desk: SubDesk) -> None:
    asked = desk.ask_key(desk.created())
    assert _a_zombies_send(desk, asked)() is False
    desk.drain(asked)
    assert asked.attempts.count() == 1
    _one_living_key(desk, asked)


def test_a_late_answer_does_not_replace_the_recreated_key(desk: SubDesk) -> None:
    asked = desk.ask_key(desk.created())
    wakes_up = _a_zombies_send(desk, asked)
    desk.pass_time(600)
    desk.drain(asked)
    assert _calls(asked)[1:] == [("delete orphan key", "prepared"), ("create key", "applied")]
    assert wakes_up() is False
    observed_accounts.read_keys(account=desk.account(asked), now=desk.now, provider=desk.connect(desk.connection))
    asked.refresh_from_db()
    (there,) = desk.keys(desk.account(asked))
    assert asked.result == {"key_id": there.id}
    assert KeySecret.objects.get(key_id=there.id).sealed, "the secret of the living key is still there"


# -- changing, deleting, rotating --------------------------------------------------------------------------------


def _made(desk: SubDesk, **how: bool) -> tuple[Account, AccountKey]:
    account = desk.created()
    operation = desk.perform(desk.ask_key(account, **how))
    assert operation.state == "succeeded", operation.summary
    return account, AccountKey.objects.get(account=account)


def test_an_update_sends_only_what_changed(desk: SubDesk) -> None:
    account, key = _made(desk)
    changes = {"label": key.label, "ip_allow_list": ["203.0.113.9", "198.51.100.77/24"], "scopes": list(KEY.scopes)}
    operation = desk.perform(desk.ask("key_update", account, key_id=key.key_id, changes=changes))
    assert operation.state == "succeeded", operation.summary
    assert "scopes" not in operation.attempts.get().request
    assert "label" not in operation.attempts.get().request
    key.refresh_from_db()
    assert key.ip_allow_list == ["203.0.113.9/32", "198.51.100.0/24"]

    again = desk.perform(desk.ask("key_update", account, key_id=key.key_id, changes=changes))
    assert (again.state, again.attempt_count) == ("succeeded", 0), "in its canonical form it is so already"


FAULTS = ["status-500", "after-status-500", "reset-before", "reset-after", "hang-after", "after-status-504", "html-502"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["key_update", "key_delete", "settings", "suspend", "delete"])
@pytest.mark.sample(8)
def test_a_change_of_unknown_outcome_is_read_back_and_settled(desk: SubDesk, kind: str, fault: str) -> None:
    account, key = _made(desk)
    desk.timeouts = 1.0
    settings = {"base": account.settings, "version": account.version, "changes": {"monthly_cap": 9}}
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "key_update": ("aha-key-update", {"key_id": key.key_id, "changes": {"ip_allow_list": ["203.0.113.9/32"]}}),
        "key_delete": ("aha-key-delete", {"key_id": key.key_id}),
        "settings": ("aha-update", settings),
        "suspend": ("aha-suspend", {}),
        "delete": ("aha-delete", {}),
    }
    wire, asked = cases[kind]
    desk.sandbox.admin.arm(fault, wire)
    operation = desk.perform(desk.ask(kind, account, **asked))
    assert operation.state == "unknown"
    desk.drain(operation)
    assert operation.state == "succeeded", operation.summary
    happened = fault.startswith("after-") or fault.endswith("-after")
    assert operation.attempts.count() == (1 if happened else 2)
    assert len(desk.sent(wire)) == operation.attempts.count()
    if kind == "key_delete":
        assert desk.keys(account) == []
        key.refresh_from_db()
        assert key.gone_at is not None


def test_deleting_a_key_takes_its_secret_with_it(desk: SubDesk) -> None:
    account, key = _made(desk, keep=True)
    assert key_secrets.secret_for_sending(account) is not None
    assert desk.perform(desk.ask("key_delete", account, key_id=key.key_id)).state == "succeeded"
    assert key_secrets.secret_for_sending(account) is None
    assert not KeySecret.objects.exclude(sealed="").exists()


def test_a_key_that_is_gone_already_is_deleted(desk: SubDesk) -> None:
    account, key = _made(desk)
    asked = desk.ask("key_delete", account, key_id=key.key_id)
    desk.connect(desk.connection).delete_key(account.ref, key.key_id)
    operation = desk.perform(asked)
    assert (operation.state, operation.attempt_count) == ("succeeded", 0)


def test_rotating_deletes_the_old_key_once_the_new_one_exists(desk: SubDesk) -> None:
    account, old = _made(desk)
    rotate = desk.ask("key_create", account, new=KEY, keep=False, replaces=old.key_id)
    delete = rotate.followers.get()
    desk.drain(rotate, delete)
    assert (rotate.state, delete.state) == ("succeeded", "succeeded")
    (left,) = desk.keys(account)
    assert left.id == rotate.result["key_id"] != old.key_id


def test_an_account_that_was_deleted_has_no_keys_and_no_secrets(desk: SubDesk) -> None:
    account, key = _made(desk, keep=True)
    desk.drain(desk.ask("delete", account))
    key.refresh_from_db()
    assert key.gone_at is not None
    assert not KeySecret.objects.exclude(sealed="").exists()


def test_the_list_of_keys_is_complete_or_not_believed(desk: SubDesk) -> None:
    account, _key = _made(desk)
    before = timezone.now()
    second = desk.perform(desk.ask_key(account, NewKey("second", ("domains:read",))))
    assert second.state == "succeeded"
    observed_accounts.record_keys(account_id=account.pk, keys=[], now=before)  # asked for before the second was made
    assert set(AccountKey.objects.filter(gone_at=None).values_list("key_id", flat=True)) >= {second.result["key_id"]}
    observed_accounts.read_keys(account=account, now=desk.now, provider=desk.connect(desk.connection))
    assert AccountKey.objects.filter(gone_at=None).count() == 2


def test_a_deleted_account_ends_an_unknown_create_of_its_key(desk: SubDesk) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("after-status-500", "aha-key-create")
    operation = desk.perform(desk.ask_key(account))
    desk.sandbox.admin.aha.delete(str(account.provider_id))
    desk.drain(operation)
    assert (operation.state, operation.error_kind) == ("failed", "gone")


def test_a_failed_rotation_is_retried_when_the_old_key_is_gone(desk: SubDesk) -> None:
    account, old = _made(desk)
    desk.sandbox.admin.arm("status-400", "aha-key-create")
    rotate = desk.ask("key_create", account, new=KEY, keep=False, replaces=old.key_id)
    desk.drain(rotate, rotate.followers.get())
    assert (rotate.state, rotate.followers.get().error_kind) == ("failed", "leader_failed")
    again = operation_commands.retry_operation(Command(desk.person, desk.now, token=uuid4().hex), operation=rotate)
    assert again.followers.get().payload["key_id"] == old.key_id
    assert (again.retry_of, again.followers.get().retry_of) == (rotate, None)
    desk.drain(again, again.followers.get())

    AccountKey.objects.update(gone_at=desk.now)
    third = operation_commands.retry_operation(Command(desk.person, desk.now, token=uuid4().hex), operation=rotate)
    assert not third.followers.exists()
