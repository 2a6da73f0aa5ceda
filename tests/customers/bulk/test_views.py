"""The pages of change sets: from ticks and filters to the plan, the second person and the end."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSet, Customer, Operation
from portal.access.models import User
from portal.approvals.models import ApprovalRule
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.bulk.test_commands import NOW, accounts, colleague, go_on, plan, submit
from tests.customers.conftest import Desk
from tests.customers.page_helpers import HTMX, fields, hidden, prose_of, text_of
from tests.support.approvals import switch_on
from tests.support.factories import AccountFactory, ConnectionFactory
from tests.support.people import CONFIRM_PASSWORD, sign_in

NEW = reverse("customers:bulk-new")


@pytest.fixture(autouse=True)
def _on(db: None) -> None:
    switch_on("delete", "bulk")


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
    assert "Bulk change for 2 accounts" in prose_of(asked)
    token = {"client_token": hidden(asked, "client_token")}
    bad = client.post(NEW, ticks | token | {"kind": "package", "reason": "They grow"})
    assert bad.status_code == 422
    assert "This field is required for the selected action." in text_of(bad)
    assert "> They grow</textarea>" in text_of(bad)
    answer = client.post(NEW, ticks | token | {"kind": "suspend", "reason": "Not paid"})
    assert answer.status_code == 303
    made = ChangeSet.objects.get()
    assert set(made.items.values_list("account_id", flat=True)) == {one.pk, three.pk}
    page = client.get(answer.headers["Location"])
    assert "Suspend 2 accounts" in prose_of(page)
    assert not Operation.objects.exists()
    act(client, made, "submit")
    go_on(made)
    fragment = client.get(answer.headers["Location"], headers=HTMX)
    assert 'data-poll="2"' in text_of(fragment)
    assert "In progress" in prose_of(fragment)


def test_all_of_the_filter(client: Client, desk: Desk) -> None:
    chosen = accounts(desk, 3)
    Account.objects.filter(pk=chosen[0].pk).update(state="banned")
    page = f"{NEW}?state=banned"
    asked = client.get(page)
    assert "Bulk change for 1 account" in prose_of(asked)
    token = hidden(asked, "client_token")
    client.post(page, {"client_token": token, "kind": "tag_add", "tag": " late  payer", "reason": "For the review"})
    made = ChangeSet.objects.get()
    assert [made.wanted, made.items.get().account_id] == [{"tag": "late payer"}, chosen[0].pk]


def test_without_accounts_it_says_what_is_missing(client: Client, desk: Desk) -> None:
    accounts(desk, 1)
    assert "No accounts match these filters." in prose_of(client.get(f"{NEW}?state=banned", follow=True))
    assert "No accounts selected." in prose_of(client.post(NEW, {"by": "ticks"}, follow=True))


def test_the_second_person_sees_it_at_home_and_approves(client: Client, desk: Desk) -> None:
    other = colleague()
    made = plan(desk, accounts(desk, 11))
    url = reverse("customers:bulk", args=[made.public_id])
    assert "Approval required" in text_of(client.get(url))
    assert "Vera Lind" in text_of(client.get(url))
    act(client, made, "submit")
    assert "Approve and apply" not in text_of(client.get(url))
    assert act(client, made, "approve", "bulk-decide", plan=made.plan_hash).status_code == 422
    theirs = sign_in(Client(), other)
    assert "Waiting for your approval" in text_of(theirs.get(reverse("home")))
    assert "Waiting for your approval" not in text_of(client.get(reverse("home")))
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
    assert rows[1][3:5] == ["Active", "Suspended"]
    page = text_of(client.get(reverse("customers:bulk", args=[made.public_id])))
    for head, value in (("Current", "Active"), ("New", "Suspended")):
        assert re.search(rf'<td class="pk-long" data-label="{head}"> ?{value} ?<', page)
    assert '<th scope="col">Current</th> <th scope="col">New</th>' in page


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
    assert "Confirm it's you" in text_of(asked)
    assert not Operation.objects.exists()
    address = reverse("customers:bulk-decide", args=[made.public_id])
    assert long_ago.post(address, fields(asked) | {CONFIRM_PASSWORD: "a long enough one"}).status_code == 303
    go_on(made)
    operation = Operation.objects.get()
    assert (operation.kind, operation.requested_by) == ("delete", desk.person)


def test_a_late_approval_keeps_what_was_typed(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    first, second = sign_in(Client(), colleague()), sign_in(Client(), colleague(name="Cy Moss"))
    ask_to_delete(client, account)
    made = ChangeSet.objects.get()
    act(first, made, "refuse", "bulk-decide", reason="They stay until May")
    for do in ("refuse", "approve"):
        late = act(second, made, do, "bulk-decide", plan=made.plan_hash, reason="Typed reason")
        assert late.status_code == 409
        assert "Vera Lind was first: Bulk change rejected" in prose_of(late)
        assert "They stay until May" in prose_of(late)
        assert "Your entry: Reason Typed reason" in prose_of(late)
    made.refresh_from_db()
    assert (made.state, Operation.objects.count()) == ("refused", 0)


def ask_to_delete(client: Client, account: Account) -> Any:
    url = reverse("customers:account-delete", args=[account.public_id])
    said = {"reason": "Customer left", "confirm": account.customer.company_name}
    return client.post(url, said | {"client_token": hidden(client.get(url), "client_token")})


def test_a_delete_that_waits_is_seen_by_all_and_its_requester(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    other = colleague()
    ask_to_delete(client, account)
    made = ChangeSet.objects.get()
    page = prose_of(client.get(reverse("customers:account", args=[account.public_id])))
    assert "Deletion is waiting for approval" in page
    assert f"Requested by {desk.person}, just now: Customer left" in page
    assert "Approvers: Vera Lind" in page
    assert f"Account deletion submitted for approval by {desk.person}" in page
    tab = text_of(client.get(reverse("customers:account-operations", args=[account.public_id])))
    assert f'href="{made.get_absolute_url()}">Deletion requested</a>' in tab
    home = client.get(reverse("home"))
    assert "My requests" in text_of(home)
    assert f"Delete account, {account.customer.company_name}" in text_of(home)
    assert "My requests" not in text_of(sign_in(Client(), other).get(reverse("home")))
    act(sign_in(Client(), other), made, "refuse", "bulk-decide", reason="They pay")
    assert "Rejected by Vera Lind: They pay" in prose_of(client.get(reverse("home")))
    page = prose_of(client.get(reverse("customers:account", args=[account.public_id])))
    assert "Deletion is waiting for approval" not in page
    assert "Account deletion rejected by Vera Lind" in page


def test_a_delete_whose_approvers_left_says_what_to_do(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    other = colleague()
    ask_to_delete(client, account)
    other.is_active = False
    other.save()
    hint = "No one can approve this anymore. Invite or enable another team member with the required role."
    for address in (reverse("customers:account", args=[account.public_id]), ChangeSet.objects.get().get_absolute_url()):
        page = prose_of(client.get(address))
        assert hint in page
        assert "Approvers:" not in page


def test_a_second_delete_request_names_the_first(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    other = sign_in(Client(), colleague())
    url = reverse("customers:account-delete", args=[account.public_id])
    opened = hidden(other.get(url), "client_token")
    ask_to_delete(client, account)
    first = ChangeSet.objects.get()
    said = {"reason": "Me too", "confirm": account.customer.company_name, "client_token": opened}
    refused = other.post(url, said)
    assert refused.status_code == 422
    assert f"{desk.person} already requested this deletion" in text_of(refused)
    assert text_of(refused).count(f'<a href="{first.get_absolute_url()}">{first.code}</a>') == 1
    assert "Me too</textarea>" in text_of(refused)
    unfinished = text_of(other.post(url, said | {"confirm": ""}))
    assert first.code in unfinished
    assert "Me too</textarea>" in unfinished
    assert first.code in text_of(other.get(url))  # opened afterwards, it says so at once
    assert ChangeSet.objects.count() == 1


def test_a_second_delete_is_refused_by_the_command_too(desk: Desk) -> None:
    [account] = accounts(desk, 1)
    colleague()
    commands = [Command(desk.person, NOW, reason="Left", token=uuid4().hex) for _ in range(2)]
    made = bulk_commands.request_account_delete(commands[0], account=account)
    assert bulk_commands.request_account_delete(commands[0], account=account) == made  # a double click
    with pytest.raises(Refusal, match=made.code):
        bulk_commands.request_account_delete(commands[1], account=account)
    assert ChangeSet.objects.count() == 1


def test_a_failed_delete_previewed_again_is_no_second_request(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    other, _third = colleague(), colleague(name="Finn Moe")
    ask_to_delete(client, account)
    failed = ChangeSet.objects.get()
    theirs = sign_in(Client(), other)
    act(theirs, failed, "approve", "bulk-decide", plan=failed.plan_hash)
    failed.items.update(state="failed")
    ChangeSet.objects.update(state="ended")
    ask_to_delete(theirs, account)
    second = ChangeSet.objects.get(state="waiting")
    act(client, failed, "again", client_token=uuid4().hex)
    again = ChangeSet.objects.get(state="planned")
    refused = act(client, again, "submit")
    assert refused.status_code == 422
    assert f"{other} already requested this deletion" in text_of(refused)
    assert f'<a href="{second.get_absolute_url()}">{second.code}</a>' in text_of(refused)
    assert ChangeSet.objects.filter(state="waiting").get() == second
    bulk_commands.cancel_bulk_change(Command(other, NOW), change_set=second)
    assert [act(client, again, "submit").status_code for _ in range(2)] == [303, 303]  # a double click
    assert ChangeSet.objects.filter(state="waiting").get() == again


def test_a_suspend_of_many_says_what_follows_and_for_how_many(client: Client, desk: Desk) -> None:
    made = plan(desk, accounts(desk, 11))
    address = reverse("customers:bulk", args=[made.public_id])
    page = prose_of(client.get(address))
    assert "11 accounts at SendGrid will be suspended" in page
    for _icon, what, detail in desk.connection.capabilities.suspend_consequences:
        assert f"{what} {detail}" in page or f"{what}{detail}" in page
    assert "it is refused while nobody else can give it" in page
    assert "Discard draft" in page
    other = sign_in(Client(), colleague())
    assert "Request approval for 11 accounts" in prose_of(client.get(address))
    act(client, made, "submit")
    page = prose_of(other.get(address))
    assert "11 accounts at SendGrid will be suspended" in page
    assert "Approve and suspend 11 accounts" in page
    assert "Cancel request" in page
    act(other, made, "approve", "bulk-decide", plan=ChangeSet.objects.get().plan_hash)
    page = prose_of(client.get(address))
    assert "will be suspended" not in page
    assert "Cancel bulk change" in page


def test_what_the_customer_reads_of_a_suspend_of_many(client: Client, desk: Desk) -> None:
    account = AccountFactory(connection=ConnectionFactory(kind="ahasend"))
    page = prose_of(client.get(reverse("customers:bulk", args=[plan(desk, [account]).public_id])))
    assert "1 account at AhaSend will be suspended" in page
    assert "The customer sees the reason." in page


def test_the_list_says_in_progress_while_operations_are_open(client: Client, desk: Desk) -> None:
    made = go_on(submit(desk, plan(desk, accounts(desk, 2))))
    assert made.state == "ended"
    listed = prose_of(client.get(reverse("customers:bulk-list")))
    assert ("In progress" in listed, "Completed" in listed) == (True, False)
    Operation.objects.update(state="succeeded", finished_at=NOW)
    listed = prose_of(client.get(reverse("customers:bulk-list")))
    assert ("In progress" in listed, "Completed" in listed) == (False, True)


def test_a_delete_with_nobody_else_is_refused(client: Client, desk: Desk) -> None:
    [account] = accounts(desk, 1)
    User.objects.exclude(pk=desk.person.pk).delete()
    url = reverse("customers:account-delete", args=[account.public_id])
    page = client.get(url)
    assert "Nobody else can approve this now, so it is refused." in prose_of(page)
    said = {"reason": "Left", "confirm": account.customer.company_name}
    refused = client.post(url, said | {"client_token": hidden(page, "client_token")})
    assert refused.status_code == 422
    assert "nobody else can approve it now. Nothing was changed." in prose_of(refused)
    assert not Operation.objects.exists()
    assert not ChangeSet.objects.exists()


def test_without_the_rule_a_delete_needs_nobody(client: Client, desk: Desk) -> None:
    ApprovalRule.objects.update(is_on=False)
    [account] = accounts(desk, 1)
    colleague()
    ask_to_delete(client, account)
    assert Operation.objects.get().kind == "delete"
    assert not ChangeSet.objects.exists()
