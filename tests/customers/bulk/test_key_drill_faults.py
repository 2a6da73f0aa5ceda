"""A drill over real HTTP while answers are lost and workers die: no key is lost, and none is left unknown."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random

import pytest

from customers.bulk import run as bulk_run
from customers.bulk.key_results import key_results, key_summary, with_kind
from customers.models import ChangeSet, Connection, KeySecret, Operation
from portal.providers import Provider
from tests.customers.bulk.key_drills import account_of, key_at_provider, living, plan, stored, submit
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
    desk = sub_desk(sandbox)
    # A busy machine must not make answers late: time passes in leaps here, so a late one would come hours later.
    desk.timeouts = 60.0
    return desk


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

    items = list(with_kind(made.items.select_related("account__customer", "operation")))
    told = {(each.item.account_id, each.item.key_id): each for each in key_results(items, desk.person, now=desk.now)}
    for account in accounts:
        there = living(desk, account)
        assert stored(account) == there
        for key_id in old[account]:
            result = told[account.pk, key_id]
            assert result.is_living == (key_id in there)
            assert result.code in (("rotated", "deleted") if key_id not in there else ("failed", "review"))
        for key_id in there - old[account]:
            secret = KeySecret.objects.get(account=account, key_id=key_id)
            assert secret.operation.state == "succeeded"
            assert desk.connect(desk.connection).sending(account.ref, secret.open()).domains() == []
    really = sum(len(living(desk, each) & old[each]) for each in accounts)
    assert key_summary(made, desk.person, now=desk.now).living == really
    assert key_summary(made, desk.person, now=desk.now).strangers == []
    # Nearly all are done in the first drill; a second one, in fair weather, does the rest but for reviews.
    assert really <= 2
    reviews = Operation.objects.filter(kind__startswith="key", state="needs_attention").count()
    left = [(account.pk, key_id) for account in accounts for key_id in living(desk, account) & old[account]]
    if left:
        again = weather.work(plan(desk, kind="key_delete", named=left))
        if again.items.filter(state="ready").exists():
            weather.work(submit(desk, again))
        assert sum(len(living(desk, each) & old[each]) for each in accounts) <= reviews
