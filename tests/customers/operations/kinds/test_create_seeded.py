"""Accounts with their first keys under random faults, by seed: answers lost on every way, workers dying at every point,
messages doubled, time passing in jumps. Whatever happened, nobody has two accounts and no key exists twice.

`SEEDED_CREATES=500` runs as many, `SEEDED_FROM=100` from that one on; a seed that fails is named by its test.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from customers.connections import commands as connection_commands
from customers.models import Connection, KeySecret, Operation
from customers.models.operation_states import FINAL
from customers.monitoring import invariants
from customers.operations.commands import FirstKey
from portal.commands import Command
from portal.providers import AccountSettings
from tests.customers.sub_accounts import KEY, Died, SubDesk, is_at_rest, sub_desk
from tests.support import failpoints
from tests.support.sandbox import SandboxProcess

FIRST = int(os.environ.get("SEEDED_FROM", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SEEDED_CREATES", "25")))
CREATES = 3
ROUNDS = 25
ON_CREATES = (
    "status-500", "after-status-500", "after-status-504", "status-503", "reset-before", "reset-after", "truncated",
    "crash-before", "crash-after", "after-html-502", "wrong-201", "no-account-id", "429", "late-create", "status-401",
)  # fmt: skip
ON_KEYS = tuple(fault for fault in ON_CREATES if fault not in ("late-create", "no-account-id"))
ON_READS = ("status-500", "reset-before", "truncated", "429", "html-502")
ON_DELETES = ("status-500", "after-status-500", "reset-after", "reset-before", "after-html-502")
POINTS = ("after_claim", "before_intent", "after_intent", "after_answer", "after_result")


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.mark.parametrize("seed", SEEDS, ids=[f"seed-{n}" for n in SEEDS])
@pytest.mark.sample(2)
@pytest.mark.long
def test_nobody_has_two_accounts_and_no_key_exists_twice(
    desk: SubDesk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = Random(seed)
    _arm(desk, chance)
    _let_workers_die(monkeypatch, chance)
    asked = [
        desk.ask_create(AccountSettings(f"Customer {n}", f"c{n}.example", 0), first_key=FirstKey(KEY))
        for n in range(CREATES)
    ]
    everything = [*asked, *Operation.objects.filter(kind="key_create")]
    for _ in range(ROUNDS):
        _a_round(desk, chance)
        if not Operation.objects.exclude(state__in=FINAL).exists():
            break
    monkeypatch.undo()
    desk.sandbox.admin.clear_faults()
    _resume(desk)
    desk.drain(*everything, hours=30)
    desk.pass_time(600)  # whatever was still to come is there

    for operation in everything:
        operation.refresh_from_db()
        assert is_at_rest(operation), (operation, operation.state, operation.summary)
    assert [finding for finding in invariants.check(now=desk.now) if finding.is_broken] == []
    _check_accounts(desk, asked)
    for operation in Operation.objects.filter(kind="key_create").select_related("account"):
        _check_keys(desk, operation)


def _arm(desk: SubDesk, chance: Random) -> None:
    arm = desk.sandbox.admin.arm
    for names, operation, most in (
        (ON_CREATES, "aha-create", 0.4), (ON_KEYS, "aha-key-create", 0.4), (ON_READS, "aha-list", 0.3),
        (ON_READS, "aha-keys", 0.3), (ON_READS, "aha-read", 0.2), (ON_DELETES, "aha-key-delete", 0.5),
    ):  # fmt: skip
        for name in chance.sample(names, k=chance.randint(1, 3)):
            arm(name, operation, probability=round(chance.uniform(0.05, most), 2))
    if chance.random() < 0.3:
        desk.sandbox.admin.switch("aha_list_order", "reversed")


def _let_workers_die(monkeypatch: pytest.MonkeyPatch, chance: Random) -> None:
    often = chance.choice((0.0, 0.02, 0.08))

    def at(name: str) -> None:
        if name in POINTS and chance.random() < often:
            raise Died(name)

    for part in failpoints.parts(at):
        monkeypatch.setattr(*part)


def _a_round(desk: SubDesk, chance: Random) -> None:
    """A dispatcher's round in which messages come twice and out of order, and workers may die."""
    _resume(desk)
    desk.tidy()
    due = [operation for operation in desk.due() for _ in range(chance.choice((1, 1, 2)))]
    chance.shuffle(due)
    for operation_id in due:
        try:
            desk.perform(Operation(pk=operation_id))
        except Died:
            continue
    desk.pass_time(chance.choice((1, 3, 10, 30, 100, 100, 320)))


def _resume(desk: SubDesk) -> None:
    for connection in Connection.objects.exclude(paused=""):
        connection_commands.resume_connection(Command(desk.person), connection=connection)


def _check_accounts(desk: SubDesk, asked: list[Operation]) -> None:
    there = desk.sandbox.admin.aha.accounts()
    doubled = [name for name, count in Counter(each["name"] for each in there).items() if count > 1]
    assert doubled == []
    found = {each["name"]: each["id"] for each in there}
    for operation in asked:
        account = desk.account(operation)
        name = operation.payload["settings"]["name"]
        if operation.state == "succeeded":
            assert account.provider_id == found[name]
        else:
            assert account.provider_id is None
        if operation.state == "failed":
            assert name not in found, "an account exists that nobody knows of"
        assert {each.request for each in operation.attempts.all()} <= {operation.body}


def _check_keys(desk: SubDesk, operation: Operation) -> None:
    account = operation.account
    if not account.provider_id:
        assert operation.state in ("failed", "queued"), "no account, no key"
        return
    living = [each for each in desk.sandbox.admin.aha.keys(account.provider_id) if not each["deleted_at"]]
    held = list(KeySecret.objects.filter(account=account).exclude(sealed=""))
    if operation.state == "succeeded":
        assert [each["id"] for each in living] == [operation.result["key_id"]]
        (secret,) = held
        assert secret.key_id == operation.result["key_id"]
        assert desk.connect(desk.connection).sending(account.ref, secret.open()).domains() == []
    elif operation.state == "failed":
        assert living == []
    else:
        assert len(living) <= 1
