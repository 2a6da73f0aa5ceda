"""The report of a month: one status vocabulary, totals that say what is missing, and a constant number of queries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from billing.labels import STATUSES
from billing.models import Status, SyncRun
from billing.templatetags.usage import counted_status, figure_status
from billing.usage.period_ends import assess_due
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account
from portal.access.models import User
from portal.providers import Usage, UsageSource
from tests.billing.exports.support import content_of, csv_rows, export
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
START, END = date(2026, 11, 1), date(2026, 11, 30)
OCTOBER = {"start": date(2026, 10, 1), "end": date(2026, 10, 31)}
NIGHT = datetime(2026, 10, 31, 23, 55, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def read(
    account: Account,
    used: int,
    *,
    allowed: int = 100_000,
    at: datetime = NOW - timedelta(hours=2),
    start: date = START,
    end: date = END,
    requests: int | None = None,
    package: str = "",
) -> None:
    usage = Usage(
        source=UsageSource.CREDITS,
        used=used,
        allowed=allowed,
        remaining=max(0, allowed - used),
        overage=max(0, used - allowed),
        requests=requests,
        package=package,
        period_start_on=start,
        period_end_on=end,
        raw={"used": used, "allowed": allowed, "requests": requests},
    )
    store_readings([AccountReading(account.pk, usage, at, account.package)], run=None)


def an_account(**facts: Any) -> Account:
    account = AccountFactory(**{"usage_read_at": None} | facts)
    Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 9, 1, tzinfo=UTC))
    account.refresh_from_db()
    return account


def a_silent_account(*, since: datetime = datetime(2026, 11, 1, tzinfo=UTC), **facts: Any) -> Account:
    """An account that was never read."""
    nothing = dict.fromkeys(
        ("usage_used", "usage_allowed", "usage_overage", "usage_start_on", "usage_end_on", "usage_read_at")
    )
    account = AccountFactory(**nothing | facts)
    Account.objects.filter(pk=account.pk).update(created_at=since)
    return account


def every_status() -> dict[str, Account]:
    """One account of each status of October that an ended month can have, assessed."""
    found = {name: an_account() for name in ("final", "interval", "disputed", "endless")}
    found["missing"] = a_silent_account(since=datetime(2026, 10, 1, tzinfo=UTC))
    read(found["final"], 120_000, at=NIGHT + timedelta(hours=10), **OCTOBER)
    read(found["final"], 120_000, at=NIGHT + timedelta(hours=20), **OCTOBER)
    read(found["interval"], 31_000, at=NIGHT, **OCTOBER)
    for hours, used in ((5, 100_000), (4, 20_000), (3, 90_000)):
        read(found["disputed"], used, at=NIGHT - timedelta(hours=hours), **OCTOBER)
    endless = Usage(source=UsageSource.POOLED, used=700, period_start_on=OCTOBER["start"], period_end_on=OCTOBER["end"])
    store_readings([AccountReading(found["endless"].pk, endless, NIGHT, "")], run=None)
    assess_due(now=NOW)
    return found


def page(client: Client, **query: str) -> str:
    response = client.get(reverse("billing:usage"), query)
    assert response.status_code == 200
    return response.content.decode()


def context(client: Client, **query: str) -> Any:
    return client.get(reverse("billing:usage"), query).context["report"]


def listed(client: Client, **query: str) -> list[Any]:
    return [row.account for row in context(client, **query).rows]


def bar_of(report: Any, month: date) -> Any:
    return next(each for each in report.chart["months"] if each["month"] == month)


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    return csv_rows(content_of(client, export(client, **{"month": "2026-11"} | query)))


def test_each_figure_is_exact_or_an_interval_with_its_status(finance: Client) -> None:
    accounts = every_status()
    rows = {row.account: row for row in context(finance, month="2026-10").rows}
    shown = {
        name: (rows[account.public_id].status, rows[account.public_id].used, rows[account.public_id].high)
        for name, account in accounts.items()
    }
    assert shown == {
        "final": ("final", 120_000, 120_000),
        "interval": ("interval", 31_000, 250_000),
        "disputed": ("disputed", 90_000, 340_000),
        "endless": ("interval", 700, None),
        "missing": ("missing", None, None),
    }
    text = page(finance, month="2026-10")
    for words in (">120,000<", ">31,000 \u2013 250,000<", ">700 or more<", "Disputed", "Missing", "Interval"):
        assert words in text, words


def test_totals_are_least_values_and_say_what_may_be_added(finance: Client) -> None:
    every_status()
    report = context(finance, month="2026-10")
    assert report.totals.used == 120_000 + 31_000 + 90_000 + 700
    assert report.totals.width == (250_000 - 31_000) + (340_000 - 90_000)
    assert report.totals.endless == 1
    text = prose_of(finance.get(reverse("billing:usage"), {"month": "2026-10"}))
    assert "Emails, at least 241,700 up to 469,000 more" in text
    assert "1 figure has no known upper end" in text
    assert "1 figure is missing" in text
    assert "Usage data for 4 of 5 billing periods" in text
    assert text.index("Usage data for") < text.index("Emails, at least"), "coverage before totals"


def test_exact_figures_have_plain_totals(finance: Client) -> None:
    account = an_account()
    for hours in (10, 20):
        read(account, 120_000, at=NIGHT + timedelta(hours=hours), **OCTOBER)
    text = prose_of(finance.get(reverse("billing:usage"), {"month": "2026-10"}))
    assert "at least" not in text
    assert "Not included Nothing" in text


def test_each_status_is_counted_and_its_link_filters(finance: Client) -> None:
    accounts = every_status()
    response = finance.get(reverse("billing:usage"), {"month": "2026-10", "sort": "name", "page": "1"})
    links = {status: (n, address) for status, n, address, _ in response.context["statuses"]}
    assert {status: n for status, (n, _) in links.items()} == {
        "missing": 1, "disputed": 1, "interval": 2, "final": 1
    }  # fmt: skip
    chosen = finance.get(reverse("billing:usage") + links["missing"][1])
    assert [row.account for row in chosen.context["report"].rows] == [accounts["missing"].public_id]
    assert chosen.context["filters"].sort == "name"
    again = next(address for status, _, address, on in chosen.context["statuses"] if on)
    assert len(finance.get(reverse("billing:usage") + again).context["report"].rows) == 5
    assert chosen.context["report"].coverage.figures == 5, "coverage doesn't follow the filters"


def test_the_status_has_a_word_and_an_icon_of_its_own() -> None:
    """Color is never the only sign."""
    assert set(STATUSES) == set(Status.values)
    assert len({look.icon for look in STATUSES.values()}) == len(STATUSES)


def test_a_missing_figure_is_a_dash_and_never_a_zero(finance: Client) -> None:
    silent = a_silent_account()
    assess_due(now=NOW)
    report = context(finance)
    assert [(row.account, row.used, row.overage) for row in report.rows] == [(silent.public_id, None, None)]
    assert bar_of(report, START)["used"] is None
    text = prose_of(finance.get(reverse("billing:usage")))
    assert "Emails, at least —no data" in text
    assert exported(finance)[0]["Emails (least)"] == ""
    assert exported(finance)[0]["Status"] == "Missing"


def test_four_nights_without_a_reading_are_stale_everywhere(finance: Client) -> None:
    quiet, fresh = an_account(), an_account()
    read(quiet, 41_000, at=NOW - timedelta(days=4))
    read(fresh, 41_000)
    assess_due(now=NOW)
    report = context(finance)
    assert {row.account: row.status for row in report.rows} == {quiet.public_id: "stale", fresh.public_id: "open"}
    assert listed(finance, status="stale") == [quiet.public_id]
    assert dict(bar_of(report, START)["counts"])["stale"] == 1
    assert bar_of(report, START)["mark"] == ("stale", 1)
    assert {row["Account ID"]: row["Status"] for row in exported(finance)}[quiet.provider_id or ""] == "Stale"
    assert "bl-s-stale" in finance.get(reverse("billing:account-usage", args=[quiet.public_id])).content.decode()


def test_package_and_quota_are_those_of_the_figure(finance: Client) -> None:
    """A package that was changed at the provider in mid-period, and another one since."""
    account = an_account(package="postkeeper.ei.pro-100k.v1")
    read(account, 90_000, at=NIGHT - timedelta(days=3), package="pro-100k", **OCTOBER)
    read(account, 210_000, allowed=300_000, at=NIGHT, package="pro-300k", **OCTOBER)
    read(account, 10, allowed=50_000, package="pro-50k")
    assess_due(now=NOW)
    row = context(finance, month="2026-10").rows[0]
    assert (row.package, row.allowed, row.overage) == ("pro-300k", 300_000, 0)
    assert exported(finance, month="2026-10")[0]["Package"] == "pro-300k"


def test_a_cycle_belongs_to_the_month_of_its_end(finance: Client) -> None:
    account = an_account()
    read(account, 700, start=date(2026, 10, 15), end=date(2026, 11, 14), at=datetime(2026, 11, 14, 23, 55, tzinfo=UTC))
    read(account, 90, start=date(2026, 11, 15), end=date(2026, 12, 14))
    november, december, october = (context(finance, month=f"2026-{n}") for n in (11, 12, 10))
    assert [(row.used, row.status) for row in november.rows] == [(700, "interval")]
    assert [(row.used, row.status) for row in december.rows] == [(90, "open")]
    assert october.rows == []


def test_the_table_has_ten_columns_and_details_the_rest(finance: Client) -> None:
    account = an_account(state="stopped_by_us")
    read(account, 41_000, requests=9_876_543)
    text = page(finance)
    assert text.count('scope="col"') - text[: text.index("Usage by account")].count('scope="col"') <= 10
    assert ">41,000<" in text, "so far, and nothing else"
    assert "9,876,543" not in text, "a lifetime counter"
    assert "Suspended" not in text, "the state of today"
    details = finance.get(reverse("billing:figure", args=[account.public_id, "2026-11-01"]))
    assert "Requests (lifetime)" in details.content.decode()
    assert "9,876,543" in details.content.decode()
    assert "State today" in details.content.decode()


@pytest.mark.parametrize("reference", ["", "C-1001"])
def test_rows_without_an_external_reference_are_flagged(finance: Client, reference: str) -> None:
    account = an_account(customer=CustomerFactory(external_reference=reference))
    read(account, 41_000)
    for query in ({}, {"group": "customer"}):
        assert ("No reference" in page(finance, **query)) is (not reference)
    assert listed(finance, only="unreferenced") == ([] if reference else [account.public_id])


@pytest.mark.parametrize(
    ("month", "first", "last"),
    [("2025-12", date(2025, 12, 1), date(2026, 11, 1)), ("2025-11", date(2024, 12, 1), date(2025, 11, 1))],
)
def test_the_chart_shows_twelve_months_or_ends_with_the_chosen(
    finance: Client, month: str, first: date, last: date
) -> None:
    bars = context(finance, month=month).chart["months"]
    assert (bars[0]["month"], bars[-1]["month"]) == (first, last)


def test_the_chart_marks_intervals_and_missing_figures(finance: Client) -> None:
    every_status()
    report = context(finance, month="2026-10")
    bar = bar_of(report, date(2026, 10, 1))
    assert (bar["used"], bar["more"], bar["missing"], bar["endless"]) == (241_700, 469_000, 1, 1)
    assert bar["mark"] == ("missing", 1)
    assert bar["more_height"] > bar["in_height"] > 0
    text = page(finance, month="2026-10")
    assert "bl-c-more" in text
    assert "1 missing" in " ".join(text.split())


@pytest.mark.parametrize(("status", "n", "words"), [
    ("interval", 46, "46 intervals"), ("interval", 1, "1 interval"), ("disputed", 13, "13 disputed"),
])  # fmt: skip
def test_the_chart_counts_in_words(status: str, n: int, words: str) -> None:
    assert counted_status(status, n) == words


def test_a_decided_number_is_marked() -> None:
    assert ">decided<" in figure_status("final", "base_only")
    assert ">decided<" not in figure_status("final", "read_after_end")


@pytest.mark.long
def test_filters_and_sort(finance: Client) -> None:
    first, second = ConnectionFactory(), ConnectionFactory()
    over, quiet = an_account(connection=first), an_account(connection=second)
    read(over, 120_000)
    read(quiet, 3_000)
    silent = a_silent_account(connection=second)
    assess_due(now=NOW)

    assert listed(finance, sort="-used") == [over.public_id, quiet.public_id, silent.public_id], "missing ones last"
    assert listed(finance, sort="used") == [quiet.public_id, over.public_id, silent.public_id]
    assert listed(finance, only="over") == [over.public_id]
    assert listed(finance, only="not_final", status="missing") == [silent.public_id]
    assert listed(finance, connection=str(first.public_id)) == [over.public_id]
    assert listed(finance, customer=str(quiet.customer.public_id)) == [quiet.public_id]
    assert listed(finance, q=over.customer.company_name.upper()) == [over.public_id]
    assert listed(finance, q=quiet.provider_id or "") == [quiet.public_id]
    assert len(listed(finance, sort="; DROP TABLE", size="9999999")) == 3


def test_totals_follow_the_filters_and_coverage_does_not(finance: Client) -> None:
    read(an_account(), 120_000)
    read(an_account(), 3_000)
    report = context(finance, only="over")
    assert (report.totals.figures, report.totals.used, report.totals.overage) == (1, 120_000, 20_000)
    assert report.coverage.figures == 2


def test_the_page_says_when_its_figures_changed(finance: Client) -> None:
    read(an_account(), 700, at=NIGHT, **OCTOBER)
    assess_due(now=NOW - timedelta(hours=3))
    assert context(finance, month="2026-10").updated_at == NOW - timedelta(hours=3)
    read(an_account(), 700)
    assert context(finance).updated_at is None, "no sync of all accounts has ended"


@pytest.mark.parametrize("query", [{}, {"group": "customer"}, {"only": "stopped"}, {"ceiling": "24"}, {"quota": "80"}])
@pytest.mark.long
def test_the_report_costs_the_same_for_few_and_for_many(
    finance: Client, django_assert_max_num_queries: Any, query: dict[str, str]
) -> None:
    connection = ConnectionFactory()

    def add(count: int) -> None:
        for _ in range(count):
            account = an_account(connection=connection)
            read(account, 150_000, at=NOW - timedelta(days=9))
            read(account, 200_000)
            read(account, 200_000, at=NOW - timedelta(minutes=5))

    def cost() -> int:
        with django_assert_max_num_queries(40) as counted:
            assert finance.get(reverse("billing:usage"), {"size": "200"} | query).status_code == 200
        return len(counted.captured_queries)

    add(3)
    cost()  # caches of content types and the like fill once
    few = cost()
    add(40)
    assert cost() == few


@pytest.mark.long
def test_the_list_of_syncs_costs_the_same_for_few_and_many(finance: Client, django_assert_max_num_queries: Any) -> None:
    connection = ConnectionFactory()

    def add(count: int) -> None:
        for _ in range(count):
            SyncRun.objects.create(
                connection=connection, kind="asked", slot=uuid4().hex, source="credits", state="complete",
                not_before=NOW, until=NOW, started_at=NOW, finished_at=NOW, asked_by=UserFactory(),
            )  # fmt: skip

    def cost() -> int:
        with django_assert_max_num_queries(40) as counted:
            assert finance.get(reverse("billing:runs")).status_code == 200
        return len(counted.captured_queries)

    add(3)
    cost()
    few = cost()
    add(20)
    assert cost() == few


@pytest.mark.parametrize("query", [{}, {"group": "customer", "sort": "figures"}])
def test_the_file_has_every_figure_of_both_views(finance: Client, query: dict[str, str]) -> None:
    customer = CustomerFactory()
    for used in (130_000, 5):
        read(an_account(customer=customer), used)
    rows = exported(finance, month="2026-11", **query)
    assert [(row["Emails (least)"], row["Overage (least)"], row["Status"]) for row in rows] == [
        ("130000", "30000", "Open"), ("5", "0", "Open"),
    ]  # fmt: skip


def test_htmx_gets_the_list_alone(finance: Client) -> None:
    read(an_account(), 10)
    response = finance.get(reverse("billing:usage"), headers={"HX-Request": "true"})
    text = response.content.decode()
    assert "<html" not in text
    assert 'hx-swap-oob="true"' in text
    assert "HX-Request" in response["Vary"]


def test_times_are_those_of_the_person(client: Client) -> None:
    sign_in(client, UserFactory(role="auditor", timezone="Asia/Tokyo"))
    account = an_account()
    read(account, 10)
    address = reverse("billing:figure", args=[account.public_id, "2026-11-01"])
    assert "JST" in client.get(address).content.decode()
    assert User.objects.count() == 1
