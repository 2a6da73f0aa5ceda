"""Exports while figures are written by other processes: rows and batch are of one moment, and no mark is lost."""

from __future__ import annotations

import gzip
import itertools
import random
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from billing.models import FigureVersion, UsageExport, UsagePeriod
from billing.reports import exports
from billing.reports.as_of import FiguresAsOf
from billing.reports.exports import request_export
from billing.reports.filters import UsageFilters
from billing.usage.figures import FIGURE
from customers.models import Account
from portal.commands import Command
from tests.billing.exports.support import IN_MONTH, MONTH, csv_rows, read_usage
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
ACCOUNTS, EXPORTS, READINGS = 30, 6, 50


@pytest.fixture
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause between the ledger's batch and the rows, as before a report of many rows."""
    header = exports.export_header

    def pause(filters: UsageFilters) -> list[str]:
        time.sleep(0.1)
        return header(filters)

    monkeypatch.setattr(exports, "export_header", pause)


def test_rows_and_batch_are_of_one_moment(slow_reading: None) -> None:
    person = UserFactory(role="finance")
    for _ in rounds():
        customer, connection = CustomerFactory(), ConnectionFactory()
        accounts = [
            AccountFactory(customer=customer, connection=connection, provider_id=f"a{n}-{connection.pk}")
            for n in range(ACCOUNTS)
        ]
        for account in accounts:
            read_usage(account, 100, at=IN_MONTH)

        def work(n: int, accounts: list[Account] = accounts, key: str = str(connection.public_id)) -> Any:
            if n < 2:
                return _write(n, accounts[n::2])
            for _export in range(EXPORTS):
                filters = UsageFilters({"month": "2026-10", "connection": key}, today=IN_MONTH.date())
                request_export(Command(person, timezone.now()), filters=filters, file_format="csv")
            return "exported"

        assert set(together(work, 3)) == {"written", "exported"}
        kept = list(UsageExport.objects.filter(filters__connection=str(connection.public_id)))
        assert len(kept) == EXPORTS
        for export in kept:
            rows = csv_rows(gzip.decompress(bytes(export.file or b"")))
            in_file = {(row["Account ID"], row["Emails (least)"], row["Figure version"]) for row in rows}
            figures = FiguresAsOf(MONTH, export.batch or 0, connection).lines()
            assert in_file == {(row.provider_id, str(row.used), str(row.version)) for row in figures}, export.batch
            assert export.rows == ACCOUNTS
        assert len({export.sha256 for export in kept}) > 1, "the writers were at work"
        _check_versions(connection.pk)


def _write(seed: int, accounts: list[Account]) -> str:
    rng = random.Random(seed)
    for step in range(1, READINGS):
        read_usage(rng.choice(accounts), 100 + step * 10, at=IN_MONTH + timedelta(minutes=step))
    return "written"


def _check_versions(connection_id: int) -> None:
    """Every figure has all its versions, and the last one is the figure."""
    periods = UsagePeriod.objects.filter(account__connection=connection_id)
    assert periods.filter(exported=True).count() == ACCOUNTS
    for period in periods:
        versions = list(period.versions.order_by("n"))
        assert [each.n for each in versions] == list(range(1, period.version + 1))
        assert all(one.to_batch == next_.from_batch for one, next_ in itertools.pairwise(versions))
        assert all(getattr(versions[-1], name) == getattr(period, name) for name in FIGURE)
    assert not FigureVersion.objects.filter(to_batch__lte=F("from_batch")).exists()
