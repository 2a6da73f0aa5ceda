"""Rows of the list that are assigned to a colleague, and the way back to the list as it was filtered."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.usage.decisions import decide_anomalies, of_cause
from customers.models import Account
from portal.audit.models import AuditEvent
from tests.billing.worklist.support import AFTER, at, command, next_period, october, open_anomalies, read
from tests.customers.page_helpers import prose_of
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
FILTERED = "/usage/decide/?kind=fell&month=2026-10"
FROM_THE_LIST = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{FILTERED}"}


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(AFTER, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance", name="Fiona Finance"))


def fallen(count: int = 1) -> list[Account]:
    accounts = AccountFactory.create_batch(count, usage_read_at=None, connection=ConnectionFactory())
    for account in accounts:
        read(account, 100, at(5))
        read(account, 40, at(6))
    return accounts  # type: ignore[no-any-return]


def dialog_of(account: Account) -> str:
    return reverse("billing:decide-anomaly", args=[open_anomalies(account)[0].public_id])


def assign(client: Client, account: Account, owner: object) -> Any:
    said = {"row": f"anomaly-{open_anomalies(account)[0].pk}", "act": "assign", "owner": str(owner), "next": FILTERED}
    return client.post(reverse("billing:worklist-owner"), said, follow=True)


class TestAColleague:
    def test_is_offered_if_able_to_decide(self, finance: Client) -> None:
        [account] = fallen()
        able, gone = UserFactory(role="admin", name="Ada"), UserFactory(role="finance", is_active=False)
        page = finance.get(dialog_of(account), headers=FROM_THE_LIST)
        offered = {each.name for each in page.context["colleagues"]}
        assert {"Fiona Finance", able.name} <= offered
        assert not {UserFactory(role="auditor").name, gone.name} & offered
        assert FILTERED.replace("&", "&amp;") in page.content.decode(), "the way back"

    def test_owns_the_row_then(self, finance: Client) -> None:
        [account] = fallen()
        frank = UserFactory(role="finance", name="Frank Helper")
        answer = assign(finance, account, frank.public_id)
        assert "Assigned to Frank Helper." in prose_of(answer)
        assert answer.redirect_chain == [(FILTERED, 303)]
        assert open_anomalies(account)[0].owner == frank
        event = AuditEvent.objects.get(verb="usage.decision_taken")
        assert event.after["owner"] == "Frank Helper"
        assign(finance, account, "")
        assert open_anomalies(account)[0].owner is None

    def test_who_may_not_decide_is_refused(self, finance: Client) -> None:
        [account] = fallen()
        answer = assign(finance, account, UserFactory(role="auditor", name="Audrey").public_id)
        assert "Audrey can't decide on usage. Select someone in finance, or an admin." in prose_of(answer)
        assert open_anomalies(account)[0].owner is None

    @pytest.mark.parametrize("owner", ["nobody", "7e3cf3a4-1111-4111-8111-111111111111"])
    def test_who_does_not_exist(self, finance: Client, owner: str) -> None:
        [account] = fallen()
        assert assign(finance, account, owner).status_code == 404

    def test_owns_a_figure(self, finance: Client) -> None:
        account = AccountFactory(usage_read_at=None)
        read(account, 100, at(31))
        next_period(account)
        frank = UserFactory(role="finance")
        address = reverse("billing:decide-figure", args=[account.public_id, "2026-10-01"])
        assert frank in finance.get(address).context["colleagues"]
        said = {"row": f"figure-{october(account).pk}", "act": "assign", "owner": str(frank.public_id)}
        finance.post(reverse("billing:worklist-owner"), said)
        assert october(account).owner == frank

    def test_is_not_offered_to_others(self, client: Client) -> None:
        [account] = fallen()
        sign_in(client, UserFactory(role="auditor"))
        assert 'name="owner"' not in client.get(dialog_of(account)).content.decode()

    def test_who_only_reads_is_not_told_how_to_decide(self, client: Client) -> None:
        [account, _] = fallen(2)
        sign_in(client, UserFactory(role="auditor"))
        page = prose_of(client.get(dialog_of(account)))
        assert "2 accounts" in page
        assert "To decide one alone" not in page


class TestTheWayBack:
    def test_a_decision_returns_to_the_filtered_list(self, finance: Client) -> None:
        [account] = fallen()
        said = {"verdict": "correction", "reason": "They said so."}
        answer = finance.post(dialog_of(account), said, headers=FROM_THE_LIST)
        assert answer["HX-Redirect"] == FILTERED

    def test_another_site_is_no_way_back(self, finance: Client) -> None:
        [account] = fallen()
        said = {"verdict": "correction", "reason": "They said so."}
        headers = FROM_THE_LIST | {"HX-Current-URL": "http://elsewhere.example/usage/decide/"}
        answer = finance.post(dialog_of(account), said, headers=headers)
        assert answer["HX-Redirect"] == reverse("billing:worklist")


class TestWhatWasDecidedTogether:
    def test_is_shown_with_its_accounts(self, finance: Client) -> None:
        accounts = fallen(3)
        address = dialog_of(accounts[0])
        [first, *_] = open_anomalies(accounts[0])
        assert "To decide one alone, open it." in prose_of(finance.get(address))
        decide_anomalies(command(), anomalies=list(of_cause(first)), verdict="reset")
        page = prose_of(finance.get(address))
        assert "3 accounts" in page
        assert "They were decided together." in page
        for account in accounts:
            assert account.customer.company_name in page
        assert "Counter decreased" in prose_of(finance.get(reverse("billing:worklist-decided")))


class TestValuesInTheList:
    def listed(self, client: Client) -> str:
        return prose_of(client.get(reverse("billing:worklist")))

    def test_parts_of_one_answer_have_no_arrow(self, finance: Client) -> None:
        account = AccountFactory(usage_read_at=None)
        read(account, 40_000, at(5))
        read(account, 47_632, at(6), overage=4_000)
        assert "used 47,632, overage 4,000" in self.listed(finance)
        page = prose_of(finance.get(reverse("billing:account-usage", args=[account.public_id])))
        assert "the provider reported used 47,632 and overage 4,000. Both can't be right." in page

    def test_a_limit_is_named_as_one(self, finance: Client) -> None:
        account = AccountFactory(usage_read_at=None)
        read(account, 500_000, at(6))
        assert "500,000, at most 250,000" in self.listed(finance)
        page = prose_of(finance.get(reverse("billing:account-usage", args=[account.public_id])))
        assert "reported 500,000. The account can't have sent more than 250,000." in page

    def test_a_month_is_named(self, finance: Client) -> None:
        fallen()
        page = prose_of(finance.get(reverse("billing:worklist"), {"month": "2026-10"}))
        assert "October 2026" in page
        assert "2026-10-01" not in page
