"""Retention in several processes at once, while others retry the same runs: a run is retried whole or removed whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from billing.models import SyncItem, SyncRun
from portal.audit.models import AuditEvent
from tests.billing.usage.test_processes import DEADLINE_SECONDS, ROOT, database_url
from tests.billing.usage.test_retention import NOW, run
from tests.support.factories import UserFactory
from tests.support.samples import is_proof

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.long]
RUNS, ITEMS = (40, 25) if is_proof() else (15, 10)

REMOVE = f"""
import sys
from datetime import datetime, timedelta
from billing.usage import retention
print("ready", flush=True)
sys.stdin.readline()
before = datetime.fromisoformat("{NOW.isoformat()}") - timedelta(days=35)
print(sum(iter(lambda: retention.remove_items(before, 5), 0)))
"""
RETRY = f"""
import random, sys
from datetime import datetime
from billing.usage import runs
from billing.models import SyncRun
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal
person, found = User.objects.get(email="fay@company.example"), list(SyncRun.objects.order_by("-pk"))
print("ready", flush=True)
sys.stdin.readline()
for run in found:
    try:
        runs.retry_run(Command(person, datetime.fromisoformat("{NOW.isoformat()}")), run=run)
    except Refusal:
        pass
"""


def test_a_run_is_retried_whole_or_removed_whole() -> None:
    UserFactory(role="finance", email="fay@company.example")
    for _ in range(RUNS):
        run(failed=ITEMS)
    here = os.environ | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", "shell", "--no-imports", "-v", "0", "-c", code],
            cwd=ROOT, text=True, env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for code in (REMOVE, REMOVE, REMOVE, RETRY, RETRY)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            _output, errors = process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait(60)

    removed = SyncRun.objects.filter(items_removed_at__isnull=False)
    retried = SyncRun.objects.filter(items_removed_at=None)
    assert removed.count() + retried.count() == RUNS
    assert not SyncItem.objects.filter(run__in=removed).exists()
    assert {(each.state, each.failed, each.removed_causes["failed"]["not_found"]) for each in removed} <= {
        ("complete_with_errors", ITEMS, ITEMS)
    }
    assert {(each.state, each.pending, each.items.filter(state="pending").count()) for each in retried} <= {
        ("running", ITEMS, ITEMS)
    }
    assert AuditEvent.objects.filter(verb="usage.items_removed").count() == removed.count()
