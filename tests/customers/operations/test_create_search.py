"""An unknown create without an idempotency key: what is taken for ours, what is sent again, what is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Breaker, Connection, Operation, RemoteAccount, Scan
from customers.observed import account_list
from customers.operations import create_search, executor, resolve
from customers.reconcile import link as account_link
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, PACKAGE, Desk
from tests.customers.page_helpers import prose_of, text_of
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
    executor.perform(operation.pk, clock=lambda: at, connect=desk.connect)
    operation.refresh_from_db()
    return operation


def creates(desk: Desk) -> int:
    sent = desk.sandbox.admin.call("GET", "requests?operation=create")["requests"]
    return len(sent)


def console(desk: Desk, email: str = "ops@northwind.example", **more: Any) -> str:
    """Somebody makes an account by hand in the provider's console."""
    return str(desk.sandbox.admin.add_account(email=email, offerings=HELD, **more)["id"])


def test_searching_starts_early_but_absence_counts_later(desk: Desk) -> None:
    """A customer may change the address at the first sign-in: the first looks come at 10 and 30 seconds."""
    operation = unknown(desk, "status-504")
    later(desk, operation, seconds=4)
    assert not Scan.objects.exists()
    for seconds in (10, 30, 121, 550):
        later(desk, operation, seconds=seconds)
        assert operation.state == "unknown"
    assert Scan.objects.filter(state="complete").count() == 4
    later(desk, operation, seconds=960)
    assert (operation.state, creates(desk)) == ("unknown", 1)
    later(desk, operation, seconds=980)
    assert operation.state == "queued"


@pytest.mark.parametrize("seconds", [10, 30, 121])
def test_what_is_proven_is_adopted_at_the_first_look(desk: Desk, seconds: int) -> None:
    operation = later(desk, unknown(desk, "create-then-504"), seconds=seconds)
    assert operation.state == "succeeded"
    assert operation.result["proof"] == {"by": "email and offerings"}
    assert desk.account(operation).state == "active"


def test_it_is_resent_after_three_full_scans_and_15_minutes(desk: Desk) -> None:
    operation = unknown(desk, "status-504")
    for seconds, state in ((121, "unknown"), (550, "unknown"), (980, "queued")):
        later(desk, operation, seconds=seconds)
        assert (operation.state, creates(desk)) == (state, 1), seconds
    assert Scan.objects.filter(state="complete").count() == create_search.WALKS
    desk.drain(operation)
    assert (operation.state, creates(desk), len(desk.sandbox.admin.accounts())) == ("succeeded", 2, 1)


@pytest.mark.parametrize("fault", ["status-500", "truncated"])
@pytest.mark.long
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


def test_an_account_of_another_address_needs_review(desk: Desk) -> None:
    """It may be the one: a customer may have changed the address. A person sees both, and it is not sent again."""
    operation = unknown(desk, "status-504")
    theirs = console(desk, "somebody@else.example")
    desk.drain(operation, hours=2)
    assert (operation.state, operation.error_kind, creates(desk)) == ("needs_attention", "doubtful", 1)
    [candidate] = operation.result["candidates"]
    assert (candidate["provider_id"], candidate["address"]) == (theirs, "somebody@else.example")
    assert (candidate["email"], candidate["offerings"], candidate["verdict"]) == ("different", "same", "inconclusive")
    resolve.resolve_not_created(
        Command(desk.person, timezone.now(), reason="Theirs."), operation=operation, send_again=True
    )
    desk.drain(operation, hours=4)
    assert (operation.state, creates(desk)) == ("succeeded", 2)
    assert desk.account(operation).provider_id != theirs


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


def test_a_late_resend_waits_for_a_complete_list(desk: Desk) -> None:
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
    resolve.resolve_not_created(Command(desk.person, at, reason="Theirs."), operation=operation, send_again=True)
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


def test_a_scan_begun_before_the_send_still_finds_the_account(desk: Desk) -> None:
    """Another operation's walk stands still before it reads; meanwhile the create is sent."""
    before = timezone.now() - timedelta(seconds=100)
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="unknown", slot="other", now=before)
    operation = unknown(desk, "create-then-504")
    account_list.read_account_list(scan, desk.connect(desk.connection))
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert creates(desk) == 1


