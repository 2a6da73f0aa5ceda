"""A reading whose answer comes late, in one process, while another process changes the account to the end.

What the slow answer says was true when it was asked. It must not undo what was concluded since.
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
import responses

from customers.connections.client import client_for
from customers.models import Account
from customers.models.account import as_offerings
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from customers.operations import executor
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
from portal.providers import NotFound
from tests.support.factories import PACKAGE_ROW, SMALLER, AccountFactory, ConnectionFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
API = r"https://api\.sendgrid\.com/v3/"
SMALLER_ROW = PACKAGE_ROW | {"name": SMALLER}
WAIT = 30


class Provider:
    """What the provider says in this process. `hold` is called with the first answer, before it goes out."""

    def __init__(self, *, hold: Callable[[], None] | None = None) -> None:
        self.state, self.rows, self.there, self.hold = "activated", [PACKAGE_ROW], True, hold

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        status, body = self._answer(request)
        if self.hold:
            hold, self.hold = self.hold, None
            hold()
        return status, {}, json.dumps(body) if body else ""

    def _answer(self, request: Any) -> tuple[int, Any]:
        path, sent = request.path_url, json.loads(request.body or "{}")
        if request.method == "DELETE":
            self.there = False
            return 204, None
        if not self.there:
            return 404, {"errors": [{"message": "account not found"}]}
        if path.endswith("/state"):
            self.state = sent.get("state", self.state)
            return (204, None) if sent else (200, {"state": self.state})
        if path.endswith("/offerings"):
            self.rows = sent.get("offerings", self.rows)
            return 200, {"offerings": self.rows}
        return 200, {"remain": 60_000, "total": 100_000, "overage": 0, "used": 40_000, "last_reset": "2026-03-01",
                     "next_reset": "2026-04-01", "reset_frequency": "monthly"}  # fmt: skip

    @contextmanager
    def at_the_wire(self) -> Iterator[None]:
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method in (responses.GET, responses.PUT, responses.DELETE):
                mock.add_callback(method, re.compile(API), callback=self.answer)
            yield


@pytest.fixture
def person() -> User:
    return UserFactory()


def account_of_a_round() -> Account:
    connection = ConnectionFactory()
    return AccountFactory(connection=connection, v2_username="northwind", offerings_read_at=database_now())


def slow_reading_while(account: Account, act: Callable[[Provider], None], *, there: bool = True) -> Account:
    """One process reads the account and gets its answer only after another one has done `act`, to its end."""
    fork = multiprocessing.get_context("fork")
    asked, done = fork.Event(), fork.Event()

    def hold() -> None:
        asked.set()
        assert done.wait(WAIT)

    def work(n: int) -> str:
        provider = Provider(hold=None if n else hold)
        with provider.at_the_wire():
            if n:
                assert asked.wait(WAIT)
                act(provider)
                done.set()
                return "done"
            provider.there = there
            mine = Account.objects.select_related("connection").get(pk=account.pk)
            try:
                observed_accounts.read_account(account=mine, now=database_now(), provider=client_for(mine.connection))
            except NotFound:
                return "read"
        return "read"

    assert sorted(together(work, 2)) == ["done", "read"]
    return Account.objects.get(pk=account.pk)


def perform(kind: str, account: Account, person: User, **more: Any) -> Callable[[Provider], None]:
    command = Command(person, database_now(), reason="Asked in a test.", token=uuid4().hex)
    operation = getattr(operation_commands, f"request_{kind}")(command, account=account, **more)

    def act(_provider: Provider) -> None:
        executor.perform(operation.pk)
        operation.refresh_from_db()
        assert operation.state == "succeeded", operation.summary

    return act


def test_a_suspend_stays(person: User) -> None:
    def a_round() -> tuple[str, str]:
        account = account_of_a_round()
        after = slow_reading_while(account, perform("suspend", account, person))
        return after.state, after.state_raw

    assert Counter(a_round() for _ in rounds()) == {("stopped_by_us", "deactivated"): len(rounds())}


@pytest.mark.parametrize("there", [True, False], ids=["it answers", "it answers 404"])
def test_a_deleted_account_stays_deleted(person: User, there: bool) -> None:
    def a_round() -> str:
        account = account_of_a_round()
        return slow_reading_while(account, perform("delete", account, person), there=there).state

    assert Counter(a_round() for _ in rounds()) == {"deleted": len(rounds())}


def test_a_changed_package_stays(person: User) -> None:
    def a_round() -> tuple[str, str]:
        account = account_of_a_round()
        wanted = {"base": as_offerings([PACKAGE_ROW]), "offerings": as_offerings([SMALLER_ROW])}
        after = slow_reading_while(account, perform("offerings", account, person, version=account.version, **wanted))
        return after.package, after.offerings[0]["name"]

    assert Counter(a_round() for _ in rounds()) == {(SMALLER, SMALLER): len(rounds())}


def test_of_two_readings_the_one_asked_later_stays() -> None:
    def a_round() -> tuple[str, str]:
        account = account_of_a_round()

        def read_later(provider: Provider) -> None:
            provider.state, provider.rows = "banned", [SMALLER_ROW]
            mine = Account.objects.select_related("connection").get(pk=account.pk)
            observed_accounts.read_account(account=mine, now=database_now(), provider=client_for(mine.connection))

        after = slow_reading_while(account, read_later)
        return after.state, after.package

    assert Counter(a_round() for _ in rounds()) == {("banned", SMALLER): len(rounds())}
