"""An unknown create without an idempotency key: what is taken for ours, what is sent again, what is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers import adopting, deciding, proof, provisioning, reconcile
from customers.models import Account, Connection, Operation, Scan, Sighting
from customers.operations import UnableToAsk
from tests.customers.conftest import ADDON, PACKAGE, Desk
from tests.customers.pages import text_of
from tests.support.people import sign_in

HELD = [{"name": each.name, "type": each.type, "quantity": 1} for each in (PACKAGE, ADDON)]


def unknown(desk: Desk, fault: str, email: str = "ops@northwind.example", **params: Any) -> Operation:
    """A create whose answer was lost: `after-...` made the account, `before-...` did not."""
    desk.sandbox.admin.arm(fault, "create", **params)
    operation = desk.perform(desk.ask_create(email))
    assert operation.state == "unknown"
    return operation


def later(desk: Desk, operation: Operation, **after: float) -> Operation:
    """Look once, so long after the outcome became unknown."""
    at = operation.unknown_at + timedelta(**after)  # type: ignore[operator]
    provisioning.perform(operation.pk, clock=lambda: at, connect=desk.connect)
    operation.refresh_from_db()
    return operation


def creates(desk: Desk) -> int:
    sent = desk.sandbox.admin.call("GET", "requests?operation=create")["requests"]
    return len(sent)


def console(desk: Desk, email: str = "ops@northwind.example", **more: Any) -> str:
    """Somebody makes an account by hand in the provider's console."""
    return str(desk.sandbox.admin.add_account(email=email, offerings=HELD, **more)["id"])


def test_nothing_is_concluded_before_it_settled(desk: Desk) -> None:
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=60)
    assert operation.state == "unknown"
    assert not Scan.objects.exists()
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert operation.result["proof"] == {"by": "e-mail and offerings"}
    assert desk.account(operation).state == "active"


