"""Unknown filters of the usage pages: status 400 with a sentence, and no other month's or connection's figures."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.reports.filters import MonthFilters
from tests.billing.pooling import Pool
from tests.billing.reports.test_views import an_account, read
from tests.customers.page_helpers import HTMX, prose_of
from tests.support.clocks import stop_clocks
from tests.support.factories import UserFactory
from tests.support.people import sign_in

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
TOO_LATE = "Month: “{}” is too far in the future. Select December 2026 or an earlier month."
# A query string, and the sentence.
UNKNOWN = [
    ("month=2026-13", "Month: unknown value “2026-13”. Clear it to see results."),
    ("month=2026-1", "Month: unknown value “2026-1”. Clear it to see results."),
    ("month=1999-12", "Month: unknown value “1999-12”. Clear it to see results."),
    ("month=20٢٦-10", "Month: unknown value “20٢٦-10”. Clear it to see results."),
    ("month=2027-01", TOO_LATE.format("2027-01")),
    ("month=2099-12", TOO_LATE.format("2099-12")),
    ("connection=nope", "Connection: unknown value “nope”. Clear it to see results."),
    ("state=suspended", "State: unknown value “suspended”. Clear it to see results."),
    ("state=active", "State: unknown value “active”. Clear it to see results."),
    ("status=partial", "Status: unknown value “partial”. Clear it to see results."),
    ("quota=90", "Quota used: unknown value “90”. Clear it to see results."),
    ("ceiling=48", "Reaches sending limit: unknown value “48”. Clear it to see results."),
    ("group=package", "Group: unknown value “package”. Clear it to see results."),
    ("customer=nope", "Customer: unknown value “nope”. Clear it to see results."),
    ("only=late", "Show only: unknown value “late”. Clear it to see results."),
    ("page=x", "Page: unknown value “x”. Clear it to see results."),
]
FIGURE = "41,000"


@pytest.fixture
def finance(client: Client, db: None, time_machine: Any) -> Client:
    stop_clocks(time_machine, NOW)
    read(an_account(), 41_000)
    return sign_in(client, UserFactory(role="finance"))


def test_the_known_filters_list_it(finance: Client) -> None:
    for query in ("", "month=2026-11", "month=2026-11&page=1&status=open"):
        assert FIGURE in finance.get(f"{reverse('billing:usage')}?{query}").content.decode()
        assert finance.post(f"{reverse('billing:usage-export')}?{query}", {"format": "csv"}).status_code == 303


@pytest.mark.parametrize("htmx", [{}, HTMX])
@pytest.mark.parametrize(("query", "sentence"), UNKNOWN)
def test_the_report_says_it_and_lists_nothing(finance: Client, query: str, sentence: str, htmx: dict[str, Any]) -> None:
    answer = finance.get(f"{reverse('billing:usage')}?{query}&sort=name", **htmx)
    text = prose_of(answer)
    assert (answer.status_code, answer["X-Refused-Filters"]) == (400, query.partition("=")[0])
    assert sentence in text
    assert f'href="{reverse("billing:usage")}?sort=name"' in answer.content.decode()
    for other in (FIGURE, "of 1", "Usage by account", "Export CSV"):
        assert other not in text
    assert ('aria-current="true">November 2026' in answer.content.decode()) != query.startswith("month")
    assert ("Select a month" in text) == query.startswith("month"), "not the name of another month"


@pytest.mark.parametrize(("query", "sentence"), UNKNOWN)
def test_the_export_says_it_and_is_no_file(finance: Client, query: str, sentence: str) -> None:
    answer = finance.post(f"{reverse('billing:usage-export')}?{query}", {"format": "csv"})
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert "Content-Disposition" not in answer
    assert answer.content.decode() == f"{sentence}\n"


def test_every_unknown_filter_has_its_sentence(finance: Client) -> None:
    query = "?month=2026-13&connection=nope&state=suspended"
    exported = finance.post(reverse("billing:usage-export") + query, {"format": "csv"}).content.decode()
    assert [line.partition(":")[0] for line in exported.splitlines()] == ["Month", "Connection", "State"]
    page = finance.get(reverse("billing:usage") + query)
    assert page["X-Refused-Filters"] == "month, connection, state"
    assert f'href="{reverse("billing:usage")}"' in page.content.decode()


def test_a_page_beyond_the_last_is_refused(finance: Client) -> None:
    answer = finance.get(reverse("billing:usage"), {"page": "2"})
    assert answer.status_code == 400
    assert "Page: unknown value “2”. Clear it to see results." in prose_of(answer)
    assert FIGURE not in answer.content.decode()


@pytest.mark.parametrize("htmx", [{}, HTMX])
@pytest.mark.parametrize("number", ["2", "0", "x", "-1"])
def test_the_usage_syncs_have_no_such_page(finance: Client, number: str, htmx: dict[str, Any]) -> None:
    answer = finance.get(reverse("billing:runs"), {"page": number}, **htmx)
    assert answer.status_code == 400
    assert f"Page: unknown value “{number}”. Clear it to see results." in prose_of(answer)
    assert "No usage syncs yet" not in prose_of(answer)
    assert finance.get(reverse("billing:runs"), {"page": "1"}, **htmx).status_code == 200


@pytest.mark.parametrize("htmx", [{}, HTMX])
def test_the_invoice_of_an_unknown_month_is_none(pool: Pool, htmx: dict[str, Any], time_machine: Any) -> None:
    time_machine.move_to(pool.now, tick=False)
    pool.account(1_234, "2.5")
    pool.read()
    client = sign_in(Client(), UserFactory(role="finance"))
    address = reverse("billing:pool", args=[pool.connection.public_id])
    assert "1,234" in client.get(address, **htmx).content.decode()
    for query in ({"month": "2026-13"}, {"page": "2"}, {"page": "x"}, {"month": "2099-01"}):
        answer = client.get(address, query, **htmx)
        assert answer.status_code == 400, query
        assert answer.context["pool"] is None or query == {"page": "2"}
        assert "Invalid filter" in prose_of(answer)
        assert "1,234" not in answer.content.decode()
        assert "No report for a billing period" not in answer.content.decode()


@pytest.mark.parametrize(
    ("today", "latest"),
    [(date(2026, 11, 30), date(2026, 12, 1)), (date(2026, 12, 1), date(2027, 1, 1)), (NOW.date(), date(2026, 12, 1))],
)
def test_the_next_month_is_the_last_that_is_known(today: date, latest: date) -> None:
    asked = MonthFilters({"month": f"{latest:%Y-%m}"}, today=today)
    assert (asked.month, asked.refused, asked.is_future) == (latest, {}, True)


def test_a_month_that_is_too_late_is_not_the_value() -> None:
    asked = MonthFilters({"month": "2099-01"}, today=NOW.date())
    assert (list(asked.refused), asked.month) == (["month"], date(2026, 11, 1))
