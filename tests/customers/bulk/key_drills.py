"""A desk whose accounts have keys at the sandbox, and a drill brought to its end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.models import Account, AccountKey, ChangeSet
from portal.commands import Command
from portal.providers import AccountSettings, IdempotentBody, NewKey
from tests.customers.sub_accounts import SubDesk

SEND = ("messages:send:all", "domains:read")


def account_of(desk: SubDesk, n: int = 1) -> Account:
    return desk.created(AccountSettings(f"Company {n}", f"c{n}.example", 0))


def key_at_provider(desk: SubDesk, account: Account, label: str = "Web shop", *networks: str) -> str:
    """A key that somebody made at the provider; the portal does not know it yet."""
    provider = desk.connect(desk.connection)
    body = provider.key_body(NewKey(label, SEND, networks))
    return provider.create_key(account.ref, IdempotentBody(uuid4().hex, body)).key.id


def plan(
    desk: SubDesk,
    *accounts: Account,
    kind: str = "key_rotate",
    old: str = "then",
    named: list[tuple[int, str]] | None = None,
    **more: Any,
) -> ChangeSet:
    command = Command(**{"actor": desk.person, "now": desk.now, "reason": "Laptop stolen", "token": uuid4().hex} | more)
    return bulk_commands.plan_bulk_change(
        command,
        kind=kind,
        wanted={"old": old} if kind == "key_rotate" else {},
        account_ids=[each.pk for each in accounts],
        named_keys=named or (),
    )


def submit(desk: SubDesk, made: ChangeSet) -> ChangeSet:
    return bulk_commands.submit_bulk_change(Command(desk.person, desk.now), change_set=made)


def work(desk: SubDesk, made: ChangeSet, *, rounds: int = 200) -> ChangeSet:
    """Let workers list and run, and time go by, until the bulk change waits for a person or is over."""
    for _ in range(rounds):
        bulk_run.run_bulk_change(made.pk, clock=lambda: desk.now, seconds=60, connect=desk.connect)
        moved = desk.round()
        made.refresh_from_db()
        if made.state not in bulk_run.AT_WORK:
            break
        desk.pass_time(3 if moved else 30)
    return made


def listed(desk: SubDesk, *accounts: Account, **more: Any) -> ChangeSet:
    return work(desk, plan(desk, *accounts, **more))


def drilled(desk: SubDesk, *accounts: Account, **more: Any) -> ChangeSet:
    return work(desk, submit(desk, listed(desk, *accounts, **more)))


def living(desk: SubDesk, account: Account) -> set[str]:
    """The keys that are there, whatever the portal believes."""
    return {key.id for key in desk.keys(account)}


def stored(account: Account) -> set[str]:
    return set(AccountKey.objects.filter(account=account, gone_at=None).values_list("key_id", flat=True))
