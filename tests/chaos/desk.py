"""The people at the portal, as a process of the installation: asks for work through the commands the pages use, and
looks. One JSON array `[name, arguments]` per line in, one JSON value per line out.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import django
from django.core.management import call_command
from django.db import Error, connections
from django.utils import timezone

from portal.refusals import Refusal

django.setup()

from customers import dispatcher  # noqa: E402
from customers.models import Account, Attempt, Connection, Customer, Heartbeat, Operation  # noqa: E402
from customers.models.account import as_offerings  # noqa: E402
from customers.models.operation_states import FINAL  # noqa: E402
from customers.monitoring import invariants  # noqa: E402
from customers.operations import commands as operation_commands  # noqa: E402
from portal.access.models import User  # noqa: E402
from portal.commands import Command  # noqa: E402
from portal.providers import AccountSettings, NewKey, Profile, ProviderOffering  # noqa: E402
from tests.journeys.processes import PASSWORD  # noqa: E402

PACKAGES = ("postkeeper.ei.pro-100k.v1", "postkeeper.ei.pro-300k.v1")
KEY = operation_commands.FirstKey(NewKey("web shop", ("messages:send:all", "domains:read")))
CANARIES = "Canary"  # the connection whose accounts show how soon work is taken up
PATIENCE = 60.0


def migrate() -> None:
    call_command("migrate", verbosity=0)


def connect(key: str, *argv: str) -> None:
    os.environ["PORTAL_API_KEY"] = key
    call_command("connect", *argv, stdout=io.StringIO())


def prepare(canaries: int) -> None:
    """A person, a budget no load reaches, and accounts that nothing but `canary` is done to."""
    User.objects.create_user("cleo@example.com", PASSWORD, name="Cleo Lindqvist", role="customer_success")
    Connection.objects.update(creates_per_hour=1_000_000)
    connection = Connection.objects.get(name=CANARIES)
    for n in range(canaries):
        _create(connection, f"canary-{n}", Random(n))


def load(token: str, creates: int, changes: int) -> list[int]:
    """So many creates at each provider, and changes of accounts there are. The same token asks the same."""
    chance = Random(token)
    connections = list(Connection.objects.exclude(name=CANARIES).order_by("pk"))
    asked = [_create(connection, f"{token}-{n}", chance) for n in range(creates) for connection in connections]
    living = list(
        Account.objects.exclude(connection__name=CANARIES).filter(provider_id__isnull=False).order_by("pk")[:400]
    )
    for n, account in enumerate(chance.sample(living, min(changes, len(living)))):
        if pk := _change(account, f"{token}-change-{n}", chance):
            asked.append(pk)
    return asked


def _create(connection: Connection, token: str, chance: Random) -> int:
    keyed = connection.capabilities.settings
    name = f"{connection.kind}-{token}"
    email = f"{name}@chaos.example"
    customer, _ = Customer.objects.get_or_create(company_name=name, defaults={"email": email})
    return operation_commands.request_create(
        Command(_actor(), timezone.now(), token=name),
        customer=customer,
        connection=connection,
        is_test=False,
        profile=Profile("" if keyed else email),
        offerings=[] if keyed else [ProviderOffering(chance.choice(PACKAGES), "package", 1)],
        settings=AccountSettings(name, f"{name}.example", 0) if keyed else None,
        first_key=KEY if keyed and chance.random() < 0.5 else None,
    ).pk


def _change(account: Account, token: str, chance: Random) -> int | None:
    """None where a person would have been told that it can't be asked now."""
    kind = chance.choice(("state", "plan"))
    try:
        if kind == "state":
            return _switch(account, token)
        if account.connection.capabilities.settings:
            base = account.desired_settings
            return operation_commands.request_settings(
                Command(_actor(), timezone.now(), reason="Asked for.", token=token),
                account=account,
                base=base,
                version=account.version,
                changes={"monthly_cap": base["monthly_cap"] + 1000},
            ).pk
        base = as_offerings(account.desired_offerings)
        other = next(name for name in PACKAGES if name != base[0].name)
        return operation_commands.request_offerings(
            Command(_actor(), timezone.now(), reason="Asked for.", token=token),
            account=account,
            base=base,
            version=account.version,
            offerings=[ProviderOffering(other, "package", 1)],
        ).pk
    except Refusal:
        return None


def _switch(account: Account, token: str) -> int:
    ask = (
        operation_commands.request_suspend
        if account.desired_state == "active"
        else operation_commands.request_unsuspend
    )
    return ask(Command(_actor(), timezone.now(), reason="Asked for.", token=token), account=account).pk


