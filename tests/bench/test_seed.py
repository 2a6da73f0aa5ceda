"""The seeded database is one that the portal could have written: its integrity checks pass, and its pages open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from billing.models import FigureVersion, Status, UsagePeriod
from billing.usage.invariants import INVARIANTS
from tests.bench.measure import measure_pages, measure_upkeep
from tests.bench.portal_pages import measure_portal
from tests.bench.seed import seed

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="the seed is SQL of PostgreSQL")
LAST = datetime.now(UTC).date().replace(day=1)


@pytest.mark.long
def test_a_seeded_database_is_sound_and_measured(db: None) -> None:
    seed(accounts=350, months=3, last=LAST)
    assert UsagePeriod.objects.count() == 350 * 3
    assert set(UsagePeriod.objects.values_list("status", flat=True)) == set(Status.values)
    over = UsagePeriod.objects.exclude(status__in=("open", "stale")).values("month").distinct()
    assert LAST not in over.values_list("month", flat=True)
    assert (LAST - timedelta(days=1)).replace(day=1) in over.values_list("month", flat=True)
    assert FigureVersion.objects.filter(to_batch=None).count() == UsagePeriod.objects.filter(version__gt=0).count()
    for each in INVARIANTS:
        assert list(each.violations(timezone.now())) == [], each.code
    measure_portal()
    measure_pages(LAST)
    assert 0 < measure_upkeep(LAST) < 1
