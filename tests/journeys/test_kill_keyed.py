"""`kill -9` of a real worker between the provider's answer and our commit, for a create and for a key: in the end one
account, one key, and its secret nowhere but sealed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.processes import Installation, installation, until
from tests.support.sandbox import AHASEND_ACCOUNT, AHASEND_KEY

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

ASK = """
from django.utils import timezone
from customers.operations import commands as operation_commands
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, NewKey, Profile
person = User.objects.create_user("cleo@example.com", name="Cleo Lindqvist", role="customer_success")
operation_commands.request_create(
    Command(person, token="once"), customer=Customer.objects.create(company_name="Northwind"),
    connection=Connection.objects.get(),
    profile=Profile(""), offerings=[], settings=AccountSettings("Northwind Oy", "northwind.example", 0), is_test=False,
    first_key=operation_commands.FirstKey(NewKey("web shop", ("messages:send:all", "domains:read"))),
)
"""
# Rounds of the dispatcher, from so many minutes on, each a few seconds after the one before.
ROUNDS = """
from datetime import timedelta
from django.utils import timezone
from customers import dispatcher
from customers.operations import transitions, executor
for n in range(30):
    now = timezone.now() + timedelta(minutes={minutes}, seconds=20 * n)
    transitions.expire_leases(now=now)
    for pk in dispatcher.due_operations(now=now):
        executor.perform(pk, clock=lambda: now)
"""
LOOK = """
import json
from customers.models import AccountKey, KeySecret, Operation
rows = [
    {"state": row.state, "attempts": [each.outcome for each in row.attempts.all()], "result": row.result}
    for row in Operation.objects.order_by("pk")
]
held = [row.open() for row in KeySecret.objects.exclude(sealed="")]
print(json.dumps({"operations": rows, "held": held, "keys": list(AccountKey.objects.values_list("key_id", flat=True))}))
"""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data", LOG_LEVEL="DEBUG") as one:
        one.prepare()
        one.manage(
            "connect", "ahasend", "--name", "AhaSend", "--base-url", one.sandbox.base_url, "--account-id",
            AHASEND_ACCOUNT, PORTAL_API_KEY=AHASEND_KEY,
        )  # fmt: skip
        one.python(ASK)
        yield one


def test_killed_behind_the_answer_of_a_create(portal: Installation) -> None:
    _killed(portal)
    assert [each["state"] for each in _look(portal)["operations"]] == ["sending", "queued"]
    portal.python(ROUNDS.format(minutes=2))
    seen = _look(portal)
    create, _key = seen["operations"]
    assert create["state"] == "succeeded"
    assert create["result"]["proof"]["by"] == "name, website and time"
    assert len(portal.sandbox.admin.requests("aha-create")) == 2, "one of them the check of the connection"
    _one_of_each(portal, seen)


@pytest.mark.parametrize(
    ("minutes", "attempts"), [(2, ["", "applied"]), (6, ["", "prepared", "applied"])], ids=["replayed", "made anew"]
)
def test_killed_behind_the_answer_of_a_key(portal: Installation, minutes: int, attempts: list[str]) -> None:
    portal.python("from customers.operations import executor; executor.perform(1)")
    _killed(portal, "from portal import queue; queue.enqueue_on_commit('customers.perform', 2)")
    portal.python(ROUNDS.format(minutes=minutes))
    seen = _look(portal)
    assert seen["operations"][1]["attempts"] == attempts
    _one_of_each(portal, seen)


def _killed(portal: Installation, poke: str = "") -> None:
    worker = portal.start_worker_that_dies_at("after_answer")
    if poke:
        portal.python(poke)
    assert until(worker.poll, what="the worker to be killed") == -signal.SIGKILL, portal.said("worker")


def _look(portal: Installation) -> dict[str, Any]:
    return dict(json.loads(portal.python(LOOK)))


def _one_of_each(portal: Installation, seen: dict[str, Any]) -> None:
    assert [each["state"] for each in seen["operations"]] == ["succeeded", "succeeded"]
    (child,) = portal.sandbox.admin.aha.accounts()
    living = [each["id"] for each in portal.sandbox.admin.aha.keys(child["id"]) if not each["deleted_at"]]
    assert living == [seen["operations"][1]["result"]["key_id"]]
    (secret,) = seen["held"]
    assert secret.startswith("aha-sk-")
    files = [path for path in portal.folder.rglob("*") if path.is_file() and not path.name.startswith("sandbox.")]
    assert any(path.suffix == ".out" for path in files), "the worker's log at DEBUG is among them"
    assert [path.name for path in files if secret.encode() in path.read_bytes()] == []
    assert [path.name for path in files if AHASEND_KEY.encode() in path.read_bytes()] == []
