"""The file of an export: its columns, that text stays text, and that it holds what the page shows."""

from __future__ import annotations

import gzip
import hashlib
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import UsageExport, UsagePeriod
from billing.reports.export_columns import COLUMNS, COST_COLUMNS, MONTH, NOTE
from billing.reports.exports import filters_of
from billing.reports.queries import report_lines
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.exports import cell
from tests.billing.exports.support import (
    IN_MONTH,
    a_customer_account,
    content_of,
    csv_rows,
    export,
    read_over,
    read_usage,
    xlsx_rows,
)
from tests.support.factories import ConnectionFactory, CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "usage-export.md"
HOSTILE = '=HYPERLINK("http://evil.example","x")'


def test_the_documented_columns_are_those_of_the_file() -> None:
    written = re.findall(r"^\| `(.+?)` \|", REFERENCE.read_text(), re.MULTILINE)
    assert written == [str(MONTH), *(str(each.heading) for each in (*COLUMNS, *COST_COLUMNS)), str(NOTE)]


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_the_file_has_the_rows_of_the_page(finance: Client, file_format: str) -> None:
    connection = ConnectionFactory()
    for n in range(60):
        read_over(a_customer_account(connection=connection, provider_id=f"sub{n:03}"), 1_000 + n)
    kept = export(finance, file_format, month="2026-10", q="sub0")
    content = content_of(finance, kept)

    shown = list(report_lines(filters_of(kept)))
    assert len(shown) == 60
    if file_format == "csv":
        found = [(row["Account ID"], row["Emails (least)"], row["Status"]) for row in csv_rows(content)]
        assert found == [(row.provider_id, str(row.used), row.status.capitalize()) for row in shown]
    else:
        rows = [(row["Account ID"][1], row["Emails (least)"]) for row in xlsx_rows(content)]
        assert rows == [(row.provider_id, ("n", str(row.used))) for row in shown]


def test_a_filtered_export_has_the_filtered_rows(finance: Client) -> None:
    connection = ConnectionFactory()
    read_over(a_customer_account(connection=connection), 90_000)
    open_one = a_customer_account(connection=connection)
    read_usage(open_one, 120_000, at=IN_MONTH)
    kept = export(finance, month="2026-10", status="open")
    assert [row["Account ID"] for row in csv_rows(content_of(finance, kept))] == [open_one.provider_id]
    assert (kept.filters, kept.rows, kept.expected) == ({"status": "open"}, 1, 1)
    assert list(UsagePeriod.objects.filter(exported=True).values_list("account", flat=True)) == [open_one.pk]


def test_what_was_downloaded_is_what_is_kept(finance: Client) -> None:
    read_over(a_customer_account(), 500)
    kept = export(finance, month="2026-10")
    first, second = content_of(finance, kept), content_of(finance, kept)
    assert first == second == gzip.decompress(bytes(kept.file or b""))
    assert kept.sha256 == hashlib.sha256(first).hexdigest()
    assert kept.size == len(first)
    page = finance.get(reverse("billing:usage-export-detail", args=[kept.public_id])).content.decode()
    assert kept.sha256 in page


def test_the_file_stays_when_the_figures_change(finance: Client) -> None:
    account = a_customer_account()
    read_usage(account, 500, at=IN_MONTH)
    kept = export(finance, month="2026-10")
    before = content_of(finance, kept)
    read_over(account, 900)
    assert content_of(finance, kept) == before
    assert csv_rows(content_of(finance, export(finance, month="2026-10")))[0]["Emails (least)"] == "900"


def test_leading_zeros_and_formulas_are_text(finance: Client) -> None:
    customer = CustomerFactory(company_name=HOSTILE, external_reference="000123")
    read_over(a_customer_account(customer=customer, provider_id="0042"), 500)
    (row,) = xlsx_rows(content_of(finance, export(finance, "xlsx", month="2026-10")))
    assert row["External reference"] == ("s", "000123")
    assert row["Account ID"] == ("s", "0042")
    assert row["Customer"] == ("s", HOSTILE)
    assert row["Emails (least)"] == ("n", "500")
    (line,) = csv_rows(content_of(finance, export(finance, month="2026-10")))
    assert line["External reference"] == "000123"
    assert line["Customer"] == f"'{HOSTILE}" == cell(HOSTILE)


def test_an_amount_is_written_with_all_its_digits(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 500, allocated_cost=Decimal("123456789012.123456"), currency="USD")
    (row,) = xlsx_rows(content_of(finance, export(finance, "xlsx", month="2026-10")))
    assert row[str(COST_COLUMNS[0].heading)] == ("s", "123456789012.123456")
    read_over(account, 501, allocated_cost=Decimal("9.9"), currency="USD")
    (row,) = xlsx_rows(content_of(finance, export(finance, "xlsx", month="2026-10")))
    assert row[str(COST_COLUMNS[0].heading)] == ("n", "9.90")