def test_it_is_sent_again_only_after_three_complete_walks_and_a_quarter_of_an_hour(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    for seconds, state in ((121, "unknown"), (550, "unknown"), (980, "queued")):
        later(desk, operation, seconds=seconds)
        assert (operation.state, creates(desk)) == (state, 1), seconds
    assert Scan.objects.filter(state="complete").count() == proof.WALKS
    desk.drain(operation)
    assert (operation.state, creates(desk), len(desk.sandbox.admin.accounts())) == ("succeeded", 2, 1)


@pytest.mark.parametrize("fault", ["status-500", "truncated"])
def test_a_walk_that_breaks_off_proves_nothing(desk: Desk, fault: str) -> None:
    operation = unknown(desk, "status-504")
    desk.sandbox.admin.arm(fault, "list", count=None)
    for minutes in range(3, 60, 12):
        later(desk, operation, minutes=minutes)
    assert (operation.state, creates(desk)) == ("unknown", 1)
    assert not Scan.objects.filter(state="complete").exists()
    desk.sandbox.admin.clear_faults()
    desk.drain(operation, hours=3)
    assert operation.state == "succeeded"


def test_a_list_that_lags_is_waited_for(desk: Desk) -> None:
    """The account is made, the answer lost, and the list names it ten minutes later."""
    desk.sandbox.admin.switch("list_lag_seconds", 600)
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert operation.state == "unknown"
    desk.sandbox.admin.move_clock(seconds=700)
    later(desk, operation, seconds=720)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


def test_where_the_list_names_no_e_mail_the_account_is_asked(desk: Desk) -> None:
    desk.sandbox.admin.switch("list_bare", True)
    stranger = console(desk, "somebody@else.example")
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert desk.account(operation).provider_id != stranger


def test_an_account_of_somebody_else_is_never_taken(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    console(desk, "somebody@else.example")
    desk.drain(operation, hours=2)
    assert operation.state == "succeeded"
    assert creates(desk) == 2
    there = {each["id"]: each["email"] for each in desk.sandbox.admin.accounts()}
    assert there[desk.account(operation).provider_id] == "ops@northwind.example"


def test_before_a_late_repeat_it_is_looked_for_once_more(desk: Desk) -> None:
    """Its absence was proven; then no worker lived for hours, and the provider made it after all."""
    operation = unknown(desk, "status-504")
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert operation.state == "queued"
    made = console(desk)
    later(desk, operation, hours=3)
    assert (operation.state, desk.account(operation).provider_id) == ("succeeded", made)
    assert creates(desk) == 1


def test_before_a_late_repeat_a_list_that_breaks_off_is_waited_for(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    desk.sandbox.admin.arm("status-503", "list", count=None)
    later(desk, operation, hours=3)
    assert (operation.state, creates(desk)) == ("queued", 1)
    desk.sandbox.admin.clear_faults()
    later(desk, operation, hours=3, minutes=5)
    assert (operation.state, creates(desk)) == ("succeeded", 2)


def test_what_a_person_was_shown_is_not_asked_again(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    desk.sandbox.admin.add_account(email="ops@northwind.example", offerings=HELD[:1])
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert operation.error_kind == "doubtful"
    at = timezone.now() + timedelta(hours=3)
    deciding.decide_not_created(actor=desk.person, operation=operation, reason="Theirs.", send_again=True, now=at)
    later(desk, operation, hours=4)
    assert (operation.state, creates(desk)) == ("succeeded", 2)


def test_two_that_fit_are_put_before_a_person(desk: Desk) -> None:
    operation = unknown(desk, "create-then-504")
    console(desk)
    later(desk, operation, seconds=121)
    assert (operation.state, operation.error_kind) == ("needs_attention", "several")
    candidates = operation.result["candidates"]
    assert [(each["email"], each["offerings"], each["verdict"]) for each in candidates] == [
        ("same", "same", "match")
    ] * 2
    assert creates(desk) == 1


def test_one_that_was_there_before_is_no_candidate(desk: Desk) -> None:
    console(desk, created_at=(timezone.now() - timedelta(days=3)).isoformat())
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"


def test_a_walk_begun_before_the_send_does_not_make_the_account_older(desk: Desk) -> None:
    """Another operation's walk stands still before it reads; meanwhile the create is sent."""
    before = timezone.now() - timedelta(seconds=100)
    scan, _ = reconcile.begin(connection=desk.connection, kind="unknown", slot="other", now=before)
    operation = unknown(desk, "create-then-504")
    reconcile.walk(scan, desk.connect(desk.connection))
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert creates(desk) == 1


@pytest.mark.parametrize("doubt", ["met a minute before", "set aside", "a slow clock"])
def test_what_may_be_older_is_neither_taken_nor_looked_past(desk: Desk, doubt: str) -> None:
    """Clocks need not agree, and a person may set an account aside without knowing of the create."""
    if doubt == "a slow clock":
        desk.sandbox.admin.move_clock(seconds=-300)
    operation = unknown(desk, "create-then-504")
    scan, _ = reconcile.begin(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
    reconcile.walk(scan, desk.connect(desk.connection))
    if doubt == "met a minute before":
        Sighting.objects.update(first_seen_at=operation.attempts.get().intended_at - timedelta(minutes=1))
    if doubt == "set aside":
        Sighting.objects.update(ignored_at=timezone.now())
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert (operation.state, operation.error_kind) == ("needs_attention", "doubtful")
    assert creates(desk) == 1


def test_a_clock_of_the_provider_that_is_fast_hides_nothing(desk: Desk) -> None:
    desk.sandbox.admin.move_clock(seconds=900)
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert creates(desk) == 1


def test_what_a_create_may_have_made_is_given_to_nobody(desk: Desk, client: Client) -> None:
    operation = unknown(desk, "create-then-504")
    scan, _ = reconcile.begin(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
    reconcile.walk(scan, desk.connect(desk.connection))
    given = {"actor": desk.person, "sighting": Sighting.objects.get(), "customer": desk.account(operation).customer}
    with pytest.raises(UnableToAsk, match=f"{operation.code} may have made this account"):
        adopting.adopt(**given, provider=desk.connect(desk.connection), now=timezone.now())
    page = sign_in(client, desk.person).get(reverse("customers:orphans"))
    assert f"{operation.code} may have made it" in text_of(page)
    assert "Give to a customer" not in text_of(page)
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert Account.objects.count() == 1


def test_what_can_not_be_proven_is_asked_in_the_end(desk: Desk) -> None:
    """Neither the list nor the account itself names an e-mail."""
    desk.sandbox.admin.switch("list_bare", True)
    operation = unknown(desk, "create-then-504")
    desk.sandbox.admin.arm("status-403", "email", count=None)
    for seconds in (121, 550):
        later(desk, operation, seconds=seconds)
        assert operation.state == "unknown"
    later(desk, operation, seconds=980)
    assert (operation.state, operation.error_kind) == ("needs_attention", "doubtful")
    [candidate] = operation.result["candidates"]
    assert (candidate["email"], candidate["verdict"]) == ("not readable", "inconclusive")
    assert creates(desk) == 1


def test_another_offering_is_no_proof(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    desk.sandbox.admin.add_account(email="ops@northwind.example", offerings=HELD[:1])
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert (operation.state, operation.error_kind) == ("needs_attention", "doubtful")
    assert operation.result["candidates"][0]["offerings"] == "different"


def test_an_account_that_is_a_customers_is_not_taken_again(desk: Desk) -> None:
    """Two creates of one e-mail, one after the other; the second one's answer is lost and nothing was made."""
    first = desk.created()
    operation = unknown(desk, "status-504")
    later(desk, operation, seconds=121)
    assert operation.state == "unknown"
    assert Account.objects.filter(provider_id=first.provider_id).count() == 1


def test_a_create_that_is_made_after_its_absence_was_proven_shows_as_nobodys(desk: Desk) -> None:
    """Nothing can prove the future: what the provider makes an hour late is on the board of nobody's accounts."""
    operation = unknown(desk, "late-create", seconds=3600)
    desk.drain(operation, hours=1)
    assert operation.state == "succeeded"
    desk.sandbox.admin.move_clock(seconds=4000)
    scan, _ = reconcile.begin(connection=desk.connection, kind="asked", slot="later", now=timezone.now())
    reconcile.walk(scan, desk.connect(desk.connection))
    orphan = Sighting.objects.orphans().get()
    assert orphan.provider_id != desk.account(operation).provider_id
    assert len(desk.sandbox.admin.accounts()) == 2


def test_two_unknown_creates_of_one_connection_find_each_its_own(desk: Desk) -> None:
    first = unknown(desk, "create-then-504", "a@northwind.example")
    second = unknown(desk, "create-then-504", "b@northwind.example")
    for each in (first, second):
        desk.drain(each, hours=1)
        assert each.state == "succeeded"
    emails = {each["id"]: each["email"] for each in desk.sandbox.admin.accounts()}
    for each in (first, second):
        assert emails[desk.account(each).provider_id] == each.identity


def test_without_the_probe_the_lane_holds_the_next_create_back(desk: Desk) -> None:
    Connection.objects.filter(pk=desk.connection.pk).update(probe_available=False)
    first = unknown(desk, "create-then-504", "a@northwind.example")
    second = desk.perform(desk.ask_create("b@northwind.example"))
    assert second.state == "queued"
    desk.drain(first, hours=1)
    assert first.state == "succeeded"
    assert desk.drain(second).state == "succeeded"
    assert len(desk.sandbox.admin.accounts()) == 2


def test_the_candidates_stand_side_by_side_and_one_is_linked(desk: Desk, client: Client) -> None:
    operation = unknown(desk, "create-then-504")
    by_hand = console(desk)
    later(desk, operation, seconds=121)
    staff = sign_in(client, desk.person)
    page = staff.get(reverse("customers:operation", args=[operation.public_id]))
    shown = text_of(page)
    assert "Candidates" in shown
    assert shown.count("Strong") == 2
    assert "Read once since then" in shown
    ours = next(each["provider_id"] for each in operation.result["candidates"] if each["provider_id"] != by_hand)
    done = staff.post(
        reverse("customers:operation-decide", args=[operation.public_id]),
        {"choice": "link", "provider_id": ours, "reason": "The console's log names the API for this one"},
    )
    assert done.status_code == 303
    operation.refresh_from_db()
    assert (operation.state, desk.account(operation).provider_id) == ("succeeded", ours)