@pytest.mark.parametrize("doubt", ["set aside", "no measured clock", "made a minute before"])
@pytest.mark.long
def test_what_may_be_older_is_neither_taken_nor_looked_past(desk: Desk, doubt: str) -> None:
    """A person may set an account aside without knowing of the create, and no provider has to tell its time."""
    if doubt == "no measured clock":
        desk.sandbox.admin.arm("reset-before", "list", count=3)
    operation = unknown(desk, "create-then-504")
    [made] = desk.sandbox.admin.accounts()
    if doubt == "made a minute before":  # by the clock of another part of the provider
        desk.sandbox.admin.change_account(made["id"], email="ops@changed.example")
        console(desk, created_at=(timezone.now() - timedelta(minutes=1)).isoformat())
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    if doubt == "set aside":
        RemoteAccount.objects.update(ignored_at=timezone.now())
    for seconds in (121, 550, 980):
        later(desk, operation, seconds=seconds)
    assert (operation.state, operation.error_kind) == ("needs_attention", "doubtful")
    assert creates(desk) == 1


@pytest.mark.parametrize("skew", [-900, -300, 300, 900])
def test_the_clock_of_the_provider_is_measured_before_the_send(desk: Desk, skew: int) -> None:
    desk.sandbox.admin.switch("clock_skew_seconds", skew)
    operation = unknown(desk, "create-then-504")
    assert abs(operation.attempts.get().clock_skew - skew) <= 2
    later(desk, operation, seconds=121)
    assert (operation.state, creates(desk)) == ("succeeded", 1)
    assert Scan.objects.get().clock_skew is not None


@pytest.mark.parametrize("scan_between", [False, True])
@pytest.mark.parametrize("minutes", [-15, -4, 4, 15])
def test_the_clock_of_a_worker_is_wrong_at_the_send(desk: Desk, minutes: int, scan_between: bool) -> None:
    desk.sandbox.admin.arm("create-then-504", "create")
    ahead = timedelta(minutes=minutes)
    asked = desk.ask_create()
    Operation.objects.filter(pk=asked.pk).update(not_before=timezone.now() - timedelta(hours=1))
    executor.perform(asked.pk, clock=lambda: timezone.now() + ahead, connect=desk.connect)
    operation = Operation.objects.get(pk=asked.pk)
    assert operation.state == "unknown"
    if scan_between:
        scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
        account_list.read_account_list(scan, desk.connect(desk.connection))
    for seconds in (1_000, 2_000, 3_000, 4_000):
        at = timezone.now() + timedelta(seconds=seconds)
        executor.perform(operation.pk, clock=lambda at=at: at, connect=desk.connect)
    operation.refresh_from_db()
    assert (operation.state, creates(desk)) == ("succeeded", 1)


def test_a_clock_of_the_provider_that_is_fast_hides_nothing(desk: Desk) -> None:
    desk.sandbox.admin.move_clock(seconds=900)
    operation = unknown(desk, "create-then-504")
    later(desk, operation, seconds=121)
    assert operation.state == "succeeded"
    assert creates(desk) == 1


def test_what_a_create_may_have_made_is_given_to_nobody(desk: Desk, client: Client) -> None:
    operation = unknown(desk, "create-then-504")
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    given = {"remote_account": RemoteAccount.objects.get(), "customer": desk.account(operation).customer}
    with pytest.raises(Refusal, match=f"{operation.code} may have created this account"):
        account_link.link_account(Command(desk.person), **given, provider=desk.connect(desk.connection))
    page = sign_in(client, desk.person).get(reverse("customers:orphans"))
    assert f"{operation.code} may have created it" in text_of(page)
    assert "Link to customer" not in text_of(page)
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


@pytest.mark.long
def test_an_account_created_after_its_proven_absence_is_reported(desk: Desk, client: Client) -> None:
    """Nothing can prove the future: what the provider makes an hour late shows as a possible duplicate."""
    operation = unknown(desk, "late-create", seconds=3600)
    desk.drain(operation, hours=1)
    assert operation.state == "succeeded"
    desk.sandbox.admin.move_clock(seconds=4000)
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="later", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    orphan = RemoteAccount.objects.orphans().get()
    ours = str(desk.account(operation).provider_id)
    assert orphan.provider_id != ours
    assert len(desk.sandbox.admin.accounts()) == 2
    notice = Notice.objects.get(kind="account.possible_duplicate", ended_at=None)
    assert ours in notice.text
    assert orphan.provider_id in notice.text
    page = text_of(sign_in(client, desk.person).get(reverse("customers:orphans")))
    assert "Possible duplicate of" in page
    assert ours in page
    desk.sandbox.admin.delete_account(orphan.provider_id)
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="last", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    assert not Notice.objects.filter(kind="account.possible_duplicate", ended_at=None).exists()