def test_the_columns_say_what_belonged_to_the_figure(finance: Client) -> None:
    customer = CustomerFactory(external_reference="")
    account = a_customer_account(customer=customer)
    read_over(account, 120_000, package="postkeeper.ei.pro-100k.v1", requests=987_654)
    type(account).objects.filter(pk=account.pk).update(package="postkeeper.ei.pro-300k.v1")
    period = UsagePeriod.objects.get()
    (row,) = csv_rows(content_of(finance, export(finance, month="2026-10")))
    period.refresh_from_db()
    assert row["Month"] == "2026-10"
    assert row["Reference missing"] == "yes"
    assert row["Package"] == "Pro 100K"
    assert (row["Quota (emails)"], row["Account cap in the pool (emails)"]) == ("100000", "")
    assert (row["Emails (least)"], row["Overage (least)"]) == ("120000", "20000")
    assert row["Requests (lifetime of the account)"] == "987654"
    assert (row["Reason code"], bool(row["Reason"])) == (period.reason, True)
    assert (row["Figure version"], row["Ledger batch"]) == (str(period.version), str(period.batch))
    assert (row["Billing period start (date)"], row["Billing period end (date, inclusive)"]) == (
        "2026-10-01",
        "2026-10-31",
    )


def test_a_cap_in_a_pool_is_no_quota(finance: Client) -> None:
    read_over(a_customer_account(), 500, source="pooled", allowed=40_000)
    (row,) = csv_rows(content_of(finance, export(finance, month="2026-10")))
    assert (row["Quota (emails)"], row["Account cap in the pool (emails)"]) == ("", "40000")


def test_cost_is_only_for_those_who_may_see_it(finance: Client) -> None:
    read_over(a_customer_account(), 500, allocated_cost=Decimal("17.23"), currency="USD")
    kept = export(finance, month="2026-10")
    assert b"17.23" in content_of(finance, kept)

    success = sign_in(Client(), UserFactory(role="customer_success"))
    for route in ("usage-export-file", "usage-export-detail", "usage-export-progress"):
        assert success.get(reverse(f"billing:{route}", args=[kept.public_id])).status_code == 404
    own = export(success, month="2026-10")
    assert b"17.23" not in content_of(success, own)
    assert not own.with_cost
    page = success.get(reverse("billing:usage-exports")).content.decode()
    assert page.count("Download") == 1
    assert str(kept.public_id) not in page
    UsageExport.objects.filter(pk=kept.pk).update(changed=3)
    assert "See changes" not in success.get(f"{reverse('billing:usage')}?month=2026-10").content.decode()
    assert "See changes" in finance.get(f"{reverse('billing:usage')}?month=2026-10").content.decode()


def test_each_export_and_download_is_audited(finance: Client, anna: User) -> None:
    read_over(a_customer_account(), 500)
    kept = export(finance, month="2026-10", only="over")
    content_of(finance, kept)
    requested, downloaded = AuditEvent.objects.filter(object_id=kept.public_id).order_by("pk")
    assert (requested.verb, downloaded.verb) == ("usage.exported", "usage.export_downloaded")
    assert requested.after["filters"] == ["Show only: Overage"]
    assert downloaded.after["sha256"] == kept.sha256
    assert requested.actor_id == downloaded.actor_id == anna.pk


@pytest.mark.parametrize(
    ("query", "form"), [("month=2026-13", "csv"), ("connection=nope", "csv"), ("month=2026-10", "pdf"), ("", "")]
)
def test_an_unknown_filter_or_format_makes_no_export(finance: Client, query: str, form: str) -> None:
    response = finance.post(f"{reverse('billing:usage-export')}?{query}", {"format": form})
    assert response.status_code == 400
    assert response.content.decode().strip()
    assert not UsageExport.objects.exists()


def test_the_list_narrows_by_month_and_person(finance: Client, anna: User, time_machine: Any) -> None:
    read_over(a_customer_account(), 500)
    mine = export(finance, month="2026-10")
    other = sign_in(Client(), UserFactory(role="finance"))
    theirs = export(other, "xlsx", month="2026-11")
    listed = finance.get(reverse("billing:usage-exports"))
    assert [row["export"].pk for row in listed.context["rows"]] == [theirs.pk, mine.pk]
    by_month = finance.get(reverse("billing:usage-exports"), {"month": "2026-10"})
    by_person = finance.get(reverse("billing:usage-exports"), {"person": str(theirs.by_id)})
    assert [row["export"].pk for row in by_month.context["rows"]] == [mine.pk]
    assert [row["export"].pk for row in by_person.context["rows"]] == [theirs.pk]
    assert finance.get(reverse("billing:usage-exports"), {"month": "1999-01"}).status_code == 400


def test_a_month_without_exports_lists_none(finance: Client) -> None:
    response = finance.get(reverse("billing:usage-exports"), {"month": "2025-01"})
    assert response.status_code == 200
    assert response.context["rows"] == []


def test_a_filter_is_kept_without_control_characters(finance: Client) -> None:
    """PostgreSQL has no NUL in texts: the export was an error page there."""
    read_over(a_customer_account(), 1)
    kept = export(finance, month="2026-10", q="a\x00b", sort="\x00")
    assert (kept.filters["q"], kept.filters["sort"]) == ("ab", "")
    assert kept.is_ready


@pytest.mark.parametrize(
    "damaged", [b"", b"garbage", gzip.compress(b"other figures"), None], ids=["empty", "garbage", "replaced", "cut off"]
)
def test_a_damaged_file_is_not_sent(finance: Client, damaged: bytes | None) -> None:
    read_over(a_customer_account(), 1)
    kept = export(finance, month="2026-10")
    stored = bytes(UsageExport.objects.get().file or b"")
    UsageExport.objects.update(file=stored[:-20] if damaged is None else damaged)
    address = reverse("billing:usage-export-file", args=[kept.public_id])
    response = finance.get(address)
    assert (response.status_code, b"hash differs" in response.content) == (500, True)
    UsageExport.objects.update(file=stored)
    assert finance.get(address).status_code == 200
