"""The drift board: what is changed in the provider's console shows, and each way out does what it says."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Customer, DriftIgnore, Operation, RemoteAccount, Scan
from customers.observed import account_list, scan_requests
from customers.observed import accounts as observed_accounts
from customers.operations.commands import StaleVersion
from customers.reconcile import drift
from customers.reconcile.drift import Field
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.customers.page_helpers import HTMX, fields, prose_of, text_of
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

TODAY = timezone.now().date()


def read(desk: Desk, account: Account) -> Account:
    observed_accounts.read_account(account=account, now=timezone.now(), provider=desk.connect(desk.connection))
    return Account.objects.select_related("connection", "customer").get(pk=account.pk)


def walk(desk: Desk, *, after: timedelta = timedelta(0)) -> Scan:
    now = timezone.now() + after
    scan, _ = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot=uuid4().hex, now=now)
    return account_list.read_account_list(scan, desk.connect(desk.connection), clock=lambda: now)


def in_console(desk: Desk, account: Account, **changes: object) -> Account:
    """Somebody changes the account in the provider's console, and it is read again."""
    desk.sandbox.admin.change_account(account.provider_id or "", **changes)
    return read(desk, account)


def only(account: Account, field: Field) -> drift.Drift:
    found = drift.drift_of(account, field, today=TODAY)
    assert found is not None
    return found


@pytest.fixture
def account(desk: Desk) -> Account:
    return read(desk, desk.created())


def board(client: Client) -> str:
    return text_of(client.get(reverse("customers:drift")))


class TestWhatDiffers:
    def test_nothing_does_after_a_create(self, account: Account) -> None:
        assert not drift.drifting(Account.objects.all()).exists()

    def test_a_state_set_elsewhere(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        assert (found.wanted, found.found, found.can_push, found.can_accept) == ("active", "stopped_by_us", True, True)

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [("suspended", "stopped_by_provider"), ("banned", "banned"), ("indeterminate", "indeterminate")],
    )
    def test_a_state_the_provider_sets_is_its_own(self, desk: Desk, account: Account, theirs: str, ours: str) -> None:
        found = only(in_console(desk, account, state=theirs), Field.STATE)
        assert (found.found, found.can_push, found.can_accept) == (ours, False, False)
        with pytest.raises(Refusal, match="Only the provider"):
            push(desk, found)
        with pytest.raises(Refusal, match="Only the provider can change it"):
            drift.accept(Command(desk.person, timezone.now(), reason="x"), drift=found)

    def test_offerings_changed_elsewhere(self, desk: Desk, account: Account) -> None:
        offerings = [{"name": PACKAGE.name, "type": "package", "quantity": 1}]
        found = only(in_console(desk, account, offerings=offerings), Field.OFFERINGS)
        assert found.found == offerings
        assert [row["name"] for row in found.wanted] == [PACKAGE.name, ADDON.name]

    def test_not_while_an_operation_works(self, desk: Desk, account: Account) -> None:
        desk.ask("suspend", account)
        account.refresh_from_db()
        assert account.desired_state != account.state
        assert not drift.drifting(Account.objects.all()).exists()

    def test_missing_then_gone(self, desk: Desk, account: Account) -> None:
        walk(desk)
        desk.sandbox.admin.call("DELETE", f"accounts/{account.provider_id}")
        walk(desk, after=timedelta(hours=1))
        missing = only(account, Field.EXISTENCE)
        assert (missing.found, missing.can_push, missing.can_accept) == ("missing", False, False)
        walk(desk, after=timedelta(hours=14))
        gone = only(account, Field.EXISTENCE)
        assert (gone.found, gone.can_accept) == ("gone", True)
        confirmed_at = account.state_read_at
        drift.accept(Command(desk.person, timezone.now(), reason="Deleted in the console"), drift=gone)
        account.refresh_from_db()
        assert (account.state, account.desired_state) == ("deleted", "deleted")
        span = account.spans.get(kind="state", until_at=None)
        assert (span.value, span.source, span.from_at) == ("deleted", "decided", confirmed_at)
        assert not drift.drifting(Account.objects.all()).exists()


def push(desk: Desk, found: drift.Drift) -> object:
    return drift.push(Command(desk.person, timezone.now(), reason="It is to be ours", token=uuid4().hex), drift=found)


