"""A desk at a provider with idempotency keys: the sandbox over HTTP, its clock and ours moved together, and a worker
that dies where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from customers import dispatcher
from customers.connections import circuit_breaker
from customers.connections import commands as connection_commands
from customers.models import Account, Connection, Operation
from customers.operations import commands as operation_commands
from customers.operations import executor, transitions
from customers.operations.commands import FirstKey
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, ApiKey, ListedAccount, NewKey, Profile, Provider
from tests.customers.conftest import Desk
from tests.support import failpoints
from tests.support.sandbox import SandboxProcess

NORTHWIND = AccountSettings("Northwind Oy", "northwind.example", 250_000)
KEY = NewKey("web shop", ("messages:send:all", "domains:read", "domains:write", "messages:read:all"))
HOUR = 3_600.0
# What waits for a time the provider gave waits by the clock on the wall, which no test moves.
BY_THE_WALL = ("in_progress", "rate", "not_sent")


class Died(BaseException):
    """The worker's process ended here: nothing after this line ran, nothing was tidied up."""


@dataclass
class SubDesk(Desk):
    """`pass_time` moves the sandbox's clock and ours by the same."""

    passed: timedelta = timedelta()

    @property
    def now(self) -> datetime:
        return timezone.now() + self.passed

    def connect(self, connection: Connection) -> Provider:
        """A client that does not wait long by the clock on the wall before it repeats a reading."""
        provider = super().connect(connection)
        provider._http.sleep = lambda seconds: sleep(min(seconds, 0.05))  # type: ignore[attr-defined]
        return provider

    def pass_time(self, seconds: float) -> None:
        if seconds > 0:
            self.passed += timedelta(seconds=seconds)
            self.sandbox.admin.move_clock(seconds=seconds)

    def ask_create(  # type: ignore[override]
        self,
        settings: AccountSettings = NORTHWIND,
        *,
        first_key: FirstKey | None = None,
    ) -> Operation:
        return operation_commands.request_create(
            Command(self.person, self.now, token=uuid4().hex),
            customer=self.customer(),
            connection=self.connection,
            profile=Profile(email=""),
            offerings=[],
            is_test=False,
            settings=settings,
            first_key=first_key,
        )

    def created(self, settings: AccountSettings = NORTHWIND) -> Account:  # type: ignore[override]
        operation = self.perform(self.ask_create(settings))
        assert operation.state == "succeeded", operation.summary
        return self.account(operation)

    def ask(self, kind: str, account: Account, **more: Any) -> Operation:
        asked = {part: more.pop(part) for part in ("now", "reason", "token") if part in more}
        command = Command(self.person, **{"now": self.now, "reason": "Asked in a test.", "token": uuid4().hex} | asked)
        return getattr(operation_commands, f"request_{kind}")(command, account=account, **more)

    def ask_key(self, account: Account, new: NewKey = KEY, *, keep: bool = False) -> Operation:
        return self.ask("key_create", account, new=new, keep=keep)

    def perform(self, operation: Operation, *, at: datetime | None = None) -> Operation:
        assert at is None, "here time is passed, not given"
        worked = executor.perform(operation.pk, clock=lambda: self.now, connect=self.connect)
        return self._seen(operation, worked=worked)

    def _seen(self, operation: Operation, *, worked: bool) -> Operation:
        seen = Operation.objects.select_related("account__customer", "connection", "requested_by").get(pk=operation.pk)
        # One that nothing was done about has been moved before: its time is ours already.
        if worked and seen.state == "queued" and seen.error_kind in BY_THE_WALL and seen.not_before < self.now:
            seen.not_before += self.passed
            seen.save(update_fields=["not_before"])
        return seen

    def tidy(self) -> None:
        """What the dispatcher does before it looks for work."""
        transitions.expire_leases(now=self.now)
        for connection_id in circuit_breaker.due_connections(now=self.now):
            circuit_breaker.try_again(connection_id, clock=lambda: self.now, connect=self.connect)

    def due(self) -> list[int]:
        return dispatcher.due_operations(now=self.now)

    def round(self) -> bool:
        """What the dispatcher would poke now, performed. False when there was nothing."""
        self.tidy()
        due = self.due()
        for operation_id in due:
            self.perform(Operation(pk=operation_id))
        return bool(due)

    def drain(self, *operations: Operation, hours: float = 2, rounds: int = 200) -> Operation:
        """Let time go by, round after round, until these are at rest or the hours are over. Returns the first."""
        end = self.now + timedelta(hours=hours)
        for _ in range(rounds):
            moved = self.round()
            rows = list(Operation.objects.filter(pk__in=[each.pk for each in operations]).select_related("follows"))
            waiting = [each for each in rows if not is_at_rest(each)]
            if not waiting or self.now > end:
                break
            # What follows another operation is due long before its turn comes: time goes by to its leader's.
            first = [row for row in waiting if row.follows is None or row.follows.is_final] or waiting
            due = [row.lease_until or row.not_before for row in first]
            # Where something else holds them back, such as an open breaker, more time goes by at once.
            self.pass_time(max((min(due) - self.now).total_seconds() + 1, 1 if moved else 20))
        for each in operations:
            each.refresh_from_db()
        return operations[0]

    @contextmanager
    def dies_at(self, point: str) -> Iterator[None]:
        """The next worker that comes to this point is gone; its lease runs out afterwards."""

        def at(name: str) -> None:
            if name == point:
                raise Died(name)

        with failpoints.installed(at), pytest.raises(Died):
            yield

    def until(self, found: Callable[[], object], seconds: float = 60) -> None:
        """Wait on the wall's clock for something at the other end."""
        end = monotonic() + seconds
        while not found():
            assert monotonic() < end, "it did not come about"
            sleep(0.05)

    # -- what is there, whatever we believe ------------------------------------------------------------------

    def children(self) -> list[ListedAccount]:
        return list(self.connect(self.connection).list_accounts())

    def keys(self, account: Account) -> list[ApiKey]:
        return self.connect(self.connection).keys(account.ref)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        return self.sandbox.admin.requests(operation)


def is_at_rest(operation: Operation) -> bool:
    """Ended, or a person has to decide: about it, or about the one it follows."""
    leader = operation.follows
    needs_a_person = operation.state == "needs_attention" or (leader and leader.state == "needs_attention")
    return operation.is_final or bool(needs_a_person)


def sub_desk(sandbox: SandboxProcess, person: User | None = None) -> SubDesk:
    """A desk of `person`, or of a new one."""
    person = person or User.objects.create_user(
        "success@postkeeper.example", name="Customer success", role="customer_success"
    )
    connection = connection_commands.add_connection(Command(None), api_key=sandbox.ahasend_key, facts={
            "name": "AhaSend test", "kind": "ahasend", "base_url": sandbox.base_url,
            "account_id": sandbox.ahasend_account, "keep_keys": True,
        })  # fmt: skip
    return SubDesk(sandbox, connection, person)
