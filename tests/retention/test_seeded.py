"""A portal with a history from which everything is removed that its rules ever remove stays sound."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.closing.runs.verification import verify_closed_months
from customers.models import Account, Attempt, Connection, Operation, RemoteAccount
from customers.monitoring import invariants
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.audit.permits import permit_erasure
from portal.retention.models import RetentionRun
from portal.retention.rules import retention_rules
from tests.retention import rows
from tests.support.people import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.both, pytest.mark.long]
# The triggers of these let young rows go to nobody.
OLD_ONLY = ("approvals", "audit_events")


def broken() -> dict[str, list[str]]:
    found = {each.code: list(each.violations(timezone.now()))[:3] for each in invariants.registered()}
    return {code: rows for code, rows in found.items() if rows}


def add_history() -> None:
    """Add a row that ended for each rule, and bodies to the attempts of the seed, which has none."""
    yesterday = timezone.now() - timedelta(days=1)
    for code, make in rows.MAKERS.items():
        if code not in ("attempt_bodies", "approvals", "scans", "remote_accounts"):
            make(yesterday - timedelta(hours=1))
            make(yesterday)
    link = Connection.objects.order_by("pk")[0]
    for hours in (3, 2, 1):
        rows.scan(yesterday - timedelta(hours=hours), link)
    rows.remote_account(yesterday, connection=link)
    listed = Account.objects.filter(connection=link, provider_id__isnull=False).values_list("provider_id", flat=True)
    RemoteAccount.objects.bulk_create(
        RemoteAccount(connection=link, provider_id=each, first_seen_at=yesterday, last_seen_at=yesterday)
        for each in listed
    )
    ids = list(Attempt.objects.values_list("pk", flat=True))
    with permit_erasure(Attempt, ids):
        Attempt.objects.filter(pk__in=ids).update(request="{}", response="{}")


def test_a_portal_without_its_old_rows_is_sound() -> None:
    call_command("seed", accounts=200, months=3, stdout=StringIO())
    add_history()
    assert broken() == {}
    now = timezone.now() + timedelta(minutes=1)
    kept = [(Operation, Operation.objects.count()), (Attempt, Attempt.objects.count())]
    removed = {}
    for rule in retention_rules():
        if rule.code not in OLD_ONLY:
            removed[rule.code] = sum(iter(lambda rule=rule: rule.remove_batch(now), 0))  # type: ignore[misc]  # its type is known
            assert rule.count(now) == 0, rule.code
    assert removed["attempt_bodies"] > 100
    assert {code for code, n in removed.items() if n} == set(rows.MAKERS) - {"approvals"}
    assert [(model, model.objects.count()) for model, _n in kept] == kept
    assert broken() == {}
    assert verify_closed_months().problems == []
    client = sign_in(Client(), User.objects.filter(role="admin")[0])
    operation, account = Operation.objects.order_by("-pk")[0], Account.objects.order_by("pk")[0]
    for address in (
        "/", "/customers/", "/usage/", "/usage/runs/", "/operations/", "/drift/", "/engine/", "/retention/",
        f"/accounts/{account.public_id}/", operation.get_absolute_url(), reverse("customers:bulk-list"),
    ):  # fmt: skip
        assert client.get(address).status_code == 200, address


def test_a_run_over_a_seeded_portal_removes_nothing_young() -> None:
    call_command("seed", accounts=100, months=1, stdout=StringIO())
    call_command("apply_retention", stdout=StringIO())
    RetentionRun.objects.update(started_at=timezone.now() - timedelta(days=2))
    call_command("apply_retention", stdout=StringIO())
    assert set(RetentionRun.objects.latest("pk").removed) <= {"sessions", "sign_in_limits"}
    assert AuditEvent.objects.filter(verb="retention.applied").count() == 2
    assert broken() == {}
