"""The pages: who sees what, coverage before totals, a gap that is never a zero, and a constant number of queries."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import SyncItem, SyncRun, UsagePeriod
from billing.usage.queries import home_runs
from billing.usage.snapshots import AccountReading, store_final_readings, store_readings
from customers.models import Account, UsageReading
from portal.access.models import User
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
START, END = date(2026, 11, 1), date(2026, 11, 30)


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
) -> None:
    usage = Usage(
        source=UsageSource.CREDITS,
        used=used,
        allowed=allowed,
        remaining=max(0, allowed - used),
        overage=max(0, used - allowed),
        requests=requests,
        period_start_on=start,
        period_end_on=end,
        raw={"used": used},
    )
    store_readings([AccountReading(account.pk, usage, at, account.package)], run=None)


def an_account(**facts: Any) -> Account:
    account = AccountFactory(**{"usage_read_at": None} | facts)
    Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 9, 1, tzinfo=UTC))
    account.refresh_from_db()
    return account


def page(client: Client, **query: str) -> str:
    response = client.get(reverse("billing:usage"), query)
    assert response.status_code == 200
    return response.content.decode()


def context(client: Client, **query: str) -> Any:
    return client.get(reverse("billing:usage"), query).context["report"]


def bar_of(report: Any, month: date) -> Any:
    return next(each for each in report.chart["months"] if each["month"] == month)


def test_a_gap_is_a_dash_and_totals_say_at_least(finance: Client) -> None:
    connection = ConnectionFactory()
    read(an_account(connection=connection), 41_000)
    silent = an_account(connection=connection, customer=CustomerFactory(company_name="Juniper Row"))

    report = context(finance)
    text = page(finance)

    assert report.coverage.rows == 2
    assert (report.coverage.read, report.coverage.gaps) == (1, 1)
    assert report.totals.used == 41_000
    row = next(row for row in report.rows if row.account == silent.public_id)
    assert (row.used, row.allowed, row.overage, row.read_at) == (None, None, None, None)
    assert "Emails (at least)" in text
    assert "No usage data" in text
    assert "Juniper Row" in text


def test_a_cycle_belongs_to_the_month_of_its_end(finance: Client) -> None:
    account = an_account()
    read(account, 700, start=date(2026, 10, 15), end=date(2026, 11, 14), at=datetime(2026, 11, 14, 23, 55, tzinfo=UTC))
    read(account, 90, start=date(2026, 11, 15), end=date(2026, 12, 14))

    november, december, october = (context(finance, month=f"2026-{n}") for n in (11, 12, 10))
    assert [row.used for row in november.rows] == [700]
    assert [row.used for row in december.rows] == [90]
    assert [row.used for row in october.rows] == [None], "the account existed, and its cycle of October was never read"
    assert december.rows[0].reach(NOW) == "open"
    assert november.rows[0].reach(NOW) == "whole"
    assert "Updated 5 min before period end" in page(finance, month="2026-11")


def test_what_was_not_read_to_its_end_is_at_least(finance: Client) -> None:
    last = datetime(2026, 10, 31, 0, 30, tzinfo=UTC)
    read(an_account(), 700, start=date(2026, 10, 1), end=date(2026, 10, 31), at=last)
    report = context(finance, month="2026-10")
    assert report.rows[0].reach(NOW) == "partial"
    assert report.totals.partial == 1
    assert report.totals.at_least
    assert "at least" in page(finance, month="2026-10")


@pytest.mark.parametrize(("seconds", "reach", "partial"), [(900, "whole", 0), (901, "partial", 1)])
def test_a_reading_a_quarter_of_an_hour_before_the_end_is_whole(
    finance: Client, seconds: int, reach: str, partial: int
) -> None:
    last = datetime(2026, 11, 1, tzinfo=UTC) - timedelta(seconds=seconds)
    read(an_account(), 700, start=date(2026, 10, 1), end=date(2026, 10, 31), at=last)
    report = context(finance, month="2026-10")
    assert report.rows[0].reach(NOW) == reach
    assert report.totals.partial == partial
    assert bar_of(report, date(2026, 10, 1))["partial"] == partial


@pytest.mark.parametrize(("seconds", "reach", "counts"), [(-1, "open", (1, 0)), (0, "partial", (0, 1))])
def test_a_period_is_over_at_midnight_utc(time_machine: Any, seconds: int, reach: str, counts: tuple[int, int]) -> None:
    read(an_account(), 700)
    now = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    time_machine.move_to(now, tick=False)
    report = context(sign_in(Client(), UserFactory(role="finance")), month="2026-11")
    assert report.rows[0].reach(now) == reach
    assert (report.totals.open, report.totals.partial) == counts


def test_what_is_expected_of_a_month_begins_and_ends_with_it(finance: Client) -> None:
    begin, end = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    early, late, gone_before, gone_in = (an_account() for _ in range(4))
    Account.objects.filter(pk=early.pk).update(created_at=end - timedelta(microseconds=1))
    Account.objects.filter(pk=late.pk).update(created_at=end)
    for account, when in ((gone_before, begin - timedelta(microseconds=1)), (gone_in, begin)):
        OperationFactory(account=account, kind="delete", state="succeeded", created_at=begin, finished_at=when)
    assert {row.account for row in context(finance, month="2026-10").rows} == {early.public_id, gone_in.public_id}


def test_nothing_read_is_no_figure(finance: Client) -> None:
    an_account()
    report = context(finance)
    assert (report.totals.used, report.totals.overage) == (None, None)
    assert (report.coverage.used, report.coverage.overage) == (None, None)


def test_an_overage_that_nobody_told_is_no_zero(finance: Client) -> None:
    account = an_account()
    usage = Usage(source=UsageSource.POOLED, used=700, period_start_on=START, period_end_on=END, raw={})
    store_readings([AccountReading(account.pk, usage, NOW, "")], run=None)
    report = context(finance)
    assert (report.totals.used, report.totals.overage) == (700, None)
    assert (bar_of(report, START)["used"], bar_of(report, START)["over"]) == (700, None)


def test_an_account_is_missing_from_the_month_after_its_creation(finance: Client) -> None:
    an_account()  # made in September, and never read
    made = an_account()
    Account.objects.filter(pk=made.pk).update(created_at=datetime(2026, 10, 1, tzinfo=UTC))
    read(made, 5, start=date(2026, 10, 1), end=date(2026, 10, 31), at=datetime(2026, 10, 31, 23, 55, tzinfo=UTC))
    report = context(finance, month="2026-12")
    missing = {bar["month"].month: bar["missing"] for bar in report.chart["months"] if bar["month"] >= date(2026, 8, 1)}
    assert missing == {8: 0, 9: 0, 10: 1, 11: 2, 12: 0}


@pytest.mark.parametrize(
    ("month", "first", "last"),
    [("2025-12", date(2025, 12, 1), date(2026, 11, 1)), ("2025-11", date(2024, 12, 1), date(2025, 11, 1))],
)
def test_the_chart_shows_twelve_months_or_ends_with_the_chosen(
    finance: Client, month: str, first: date, last: date
) -> None:
    bars = context(finance, month=month).chart["months"]
    assert (bars[0]["month"], bars[-1]["month"]) == (first, last)


def test_no_account_is_a_gap_before_the_first_sync_of_a_period(finance: Client, time_machine: Any) -> None:
    last_night = datetime(2026, 10, 31, 23, 55, tzinfo=UTC)
    october = {"start": date(2026, 10, 1), "end": date(2026, 10, 31), "at": last_night}
    rolled, failed, later = an_account(), an_account(), an_account()
    for account in (rolled, failed):
        read(account, 700, **october)
    read(later, 90, start=date(2026, 10, 15), end=date(2026, 11, 14), at=last_night)
    Account.objects.filter(pk=failed.pk).update(usage_missing_since=last_night)
    never = an_account()

    time_machine.move_to(datetime(2026, 11, 1, 2, 0, tzinfo=UTC), tick=False)
    report = context(finance)
    assert {row.account: row.reach(timezone.now()) for row in report.rows} == {
        rolled.public_id: "due", failed.public_id: "gap", later.public_id: "open", never.public_id: "gap"
    }  # fmt: skip
    assert (report.coverage.due, report.coverage.gaps, bar_of(report, date(2026, 11, 1))["missing"]) == (1, 2, 2)
    assert {row.account for row in context(finance, only="gap").rows} == {failed.public_id, never.public_id}
    assert bar_of(context(finance, month="2026-10"), date(2026, 11, 1))["missing"] == 2
    assert "Not synced yet" in page(finance)
    assert "1 account isn't synced yet in its new billing period." in " ".join(page(finance).split())

    time_machine.move_to(datetime(2026, 11, 2, 12, 0, tzinfo=UTC), tick=False)
    sign_in(finance, UserFactory(role="finance"))
    assert context(finance).coverage.gaps == 3, "the next nightly sync has not read it"


def test_a_deleted_account_counts_with_its_last_reading(finance: Client) -> None:
    kept, lost, before = (an_account(state="deleted") for _ in range(3))
    for account, when in ((kept, NOW), (lost, NOW), (before, datetime(2026, 10, 20, tzinfo=UTC))):
        operation = OperationFactory(
            account=account, kind="delete", state="succeeded", created_at=when - timedelta(days=1), finished_at=when
        )
        if account != lost:
            UsageReading.objects.create(
                operation=operation, account=account, source="credits", taken_at=when - timedelta(hours=1),
                usage={"used": 321, "period_start_on": f"{when:%Y-%m}-01", "period_end_on": f"{when:%Y-%m}-28"},
            )  # fmt: skip
    store_final_readings()

    november = context(finance)
    reach = {row.account: row.reach(NOW) for row in november.rows}
    assert reach == {kept.public_id: "final", lost.public_id: "gap"}, "what was deleted in October is over"
    assert (november.totals.used, november.totals.open, november.totals.partial) == (321, 0, 0)
    assert {row.account: row.reach(NOW) for row in context(finance, month="2026-10").rows}[before.public_id] == "final"


def test_an_account_whose_first_period_ends_later_is_no_gap(finance: Client) -> None:
    account = AccountFactory()
    Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 11, 18, tzinfo=UTC))
    account.refresh_from_db()
    assert context(finance).coverage.gaps == 1, "never read: we do not know its cycle"
    read(account, 5, start=date(2026, 11, 18), end=date(2026, 12, 17))
    assert context(finance).coverage.rows == 0
    assert context(finance, month="2026-12").coverage.rows == 1


def test_a_month_to_come_misses_nobody(finance: Client) -> None:
    an_account()
    assert context(finance, month="2026-12").coverage.rows == 0
    assert context(finance, month="2031-12").filters.month == date(2026, 12, 1)


@pytest.mark.long
def test_filters_and_sort(finance: Client) -> None:
    first, second = ConnectionFactory(), ConnectionFactory()
    over, quiet = an_account(connection=first), an_account(connection=second, state="banned")
    read(over, 120_000)
    read(quiet, 3_000)
    silent = an_account(connection=second)

    def found(**query: str) -> list[Any]:
        return [row.account for row in context(finance, **query).rows]

    assert found(sort="-used") == [over.public_id, quiet.public_id, silent.public_id], "gaps come last"
    assert found(sort="used") == [quiet.public_id, over.public_id, silent.public_id]
    assert found(only="over") == [over.public_id]
    assert found(only="gap") == [silent.public_id]
    assert found(connection=str(first.public_id)) == [over.public_id]
    assert found(state="banned") == [quiet.public_id]
    assert found(q=over.customer.company_name.upper()) == [over.public_id]
    assert found(q=quiet.provider_id or "") == [quiet.public_id]
    assert len(found(sort="; DROP TABLE", size="9999999")) == 3
    for name, value in (("state", "nonsense"), ("only", "?"), ("month", "2026-99"), ("connection", "x")):
        assert found(**{name: value}) == []
        assert list(context(finance, **{name: value}).filters.refused) == [name]


def test_totals_follow_the_filters_and_coverage_does_not(finance: Client) -> None:
    read(an_account(), 120_000)
    read(an_account(), 3_000)
    report = context(finance, only="over")
    assert (report.totals.rows, report.totals.used, report.totals.overage) == (1, 120_000, 20_000)
    assert report.coverage.rows == 2


@pytest.mark.parametrize("route", ["billing:usage", "billing:runs"])
@pytest.mark.long
def test_a_page_costs_the_same_for_few_and_for_many(
    finance: Client, django_assert_max_num_queries: Any, route: str
) -> None:
    connection = ConnectionFactory()

    def add(count: int) -> None:
        for _ in range(count):
            read(an_account(connection=connection), 10)
            SyncRun.objects.create(
                connection=connection,
                kind="asked",
                slot=uuid4().hex,
                source="credits",
                state="complete",
                not_before=NOW,
                until=NOW,
                started_at=NOW,
                finished_at=NOW,
                asked_by=UserFactory(),
            )

    def cost() -> int:
        with django_assert_max_num_queries(40) as counted:
            assert finance.get(reverse(route), {"size": "200"}).status_code == 200
        return len(counted.captured_queries)

    add(3)
    cost()  # caches of content types and the like fill once
    few = cost()
    add(40)
    assert cost() == few


def test_the_file_has_every_row_and_runs_no_formula(finance: Client) -> None:
    evil = CustomerFactory(company_name='=HYPERLINK("http://x")', external_reference="+49 1")
    account = an_account(customer=evil)
    read(account, 130_000, requests=140_000)
    silent = an_account()

    response = finance.get(reverse("billing:usage-export"), {"month": "2026-11"})
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))

    assert "usage-2026-11.csv" in response["Content-Disposition"]
    assert len(rows) == 2
    line = next(row for row in rows if row["Account ID"] == account.provider_id)
    assert line["Customer"].startswith("'=")
    assert line["External reference"].startswith("'+")
    assert (line["Usage (emails)"], line["Overage (emails)"]) == ("130000", "30000")
    assert (line["Billing period start (date)"], line["Data status"]) == ("2026-11-01", "open")
    assert line["As of (UTC)"] == "2026-11-20T07:00:00Z"
    gap = next(row for row in rows if row["Account ID"] == silent.provider_id)
    assert (gap["Usage (emails)"], gap["Data status"]) == ("", "no data")


def test_htmx_gets_the_list_alone(finance: Client) -> None:
    read(an_account(), 10)
    response = finance.get(reverse("billing:usage"), headers={"HX-Request": "true"})
    text = response.content.decode()
    assert "<html" not in text
    assert 'hx-swap-oob="true"' in text
    assert "HX-Request" in response["Vary"]


def test_the_cycle_shows_its_gaps_and_its_pace(finance: Client) -> None:
    account = an_account()
    for day, used in ((1, 2_000), (2, 4_000), (3, 6_000), (6, 12_000), (7, 14_000)):
        read(account, used * 3, at=datetime(2026, 11, day, 23, 30, tzinfo=UTC))
    read(account, 120_000 * 19 // 30, at=NOW - timedelta(hours=1))

    response = finance.get(reverse("billing:account-usage", args=[account.public_id]))
    cycle = response.context["cycle"]

    assert [(gap.first.day, gap.last.day) for gap in cycle.gaps] == [(4, 5), (8, 19)]
    assert len(cycle.chart["lines"]) == 3, "the line breaks at a gap"
    assert cycle.pace is not None
    assert cycle.pace.passes_on is not None
    text = response.content.decode()
    assert "Projected to exceed 100% on <b>" in text
    assert "missing (not zero)" in text
    assert 'style="' not in text


@pytest.mark.parametrize("cycle", ["nonsense", "2026-10-02"])
def test_a_period_the_account_does_not_have_is_refused(finance: Client, cycle: str) -> None:
    account = an_account()
    read(account, 700, start=date(2026, 10, 1), end=date(2026, 10, 31))
    read(account, 41_000)
    address = reverse("billing:account-usage", args=[account.public_id])
    response = finance.get(address, {"cycle": cycle})
    assert f"Billing period: unknown value “{cycle}”" in response.content.decode()
    assert response.context["cycle"] is None
    assert "?cycle=2026-10-01" in response.content.decode(), "the periods it has"
    assert finance.get(address, {"cycle": "2026-10-01"}).context["cycle"].period.used == 700
    assert finance.get(address).context["cycle"].period.used == 41_000


def test_an_account_that_was_never_read_says_so(finance: Client) -> None:
    account = an_account()
    text = finance.get(reverse("billing:account-usage-panel", args=[account.public_id])).content.decode()
    assert "No usage data yet" in text
    assert "<html" not in text


@pytest.mark.parametrize("role", ["admin", "finance", "customer_success", "auditor"])
def test_who_may_start_a_run(client: Client, role: str) -> None:
    sign_in(client, UserFactory(role=role))
    connection = ConnectionFactory()
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "t1"}
    response = client.post(reverse("billing:run-start"), facts)
    assert response.status_code == (303 if role in ("admin", "finance") else 403)
    assert SyncRun.objects.count() == (1 if role in ("admin", "finance") else 0)
    assert client.get(reverse("billing:runs")).status_code == 200
    assert client.get(reverse("billing:usage")).status_code == 200
    assert ("Sync now" in client.get(reverse("billing:runs")).content.decode()) is (role in ("admin", "finance"))


def test_a_double_click_is_one_run(finance: Client) -> None:
    connection = ConnectionFactory()
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "same"}
    answers = [finance.post(reverse("billing:run-start"), facts) for _ in range(3)]
    assert len({answer["Location"] for answer in answers}) == 1
    assert SyncRun.objects.count() == 1


def test_a_paused_connection_is_refused_in_words(finance: Client) -> None:
    connection = ConnectionFactory(paused="person", name="Paused one")
    an_account(connection=connection)
    facts = {"connection": str(connection.public_id), "client_token": "t"}
    text = finance.post(reverse("billing:run-start"), facts, follow=True).content.decode()
    assert "Paused one is paused" in text
    assert SyncRun.objects.count() == 0


def make_run(state: str, **counts: int) -> SyncRun:
    connection = ConnectionFactory()
    return SyncRun.objects.create(
        connection=connection,
        kind="nightly",
        slot="2026-11-20",
        source="credits",
        state=state,
        not_before=NOW,
        until=NOW + timedelta(hours=20),
        started_at=NOW,
        **counts,
    )


def test_the_progress_polls_until_the_run_has_ended(finance: Client) -> None:
    run = make_run("running", total=4, done=1)
    address = reverse("billing:run-progress", args=[run.public_id])
    running = finance.get(address, headers={"HX-Request": "true"}).content.decode()
    assert 'data-poll="2"' in running
    assert ">4</span> accounts" in running
    SyncRun.objects.filter(pk=run.pk).update(state="complete", done=4, finished_at=timezone.now())
    ended = finance.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "data-poll" not in ended
    assert "Completed" in ended


def test_errors_stand_by_cause_with_links(finance: Client) -> None:
    run = make_run("complete_with_errors", total=3, failed=3)
    accounts = [an_account(connection=run.connection) for _ in range(3)]
    for account, cause in zip(accounts, ("not_found", "not_found", "no_user_name"), strict=True):
        SyncItem.objects.create(run=run, account=account, state="failed", cause=cause, message="<b>said</b>", tries=1)
    response = finance.get(reverse("billing:run", args=[run.public_id]))
    groups = response.context["facts"].failed
    assert [group.count for group in groups] == [2, 1]
    text = response.content.decode()
    assert reverse("customers:account", args=[accounts[0].public_id]) in text
    assert "The account has no v2 username" in text
    assert "&lt;b&gt;said" in text
    assert "Retry failed accounts" in text


def test_finance_takes_a_lower_reading_over(finance: Client, client: Client) -> None:
    account = an_account()
    read(account, 50_000, at=NOW - timedelta(hours=5))
    read(account, 20_000, at=NOW - timedelta(hours=3))
    period = UsagePeriod.objects.get()
    assert (period.used, period.held and period.held.used) == (50_000, 20_000)
    assert context(finance, only="lower").totals.rows == 1
    address = reverse("billing:account-accept", args=[account.public_id])
    facts = {"start_on": "2026-11-01", "snapshot": str(period.held_id)}

    refused = finance.post(address, facts)
    assert refused.status_code == 422
    assert "Enter a reason." in refused.content.decode()
    assert finance.post(address, facts | {"snapshot": "999999", "reason": "x"}, follow=True).status_code == 200
    period.refresh_from_db()
    assert period.used == 50_000, "what the person saw is not what is there"

    assert finance.post(address, facts | {"reason": "Corrected by the provider."}).status_code == 303
    period.refresh_from_db()
    account.refresh_from_db()
    assert (period.used, period.held) == (20_000, None)
    assert account.usage_used == 20_000


def test_the_home_page_is_told_of_the_last_runs() -> None:
    run = make_run("complete", total=0)
    bare = ConnectionFactory()
    found = {connection.name: run for connection, run in home_runs()}
    assert found == {run.connection.name: run, bare.name: None}


def test_times_are_those_of_the_person(client: Client) -> None:
    sign_in(client, UserFactory(role="auditor", timezone="Asia/Tokyo"))
    read(an_account(), 10)
    assert "JST" in page(client)
    assert User.objects.count() == 1
