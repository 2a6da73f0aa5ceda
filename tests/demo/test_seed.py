"""A seeded portal is one that the portal could have written: its integrity checks pass, and its pages open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count
from django.test import Client, override_settings
from django.utils import timezone

from billing.models import FigureVersion, Status, UsagePeriod
from customers.models import Account, Customer, Operation
from customers.monitoring.invariants import registered
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import ConnectionFactory, CustomerFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.both]
LAST = datetime.now(UTC).date().replace(day=1)


def seeded(accounts: int = 350, months: int = 3) -> None:
    call_command("seed", accounts=accounts, months=months, stdout=StringIO())


@pytest.mark.long
def test_a_seeded_portal_is_sound_and_its_pages_open() -> None:
    seeded()
    assert UsagePeriod.objects.count() == 350 * 3
    assert set(UsagePeriod.objects.values_list("status", flat=True)) == set(Status.values)
    over = UsagePeriod.objects.exclude(status__in=("open", "stale")).values("month").distinct()
    assert LAST not in over.values_list("month", flat=True)
    assert (LAST - timedelta(days=1)).replace(day=1) in over.values_list("month", flat=True)
    assert FigureVersion.objects.filter(to_batch=None).count() == UsagePeriod.objects.filter(version__gt=0).count()
    violations = {each.code: list(each.violations(timezone.now()))[:3] for each in registered()}
    assert not any(violations.values()), violations
    client = sign_in(Client(), User.objects.filter(role="admin")[0])
    operation, account = Operation.objects.order_by("-pk")[0], Account.objects.order_by("pk")[0]
    for address in (
        "/", "/customers/", "/customers/?view=attention", "/usage/", "/operations/", "/audit/", "/connections/",
        f"/accounts/{account.public_id}/", f"/operations/{operation.public_id}/", "/audit/export/",
        "/customers/export/",
    ):  # fmt: skip
        assert client.get(address).status_code == 200, address


def test_sizes_are_skewed_and_new_rows_get_new_keys() -> None:
    seeded(accounts=1_000, months=1)
    sizes = list(Customer.objects.annotate(n=Count("accounts")).order_by("-n").values_list("n", flat=True))
    assert (sum(sizes), sizes[0] >= 10, sizes[-1]) == (1_000, True, 0)
    assert len(set(Operation.objects.values_list("state", flat=True))) == 5
    assert AuditEvent.objects.count() > 5_000
    CustomerFactory()
    ConnectionFactory()


def test_a_portal_with_customers_is_not_seeded() -> None:
    ConnectionFactory()
    with pytest.raises(CommandError, match="empty database"):
        seeded()
    assert not Customer.objects.exists()


@override_settings(PRODUCTION=True)
def test_a_portal_in_production_is_not_seeded() -> None:
    with pytest.raises(CommandError, match="PORTAL_ENV=development"):
        seeded()
    assert not Customer.objects.exists()
