"""Figures of October 2026 as readings make them, and the files made of them."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from defusedxml import ElementTree
from django.test import Client
from django.urls import reverse

from billing.models import UsageExport, UsagePeriod
from billing.usage.period_ends import assess_due
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory

START, END = date(2026, 10, 1), date(2026, 10, 31)
IN_MONTH = datetime(2026, 10, 20, 9, 0, tzinfo=UTC)
OVER = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)
MONTH = date(2026, 10, 1)
_CELL = re.compile(r"([A-Z]+)\d+")
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def a_customer_account(**facts: Any) -> Account:
    account = AccountFactory(**{"usage_read_at": None} | facts)
    Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 9, 1, tzinfo=UTC))
    account.refresh_from_db()
    return account


def read_usage(
    account: Account, used: int, *, at: datetime, start: date = START, end: date = END, **facts: Any
) -> UsagePeriod:
    """Store a reading; return the figure."""
    allowed = facts.pop("allowed", 100_000)
    reported = {
        "source": UsageSource.CREDITS,
        "allowed": allowed,
        "remaining": max(0, allowed - used),
        "overage": max(0, used - allowed),
        "raw": {"used": used},
    }
    usage = Usage(used=used, period_start_on=start, period_end_on=end, **reported | facts)
    store_readings([AccountReading(account.pk, usage, at, account.package)], run=None)
    return UsagePeriod.objects.get(account=account, reported_start_on=start)


def read_over(account: Account, used: int, **facts: Any) -> UsagePeriod:
    """Store readings and let October's billing periods end: an interval, as the last reading is before the end."""
    period = read_usage(account, used, at=OVER - timedelta(hours=10), **facts)
    assess_due(now=OVER + timedelta(hours=1))
    period.refresh_from_db()
    return period


def export(client: Client, file_format: str = "csv", **query: str) -> UsageExport:
    """Export the report as a person does."""
    address = f"{reverse('billing:usage-export')}?{urlencode(query)}"
    response = client.post(address, {"format": file_format})
    assert response.status_code == 303, response.content.decode()[:500]
    return UsageExport.objects.get(public_id=response["Location"].rstrip("/").rpartition("/")[2])


def content_of(client: Client, kept: UsageExport) -> bytes:
    response = client.get(reverse("billing:usage-export-file", args=[kept.public_id]))
    assert response.status_code == 200
    return b"".join(response.streaming_content)  # type: ignore[arg-type]


def csv_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def xlsx_rows(content: bytes) -> list[dict[str, tuple[str, str]]]:
    """The rows of a sheet: heading -> (type, text); types are "n" for a number and "s" for text."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        names = book.namelist()
        assert not [name for name in names if "vba" in name or "external" in name.lower()]
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert not list(sheet.iter(f"{_MAIN}f")), "a formula"
    rows = [dict(_cells(row)) for row in sheet.iter(f"{_MAIN}row")]
    head = {column: text for column, (_, text) in rows[0].items()}
    return [{head[column]: value for column, value in row.items()} for row in rows[1:]]


def _cells(row: Any) -> Any:
    for cell in row.iter(f"{_MAIN}c"):
        match = _CELL.fullmatch(cell.get("r"))
        assert match
        kind = "s" if cell.get("t") == "inlineStr" else "n"
        yield match[1], (kind, "".join(cell.itertext()))
