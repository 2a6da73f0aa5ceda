"""A drill over real HTTP while answers are lost and workers die: no key is lost, and none is left unknown."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import pytest

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.bulk.key_results import KeyResult, KeySummary, key_results, key_summary, with_kind
from customers.models import Account, ChangeSet, Connection, KeySecret, Operation
from customers.operations import resolve
from portal.commands import Command
from portal.providers import Provider
from tests.customers.bulk.key_drills import account_of, key_at_provider, living, plan, stored, submit, work
from tests.customers.sub_accounts import Died, SubDesk, sub_desk
from tests.support import failpoints
from tests.support.sandbox import SandboxProcess

FAULTS = (
    ("after-status-500", "aha-key-create", 0.15),
    ("reset-after", "aha-key-create", 0.15),
    ("after-status-504", "aha-key-create", 0.1),
    ("reset-before", "aha-key-create", 0.1),
    ("reset-after", "aha-key-delete", 0.2),
    ("after-status-500", "aha-key-delete", 0.15),
    ("status-503", "aha-keys", 0.05),
)
ACCOUNTS, KEYS = 6, 3


class Weather:
    """Workers that die at one point in so many, of operations and of the drill itself."""

    def __init__(self, desk: SubDesk, seed: int) -> None:
        self.desk, self.random, self.deaths = desk, Random(seed), 0

    def at(self, name: str) -> None:
        if self.random.random() < 0.01:
            self.deaths += 1
            raise Died(name)

    def connect(self, connection: Connection) -> Provider:
        if self.random.random() < 0.1:
            self.deaths += 1
            raise Died("a drill")
        return self.desk.connect(connection)

    def work(self, made: ChangeSet, *, days: float = 0.5) -> ChangeSet:
        end = self.desk.now + timedelta(days=days)
        while self.desk.now < end:
            with failpoints.installed(self.at), suppress(Died):
                bulk_run.run_bulk_change(made.pk, clock=lambda: self.desk.now, seconds=2, connect=self.connect)
            with failpoints.installed(self.at), suppress(Died):
                self.desk.round()
            made.refresh_from_db()
            if made.state not in bulk_run.AT_WORK:
                break
            self.desk.pass_time(20)
        return made


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@dataclass
class Drill:
    """A drill that ended, and the old keys of each account, by what the provider says."""

    desk: SubDesk
    made: ChangeSet
    old: dict[Account, set[str]]

    @property
    def summary(self) -> KeySummary:
        return key_summary(self.made, self.desk.person, now=self.desk.now)

    def still_there(self) -> list[tuple[int, str]]:
        return [(account.pk, key) for account, old in self.old.items() for key in living(self.desk, account) & old]

    def told(self) -> dict[tuple[int, str], KeyResult]:
        items = list(with_kind(self.made.items.select_related("account__customer", "operation")))
        found = key_results(items, self.desk.person, now=self.desk.now)
        return {(each.item.account_id, each.item.key_id): each for each in found}

    def check_truth(self) -> None:
        """The page tells of each old key whether it lives, and names each new key that has no secret."""
        told = self.told()
        for account, old in self.old.items():
            there = living(self.desk, account)
            assert stored(account) == there
            for key_id in old:
                result = told[account.pk, key_id]
                assert result.is_living == (key_id in there)
                assert result.code in (("rotated", "deleted") if key_id not in there else ("failed", "review"))
                assert bool(result.text) == (key_id in there)
            named = {key.key_id for key in self.summary.without_secret if key.account_id == account.pk}
            for key_id in there - old - named:
                secret = KeySecret.objects.get(account=account, key_id=key_id)
                assert secret.operation.state == "succeeded"
                assert self.desk.connect(self.desk.connection).sending(account.ref, secret.open()).domains() == []
        assert self.summary.living == len(self.still_there())
        assert self.summary.strangers == []

    def resolve(self) -> None:
        """What a person does about it: retry each review, delete what is left without a secret, and drill again."""
        desk = self.desk
        command = Command(desk.person, desk.now, reason="The provider works again")
        while reviews := list(Operation.objects.filter(state="needs_attention").order_by("pk")):
            for each in reviews:
                resolve.resolve_retry(command, operation=each)
            desk.drain(*Operation.objects.open().filter(kind__startswith="key"))
        bulk_commands.check_keys_again(Command(desk.person, desk.now), change_set=self.made)
        self.made = work(desk, self.made)
        left = self.still_there() + [(key.account_id, key.key_id) for key in self.summary.without_secret]
        if left:
            work(desk, submit(desk, work(desk, plan(desk, kind="key_delete", named=left))))


@pytest.mark.long
@pytest.mark.parametrize(("seed", "kind"), [(1, "key_rotate"), (2, "key_rotate"), (3, "key_delete")])
def test_no_key_is_lost_and_none_unknown(desk: SubDesk, seed: int, kind: str) -> None:
    accounts = [account_of(desk, n) for n in range(ACCOUNTS)]
    old = {each: {key_at_provider(desk, each, f"Shop {n}") for n in range(KEYS)} for each in accounts}
    for fault, operation, probability in FAULTS:
        desk.sandbox.admin.arm(fault, operation, probability=probability)
    weather = Weather(desk, seed)
    made = weather.work(plan(desk, *accounts, kind=kind))
    assert (made.state, made.items.filter(state="ready").count()) == ("planned", ACCOUNTS * KEYS)
    made = weather.work(submit(desk, made))
    assert made.state == "ended"
    assert weather.deaths > 0
    desk.sandbox.admin.clear_faults()

    drill = Drill(desk, made, old)
    drill.check_truth()
    assert drill.summary.without_secret == []
    reviews = Operation.objects.filter(kind__startswith="key", state="needs_attention")
    assert bool(drill.still_there()) == reviews.exists()
    drill.resolve()
    drill.check_truth()
    assert drill.still_there() == []
    assert drill.summary.without_secret == []