@pytest.mark.parametrize("form", ["unicode", "upper"])
def test_an_address_written_differently_is_the_same(desk: Desk, form: str) -> None:
    desk.sandbox.admin.switch("email_form", form)
    operation = later(desk, unknown(desk, "create-then-504", "info@xn--mller-idn-q9a.example"), seconds=121)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


@pytest.mark.parametrize("seen_before", [True, False])
@pytest.mark.long
def test_a_customer_changes_the_address_of_a_new_account(desk: Desk, client: Client, seen_before: bool) -> None:
    """The first address seen proves it. Where none was seen before the change, a person links it, and says so."""
    operation = unknown(desk, "create-then-504")
    if seen_before:
        scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
        account_list.read_account_list(scan, desk.connect(desk.connection))
    [made] = desk.sandbox.admin.accounts()
    desk.sandbox.admin.change_account(made["id"], email="hello@changed.example")
    desk.drain(operation, hours=2)
    if seen_before:
        assert (operation.state, creates(desk)) == ("succeeded", 1)
        return
    assert (operation.state, operation.error_kind, creates(desk)) == ("needs_attention", "doubtful", 1)
    staff = sign_in(client, desk.person)
    assert "hello@changed.example" in text_of(staff.get(reverse("customers:operation", args=[operation.public_id])))
    decide = reverse("customers:operation-decide", args=[operation.public_id])
    said = {"choice": "link", "provider_id": made["id"], "reason": "The customer told us on the phone"}
    first = staff.post(decide, said)
    assert first.status_code == 422
    assert "is hello@changed.example, but ops@northwind.example was requested" in text_of(first)
    assert staff.post(decide, said | {"although_different": "on"}).status_code == 303
    operation.refresh_from_db()
    assert (operation.state, desk.account(operation).provider_id) == ("succeeded", made["id"])
    linked = AuditEvent.objects.get(verb="account.linked")
    assert linked.after["linked"] == linked.after["linked"] | {
        "email": "different", "found_email": "hello@changed.example",
    }  # fmt: skip


def test_an_account_of_another_open_create_is_linked_to_no_other(desk: Desk) -> None:
    first = unknown(desk, "create-then-504", "a@northwind.example")
    [made] = desk.sandbox.admin.accounts()
    second = unknown(desk, "status-504", "b@northwind.example")
    with pytest.raises(Refusal, match=first.code):
        resolve.resolve_link(
            Command(desk.person, timezone.now(), reason="A guess"),
            operation=second,
            provider_id=made["id"],
            although_different=True,
            provider=desk.connect(desk.connection),
        )


@pytest.mark.long
def test_the_account_of_another_open_create_is_no_doubt(desk: Desk) -> None:
    """Judged together: what is proven to be the first one's says nothing of the second, which was not made."""
    first = unknown(desk, "create-then-504", "a@northwind.example")
    second = unknown(desk, "status-504", "b@northwind.example")
    Operation.objects.filter(pk=first.pk).update(not_before=timezone.now() + timedelta(days=1))
    desk.drain(second, hours=2)
    assert (second.state, creates(desk)) == ("succeeded", 3)
    Operation.objects.filter(pk=first.pk).update(not_before=timezone.now())
    assert desk.drain(first, hours=2).state == "succeeded"


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.long
def test_sixty_unknown_at_once_are_linked_from_a_few_scans(desk: Desk, bare: bool) -> None:
    Connection.objects.filter(pk=desk.connection.pk).update(creates_per_hour=100)
    desk.sandbox.admin.switch("list_bare", bare)
    desk.sandbox.admin.arm("create-then-504", "create", count=60)
    asked = [desk.ask_create(f"ops{n}@northwind.example") for n in range(60)]
    for each in asked:
        desk.perform(each)
        Breaker.objects.all().delete()  # it would hold the others back
    assert Operation.objects.filter(state="unknown").count() == 60
    desk.sandbox.admin.clear_requests()
    now = timezone.now() + timedelta(seconds=30)
    for n, each in enumerate(asked):
        at = now + timedelta(seconds=n / 4)
        executor.perform(each.pk, clock=lambda at=at: at, connect=desk.connect)
    assert Operation.objects.filter(state="succeeded").count() == 60
    emails = {each["id"]: each["email"] for each in desk.sandbox.admin.accounts()}
    assert len(emails) == 60
    assert all(emails[desk.account(each).provider_id] == each.identity for each in asked)
    assert Scan.objects.count() <= 3
    read = desk.sandbox.admin.requests("offerings")
    assert len(read) <= 60 * 2  # once to prove, once to read the new account back


