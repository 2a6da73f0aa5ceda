"""Erasure of a person: preview, confirmation, what blocks, a killed worker, and what is found afterwards."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from customers.models import Account, Attempt, Customer, Note, Operation, Step
from portal.access import sessions
from portal.access.models import User
from portal.approvals import gate
from portal.approvals.commands import request_approval
from portal.approvals.kinds import ApprovalKind
from portal.audit import record
from portal.audit.chain import seal_pending, verify_chain
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.commands import Command
from portal.notices.models import Notice
from portal.personal_data import Declaration
from portal.privacy import commands, rows, worker
from portal.privacy.models import ErasedSubject, SubjectRequest
from portal.refusals import Refusal
from tests.privacy.planted import (
    EMAIL,
    FIRST,
    LAST,
    NAME,
    admin,
    command,
    erased,
    gone_account,
    planted_customer,
    searched,
    settled,
    traces,
)  # fmt: skip
from tests.support.factories import AccountFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> Customer:
    row = planted_customer()
    account = gone_account(row)
    operation = OperationFactory(
        account=account, kind="create", state="succeeded", reason=f"{FIRST} called", summary=f"Made for {EMAIL}",
        payload={"profile": {"email": EMAIL, "first_name": FIRST, "last_name": LAST}}, result={"to": [NAME]},
    )  # fmt: skip
    Step.objects.create(operation=operation, n=1, after="succeeded", at=timezone.now(), note=f"by {NAME}")
    Attempt.objects.create(
        operation=operation, n=1, fence=1, call="POST /subusers", request=f'{{"email": "{EMAIL}"}}', outcome="applied",
        response=f'{{"user": "{NAME}"}}', intended_at=timezone.now(), answered_at=timezone.now(),
    )  # fmt: skip
    Note.objects.create(customer=row, author=admin(), text=f"Talk to {LAST.upper()}, at {EMAIL.upper()}")
    return row


def test_a_contact_is_gone_from_rows_and_what_surrounds_stays(customer: Customer) -> None:
    request = erased(searched())
    assert request.state == "erased"
    assert traces() == []
    row, code = Customer.objects.get(pk=customer.pk), request.code
    assert (row.company_name, row.first_name, row.last_name) == ("Northwind", "[erased]", "[erased]")
    assert (row.email, row.phone) == (f"erased-{code.lower()}@erased.invalid", f"Erased person {code}"[:20])
    operation = Operation.objects.get()
    assert operation.payload["profile"] == {"email": row.email, "first_name": "[erased]", "last_name": "[erased]"}
    assert (operation.reason, operation.result) == ("[erased] called", {"to": [f"Erased person {code}"]})
    assert Step.objects.get().note == f"by Erased person {code}"
    assert Attempt.objects.get().request == f'{{"email": "{row.email}"}}'
    assert Note.objects.get().text == f"Talk to [erased], at {row.email}"
    assert row.search == f"northwind {row.email}  [erased] [erased]"


def test_others_with_the_same_first_name_keep_theirs(customer: Customer) -> None:
    other = CustomerFactory(first_name=FIRST, last_name="Other", email="z@other.example")
    note = Note.objects.create(customer=other, author=admin(), text=f"{FIRST} is nice")
    named = Note.objects.create(customer=other, author=admin(), text=f"Knows {NAME}")
    request = erased(searched())
    other.refresh_from_db()
    assert (other.first_name, other.email) == (FIRST, "z@other.example")
    assert Note.objects.get(pk=note.pk).text == f"{FIRST} is nice"
    assert Note.objects.get(pk=named.pk).text == f"Knows Erased person {request.code}"


def test_the_search_counts_where_the_person_appears(customer: Customer) -> None:
    found = searched().found
    assert {model: counts["rows"] for model, counts in found.items()} == {
        "customers.Account": 1, "customers.Attempt": 1, "customers.Customer": 1, "customers.Note": 1,
        "customers.Operation": 1, "customers.Step": 1,
    }  # fmt: skip


def test_other_spellings_are_searched_too(customer: Customer) -> None:
    other = CustomerFactory(first_name="Z.", last_name="Q.", email="z@other.example")
    note = Note.objects.create(customer=other, author=admin(), text="Ask Z. Quux-Berg or zq@home.example")
    request = erased(searched(others=("Z. Quux-Berg", "zq@home.example")))
    assert Note.objects.get(pk=note.pk).text == (
        f"Ask Erased person {request.code} or erased-{request.code.lower()}@erased.invalid"
    )


class TestWhatBlocks:
    def refused(self, request: SubjectRequest) -> str:
        with pytest.raises(Refusal) as refusal:
            commands.start_erasure(command(), request=request, typed=EMAIL)
        return str(refusal.value)

    def test_an_account_that_lives_at_the_provider(self) -> None:
        AccountFactory(customer=planted_customer())
        assert "isn't deleted" in self.refused(searched())
        assert Customer.objects.get().email == EMAIL

    def test_an_operation_that_is_not_finished(self, customer: Customer) -> None:
        operation = OperationFactory(account=Account.objects.get(), state="queued")
        assert f"Operation {operation.code} isn't finished" in self.refused(searched())

    def test_an_account_that_was_never_made_does_not(self) -> None:
        AccountFactory(customer=planted_customer(), pending=True)
        assert erased(searched()).state == "erased"

    def test_a_block_that_appears_later_stops_the_worker(self, customer: Customer) -> None:
        request = searched()
        commands.start_erasure(command(), request=request, typed=EMAIL)
        operation = OperationFactory(account=Account.objects.get(), state="queued")
        stopped = settled(request)
        assert (stopped.state, stopped.blocked) == (
            "found",
            [f"Operation {operation.code} isn't finished. Wait until it is, or resolve it on its page."],
        )
        assert Customer.objects.get().email == EMAIL

    def test_an_active_team_member(self) -> None:
        member = UserFactory(name="Cora Person")
        request = searched(member.email, kind="member")
        with pytest.raises(Refusal, match="Disable them"):
            commands.start_erasure(command(), request=request, typed=member.email)

    def test_a_request_of_the_member_that_waits_for_approval(self) -> None:
        member = UserFactory(name="Cora Person", role="admin")
        change = gate.Change(ApprovalKind.RULE, subject=None, label="Rule", payload={"rule": "bulk"})
        waiting = request_approval(Command(member, token="t" * 8), change)
        User.objects.filter(pk=member.pk).update(is_active=False)
        request = searched(member.email, kind="member")
        with pytest.raises(Refusal, match=f"Request {waiting.code} waits for approval"):
            commands.start_erasure(command(), request=request, typed=member.email)

    def test_oneself(self) -> None:
        me = admin()
        request = searched(me.email, kind="member")
        with pytest.raises(Refusal, match="can't erase yourself"):
            commands.start_erasure(command(me), request=request, typed=me.email)


def test_the_confirmation_is_the_email_and_a_reason(customer: Customer) -> None:
    request = searched()
    for typed, reason, why in ((LAST, "They asked us to.", "to confirm"), (EMAIL, "short", "at least 10")):
        with pytest.raises(Refusal, match=why):
            commands.start_erasure(command(reason=reason), request=request, typed=typed)
    assert SubjectRequest.objects.get().state == "found"


class TestATeamMember:
    @pytest.fixture
    def member(self) -> User:
        row = UserFactory(name=NAME, email=EMAIL)
        sign_in(Client(), row)
        UserSession.objects.create(
            user=row, ip="203.0.113.9", session_key="k", user_agent="Netscape", last_seen_at=timezone.now()
        )
        EmailAddress.objects.create(user=row, email=EMAIL)
        Note.objects.create(customer=CustomerFactory(), author=row, text="Kept")
        User.objects.filter(pk=row.pk).update(is_active=False)
        return row

    def test_is_a_pseudonym_without_a_way_to_sign_in(self, member: User) -> None:
        epoch = member.session_epoch
        request = erased(searched(EMAIL, kind="member"))
        row = User.objects.get(pk=member.pk)
        assert (row.name, row.email) == (
            f"Erased person {request.code}", f"erased-{request.code.lower()}@erased.invalid",
        )  # fmt: skip
        assert (row.has_usable_password(), row.session_epoch, row.is_active) == (False, epoch + 1, False)
        assert Session.objects.count() == 0
        assert UserSession.objects.count() + EmailAddress.objects.count() == 0
        assert Note.objects.get().author.name == row.name
        assert request.found["usersessions.UserSession"] == {"removed": 1}
        assert traces("zelda.quux", "zeldamira", "quuxington", "netscape") == []

    def test_of_one_name_keeps_the_word_elsewhere(self) -> None:
        row = UserFactory(name="Finance", email=EMAIL, is_active=False)
        note = Note.objects.create(customer=CustomerFactory(), author=row, text="Finance agrees")
        erased(searched(EMAIL, kind="member"))
        assert User.objects.get(pk=row.pk).name.startswith("Erased person ")
        assert Note.objects.get(pk=note.pk).text == "Finance agrees"

    def test_a_session_ends_at_once(self) -> None:
        client, row = Client(), UserFactory(name=NAME, email=EMAIL)
        sign_in(client, row)
        User.objects.filter(pk=row.pk).update(is_active=False)
        erased(searched(EMAIL, kind="member"))
        User.objects.filter(pk=row.pk).update(is_active=True)
        assert client.get(reverse("customers:list")).status_code == 302

    def test_addresses_go_from_events_and_notices(self, member: User) -> None:
        """Of an ended session, and of a mail to all admins; those of others stay."""
        request = RequestFactory().get("/", REMOTE_ADDR="203.0.113.9")
        ada = admin()
        User.objects.filter(pk=member.pk).update(is_active=True, name="Cora")
        member.refresh_from_db()
        sessions.end_one(command(ada), person=member, session_id=UserSession.objects.get(session_key="k").pk)
        for actor in (member, ada):
            record(actor=actor, verb="staff.broke_glass", obj=None, request=request)
        User.objects.filter(pk=member.pk).update(is_active=False)
        seal_pending()
        erased(searched(EMAIL, kind="member"))
        ended = AuditEvent.objects.get(verb="staff.session_ended")
        assert ended.before == {"browser": "[erased]", "address": "[erased]"}
        of_events = Notice.objects.filter(kind=f"{Notice.EVENT}staff.broke_glass").order_by("pk")
        texts = list(of_events.values_list("text", flat=True))
        assert ["Cora" in text or "203.0.113.9" in text for text in texts] == [False, True]
        assert verify_chain().problems == []


class TestAWorkerThatIsKilled:
    def test_the_next_one_continues_in_the_middle(self, customer: Customer) -> None:
        request = searched()
        commands.start_erasure(command(), request=request, typed=EMAIL)
        done = []

        def dies(each: Declaration, *rest: object, **more: object) -> tuple[int, int]:
            done.append(each.model)
            if each.model == "customers.Note":
                raise KeyboardInterrupt
            return erase(each, *rest, **more)

        erase = rows.erase_rows
        with patch.object(worker, "erase_rows", dies), pytest.raises(KeyboardInterrupt):
            worker.advance(request.pk, now=database_now())
        half = SubjectRequest.objects.get()
        assert half.state == "erasing"
        assert Attempt.objects.get().request != f'{{"email": "{EMAIL}"}}'
        assert EMAIL.upper() in Note.objects.get().text
        assert not worker.advance(request.pk, now=database_now()), "the lease of the first still lasts"
        SubjectRequest.objects.update(lease_until=database_now() - timedelta(seconds=1))
        again: list[str] = []
        with patch.object(worker, "erase_rows", lambda each, *rest: again.append(each.model) or erase(each, *rest)):
            assert settled(request).state == "erased"
        assert again[0] == "customers.Note", "what was done is not done again"
        assert traces() == []

    def test_windows_of_one_row_give_the_same(self, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows, "WINDOW", 1)
        for n in range(3):
            Note.objects.create(customer=customer, author=admin(), text=f"{n} {NAME}")
        request = settled(searched(), seconds=0)
        assert request.found["customers.Note"]["rows"] == 4
        commands.start_erasure(command(), request=request, typed=EMAIL)
        assert settled(request, seconds=0).found["customers.Note"] == {"changed": 4}
        assert traces() == []

    def test_it_fails_after_five_tries_and_can_be_repeated(self, customer: Customer) -> None:
        request = searched()
        commands.start_erasure(command(), request=request, typed=EMAIL)
        for _try in range(worker.TRIES):
            with patch.object(worker, "erase_rows", side_effect=ValueError):
                worker.advance(request.pk, now=database_now() + timedelta(hours=1))
            SubjectRequest.objects.update(lease_until=None, not_before=database_now())
        assert (SubjectRequest.objects.get().state, SubjectRequest.objects.get().error) == ("failed", "ValueError")
        assert erased(SubjectRequest.objects.get()).state == "erased"
        assert traces() == []


def test_a_row_that_appears_once_is_erased_in_a_second_round(customer: Customer) -> None:
    request = searched()
    commands.start_erasure(command(), request=request, typed=EMAIL)
    late: list[Note] = []

    def adds(*_: object) -> dict[str, int]:
        late.append(late[0] if late else Note.objects.create(customer=customer, author=admin(), text=f"Late: {EMAIL}"))
        return {}

    with patch.object(worker, "erase_member", adds):
        ended = settled(request)
    assert (len(late), sum(counts.get("left", 0) for counts in ended.found.values())) == (2, 0)
    assert traces() == []


def test_a_row_that_appears_meanwhile_is_found_by_the_last_look(customer: Customer) -> None:
    request = searched()
    commands.start_erasure(command(), request=request, typed=EMAIL)

    def adds(*_: object) -> dict[str, int]:
        Note.objects.create(customer=customer, author=admin(), text=f"Late: {EMAIL}")
        return {}

    with patch.object(worker, "erase_member", adds):
        ended = settled(request)
    assert ended.found["customers.Note"]["left"] == 1, "the second round adds one as well"
    page = sign_in(Client(), admin()).get(ended.get_absolute_url()).content.decode()
    assert "1 row still names the person" in page


def test_the_end_is_audited_and_listed_without_the_words(customer: Customer) -> None:
    request = erased(searched())
    verbs = AuditEvent.objects.filter(verb__startswith="personal_data.").order_by("id")
    assert [each.verb.partition(".")[2] for each in verbs] == ["searched", "erasure_requested", "erased"]
    assert verbs.last().after == {"of": "contact", "changed": 6, "kept": 0, "left": 0}
    assert verbs.last().object_label == request.code
    (listed,) = ErasedSubject.objects.all()
    assert listed.code == request.code
    assert len(listed.hashes) == 1
    assert EMAIL not in str(listed.hashes)
    assert (request.subject_sealed, request.subject().words) == ("", ())


class TestTheAuditLog:
    def test_events_lose_the_words_and_the_chain_is_valid(self, customer: Customer) -> None:
        other = CustomerFactory(first_name=FIRST)
        told = {"email": EMAIL, "first_name": FIRST, "last_name": LAST}
        mine = record(actor=None, verb="customer.created", obj=customer, after=told, reason=f"for {NAME}")
        theirs = record(actor=None, verb="customer.created", obj=other, after={"first_name": FIRST})
        seal_pending()
        request = erased(searched())
        mine.refresh_from_db()
        theirs.refresh_from_db()
        assert mine.after == {"email": "[erased]", "first_name": "[erased]", "last_name": "[erased]"}
        assert (mine.reason, theirs.after) == ("for [erased]", {"first_name": FIRST})
        assert request.found["audit.AuditEvent"]["changed"] == 1
        seal_pending()
        assert verify_chain().problems == []

    def test_a_name_with_many_forms_is_found(self) -> None:
        facts = {"first_name": "Zoë-Anaïs Øyvør", "last_name": "O'Neil & Müßig-Åström"}
        customer = planted_customer(**facts)
        name = " ".join(facts.values())
        event = record(actor=None, verb="note.added", obj=None, reason=f"For {escape(name.upper())}")
        seal_pending()
        erased(searched(others=("Émile D'Été", "Ænne L'Œuvre", "Übel O'Ähre")))
        event.refresh_from_db()
        customer.refresh_from_db()
        assert (event.reason, customer.last_name) == ("For [erased]", "[erased]")

    def test_a_member_of_one_name_is_not_named(self) -> None:
        member = UserFactory(name="Cora", email=EMAIL)
        did = record(actor=member, verb="note.added", obj=None, after={"text": "Cora was here"})
        about = record(actor=None, verb="staff.invited", obj=member)
        other = record(actor=None, verb="note.added", obj=None, after={"text": "Cora is a name"})
        User.objects.filter(pk=member.pk).update(is_active=False)
        erased(searched(EMAIL, kind="member"))
        for each in (did, about, other):
            each.refresh_from_db()
        assert (did.actor_label, did.after["text"]) == ("[erased]", "[erased] was here")
        assert (about.object_label, other.after["text"]) == ("[erased]", "Cora is a name")


def test_an_earlier_request_about_the_person_loses_its_words(customer: Customer) -> None:
    earlier = searched()
    commands.start_export(command(), request=earlier)
    assert settled(earlier).state == "exported"
    erased(searched())
    earlier.refresh_from_db()
    assert (earlier.state, earlier.subject_sealed, earlier.file_sealed) == ("expired", "", "")
