"""Several processes decide the same at once on PostgreSQL: each decision is made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.env import KEYS
from tests.support import postgres
from tests.support.skips import require

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, ROWS = 4, 15
pytestmark = [pytest.mark.postgres, pytest.mark.long]

PREPARE = f"""
import tests.env
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from portal.texts import say
from customers.models import Account, Attempt, Operation, Step
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
person = UserFactory(role="admin")
for n in range({ROWS}):
    why = {{"error_kind": "poison", "summary": say("worker.lost_often")}}
    review = OperationFactory(requested_by=person, state="needs_attention", **why)
    Step.objects.create(operation=review, n=1, before="", after="needs_attention", at=review.created_at)
    lost = OperationFactory(requested_by=person, state="failed", attempt_count=1)
    Attempt.objects.create(operation=lost, n=1, fence=1, call="suspend", intended_at=lost.created_at)
    for m, (before, after) in enumerate((("", "queued"), ("claimed", "sending"), ("queued", "failed")), start=1):
        Step.objects.create(operation=lost, n=m, before=before, after=after, at=lost.created_at)
    kept, twin = AccountFactory(), AccountFactory()
    Account.objects.filter(pk=twin.pk).update(duplicate_of=kept, provider_id=kept.provider_id)
"""

DECIDE = """
import tests.env
import django; django.setup()
import io, sys, time
from django.core.management import CommandError, call_command
from customers.connections import commands as connection_commands
from customers.observed import duplicates
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal
person = User.objects.get(role="admin")
waiting = list(duplicates.unmerged())
print("ready", flush=True)
sys.stdin.readline()
facts = {"name": f"Connection {sys.argv[1]}", "kind": "sendgrid", "base_url": "https://api.sendgrid.com"}
try:
    connection_commands.add_connection(Command(None), facts=facts, api_key="SG.one.key-for-all-of-them")
except Refusal as refusal:
    assert refusal.field == "api_key", refusal
for each in waiting:
    try:
        duplicates.merge(Command(person, reason="Test."), duplicate=each, customer=each.customer)
    except Refusal as refusal:
        assert "changed in the meantime" in str(refusal), refusal
try:
    call_command("repair", "--apply", stdout=io.StringIO())
except CommandError:
    pass
"""

JUDGE = """
import tests.env
import django; django.setup()
import json
from django.db.models import F
from customers.models import Account, Connection, Operation
from portal.audit.models import AuditEvent
print(json.dumps({
    "states": [Operation.objects.filter(state=each).count() for each in ("queued", "unknown")],
    "fences": sorted(set(Operation.objects.values_list("fence", flat=True))),
    "repaired": AuditEvent.objects.filter(verb="operation.repaired").count(),
    "merged": AuditEvent.objects.filter(verb="account.merged").count(),
    "moved": AuditEvent.objects.filter(verb="account.moved").count(),
    "kept": Account.objects.filter(merged_at__isnull=False, duplicate_of__customer=F("customer")).count(),
    "connections": Connection.objects.filter(name__startswith="Connection ").count(),
}))
"""


def test_each_is_decided_once(postgres_server: postgres.Postgres, tmp_path: Path) -> None:
    require(postgres.programs(), postgres.MISSING)
    with psycopg.connect(postgres_server.url, autocommit=True) as database:
        database.execute("DROP DATABASE IF EXISTS deciding")
        database.execute("CREATE DATABASE deciding")
    environment = {
        **os.environ, **KEYS, "DATABASE_URL": postgres_server.url.removesuffix("postgres") + "deciding",
        "TEST_DATABASE": "postgres", "DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "portal.settings",
    }  # fmt: skip

    def start(script: str, number: int = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, str(number)], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(process: subprocess.Popen[str], said: str = "") -> str:
        out, errors = process.communicate(said, timeout=120)
        assert process.returncode == 0, errors[-3000:]
        return out

    ended(start(PREPARE))
    processes = [start(DECIDE, number) for number in range(PROCESSES)]
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in processes:
        ended(each)
    found: dict[str, Any] = json.loads(ended(start(JUDGE)))
    assert found == {
        "states": [ROWS, ROWS], "fences": [1], "repaired": 2 * ROWS, "merged": ROWS, "moved": ROWS, "kept": ROWS,
        "connections": 1,
    }  # fmt: skip