class TestWaysOut:
    def test_push_makes_theirs_ours(self, desk: Desk, account: Account) -> None:
        stopped = only(in_console(desk, account, state="deactivated"), Field.STATE)
        assert desk.perform(push(desk, stopped)).state == "succeeded"  # type: ignore[arg-type]
        assert desk.sandbox.admin.account(account.provider_id or "")["state"] == "activated"
        less = in_console(desk, account, offerings=[{"name": PACKAGE.name, "type": "package", "quantity": 1}])
        assert desk.perform(push(desk, only(less, Field.OFFERINGS))).state == "succeeded"  # type: ignore[arg-type]
        held = desk.sandbox.admin.account(account.provider_id or "")["offerings"]
        assert {row["name"] for row in held} == {PACKAGE.name, ADDON.name}
        assert not drift.drifting(Account.objects.all()).exists()

    def test_accept_takes_theirs_over_and_sends_nothing(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        desk.sandbox.admin.call("DELETE", "requests")
        drift.accept(Command(desk.person, timezone.now(), reason="They asked for it"), drift=found)
        account.refresh_from_db()
        assert account.desired_state == "stopped_by_us"
        assert not drift.drifting(Account.objects.all()).exists()
        assert desk.sandbox.admin.call("GET", "requests")["requests"] == []
        event = AuditEvent.objects.get(verb="drift.accepted")
        assert (event.before, event.after) == ({"desired_state": "active"}, {"desired_state": "stopped_by_us"})

    def test_accept_loses_to_a_change_of_ours_meanwhile(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        Account.objects.filter(pk=account.pk).update(version=99)
        with pytest.raises(StaleVersion):
            drift.accept(Command(desk.person, timezone.now(), reason="x"), drift=found)

    def test_ignored_comes_back_on_the_day_and_with_another_value(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        until = TODAY + timedelta(days=3)
        drift.ignore(Command(desk.person, timezone.now(), reason="Known"), drift=found, until_on=until)
        [ignored] = drift.drifts_of([found.account], today=TODAY)
        assert ignored.ignored is not None
        [back] = drift.drifts_of([found.account], today=until + timedelta(days=1))
        assert back.ignored is None
        worse = in_console(desk, account, state="banned")
        [other] = drift.drifts_of([worse], today=TODAY)
        assert other.ignored is None

    @pytest.mark.django_db
    @pytest.mark.parametrize("facts", [{"role": "auditor"}, {"role": "finance"}, {"is_active": False}])
    def test_whoever_may_not_decides_nothing(self, facts: dict[str, object]) -> None:
        actor, account = UserFactory(**facts), AccountFactory(desired_state="stopped_by_us")
        found, now = only(account, Field.STATE), timezone.now()
        with pytest.raises(Refusal, match="role doesn't allow"):
            drift.accept(Command(actor, now, reason="x"), drift=found)
        with pytest.raises(Refusal, match="role doesn't allow"):
            drift.ignore(Command(actor, now, reason="x"), drift=found, until_on=TODAY + timedelta(days=3))
        account.refresh_from_db()
        assert account.desired_state == "stopped_by_us"
        assert not DriftIgnore.objects.exists()

    def test_a_reason_and_a_day_to_come_are_needed(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        with pytest.raises(Refusal, match="reason"):
            drift.accept(Command(desk.person, timezone.now(), reason=" "), drift=found)
        with pytest.raises(Refusal, match="future date"):
            drift.ignore(Command(desk.person, timezone.now(), reason="x"), drift=found, until_on=TODAY)


class TestDeletes:
    """A delete has one door: the account's page, with the password and, where there is one, a second person."""

    @pytest.fixture
    def staff(self, client: Client, desk: Desk) -> Client:
        return sign_in(client, desk.person)

    @pytest.fixture
    def wanted_deleted(self, account: Account) -> drift.Drift:
        Account.objects.filter(pk=account.pk).update(desired_state="deleted")
        return only(account, Field.STATE)

    def test_it_is_not_pushed_from_here(self, desk: Desk, wanted_deleted: drift.Drift) -> None:
        assert not wanted_deleted.can_push
        with pytest.raises(Refusal, match="deleted from their own page"):
            push(desk, wanted_deleted)
        assert not Operation.objects.filter(kind="delete").exists()

    def test_the_page_leads_to_the_door(self, desk: Desk, wanted_deleted: drift.Drift, client: Client) -> None:
        staff, account = sign_in(client, desk.person), wanted_deleted.account
        door = reverse("customers:account-delete", args=[account.public_id])
        assert door in staff.get(reverse("customers:drift")).content.decode()
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        question = staff.get(act)
        assert door in question.content.decode()
        assert 'value="push"' not in question.content.decode()
        refused = staff.post(act, {"choice": "push", "reason": "Off with it", **fields(question)})
        assert refused.status_code == 422
        assert "deleted from their own page" in text_of(refused)
        assert not Operation.objects.filter(kind="delete").exists()

    def test_putting_one_back_asks_for_the_password(self, desk: Desk, account: Account, staff: Client) -> None:
        delete = OperationFactory(kind="delete", account=account, state="needs_attention")
        decide = reverse("customers:operation-decide", args=[delete.public_id])
        stale = sign_in(Client(), desk.person, minutes_ago=11)
        answer = stale.post(decide, {"choice": "try_again", "reason": "It is down again"})
        assert "Confirm it's you" in text_of(answer)
        assert fields(answer)["reason"] == "It is down again"
        delete.refresh_from_db()
        assert delete.state == "needs_attention"
        staff.post(decide, {"choice": "try_again", "reason": "It is down again"})
        delete.refresh_from_db()
        assert delete.state == "queued"


class TestDeletedAndListedAgain:
    """A provider's list that names an account long after its delete shows as drift; a person says what it means."""

    @pytest.fixture
    def deleted(self, desk: Desk, account: Account) -> Account:
        walk(desk)
        Account.objects.filter(pk=account.pk).update(
            state="deleted", desired_state="deleted", state_read_at=timezone.now()
        )
        return Account.objects.select_related("connection", "customer").get(pk=account.pk)

    def test_not_by_a_list_that_was_asked_for_before_or_soon_after(self, desk: Desk, deleted: Account) -> None:
        walk(desk, after=timedelta(minutes=10))
        assert not drift.drifting(Account.objects.all()).exists()

    def test_a_later_list_shows_it_and_changes_nothing(self, desk: Desk, deleted: Account) -> None:
        walk(desk, after=timedelta(minutes=20))
        found = only(deleted, Field.EXISTENCE)
        assert (found.wanted, found.found, found.can_push, found.can_accept) == ("deleted", "there", False, True)
        deleted.refresh_from_db()
        assert deleted.state == "deleted"

    def test_a_reading_leaves_it_deleted(self, desk: Desk, deleted: Account) -> None:
        assert read(desk, deleted).state == "deleted"

    def test_a_person_says_that_it_exists(self, desk: Desk, deleted: Account, client: Client) -> None:
        walk(desk, after=timedelta(minutes=20))
        act = reverse("customers:drift-act", args=[deleted.public_id, "existence"])
        staff = sign_in(client, desk.person)
        question = staff.get(act)
        assert "marked as existing again" in text_of(question)
        done = staff.post(act, {"choice": "accept", "reason": "The delete did not hold", **fields(question)})
        assert done.status_code == 303
        assert list(observed_accounts.accounts_to_read(now=timezone.now())) == [deleted]
        back = read(desk, deleted)
        assert (back.state, back.desired_state) == ("active", "active")
        assert not drift.drifting(Account.objects.all()).exists()

    def test_not_for_an_archived_customer(self, desk: Desk, deleted: Account) -> None:
        walk(desk, after=timedelta(minutes=20))
        found = only(deleted, Field.EXISTENCE)
        Customer.objects.update(archived_at=timezone.now())
        with pytest.raises(Refusal, match="archived"):
            drift.accept(Command(desk.person, timezone.now(), reason="It is there"), drift=found)


class TestWhatThePersonSaw:
    """A decision is about the values of the form, not about what came in since."""

    @pytest.fixture
    def staff(self, client: Client, desk: Desk) -> Client:
        return sign_in(client, desk.person)

    @pytest.mark.parametrize("choice", ["accept", "push", "ignore"])
    def test_another_value_since_is_refused_and_both_are_shown(
        self, desk: Desk, account: Account, staff: Client, choice: str
    ) -> None:
        in_console(desk, account, offerings=[{"name": PACKAGE.name, "type": "package", "quantity": 1}])
        act = reverse("customers:drift-act", args=[account.public_id, "offerings"])
        question = staff.get(act)
        in_console(desk, account, offerings=[{"name": BIGGER.name, "type": "package", "quantity": 1}])
        sent = {"choice": choice, "reason": "As the page says", "until_on": TODAY + timedelta(days=3)}
        refused = staff.post(act, sent | fields(question))
        shown = text_of(refused)
        assert refused.status_code == 422
        assert "changed after you opened this form" in shown
        assert "As the page says" in refused.content.decode()
        assert " checked" not in refused.content.decode(), "nothing is chosen for values that were not seen"
        assert shown.index(BIGGER.name) < shown.index("Values you saw before") < shown.rindex(PACKAGE.name)
        account.refresh_from_db()
        assert [row["name"] for row in account.desired_offerings] == [PACKAGE.name, ADDON.name]
        assert not Operation.objects.filter(kind="offerings").exists()
        assert not DriftIgnore.objects.exists()
        again = staff.post(act, sent | fields(refused))
        assert again.status_code == 303

    def test_another_expected_value_since_is_refused(self, desk: Desk, account: Account, staff: Client) -> None:
        in_console(desk, account, state="banned")
        Account.objects.filter(pk=account.pk).update(desired_state="stopped_by_us")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        question = staff.get(act)
        Account.objects.filter(pk=account.pk).update(desired_state="active")
        sent = {"choice": "ignore", "reason": "Known", "until_on": TODAY + timedelta(days=3), **fields(question)}
        assert staff.post(act, sent).status_code == 422
        assert not DriftIgnore.objects.exists()

    @pytest.mark.parametrize("how", [{}, HTMX], ids=["page", "dialog"])
    def test_another_person_was_first(self, desk: Desk, account: Account, staff: Client, how: dict[str, str]) -> None:
        in_console(desk, account, state="deactivated")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        opened = fields(staff.get(act))
        other = sign_in(Client(), UserFactory(name="Vera Lind"))
        assert other.post(act, {"choice": "accept", "reason": "They asked for it"} | opened).status_code == 303
        late = staff.post(act, {"choice": "push", "reason": "Typed evidence"} | opened, **how)
        assert late.status_code == 422
        assert "Vera Lind was first: Provider value accepted" in prose_of(late)
        assert "They asked for it" in prose_of(late)
        assert "Your entry: Reason Typed evidence" in prose_of(late)
        assert not Operation.objects.filter(kind="unsuspend").exists()

    def test_what_nobody_decided_names_nobody(self, desk: Desk, account: Account, staff: Client) -> None:
        AuditEvent.objects.create(verb="account.refreshed", actor=desk.person, object_id=account.public_id)
        in_console(desk, account, state="deactivated")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        opened = fields(staff.get(act))
        in_console(desk, account, state="activated")
        late = staff.post(act, {"choice": "push", "reason": "Typed evidence"} | opened)
        assert "This changed after you opened the form" in prose_of(late)
        assert "Typed evidence" in prose_of(late)

    def test_a_snooze_since_is_told_before_anything_else_is_done(
        self, desk: Desk, account: Account, staff: Client
    ) -> None:
        in_console(desk, account, state="deactivated")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        opened = fields(staff.get(act))
        other = sign_in(Client(), UserFactory(name="Vera Lind"))
        snooze = {"choice": "ignore", "until_on": TODAY + timedelta(days=3), "reason": "They call on Friday"}
        assert other.post(act, snooze | opened).status_code == 303
        late = staff.post(act, {"choice": "accept", "reason": "Typed evidence"} | opened)
        assert late.status_code == 422
        assert "Vera Lind snoozed this until" in prose_of(late)
        assert "They call on Friday" in prose_of(late)
        assert "Typed evidence" in text_of(late)
        assert Account.objects.get(pk=account.pk).desired_state == "active"
        assert staff.post(act, {"choice": "accept", "reason": "x"} | fields(late)).status_code == 303

    @pytest.mark.parametrize("seen", ["", "made up", "W10:of:anotherform"])
    def test_a_form_that_does_not_say_what_was_seen(
        self, desk: Desk, account: Account, staff: Client, seen: str
    ) -> None:
        in_console(desk, account, state="deactivated")
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        sent = {"choice": "accept", "reason": "x", **fields(staff.get(act)), "seen": seen}
        refused = staff.post(act, sent)
        assert refused.status_code == 422
        assert "The form was incomplete" in text_of(refused)

    def test_a_state_is_pushed_only_at_the_version_that_was_seen(self, desk: Desk, account: Account) -> None:
        found = only(in_console(desk, account, state="deactivated"), Field.STATE)
        Account.objects.filter(pk=account.pk).update(desired_state="stopped_by_us", version=9)
        with pytest.raises(StaleVersion):
            push(desk, found)


class TestPages:
    @pytest.fixture
    def staff(self, client: Client, desk: Desk) -> Client:
        return sign_in(client, desk.person)

    def test_the_board_shows_it_and_a_decision_takes_it_off(self, desk: Desk, account: Account, staff: Client) -> None:
        assert "No drift" in board(staff)
        in_console(desk, account, state="deactivated")
        assert "Suspended" in board(staff)
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        question = staff.get(act)
        asked = {"choice": "accept", "reason": "", **fields(question)}
        refused = staff.post(act, asked)
        assert refused.status_code == 422
        assert "Enter a reason" in text_of(refused)
        done = staff.post(act, asked | {"reason": "They asked for it"})
        assert done.status_code == 303
        assert "No drift" in board(staff)

    def test_what_only_the_provider_can_change_is_snoozed(self, staff: Client) -> None:
        account = AccountFactory(state="banned", desired_state="active", state_read_at=timezone.now())
        row = board(staff).split("<tbody>")[1]
        assert "Snooze" in row
        assert "Resolve" not in row
        act = reverse("customers:drift-act", args=[account.public_id, "state"])
        question = staff.get(act)
        assert 'type="radio"' not in text_of(question)
        assert "optional" not in text_of(question), "the day is needed"
        snoozed = {"choice": "ignore", "until_on": str(TODAY + timedelta(days=7)), "reason": "Appealed"}
        assert staff.post(act, fields(question) | snoozed).status_code == 303
        assert DriftIgnore.objects.get().account == account

    def test_an_orphan_is_given_to_a_customer(self, desk: Desk, staff: Client) -> None:
        desk.sandbox.admin.add_account(email="ops@northwind.example", offerings=[
            {"name": PACKAGE.name, "type": "package", "quantity": 1}])  # fmt: skip
        customer = desk.customer()
        walk(desk)
        remote_account = RemoteAccount.objects.orphans().get()
        assert "ops@northwind.example" in text_of(staff.get(reverse("customers:orphans")))
        page = reverse("customers:orphan-adopt", args=[remote_account.public_id])
        assert customer.company_name in text_of(staff.get(page))
        assert staff.post(page, {"customer": "", "reason": "x"}).status_code == 422
        done = staff.post(page, {"customer": str(customer.public_id), "reason": "Same email, same contract"})
        assert done.status_code == 303
        account = Account.objects.get(provider_id=remote_account.provider_id)
        assert (account.customer, account.state, account.desired_state) == (customer, "active", "active")
        assert account.offerings == account.desired_offerings != []
        assert not RemoteAccount.objects.orphans().exists()
        assert not drift.drifting(Account.objects.all()).exists()
        assert staff.get(page).status_code == 404
        late = sign_in(Client(), UserFactory())
        for name in ("orphan-adopt", "orphan-aside"):
            address = reverse(f"customers:{name}", args=[remote_account.public_id])
            told = late.post(address, {"customer": str(customer.public_id), "reason": "Typed evidence"})
            assert told.status_code == 422
            assert f"{desk.person} was first: Existing account linked" in prose_of(told)
            assert "Same email, same contract" in prose_of(told)
            assert "Your entry: Reason Typed evidence" in prose_of(told)

    def test_an_orphan_is_left_aside_and_put_back(self, desk: Desk, staff: Client) -> None:
        desk.sandbox.admin.add_account(email="stranger@globex.example")
        walk(desk)
        remote_account = RemoteAccount.objects.orphans().get()
        staff.post(
            reverse("customers:orphan-aside", args=[remote_account.public_id]), {"reason": "Our own test account"}
        )
        assert not RemoteAccount.objects.orphans().exists()
        ignored = text_of(staff.get(reverse("customers:orphans"), {"view": "ignored"}))
        assert "Our own test account" in ignored
        staff.post(reverse("customers:orphan-watch", args=[remote_account.public_id]))
        assert RemoteAccount.objects.orphans().exists()

    def test_the_empty_tab_of_ignored_accounts_says_so(self, staff: Client) -> None:
        assert "No ignored accounts" in text_of(staff.get(reverse("customers:orphans"), {"view": "ignored"}))
        assert "No unlinked accounts" in text_of(staff.get(reverse("customers:orphans")))

    def test_looking_through_is_asked_for_a_worker(self, desk: Desk, staff: Client) -> None:
        desk.sandbox.admin.add_account(email="stranger@globex.example")
        assert staff.post(reverse("customers:drift-scan")).status_code == 303
        scan = Scan.objects.get()
        assert "scan waiting for a worker" in board(staff)
        scan_requests.run_scan(scan.pk, connect=desk.connect)
        scan_requests.run_scan(scan.pk, connect=desk.connect)
        scan.refresh_from_db()
        assert (scan.state, scan.orphans) == ("complete", 1)

    @pytest.mark.parametrize("role", ["finance", "auditor"])
    def test_others_look_and_decide_nothing(self, desk: Desk, account: Account, client: Client, role: str) -> None:
        in_console(desk, account, state="deactivated")
        reader = sign_in(client, User.objects.create_user(email=f"{role}@postkeeper.example", name=role, role=role))
        assert "Resolve" not in board(reader).split("<tbody>")[1]
        assert reader.get(reverse("customers:drift-act", args=[account.public_id, "state"])).status_code == 403
        assert reader.post(reverse("customers:drift-scan")).status_code == 403

    def test_the_number_of_queries_does_not_grow(
        self, desk: Desk, staff: Client, django_assert_max_num_queries: object
    ) -> None:
        for n in range(4):
            account = read(desk, desk.created(f"ops{n}@northwind.example"))
            in_console(desk, account, state="deactivated")
        board(staff)  # the first page of a session also notes that its reader is there
        with django_assert_max_num_queries(10):  # type: ignore[operator]
            assert board(staff).count("Suspended") == 4


def test_by_night_once_and_again_where_it_broke_off(desk: Desk) -> None:
    two = timezone.now().replace(hour=2, minute=5)
    assert scan_requests.request_nightly_scans(now=two.replace(hour=1)) == 0
    assert scan_requests.request_nightly_scans(now=two) == 1
    assert scan_requests.request_nightly_scans(now=two) == 0
    later = two + account_list.WAITS_FOR_A_WORKER + timedelta(minutes=1)
    assert scan_requests.request_nightly_scans(now=later) == 1  # the first was never taken up
    scan = Scan.objects.get(state="running")
    account_list.read_account_list(scan, desk.connect(desk.connection), clock=lambda: later)
    assert scan_requests.request_nightly_scans(now=later + timedelta(minutes=10)) == 0


def test_what_is_ignored_hides_nobody_else(
    desk: Desk, account: Account, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("customers.reconcile.queries.PER_PAGE", 1)
    other = read(desk, desk.created("other@northwind.example"))
    in_console(desk, other, state="deactivated")
    drift.ignore(
        Command(desk.person, timezone.now(), reason="A dispute"),
        drift=only(in_console(desk, account, state="deactivated"), Field.STATE),
        until_on=TODAY + timedelta(days=7),
    )
    staff = sign_in(client, desk.person)
    shown = board(staff)
    assert str(other.provider_id) in shown
    assert str(account.provider_id) not in shown
    table = b"".join(staff.get(reverse("customers:drift-export"))).decode()
    assert str(other.provider_id) in table
    assert str(account.provider_id) not in table
    everything = b"".join(staff.get(reverse("customers:drift-export"), {"view": "ignored"})).decode()
    assert "A dispute" in everything


def test_the_walk_by_hand(desk: Desk, account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    desk.sandbox.admin.add_account(email="stranger@globex.example")
    call_command("reconcile", connection=desk.connection.name)
    assert "2 accounts scanned, 2 new, 1 unlinked, 0 missing, 0 with drift" in (capsys.readouterr().out)
    desk.sandbox.admin.arm("status-500", "list", count=None)
    with pytest.raises(CommandError, match="Not completed"):
        call_command("reconcile", connection=desk.connection.name)
