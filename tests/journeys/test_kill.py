"""`kill -9` of a real worker between the provider's answer and our commit: one account there, one unknown here."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.processes import Installation, installation, until
from tests.support.sandbox import KEY

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

ASK = """
from django.utils import timezone
from customers.operations import commands as operation_commands
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command
from portal.providers import ProviderOffering, Profile
person = User.objects.create_user("cleo@example.com", name="Cleo Lindqvist", role="customer_success")
customer = Customer.objects.create(company_name="Northwind", email="ops@northwind.example")
operation_commands.request_create(
    Command(person, token="once"), customer=customer, connection=Connection.objects.get(), is_test=False,
    profile=Profile(email=customer.email), offerings=[ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)],
)
"""
LOOK = """
import json
from customers.models import Operation
row = Operation.objects.get()
outcomes = [each.outcome for each in row.attempts.all()]
print(json.dumps({"state": row.state, "sends": row.attempt_count, "attempts": outcomes}))
"""
DISPATCH = """
from datetime import timedelta
from django.utils import timezone
from customers import dispatcher
dispatcher.dispatch(now=timezone.now() + timedelta(minutes=5))
"""
PERFORM = """
from portal import queue
from customers.operations import executor
executor.perform(1)
queue.enqueue_on_commit('customers.perform', 1)
"""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data") as one:
        one.prepare()
        one.manage("connect", "sendgrid", "--name", "SendGrid", "--base-url", one.sandbox.base_url, PORTAL_API_KEY=KEY)
        yield one


def test_a_worker_killed_after_the_answer_leaves_one_account(portal: Installation) -> None:
    portal.python(ASK)
    first = portal.start_worker_that_dies_at("after_answer")
    assert until(first.poll, what="the worker to be killed") == -signal.SIGKILL, portal.said("worker")
    assert _look(portal) == {"state": "sending", "sends": 1, "attempts": [""]}

    portal.start_worker()
    portal.python(DISPATCH)  # five minutes on, the dead worker's lease has run out
    assert _look(portal)["state"] == "unknown"

    # Whatever is poked from now on, by whomever, nothing is sent a second time.
    portal.python(DISPATCH)
    portal.python(PERFORM)
    queue = portal.folder / "broker" / "queue"
    until(lambda: not any(queue.iterdir()), what="the second worker to take every message")
    assert _look(portal) == {"state": "unknown", "sends": 1, "attempts": [""]}
    assert len(portal.sandbox.admin.accounts()) == 1
    assert len(portal.sandbox.admin.requests("create")) == 1


def _look(portal: Installation) -> dict[str, object]:
    return dict(json.loads(portal.python(LOOK)))
