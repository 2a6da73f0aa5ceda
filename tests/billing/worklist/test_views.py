"""The list of usage to decide, its dialogs, and who may do what."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Anomaly, Decision, UsagePeriod
from billing.usage.decisions import decide_anomalies, decide_figure, of_cause
from customers.models import Account
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.billing.worklist.support import AFTER, at, command, figure, next_period, october, open_anomalies, read
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(AFTER, tick=False)


@pytest.fixture
def person() -> User:
    return UserFactory(role="finance", name="Fiona Finance")  # type: ignore[no-any-return]


@pytest.fixture
def finance(client: Client, person: User) -> Client:
    return sign_in(client, person)


@pytest.fixture
def fallen() -> Account:
    account = AccountFactory(usage_read_at=None, customer__company_name="Larkfield")
    for day, used in ((5, 100_000), (10, 20_000), (15, 90_000), (31, 150_000)):
        read(account, used, at(day))
    next_period(account)
    return account  # type: ignore[no-any-return]


def interval(name: str = "Interval Ltd", used: int = 150_000, **facts: Any) -> Account:
    account = AccountFactory(usage_read_at=None, customer__company_name=name, **facts)
    read(account, used, at(31))
    next_period(account)
    return account  # type: ignore[no-any-return]


def listed(client: Client, **query: str) -> list[str]:
    answer = client.get(reverse("billing:worklist"), query)
    return [entry.account.customer.company_name for entry, _kinds in answer.context["entries"] if entry.account]


class TestTheList:
    def test_the_most_emails_come_first(self, finance: Client, fallen: Account) -> None:
        interval("Wide", used=10_000)
        interval("Narrow", used=249_000)
        assert listed(finance) == ["Larkfield", "Wide", "Narrow"]
        assert listed(finance, sort="age")[0] == "Larkfield"

    def test_what_is_exact_or_open_is_not_listed(self, finance: Client) -> None:
        read(AccountFactory(usage_read_at=None), 100, at(1, month=11), period_start_on=date(2026, 11, 1),
             period_end_on=date(2026, 11, 30))  # fmt: skip
        done = interval("Done", used=250_000)
        assert october(done).status == "final"
        answer = finance.get(reverse("billing:worklist"))
        assert answer.context["entries"] == []
        assert "Nothing to decide" in prose_of(answer)

    def test_it_is_filtered(self, finance: Client, person: User, fallen: Account) -> None:
        other = interval("Elsewhere", connection=ConnectionFactory(name="SendGrid EU"))
        for query, names in (
            ({"kind": "fell"}, ["Larkfield"]),
            ({"kind": "interval"}, ["Elsewhere"]),
            ({"kind": "missing"}, []),
            ({"connection": str(other.connection.public_id)}, ["Elsewhere"]),
            ({"month": "2026-10"}, ["Larkfield", "Elsewhere"]),
            ({"month": "2026-09"}, []),
            ({"owner": "me"}, []),
            ({"owner": "nobody"}, ["Larkfield", "Elsewhere"]),
        ):
            assert listed(finance, **query) == names, query
        assert "No results" in prose_of(finance.get(reverse("billing:worklist"), {"month": "2026-09"}))

    @pytest.mark.parametrize(
        "query",
        [{"kind": "odd"}, {"connection": "nope"}, {"month": "2026-13"}, {"owner": "you"}, {"page": "9"}],
        ids=str,
    )
    def test_an_unknown_value_is_refused(self, finance: Client, fallen: Account, query: dict[str, str]) -> None:
        answer = finance.get(reverse("billing:worklist"), query)
        assert answer.status_code == 400
        assert "Larkfield" not in prose_of(answer)

    def test_the_number_of_queries_is_constant(self, finance: Client, fallen: Account) -> None:
        def queries() -> int:
            with CaptureQueriesContext(
                database,
            ) as found:
                assert finance.get(reverse("billing:worklist")).status_code == 200
            return len(found)

        interval()
        queries()
        before = queries()
        for n in range(4):
            interval(f"More {n}")
            account = AccountFactory(usage_read_at=None)
            read(account, 100, at(5))
            read(account, 50, at(10 + n))
        assert queries() == before

    def test_it_is_paged(self, finance: Client) -> None:
        accounts = AccountFactory.create_batch(52, usage_read_at=None)
        for account in accounts:
            read(account, 1000, at(31))
            next_period(account)
        assert len(listed(finance)) == 50
        assert len(listed(finance, page="2")) == 2

    def test_its_count_is_in_the_navigation(self, finance: Client, fallen: Account) -> None:
        interval()
        page = finance.get(reverse("home")).content.decode()
        assert reverse("billing:worklist-count") in page
        assert finance.get(reverse("billing:worklist-count")).content.decode().startswith("2")

    def test_nothing_to_decide_shows_no_count(self, finance: Client) -> None:
        assert finance.get(reverse("billing:worklist-count")).content == b""


class TestOwners:
    def row(self, account: Account) -> str:
        return f"anomaly-{open_anomalies(account)[0].pk}"

    def test_a_row_is_taken_and_released(self, finance: Client, person: User, fallen: Account) -> None:
        address = reverse("billing:worklist-owner")
        back = reverse("billing:worklist") + "?kind=fell"
        answer = finance.post(address, {"row": self.row(fallen), "act": "take", "next": back})
        assert answer["Location"] == back
        assert listed(finance, owner="me") == ["Larkfield"]
        assert listed(finance, owner="nobody") == []
        finance.post(address, {"row": self.row(fallen), "act": "release"})
        assert listed(finance, owner="me") == []
        events = AuditEvent.objects.filter(account_id=fallen.public_id).order_by("id")
        assert [each.verb for each in events] == ["usage.decision_taken", "usage.decision_released"]

    def test_a_figure_has_an_owner_too(self, finance: Client, person: User) -> None:
        account = interval()
        finance.post(reverse("billing:worklist-owner"), {"row": f"figure-{october(account).pk}", "act": "take"})
        assert october(account).owner == person
        read(account, 160_000, at(31, 23))
        assert october(account).owner == person, "a reading keeps it"
        assert listed(finance, owner="me") == ["Interval Ltd"]

    def test_a_row_that_does_not_exist(self, finance: Client) -> None:
        assert finance.post(reverse("billing:worklist-owner"), {"row": "x"}).status_code == 404


class TestTheDialog:
    def address(self, account: Account) -> str:
        return reverse("billing:decide-anomaly", args=[open_anomalies(account)[0].public_id])

    def test_each_choice_says_what_becomes_of_the_figure(self, finance: Client, fallen: Account) -> None:
        answer = finance.get(self.address(fallen))
        said = {each.verdict: " ".join(each.sentences) for each in answer.context["choices"]}
        assert said["correction"].startswith("October 2026 becomes 150,000 to 250,000 emails.")
        assert said["reset"].startswith("October 2026 becomes 250,000 to 500,000 emails.")
        assert "1\u20139 Oct becomes 100,000" in said["new_period"]
        assert "10\u201331 Oct becomes 150,000 to 250,000 emails" in said["new_period"]
        assert "It stays disputed" in said["wrong"]

    def test_what_was_read_and_our_operations_are_shown(self, finance: Client, fallen: Account) -> None:
        OperationFactory(
            account=fallen, kind="suspend", state="succeeded", created_at=at(7), finished_at=at(7)
        )  # fmt: skip
        page = prose_of(finance.get(self.address(fallen)))
        for words in ("100,000", "20,000", "contradicts", "Credits API", "Suspend"):
            assert words in page

    def test_a_decision_is_saved(self, finance: Client, person: User, fallen: Account) -> None:
        seen = finance.get(self.address(fallen)).context["seen"]
        said = {"verdict": "reset", "reason": "The counter began again.", "seen": seen}
        assert finance.post(self.address(fallen), said)["Location"] == reverse("billing:worklist")
        [decision] = Decision.objects.all()
        assert (decision.verdict, decision.by, decision.reason) == ("reset", person, "The counter began again.")
        assert figure(fallen)[0] == "interval"
        event = AuditEvent.objects.get(verb="usage.decided")
        assert (event.account_id, event.reason) == (fallen.public_id, "The counter began again.")

    @pytest.mark.parametrize("said", [{"verdict": "reset"}, {"reason": "Because."}], ids=["no reason", "no decision"])
    def test_both_parts_are_needed(self, finance: Client, fallen: Account, said: dict[str, str]) -> None:
        answer = finance.post(self.address(fallen), said)
        assert answer.status_code == 422
        assert not Decision.objects.exists()

    def test_who_is_second_is_told_who_was_first(self, finance: Client, fallen: Account) -> None:
        address = self.address(fallen)
        other = UserFactory(role="finance", name="Frank First")
        [anomaly] = open_anomalies(fallen)
        decide_anomalies(
            command(person=other, reason="They wrote to us."), anomalies=[anomaly], verdict="correction"
        )  # fmt: skip
        answer = finance.post(address, {"verdict": "reset", "reason": "My reason."})
        page = prose_of(answer)
        assert answer.status_code == 422
        assert "Frank First was first: Correction: the later values are right" in page
        for words in ("They wrote to us.", "My reason.", "This form wasn't saved."):
            assert words in page
        assert figure(fallen)[1] == 150_000

    def test_a_new_reading_is_reviewed_first(self, finance: Client, fallen: Account) -> None:
        address = self.address(fallen)
        seen = finance.get(address).context["seen"]
        read(fallen, 160_000, at(31, 20))
        answer = finance.post(address, {"verdict": "reset", "reason": "My reason.", "seen": seen})
        assert answer.status_code == 422
        page = prose_of(answer)
        assert "The figures changed since you opened this page" in page
        assert "260,000" in page, "with the new figures"
        assert "My reason." in answer.content.decode()
        again = {"verdict": "reset", "reason": "My reason.", "seen": answer.context["seen"]}
        assert finance.post(address, again).status_code == 303

    @pytest.mark.parametrize("role", ["customer_success", "auditor"])
    def test_others_only_read(self, client: Client, fallen: Account, role: str) -> None:
        sign_in(client, UserFactory(role=role))
        page = client.get(self.address(fallen))
        assert "Finance and admins can decide this." in prose_of(page)
        assert 'name="verdict"' not in page.content.decode()
        assert client.post(self.address(fallen), {"verdict": "reset", "reason": "x"}).status_code == 403

    def test_an_anomaly_of_many_is_decided_for_all(self, finance: Client) -> None:
        accounts = AccountFactory.create_batch(23, usage_read_at=None, connection=ConnectionFactory())
        for account in accounts:
            read(account, 100, at(5))
            read(account, 40, at(6))
        answer = finance.get(self.address(accounts[0]))
        page = prose_of(answer)
        assert "23 accounts" in page
        assert "and 3 more accounts" in page
        assert len(answer.context["shown"]) == 20
        assert [each.verdict for each in answer.context["choices"]] == ["correction", "reset", "wrong"]
        said = {"verdict": "correction", "reason": "Known.", "seen": answer.context["seen"]}
        finance.post(self.address(accounts[0]), said)
        assert not Anomaly.objects.filter(closed_at=None).exists()
        assert {figure(account)[1] for account in accounts} == {40}
        assert AuditEvent.objects.filter(verb="usage.decided").count() == 1

    def test_one_of_them_can_be_decided_alone(self, finance: Client) -> None:
        accounts = AccountFactory.create_batch(2, usage_read_at=None, connection=ConnectionFactory())
        for account in accounts:
            read(account, 100, at(5))
            read(account, 40, at(6))
        finance.post(self.address(accounts[0]) + "?alone=1", {"verdict": "new_period", "reason": "Told so."})
        assert open_anomalies(accounts[0]) == []
        assert len(open_anomalies(accounts[1])) == 1

    def test_a_decision_is_undone_with_a_reason(self, finance: Client, fallen: Account) -> None:
        [anomaly] = open_anomalies(fallen)
        decide_anomalies(command(), anomalies=[anomaly], verdict="reset")
        shown = finance.get(reverse("billing:decide-anomaly", args=[anomaly.public_id]))
        undo = reverse("billing:undo-anomaly", args=[anomaly.public_id])
        assert undo in shown.content.decode()
        assert finance.post(undo, {"reason": ""}).status_code == 422
        assert finance.post(undo, {"reason": "It was a mistake."}).status_code == 303
        assert open_anomalies(fallen) == [anomaly]
        answer = finance.post(undo, {"reason": "Again."})
        assert answer.status_code == 422
        assert "Again." in prose_of(answer)


class TestAFigure:
    def address(self, account: Account) -> str:
        return reverse("billing:decide-figure", args=[account.public_id, "2026-10-01"])

    def test_a_number_is_entered(self, finance: Client) -> None:
        account = interval()
        answer = finance.get(self.address(account))
        assert "From 150,000 to 250,000." in prose_of(answer)
        said = {"verdict": "quantity", "quantity": "170000", "reason": "Their log.", "seen": answer.context["seen"]}
        refused = finance.post(self.address(account), said | {"quantity": "100"})
        assert "already reported 150,000 emails" in prose_of(refused)
        assert "Their log." in refused.content.decode()
        assert finance.post(self.address(account), said).status_code == 303
        assert figure(account) == ("final", 170_000, 170_000)
        assert listed(finance) == []

    def test_a_number_belongs_to_its_choice(self, finance: Client) -> None:
        account = interval()
        seen = finance.get(self.address(account)).context["seen"]
        said = {"verdict": "as_known", "quantity": "1", "reason": "Enough.", "seen": seen}
        assert finance.post(self.address(account), said).status_code == 303
        assert figure(account) == ("final", 150_000, 150_000)

    def test_who_is_second_is_told(self, finance: Client) -> None:
        account = interval()
        seen = finance.get(self.address(account)).context["seen"]
        other = UserFactory(role="finance", name="Frank First")
        decide_figure(command(person=other), period=october(account), seen_version=seen, verdict="as_known")
        answer = finance.post(self.address(account), {"verdict": "base_only", "reason": "Mine.", "seen": seen})
        page = prose_of(answer)
        assert "Frank First was first: Use the usage known so far" in page
        assert "Mine." in page

    def test_a_new_reading_is_shown_first(self, finance: Client) -> None:
        account = interval()
        seen = finance.get(self.address(account)).context["seen"]
        read(account, 160_000, at(31, 20))
        answer = finance.post(self.address(account), {"verdict": "as_known", "reason": "Mine.", "seen": seen})
        page = prose_of(answer)
        assert "The figure changed since you opened this page" in page
        assert "160,000" in page

    def test_it_is_undone(self, finance: Client) -> None:
        account = interval()
        seen = finance.get(self.address(account)).context["seen"]
        finance.post(self.address(account), {"verdict": "base_only", "reason": "Mine.", "seen": seen})
        undo = reverse("billing:undo-figure", args=[account.public_id, "2026-10-01"])
        assert "Mine." in prose_of(finance.get(undo))
        assert finance.post(undo, {"reason": "Wrong account."}).status_code == 303
        assert figure(account) == ("interval", 150_000, 250_000)

    def test_a_missing_figure_of_an_account(self, finance: Client) -> None:
        account = AccountFactory(usage_read_at=None, usage_end_on=None)
        UsagePeriod.objects.create(
            account=account, start_on=date(2026, 10, 1), reported_start_on=date(2026, 10, 1),
            end_on=date(2026, 10, 31), ends_at=at(1, 0, month=11), month=date(2026, 10, 1), status="missing",
        )  # fmt: skip
        answer = finance.get(self.address(account))
        assert [each.verdict for each in answer.context["choices"]] == ["quantity", "base_only"]
        finance.post(self.address(account), {"verdict": "quantity", "quantity": "7", "reason": "Their log.", "seen": 0})
        assert figure(account) == ("final", 7, 7)

    def test_a_day_that_is_no_day(self, finance: Client) -> None:
        account = interval()
        for day in ("2026-10-02", "yesterday"):
            address = reverse("billing:decide-figure", args=[account.public_id, day])
            assert finance.get(address).status_code == 404


def test_decisions_are_listed(finance: Client, fallen: Account) -> None:
    [anomaly] = open_anomalies(fallen)
    decide_anomalies(command(reason="They wrote to us."), anomalies=list(of_cause(anomaly)), verdict="reset")
    page = prose_of(finance.get(reverse("billing:worklist-decided")))
    for words in ("Larkfield", "They wrote to us.", "Reset: the counter began again at zero"):
        assert words in page
    assert finance.get(reverse("billing:worklist-decided"), {"page": "7"}).status_code == 400


def test_the_page_of_the_account_leads_to_it(finance: Client, fallen: Account) -> None:
    answer = finance.get(reverse("billing:account-usage", args=[fallen.public_id]), {"cycle": "2026-10-01"})
    [anomaly] = open_anomalies(fallen)
    assert reverse("billing:decide-anomaly", args=[anomaly.public_id]) in answer.content.decode()
    assert "the provider reported 20,000 after 100,000" in prose_of(answer)
    decide_anomalies(command(AFTER + timedelta(hours=1)), anomalies=[anomaly], verdict="correction")
    answer = finance.get(reverse("billing:account-usage", args=[fallen.public_id]), {"cycle": "2026-10-01"})
    assert "Decide on this figure" in prose_of(answer)


@pytest.mark.parametrize("typed", ["120.000", "120.0", "1,000", "²"])
def test_a_number_in_another_notation_is_refused(finance: Client, typed: str) -> None:
    """In many countries 120.000 is what is 120,000 here. As 120 it would be a figure that nobody entered."""
    account = AccountFactory(usage_read_at=None)
    read(account, 100, at(31))
    next_period(account)
    address = reverse("billing:decide-figure", args=[account.public_id, "2026-10-01"])
    sent = {
        "verdict": "quantity",
        "quantity": typed,
        "reason": "By their invoice.",
        "seen": str(october(account).version),
    }
    assert finance.post(address, sent).status_code == 422
    assert finance.post(address, sent | {"quantity": "120", "seen": "²"}).status_code == 422
    assert not Decision.objects.exists()