def canary(token: str) -> int | None:
    """Ask for a small change of an account that nothing else is done to; None: all of them have work waiting."""
    if asked := Operation.objects.filter(client_token=token).first():
        return asked.pk
    account = _idle()
    return _switch(account, token) if account else None


def page() -> str | None:
    """The path of the form that `canary` would be asked by."""
    account = _idle()
    if account is None:
        return None
    return f"/accounts/{account.public_id}/{'suspend' if account.desired_state == 'active' else 'unsuspend'}/"


def _idle() -> Account | None:
    open_ones = Operation.objects.exclude(state__in=FINAL)
    canaries = Account.objects.filter(connection__name=CANARIES, provider_id__isnull=False)
    return canaries.exclude(operations__in=open_ones).order_by("changed_at").first()


def begun(pk: int) -> bool:
    """Whether it was sent, or needed no sending any more."""
    row = Operation.objects.get(pk=pk)
    return row.attempt_count > 0 or row.state in FINAL


def ready(name: str, since: float) -> bool:
    """Whether the worker `name` was started after `since` (in real time)."""
    row = Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER, name=f"{name}@chaos").first()
    return row is not None and row.started_at.timestamp() > since


def reported(name: str, since: float) -> bool:
    """Whether the worker `name` reported after `since` (in real time)."""
    seen = Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER, name=f"{name}@chaos").values_list("seen_at", flat=True)
    return any(at.timestamp() > since for at in seen)


def counts() -> dict[str, int]:
    """Rows by state, how many could be worked on at this moment (not those behind another one of their account), and
    how many somebody is at."""
    now = timezone.now()
    found = Counter(Operation.objects.values_list("state", flat=True))
    return {
        **found,
        "due": len(dispatcher.due_operations(now=now)),
        "held": Operation.objects.filter(lease_until__gt=now).count(),
    }


def tick() -> int:
    """The scheduler's tick, now instead of within five seconds."""
    return dispatcher.dispatch(now=timezone.now())


def next_due() -> float:
    """Seconds until the next open operation may go on, or its lease ends; 30 where something else is waited for."""
    now = timezone.now()
    rows = Operation.objects.exclude(state__in=FINAL).values_list("not_before", "lease_until")
    coming = [(at - now).total_seconds() for row in rows for at in row if at and at > now]
    return min(coming, default=30.0)


def resume() -> int:
    """Connections that stopped themselves."""
    return Connection.objects.exclude(paused="").update(paused="", paused_reason="", paused_at=None)


def rows() -> list[dict[str, Any]]:
    """Everything that was asked, for the judge."""
    found = Operation.objects.select_related("account", "connection", "follows").order_by("pk")
    return [
        {
            "pk": each.pk,
            "code": each.code,
            "kind": each.kind,
            "connection": each.connection.name,
            "identity": each.identity,
            "state": each.state,
            "error_kind": each.error_kind,
            "summary": each.summary,
            "account": each.account_id,
            "provider_id": each.account.provider_id,
            "result": each.result,
            "desired_state": each.account.desired_state,
            "desired_offerings": each.account.desired_offerings,
            "desired_settings": each.account.desired_settings,
            "sends": each.attempt_count,
            "settles": each.verifications,
        }
        for each in found
    ]


def attempts() -> dict[str, int]:
    """Intents of sends by what was called."""
    return dict(Counter(Attempt.objects.values_list("operation__kind", flat=True)))


def broken() -> list[str]:
    """What `manage.py check_invariants` would say."""
    return [
        f"{each.code} {row}"
        for each in invariants.check(now=timezone.now())
        for row in each.rows or [each.error]
        if row
    ]


def _actor() -> User:
    return User.objects.get(email="cleo@example.com")


COMMANDS: tuple[Callable[..., Any], ...] = (
    migrate, connect, prepare, load, canary, page, begun, ready, reported, counts,
    tick, next_due, resume, rows, attempts, broken,
)  # fmt: skip
BY_NAME = {each.__name__: each for each in COMMANDS}


def _do(name: str, arguments: list[Any]) -> Any:
    """The database may be restarted under us: a person would press the button again."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return BY_NAME[name](*arguments)
        except Error:
            connections.close_all()
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main() -> None:
    for line in sys.stdin:
        name, arguments = json.loads(line)
        sys.stdout.write(json.dumps(_do(name, arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
