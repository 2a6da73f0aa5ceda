"""A closed statement: its page, the list, and the dispute pack."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse

from billing.models import (
    Anomaly,
    BillingTerms,
    Decision,
    FigureVersion,
    Statement,
    StatementCase,
    StatementLine,
    StatisticsReading,
    UsagePeriod,
)
from billing.pricing.statements import views
from billing.pricing.statements.drafts import rate_month
from portal.audit.models import AuditEvent
from tests.billing.closing.closed import LATER, close
from tests.billing.pricing.adjustments.late import DECEMBER, IN_DECEMBER, store_version
from tests.billing.pricing.pages import client_of, page_of, words_of
from tests.billing.pricing.statements.agreed import (
    FIRST,
    LAST,
    NOVEMBER,
    NOW,
    account,
    customer_with,
    figure,
    moment,
    reading,
    state,
)
from tests.support.closing import close_by_hand
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db
PACKED = {
    "README.txt", "statement.csv", "case.json", "readings.csv", "statistics.csv", "decisions.csv", "figures.csv",
    "adjustments.csv",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(LATER, tick=False)


def closed(used: int = 130_500) -> Statement:
    customer, _one = customer_with(used=used)
    rate_month(NOVEMBER, now=NOW)
    UserFactory(role="finance", name="Fiona Finance")
    close()
    return Statement.objects.get(customer=customer)


def pack(statement: Statement, role: str = "customer_success", status: int = 200) -> zipfile.ZipFile:
    answer = client_of(role).get(reverse("billing:statement-pack", args=[statement.public_id]))
    assert answer.status_code == status
    return zipfile.ZipFile(io.BytesIO(b"".join(answer))) if status == 200 else zipfile.ZipFile(io.BytesIO(), "w")


def rows_in(packed: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(packed.read(name).decode("utf-8-sig"))))


def test_a_closed_statement_says_its_number_and_who_closed_it() -> None:
    statement = closed()
    BillingTerms.objects.create(pk=1, number_prefix="RE-")
    page = page_of(client_of("customer_success"), "statement", statement.public_id)
    assert "Statement RE-000001" in page
    assert "Closed on 5 Dec 2026 by Fiona Finance" in page
    assert "Dispute pack" in page
    assert "rated" not in page.split("Statement RE-000001")[1]
    assert "Draft" not in page


def test_a_draft_has_no_number_and_no_pack() -> None:
    customer, _one = customer_with()
    rate_month(NOVEMBER, now=NOW)
    statement = Statement.objects.get(customer=customer)
    page = page_of(client_of(), "statement", statement.public_id)
    assert "Draft" in page
    assert "Dispute pack" not in page
    pack(statement, status=404)


def test_the_list_is_filtered_by_state_and_number() -> None:
    one = closed()
    customer_with(name="Other")
    rate_month(NOVEMBER, now=NOW)
    BillingTerms.objects.create(pk=1, number_prefix="RE-")
    client = client_of()

    def listed(query: str) -> list[str]:
        page = client.get(reverse("billing:statements") + f"?month=2026-11&{query}").context
        return [number for _row, _amount, number in page["rows"]]

    assert listed("state=closed") == ["RE-000001"]
    assert listed("state=draft") == [""]
    assert listed("q=re-000001") == listed("q=000001") == ["RE-000001"]
    assert listed("q=RE-2") == []
    assert listed(f"q={one.customer}") == ["RE-000001"]
    assert client.get(reverse("billing:statements") + "?month=2026-11&state=x").status_code == 400


def test_files_have_the_number() -> None:
    statement = closed()
    client = client_of()
    answer = client.get(reverse("billing:statement-export", args=[statement.public_id]))
    assert {row["statement number"] for row in csv.DictReader(words_of(answer).splitlines())} <= {"000001", None}
    text = b"".join(client.get(reverse("billing:statements-export") + "?month=2026-11")).decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["state"], row["number"], row["closed at"]) == ("closed", "000001", "2026-12-05T12:00:00Z")


def test_all_lines_are_on_one_page_for_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views.queries, "LINES_A_PAGE", 1)
    statement, client = closed(), client_of()
    page = page_of(client, "statement", statement.public_id)
    assert ("Base fee" in page, "Overage, " in page, "All lines" in page) == (True, False, True)
    page = page_of(client, "statement", statement.public_id, query="?lines=all")
    assert ("Base fee" in page, "Overage, " in page, "All lines" in page) == (True, True, False)
    assert "Total, net, in EUR" in page


def test_a_pack_has_what_the_statement_was_made_from(tmp_path: Any, capsys: Any) -> None:
    statement = closed()
    period = UsagePeriod.objects.get()
    assert period.current
    FigureVersion.objects.create(
        period=period, account=period.account, n=1, from_batch=1, at=NOW, cause="reading", month=NOVEMBER,
        start_on=FIRST, end_on=LAST, status="final", used=130_500, high=130_500,
    )  # fmt: skip
    StatisticsReading.objects.create(
        account=period.account, as_of=NOW, first_on=FIRST, last_on=date(2026, 12, 1),
        days={"2026-11-30": 900, "2026-12-01": 5},
    )  # fmt: skip
    fell = {"connection": period.account.connection, "account": period.account, "period": period, "opened_at": NOW}
    anomaly = Anomaly.objects.create(kind="fell", before="9", after="7", **fell)
    Anomaly.objects.create(kind="contradiction", before="3", after="4", **fell)
    priced = Anomaly.objects.create(kind="cost_fell", before="731.37", after="2", **fell)
    by = UserFactory(name="Dora Decides")
    for each in (anomaly, priced):
        Decision.objects.create(anomaly=each, verdict="reset", reason="Provider said so", by=by, at=NOW)
    packed = pack(statement)
    assert set(packed.namelist()) == PACKED
    assert [row["net" if "net" in row else "amount"] for row in rows_in(packed, "statement.csv")] == ["89.95", "25.93"]
    (read,) = rows_in(packed, "readings.csv")
    assert (read["used"], read["account key"]) == ("130500", str(period.account_id))
    assert [(row["day"], row["requests"]) for row in rows_in(packed, "statistics.csv")] == [("2026-11-30", "900")]
    decided, undecided = rows_in(packed, "decisions.csv")
    assert (decided["decided by"], decided["reason"], decided["before"]) == ("Dora Decides", "Provider said so", "9")
    assert (undecided["anomaly"], undecided["decision"]) == ("contradiction", "")
    (version,) = rows_in(packed, "figures.csv")
    assert (version["version"], version["used"], version["until batch"]) == ("1", "130500", "")
    assert "Statement 000001" in packed.read("README.txt").decode()
    (tmp_path / "case.json").write_bytes(packed.read("case.json"))
    call_command("rate", str(tmp_path / "case.json"))
    rated = json.loads(capsys.readouterr().out, parse_float=Decimal)
    assert [each["amount"] for each in rated["lines"]] == ["89.95", "25.93"]


def test_a_pack_tells_no_cost_and_is_audited() -> None:
    statement = closed()
    period = UsagePeriod.objects.get()
    period.allocated_cost, period.currency = Decimal("731.37"), "EUR"
    period.save(update_fields=["allocated_cost", "currency"])
    packed = pack(statement)
    assert not any("731.37" in packed.read(name).decode() for name in packed.namelist())
    event = AuditEvent.objects.get(verb="statements.pack_exported")
    assert event.after["file"].endswith(".zip")
    assert (event.object_id, event.customer_id) == (statement.public_id, statement.customer.public_id)


def test_a_pack_lists_adjustments_of_both_directions() -> None:
    first = closed()
    line = first.lines.get(kind="base")
    assert first.customer
    later = Statement.objects.create(
        side="sell", customer=first.customer, month=date(2026, 12, 1), currency="EUR", rated_at=NOW
    )
    StatementLine.objects.create(
        statement=later, n=1, key="adj", kind="adjustment", adjusts=first, account=line.account, start_on=FIRST,
        end_on=LAST, quantity=-1, gross_minor=-8995, amount_minor=-8995,
    )  # fmt: skip
    (row,) = rows_in(pack(first), "adjustments.csv")
    assert (row["adjusts statement"], row["month"], row["amount"]) == ("000001", "2026-12", "-89.95")


def test_the_same_pack_has_the_same_bytes() -> None:
    statement = closed()
    url, client = reverse("billing:statement-pack", args=[statement.public_id]), client_of()
    assert b"".join(client.get(url)) == b"".join(client.get(url))


def test_readings_of_other_periods_and_accounts_stay_out() -> None:
    statement = closed()
    one = UsagePeriod.objects.get().account
    before = figure(one, 7, start=date(2026, 10, 1), end=date(2026, 10, 31))
    reading(one, before, moment(date(2026, 10, 9)), 5)
    customer_with(used=77, name="Other")
    assert {row["used"] for row in rows_in(pack(statement), "readings.csv")} == {"130500"}


def test_a_period_that_moved_since_stays_in_the_pack() -> None:
    statement = closed()
    period = UsagePeriod.objects.get()
    store_version(period)
    store_version(period, end_on=date(2026, 12, 9))
    packed = pack(statement)
    assert {row["used"] for row in rows_in(packed, "readings.csv")} == {"130500"}
    assert [row["version"] for row in rows_in(packed, "figures.csv")] == ["1"]


def test_readings_of_an_account_have_its_own_periods() -> None:
    """Another account's billing period begins on the first day of one that isn't the month's."""
    customer, one = customer_with(used=130_500)
    start = date(2026, 10, 20)
    figure(account(customer), 5, start=start, end=date(2026, 11, 19))
    figure(one, 7, start=start, end=date(2026, 10, 31))
    rate_month(NOVEMBER, now=NOW)
    close_by_hand(NOVEMBER, now=NOW)
    packed = pack(Statement.objects.get(customer=customer))
    assert {row["used"] for row in rows_in(packed, "readings.csv")} == {"130500", "5"}


def test_a_statement_of_adjustments_alone_has_a_pack() -> None:
    customer, one = customer_with(used=120_000, until=LAST)
    period = UsagePeriod.objects.get()
    store_version(period)
    close_by_hand(NOVEMBER, now=NOW)
    store_version(period, used=80_000)
    state(one, LAST, "deleted")
    close_by_hand(DECEMBER, now=IN_DECEMBER)
    later = Statement.objects.get(customer=customer, month=DECEMBER, currency="EUR")
    assert not StatementCase.objects.filter(statement=later).exists()
    packed = pack(later)
    assert set(packed.namelist()) == PACKED - {"case.json"}
    assert [row["amount"] for row in rows_in(packed, "statement.csv")] == ["-17.00"]
    assert [row["used"] for row in rows_in(packed, "figures.csv")] == ["120000", "80000"]
    assert {row["used"] for row in rows_in(packed, "readings.csv")} == {"120000"}
    assert "Dispute pack" in page_of(client_of(), "statement", later.public_id)