@pytest.mark.long
def test_a_list_without_an_account_of_ours_proves_no_absence(desk: Desk) -> None:
    """The provider's list lacks one that exists, so it may lack the new one too."""
    ours = desk.created("old@northwind.example")
    Operation.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    operation = unknown(desk, "status-504")
    desk.sandbox.admin.change_account(ours.provider_id, listed_at="2099-01-01T00:00:00Z")
    for seconds in (121, 550, 980, 1_500, 2_000, 2_500):
        later(desk, operation, seconds=seconds)
    assert (operation.state, creates(desk)) == ("unknown", 2)
    assert not Scan.objects.filter(proves_absence=True).exists()
    desk.sandbox.admin.change_account(ours.provider_id, listed_at="2020-01-01T00:00:00Z")
    desk.drain(operation, hours=3)
    assert (operation.state, creates(desk)) == ("succeeded", 3)


@pytest.mark.long
def test_a_list_without_a_deleted_account_proves_absence(desk: Desk) -> None:
    ours = desk.created("old@northwind.example")
    Operation.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    desk.sandbox.admin.delete_account(str(ours.provider_id))
    operation = unknown(desk, "status-504")
    desk.drain(operation, hours=2)
    assert (operation.state, creates(desk)) == ("succeeded", 3)


def test_a_list_that_is_cut_into_short_pages_is_read_to_its_end(desk: Desk) -> None:
    desk.sandbox.admin.switch("list_page_cap", 54)
    desk.sandbox.admin.add_accounts([{"email": f"c{n}@globex.example"} for n in range(70)])
    scan, _ = account_list.begin_scan(connection=desk.connection, kind="asked", slot="now", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    operation = unknown(desk, "create-then-504")
    desk.drain(operation, hours=2)
    assert (operation.state, creates(desk)) == ("succeeded", 1)


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
    assert "Scanned once since then" in shown
    ours = next(each["provider_id"] for each in operation.result["candidates"] if each["provider_id"] != by_hand)
    done = staff.post(
        reverse("customers:operation-decide", args=[operation.public_id]),
        {"choice": "link", "provider_id": ours, "reason": "The console's log names the API for this one"},
    )
    assert done.status_code == 303
    operation.refresh_from_db()
    assert (operation.state, desk.account(operation).provider_id) == ("succeeded", ours)
    page = prose_of(staff.get(done.headers["Location"]))
    assert "1 other candidate still exists at SendGrid and is billed" in page
    assert f'href="{reverse("customers:orphans")}?q={by_hand}"' in text_of(staff.get(done.headers["Location"]))
    assert RemoteAccount.objects.get(provider_id=by_hand).possible_duplicate_of == operation
    RemoteAccount.objects.filter(provider_id=by_hand).update(ignored_at=timezone.now())
    assert "still exists at SendGrid" not in prose_of(staff.get(done.headers["Location"]))


def test_a_stored_candidate_is_read_as_it_was_written() -> None:
    found = create_search.Candidate("sg1", datetime(2026, 3, 2, 10, tzinfo=UTC), address="a@b.example", email="same")
    row = found.as_row()
    assert row == {
        "provider_id": "sg1",
        "made_at": "2026-03-02T10:00:00+00:00",
        "address": "a@b.example",
        "email": "same",
    }
    assert create_search.Candidate.of_row(row) == found


def test_a_candidate_stored_by_an_earlier_release_is_read() -> None:
    row = {"provider_id": "c1", "name": "Northwind", "website": "n.example", "created_at": "2026-03-02T10:00:00+00:00"}
    found = create_search.Candidate.of_row(row | {"of_later": "x"})
    assert found == create_search.Candidate(
        "c1", datetime(2026, 3, 2, 10, tzinfo=UTC), name="Northwind", website="n.example"
    )
