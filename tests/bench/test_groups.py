"""The bench measures a seeded portal, and says what misses."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from tests.bench.groups import GROUPS, measure_group
from tests.bench.run import NAMES

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="processor time of PostgreSQL is measured")
LAST = datetime.now(UTC).date().replace(day=1)


@pytest.mark.long
def test_each_group_is_measured_on_a_seeded_portal(db: None) -> None:
    call_command("seed", accounts=800, months=3, stdout=StringIO())
    for name in ("pages", "exports", "upkeep", "slope"):
        rows = measure_group(name, LAST, "")
        assert rows, name
        assert all(row.value >= 0 for row in rows)
        assert len({(row.group, row.name) for row in rows}) == len(rows)
    assert [row.name for row in measure_group("pages", LAST, "home") if row.group == "statements"] == ["home"]


def test_the_frame_knows_all_groups() -> None:
    assert tuple(GROUPS) == NAMES
