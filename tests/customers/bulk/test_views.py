"""The pages of change sets: from ticks and filters to the plan, the second person and the end."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from customers.models import Account, ChangeSet, Customer, Operation
from portal.access.models import User
from tests.customers.bulk.test_commands import accounts, colleague, go_on, plan, submit
from tests.customers.conftest import Desk
from tests.customers.page_helpers import HTMX, hidden, prose_of, text_of
from tests.support.people import sign_in

NEW = reverse("customers:bulk-new")


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.SECOND_PERSON = True


@pytest.fixture
def client(desk: Desk) -> Client:
    return sign_in(Client(), desk.person)


def act(client: Client, made: ChangeSet, do: str, name: str = "bulk-act", **said: str) -> Any:
    return client.post(reverse(f"customers:{name}", args=[made.public_id]), {"do": do, **said})


def test_ticked_planned_and_sent_off(client: Client, desk: Desk) -> None:
    one, _two, three = accounts(desk, 3)
    assert f'value="{one.public_id}" form="bulk"' in text_of(client.get(reverse("customers:list")))
    ticks = {"by": "ticks", "ticked": [str(one.public_id), str(three.public_id)]}
    asked = client.post(NEW, ticks)
    assert "Change 2 accounts" in prose_of(asked)
    token = {"client_token": hidden(asked, "client_token")}
    bad = client.post(NEW, ticks | token | {"kind": "package", "reason": "They grow"})
    assert bad.status_code == 422
    assert "needed for the change" in text_of(bad)
    assert ">\nThey grow</textarea>" in text_of(bad)
    answer = client.post(NEW, ticks | token | {"kind": "suspend", "reason": "Not paid"})
    assert answer.status_code == 303
    made = ChangeSet.objects.get()
    assert set(made.items.values_list("account_id", flat=True)) == {one.pk, three.pk}
    page = client.get(answer.headers["Location"])
    assert "Change 2 accounts" in prose_of(page)
    assert not Operation.objects.exists()
    act(client, made, "submit")
    go_on(made)
    fragment = client.get(answer.headers["Location"], headers=HTMX)
    assert 'hx-trigger="every 2s"' in text_of(fragment)
    assert "All asked, not all done" in prose_of(fragment)


def test_all_of_the_filter(client: Client, desk: Desk) -> None:
    chosen = accounts(desk, 3)
    Account.objects.filter(pk=chosen[0].pk).update(state="banned")
    page = f"{NEW}?state=banned"
    asked = client.get(page)
    assert "Change 1 account" in prose_of(asked)
    token = hidden(asked, "client_token")
    client.post(page, {"client_token": token, "kind": "tag_add", "tag": " late  payer", "reason": "For the review"})
    made = ChangeSet.objects.get()
    assert [made.wanted, made.items.get().account_id] == [{"tag": "late payer"}, chosen[0].pk]


def test_the_second_person_sees_it_at_home_and_approves(client: Client, desk: Desk) -> None:
    other = colleague()
    made = plan(desk, accounts(desk, 11))
    url = reverse("customers:bulk", args=[made.public_id])
    assert "Another person has to approve this" in text_of(client.get(url))
    assert "Vera Lind" in text_of(client.get(url))
    act(client, made, "submit")
    assert "Approve and start" not in text_of(client.get(url))
    assert act(client, made, "approve", "bulk-decide", plan=made.plan_hash).status_code == 422
    theirs = sign_in(Client(), other)
    assert "Waits for your approval" in text_of(theirs.get(reverse("home")))
    assert "Waits for your approval" not in text_of(client.get(reverse("home")))
    assert act(theirs, made, "approve", "bulk-decide", plan="another").status_code == 422
    act(theirs, made, "approve", "bulk-decide", plan=hidden(theirs.get(url), "plan"))
    made.refresh_from_db()
    assert (made.state, made.approved_by) == ("running", other)


def test_who_reads_and_who_may_not(desk: Desk) -> None:
    made = submit(desk, plan(desk, accounts(desk, 1)))
    auditor = sign_in(Client(), colleague("auditor"))
    page = auditor.get(reverse("customers:bulk", args=[made.public_id]))
    assert page.status_code == 200
    assert "Pause" not in text_of(page)
    for answer in (auditor.get(NEW), act(auditor, made, "pause"), act(auditor, made, "approve", "bulk-decide")):
        assert answer.status_code == 403


def test_the_export_runs_nothing(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    Customer.objects.filter(pk=account.customer_id).update(company_name="=1+1")
    made = plan(desk, [account])
    answer: Any = client.get(reverse("customers:bulk-export", args=[made.public_id]))
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    assert rows[1][0] == "'=1+1"
    assert rows[1][3:5] == ["Active", "Suspended by us"]


def test_the_page_asks_no_more_for_more_rows(client: Client, desk: Desk) -> None:
    def queries(made: ChangeSet) -> int:
        url = reverse("customers:bulk", args=[made.public_id])
        client.get(url)
        with CaptureQueriesContext(database) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    chosen = accounts(desk, 40)
    assert queries(plan(desk, chosen[:11])) == queries(plan(desk, chosen))


def test_a_delete_waits_for_a_second_person(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    url = reverse("customers:account-delete", args=[account.public_id])
    said = {"reason": "Customer left", "confirm": account.customer.company_name}
    other = colleague()
    page = client.get(url)
    assert "Vera Lind" in text_of(page)
    answer = client.post(url, said | {"client_token": hidden(page, "client_token")})
    made = ChangeSet.objects.get()
    assert answer.headers["Location"] == reverse("customers:bulk", args=[made.public_id])
    assert (made.kind, made.state, Operation.objects.count()) == ("delete", "waiting", 0)
    long_ago = sign_in(Client(), other, minutes_ago=11)
    asked = act(long_ago, made, "approve", "bulk-decide", plan=made.plan_hash)
    assert asked.headers["Location"].startswith("/reauthenticate/?next=%2Fchanges%2F")
    theirs = sign_in(Client(), other)
    act(theirs, made, "approve", "bulk-decide", plan=made.plan_hash)
    go_on(made)
    operation = Operation.objects.get()
    assert (operation.kind, operation.requested_by) == ("delete", desk.person)


def test_a_delete_with_nobody_else_goes_on(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    User.objects.exclude(pk=desk.person.pk).delete()
    url = reverse("customers:account-delete", args=[account.public_id])
    token = hidden(client.get(url), "client_token")
    client.post(url, {"reason": "Left", "confirm": account.customer.company_name, "client_token": token})
    assert Operation.objects.get().kind == "delete"
    assert not ChangeSet.objects.exists()
