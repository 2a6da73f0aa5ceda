"""What connections cost: by a price list, or as shares of one invoice."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing.models import ConnectionBilling, PooledSnapshot, Statement, SyncRun
from billing.pricing.statements import costs
from billing.pricing.statements.costs import cost_draft_of, rate_costs
from billing.usage.periods import DAY
from customers.models import Account, Connection
from tests.billing.pricing.statements.agreed import (
    BASE,
    FIRST,
    LAST,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    figure,
    moment,
    price_list,
    state,
)
from tests.support.factories import ConnectionFactory

pytestmark = pytest.mark.django_db


def bill(connection: Connection, **facts: Any) -> None:
    ConnectionBilling.objects.create(connection=connection, **facts)


def listed(*accounts: Account) -> Connection:
    connection = accounts[0].connection
    prices = price_list(BASE, OVERAGE, name="Provider", side="cost", currency="USD")
    bill(connection, cost_source="price_list", cost_list=prices)
    return connection


def draft_of(connection: Connection) -> Statement:
    (found,) = cost_draft_of(connection.pk, NOVEMBER, now=NOW)
    return found


class TestPriceList:
    def test_all_accounts_of_the_connection_cost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(costs, "CHUNK", 2)
        connection = ConnectionFactory()
        accounts = [account(connection=connection) for _ in range(5)]
        for each in accounts:
            figure(each, 110_000)
        draft = draft_of(listed(*accounts))
        assert (draft.currency, draft.total_minor, draft.lines_count) == ("USD", 5 * (8995 + 850), 10)
        lines = list(draft.lines.order_by("n").values_list("n", "account", "customer", "kind"))
        assert [line[0] for line in lines] == list(range(1, 11))
        assert [line[1:] for line in lines[:2]] == [
            (accounts[0].pk, accounts[0].customer_id, "base"),
            (accounts[0].pk, accounts[0].customer_id, "overage"),
        ]

    def test_test_accounts_cost_too(self) -> None:
        one = account(is_test=True)
        figure(one, 0)
        assert draft_of(listed(one)).total_minor == 8995

    def test_a_banned_account_costs_nothing_from_that_day(self) -> None:
        one, other = account(), account()
        Account.objects.filter(pk=other.pk).update(connection=one.connection)
        state(one, date(2026, 11, 16), "banned")
        state(other, date(2026, 11, 16), "stopped_by_us")
        for each in (one, other):
            figure(each, 0)
        amounts = dict(draft_of(listed(one)).lines.values_list("account", "amount_minor"))
        assert amounts == {one.pk: 4498, other.pk: 8995}

    def test_it_is_rated_again_only_if_something_changed(self) -> None:
        one = account()
        period = figure(one, 0)
        listed(one)
        assert [rate_costs(NOVEMBER, now=NOW).rated for _ in range(2)] == [1, 0]
        period.used = period.high = 101_000
        period.save(update_fields=["used", "high"])
        assert rate_costs(NOVEMBER, now=NOW).rated == 1
        assert Statement.objects.get(side="cost").total_minor == 8995 + 85


def test_without_a_source_there_is_a_finding() -> None:
    one = account()
    figure(one, 0)
    draft = draft_of(one.connection)
    assert (draft.currency, draft.is_exact) == ("", False)
    assert [each.kind for each in draft.findings.all()] == ["no_cost_source"]


def test_a_connection_without_accounts_has_none() -> None:
    connection = ConnectionFactory()
    assert cost_draft_of(connection.pk, NOVEMBER, now=NOW) == []


class TestSharedInvoice:
    def report(self, connection: Connection, shares: list[dict[str, Any]], **facts: Any) -> PooledSnapshot:
        known = [each for each in shares if each["known"]]
        unknown = [each for each in shares if not each["known"]]
        values = {
            "parent_count": 100, "parent_cost": Decimal("1.00"), "removed_count": 0, "removed_cost": Decimal(0),
        } | facts  # fmt: skip
        values |= {
            "accounts_count": sum(each["count"] for each in known),
            "accounts_cost": sum((Decimal(each["cost"]) for each in known), Decimal()),
            "unmapped_count": sum(each["count"] for each in unknown),
            "unmapped_cost": sum((Decimal(each["cost"]) for each in unknown), Decimal()),
        }
        counts = [values[f"{name}_count"] for name in ("parent", "accounts", "unmapped", "removed")]
        return PooledSnapshot.objects.create(
            connection=connection,
            period_start_on=(start := values.pop("start", FIRST)),
            period_end_on=(end := values.pop("end", LAST)),
            starts_at=moment(start, 0),
            ends_at=moment(end + DAY, 0),
            as_of=values.pop("as_of", moment(date(2026, 12, 1), 1)),
            currency="EUR",
            total_count=sum(counts),
            total_cost=values.pop("total_cost", Decimal("10.00")),
            adds_up=True,
            shares=shares,
            raw_sha256="",
            **values,
        )

    def pool(self, *counts: int) -> tuple[Connection, list[Account], list[dict[str, Any]]]:
        connection = ConnectionFactory(kind="ahasend", base_url="https://api.ahasend.com")
        accounts = [account(connection=connection, spans=False) for _ in counts]
        shares = [
            {"id": each.provider_id, "name": "", "count": count, "cost": "3.00", "known": True}
            for each, count in zip(accounts, counts, strict=True)
        ]
        return connection, accounts, shares

    def test_by_volume(self) -> None:
        connection, accounts, shares = self.pool(200, 300)
        shares.append({"id": "elsewhere", "name": "Other", "count": 100, "cost": "1.00", "known": False})
        gone = account(connection=connection, spans=False, state="deleted")
        figure(gone, 50)
        figure(accounts[0], 200)  # the report names it, so it isn't removed
        self.report(connection, shares, removed_count=80, removed_cost=Decimal("0.80"))
        bill(connection, cost_source="volume")
        draft = draft_of(connection)
        lines = {(line.because["share"], line.account_id): line.amount_minor for line in draft.lines.all()}
        assert lines == {
            ("parent", None): 128,
            ("account", accounts[0].pk): 256,
            ("account", accounts[1].pk): 385,
            ("unknown", None): 128,
            ("removed_account", gone.pk): 64,
            ("removed", None): 39,
        }
        assert sum(lines.values()) == draft.total_minor == 1000
        assert draft.lines.get(account=accounts[0]).customer == accounts[0].customer

    def test_by_the_providers_shares_with_a_difference(self) -> None:
        connection, accounts, shares = self.pool(200, 300)
        self.report(connection, shares)
        bill(connection, cost_source="provider_share")
        draft = draft_of(connection)
        rows = [(line.because["share"], line.amount_minor) for line in draft.lines.order_by("n")]
        assert rows[:3] == [("parent", 100), ("account", 300), ("account", 300)]
        assert rows[-1] == ("unallocated", 300)
        assert draft.total_minor == 1000
        assert len(accounts) == 2

    def test_without_a_report_there_is_a_finding(self) -> None:
        connection, (one,), _shares = self.pool(5)
        figure(one, 5)
        bill(connection, cost_source="volume")
        assert [each.kind for each in draft_of(connection).findings.all()] == ["no_report"]

    def test_a_newer_report_is_shared_again(self) -> None:
        connection, _accounts, shares = self.pool(1)
        first = self.report(connection, shares)
        bill(connection, cost_source="volume")
        assert draft_of(connection).total_minor == 1000
        PooledSnapshot.objects.bulk_create(
            [
                PooledSnapshot(
                    **{
                        field.attname: getattr(first, field.attname)
                        for field in PooledSnapshot._meta.concrete_fields
                        if field.attname not in ("id", "seq", "total_cost")
                    },
                    seq=1,
                    total_cost=Decimal("20.00"),
                )
            ]
        )
        assert draft_of(connection).total_minor == 2000

    def test_a_report_of_a_period_that_goes_on_is_not_exact(self) -> None:
        connection, _accounts, shares = self.pool(200)
        report = self.report(connection, shares, as_of=moment(date(2026, 11, 29)))
        bill(connection, cost_source="volume")
        draft = draft_of(connection)
        assert (draft.is_exact, [each.kind for each in draft.findings.all()]) == (False, ["not_final"])
        # Given again after the end, unchanged: nothing is stored but on the run.
        SyncRun.objects.create(
            connection=connection, kind="nightly", slot="n", started_at=NOW, not_before=NOW, until=NOW,
            state="complete", finished_at=NOW, pooled=report, pooled_at=NOW,
        )  # fmt: skip
        assert draft_of(connection).is_exact

    def test_each_period_that_ends_in_the_month_has_its_invoice(self) -> None:
        connection, (one,), shares = self.pool(300)
        self.report(connection, shares, start=date(2026, 10, 15), end=date(2026, 11, 14), total_cost=Decimal("7.00"))
        self.report(connection, shares, start=date(2026, 11, 15), end=LAST, total_cost=Decimal("4.00"))
        bill(connection, cost_source="volume")
        draft = draft_of(connection)
        assert (draft.total_minor, draft.lines_count) == (1100, draft.lines.count())
        lines = draft.lines.filter(account=one).order_by("n")
        assert list(lines.values_list("start_on", "amount_minor")) == [
            (date(2026, 10, 15), 525),
            (date(2026, 11, 15), 300),
        ]
