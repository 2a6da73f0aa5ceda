"""Operations: the list, one with its evidence, and every decision a person may take."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Attempt, Operation, Step
from customers.models.operation_states import BUSY, FINAL, OperationKind, OperationState
from customers.operations import explain
from portal.audit.models import AuditEvent
from portal.ui.blocks import moving_rows
from tests.customers.conftest import Desk
from tests.customers.page_helpers import HTMX, fields, prose_of, text_of
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

LIST = "customers:operations"


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    return sign_in(client, UserFactory())


def url(name: str, operation: Operation) -> str:
    return reverse(f"customers:{name}", args=[operation.public_id])


def codes(answer: Any) -> list[str]:
    return re.findall(r"<small class=\"pk-mono\">(op_[0-9A-F]{6})</small>", text_of(answer))


class TestList:
    def test_is_newest_first(self, staff: Client) -> None:
        made = [OperationFactory() for _ in range(3)]
        assert codes(staff.get(reverse(LIST))) == [each.code for each in reversed(made)]

    def test_says_what_an_empty_one_means(self, staff: Client) -> None:
        assert "No operations yet" in text_of(staff.get(reverse(LIST)))
        assert "No matching operations" in text_of(staff.get(reverse(LIST), {"state": "failed"}))

    def test_filters(self, staff: Client) -> None:
        person, connection = UserFactory(name="Nadia Berg"), ConnectionFactory()
        mine = OperationFactory(requested_by=person, state="failed", kind="delete", account__connection=connection)
        OperationFactory()
        for asked in (
            {"state": "failed"},
            {"kind": "delete"},
            {"who": str(person.public_id)},
            {"connection": str(connection.public_id)},
            {"state": "failed", "kind": "delete", "who": str(person.public_id)},
        ):
            assert codes(staff.get(reverse(LIST), asked)) == [mine.code], asked

    def test_what_needs_a_person(self, staff: Client) -> None:
        wanted = {
            OperationFactory(kind="create", state="unknown").code,
            OperationFactory(kind="suspend", state="needs_attention").code,
        }
        OperationFactory(kind="suspend", state="unknown")  # found out by reading back
        OperationFactory(kind="create", state="failed")
        page = staff.get(reverse(LIST), {"view": "needs"})
        assert set(codes(page)) == wanted
        assert 'pk-warn-text">2</span>' in text_of(page)

    @pytest.mark.parametrize("case", [str.lower, str.upper])
    def test_search_by_code(self, staff: Client, case: Any) -> None:
        wanted, _other = OperationFactory(), OperationFactory()
        assert codes(staff.get(reverse(LIST), {"q": case(wanted.code)})) == [wanted.code]
        assert wanted.code in codes(staff.get(reverse(LIST), {"q": wanted.code[:6]}))
        assert codes(staff.get(reverse(LIST), {"q": str(wanted.public_id)})) == [wanted.code]

    def test_search_by_customer_and_provider_id(self, staff: Client) -> None:
        wanted = OperationFactory(account__customer__company_name="Larkfield Outdoor")
        OperationFactory()
        assert codes(staff.get(reverse(LIST), {"q": "larkfield"})) == [wanted.code]
        assert codes(staff.get(reverse(LIST), {"q": wanted.account.provider_id})) == [wanted.code]

    @pytest.mark.parametrize("q", ["%", "_", "'", '"><script>', "op_", "op_zz", "ü", "0" * 40])
    def test_odd_searches_are_harmless(self, staff: Client, q: str) -> None:
        OperationFactory()
        answer = staff.get(reverse(LIST), {"q": q})
        assert answer.status_code == 200
        assert b'"><script>' not in answer.content

    @pytest.mark.parametrize(
        "sort", ["asked", "-asked", "customer", "-customer", "kind", "-state", "password", "--asked"]
    )
    def test_sorts_by_what_is_allowed_only(self, staff: Client, sort: str) -> None:
        OperationFactory(account__customer__company_name="B")
        OperationFactory(account__customer__company_name="A")
        answer = staff.get(reverse(LIST), {"sort": sort})
        assert len(codes(answer)) == 2
        if sort.lstrip("-") == "customer":
            names = re.findall(r">(A|B)</a>", text_of(answer))
            assert names == sorted(names, reverse=sort.startswith("-"))

    @pytest.mark.parametrize(
        "asked", [{"page": "99"}, {"page": "x"}, {"size": "25"}, {"size": "1000000"}, {"sort": "x"}]
    )
    def test_pages_and_nonsense(self, staff: Client, asked: dict[str, str]) -> None:
        account = AccountFactory()
        OperationFactory.create_batch(60, account=account, state="succeeded")
        found = codes(staff.get(reverse(LIST), asked))
        assert len(found) == {"99": 10, "25": 25}.get(asked.get("page") or asked.get("size", ""), 50)

    def test_htmx_gets_the_list_alone(self, staff: Client) -> None:
        OperationFactory()
        answer = staff.get(reverse(LIST), **HTMX)
        assert "<html" not in text_of(answer)
        assert "HX-Request" in answer.headers["Vary"]

    @pytest.mark.long
    def test_the_number_of_queries_does_not_grow(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        def queries() -> int:
            with django_assert_max_num_queries(20) as context:
                staff.get(reverse(LIST), {"size": "200"})
            return len(context)

        OperationFactory.create_batch(3)
        queries()  # the first request notes that the person is here
        few = queries()
        OperationFactory.create_batch(150)
        assert queries() == few

    @pytest.mark.parametrize("role", ["admin", "finance", "auditor"])
    def test_everybody_may_read(self, client: Client, db: None, role: str) -> None:
        sign_in(client, UserFactory(role=role))
        assert client.get(reverse(LIST)).status_code == 200


class TestPolling:
    """A list and a card ask again until the operation has ended, and then stop by themselves."""

    @pytest.mark.parametrize("state", OperationState.values)
    def test_stops_when_final(self, staff: Client, state: str) -> None:
        operation = OperationFactory(state=state)
        moves = state not in FINAL
        assert ("data-poll" in text_of(staff.get(url("operation-progress", operation), **HTMX))) == moves
        rows = f"?rows={operation.public_id.hex}&part=0"
        assert (rows in text_of(staff.get(reverse(LIST), **HTMX))) == moves
        again = text_of(staff.get(reverse(LIST) + rows, **HTMX))
        assert f'<tr id="operation-{operation.public_id}" hx-swap-oob="morph"' in again
        assert ("data-poll" in again) == moves

    def test_a_list_asks_for_a_hundred_rows_at_a_time(self, staff: Client) -> None:
        account = AccountFactory()
        made = OperationFactory.create_batch(101, account=account, state="cancelled", requested_by=UserFactory())
        moved = [(each.public_id, 2) for each in made]
        shown = moving_rows("/operations/", moved)
        assert [part.count(",") + 1 for part in shown.split("data-poll")[:-1]] == [100, 1]
        first = shown.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
        with CaptureQueriesContext(database) as queries:
            assert text_of(staff.get(first, **HTMX)).count("<tr ") == 100
        assert len(first) < 4_000  # gunicorn's limit of a request line is 4,094
        assert len(queries) < 15

    @pytest.mark.parametrize("asked", ["rows=x&part=0", "rows=&part=0", f"rows={'0' * 32}", f"rows={'0' * 32}&part=-1"])
    def test_rows_that_the_list_did_not_write_are_refused(self, staff: Client, asked: str) -> None:
        for name in (LIST, "customers:list"):
            assert staff.get(f"{reverse(name)}?{asked}", **HTMX).status_code == 404

    def test_the_page_is_told_once_that_it_ended(self, staff: Client) -> None:
        done, sending = OperationFactory(state="succeeded"), OperationFactory(state="sending")
        assert staff.get(url("operation-progress", done), **HTMX).headers["HX-Trigger"] == "operation-ended"
        assert "HX-Trigger" not in staff.get(url("operation-progress", sending), **HTMX).headers

    def test_the_page_is_told_once_that_a_person_is_needed(self, staff: Client) -> None:
        stuck = OperationFactory(kind="create", state="unknown")
        address = url("operation-progress", stuck)
        assert staff.get(f"{address}?was=sending", **HTMX).headers["HX-Trigger"] == "operation-stuck"
        assert "HX-Trigger" not in staff.get(f"{address}?was=unknown", **HTMX).headers


class TestOne:
    @pytest.mark.parametrize("state", OperationState.values)
    @pytest.mark.parametrize("kind", OperationKind.values)
    @pytest.mark.sample(20)
    def test_every_kind_in_every_state_can_be_shown(self, staff: Client, kind: str, state: str) -> None:
        operation = OperationFactory(kind=kind, state=state)
        Step.objects.create(operation=operation, n=1, before="", after="queued", at=timezone.now())
        Step.objects.create(operation=operation, n=2, before="queued", after=state, at=timezone.now())
        answer = staff.get(url("operation", operation))
        assert answer.status_code == 200
        assert operation.code in text_of(answer)
        assert ('id="decide"' in text_of(answer)) == operation.needs_a_person

    def test_evidence(self, staff: Client) -> None:
        operation = OperationFactory(kind="create", state="unknown", attempt_count=1)
        Attempt.objects.create(
            operation=operation, n=1, fence=1, call="create account", intended_at=timezone.now(), outcome="unknown",
            request='{"profile": {"email": "<b>ops@x.example"}}', duration_ms=30_004, message="No answer in 30 s.",
        )  # fmt: skip
        words = staff.get(url("operation", operation)).content.decode()
        assert "We don&#x27;t know if SendGrid created this account." in words
        assert "SendGrid will have two accounts and bill both." in words
        assert "&lt;b&gt;ops@x.example" in words
        assert "(no response)" in words
        assert "30,004 ms" in words

    def test_field_errors_lead_to_a_correction(self, staff: Client) -> None:
        wrong = [{"field": "phone", "message": "E.164 please", "code": "10-40010"}]
        operation = OperationFactory(kind="create", state="failed", error_kind="rejected", field_errors=wrong)
        words = text_of(staff.get(url("operation", operation)))
        assert "E.164 please" in words
        assert f"?from={operation.public_id}" in words
        assert "Retry operation" not in words.replace("Fix and retry", "")

    def test_a_conflict_leads_to_the_editor(self, staff: Client) -> None:
        operation = OperationFactory(kind="offerings", state="failed", error_kind="conflict")
        assert f"?conflict={operation.public_id}" in text_of(staff.get(url("operation", operation)))

    def test_a_delete_without_a_reading_is_offered(self, staff: Client) -> None:
        operation = OperationFactory(kind="delete", state="failed", error_kind="no_reading")
        assert "Delete without final usage" in text_of(staff.get(url("operation", operation)))

    def test_what_it_waits_behind(self, staff: Client) -> None:
        account = AccountFactory()
        first = OperationFactory(account=account, kind="offerings", state="sending")
        second = OperationFactory(account=account)
        sentence = f'Waiting for: Change offerings (<a href="{url("operation", first)}">{first.code}</a>).'
        assert sentence in text_of(staff.get(url("operation", second)))

    def test_those_who_may_not_act_see_no_buttons(self, client: Client, db: None) -> None:
        sign_in(client, UserFactory(role="finance"))
        words = text_of(client.get(url("operation", OperationFactory(kind="create", state="unknown"))))
        assert "Customer success or an admin must resolve this." in words
        assert 'name="choice"' not in words

    def test_not_found(self, staff: Client) -> None:
        address = reverse("customers:operation", args=["00000000-0000-0000-0000-000000000000"])
        assert staff.get(address).status_code == 404


class TestSteps:
    def test_a_long_story_is_told_from_its_end(self, db: None) -> None:
        operation = OperationFactory(state="queued")
        for n in range(40):
            after = ("queued", "claimed")[n % 2]
            Step.objects.create(operation=operation, n=n + 1, before="x" if n else "", after=after, at=timezone.now())
        lines = explain.steps_of(operation)
        assert lines[0].label == "Queued"
        assert lines[1].label == "32 more steps"
        assert [each.state for each in lines].count("now") == 1
        assert lines[-1].state == "next"

    def test_the_last_step_is_the_present_one(self, desk: Desk) -> None:
        operation = desk.ask_create()
        assert [(each.label, each.state) for each in explain.steps_of(operation)][:2] == [
            ("Queued", "now"),
            ("Starting", "next"),
        ]
        done = desk.perform(operation)
        assert {each.state for each in explain.steps_of(done)} == {"done"}


class TestCancelAndRetry:
    def test_cancel_while_queued(self, staff: Client) -> None:
        operation = OperationFactory()
        answer = staff.post(url("operation-cancel", operation))
        operation.refresh_from_db()
        assert operation.state == "cancelled"
        assert answer.headers["Location"] == url("operation", operation)

    def test_back_to_the_account(self, staff: Client) -> None:
        operation = OperationFactory()
        answer = staff.post(url("operation-cancel", operation), {"back": "account"})
        assert answer.headers["Location"] == reverse("customers:account", args=[operation.account.public_id])

    @pytest.mark.parametrize("state", [*BUSY, *FINAL])
    def test_cancel_comes_too_late(self, staff: Client, state: str) -> None:
        operation = OperationFactory(state=state)
        assert staff.post(url("operation-cancel", operation)).status_code == 303
        operation.refresh_from_db()
        assert operation.state == state

    def test_retry_is_a_new_one_that_links_back(self, staff: Client) -> None:
        failed = OperationFactory(state="failed", error_kind="rejected")
        data = fields(staff.get(url("operation", failed)))
        first, second = (staff.post(url("operation-retry", failed), data) for _ in range(2))
        again = Operation.objects.get(retry_of=failed)
        assert first.headers["Location"] == second.headers["Location"] == url("operation", again)
        assert failed.code in text_of(staff.get(url("operation", again)))
        page = text_of(staff.get(url("operation", failed)))
        assert again.code in page
        assert "Retry operation" not in page

    def test_a_refusal_of_the_key_is_no_input_to_correct(self, staff: Client, client: Client) -> None:
        """It names the connection and who can fix it, and does not invite to send it again at once."""
        account = AccountFactory(pending=True, connection__name="SendGrid global")
        failed = OperationFactory(account=account, kind="create", state="failed", error_kind="forbidden")
        connection_page = reverse("customers:connection", args=[account.connection.public_id])
        for address in (url("operation", failed), reverse("customers:account", args=[account.public_id])):
            page = text_of(staff.get(address))
            assert "API key of the connection “SendGrid global” lacks a permission" in page
            assert "retry once the test passes" in page
            assert "Fix and retry" not in page
            assert "Fix the errors" not in page
        sign_in(client, UserFactory(role="admin"))
        for address in (url("operation", failed), reverse("customers:account", args=[account.public_id])):
            assert f'href="{connection_page}"' in text_of(client.get(address))

    @pytest.mark.parametrize(
        ("kind", "cause", "never"),
        [
            ("sendgrid", "SendGrid has temporarily blocked it", "IP allowlist"),
            ("ahasend", "its IP allowlist may not include this server, or your AhaSend plan", "block"),
        ],
    )
    def test_a_403_shows_the_response_and_then_the_causes(
        self, staff: Client, kind: str, cause: str, never: str
    ) -> None:
        """Only SendGrid answers 403 also for a temporary block."""
        account = AccountFactory(pending=True, connection__kind=kind)
        failed = OperationFactory(
            account=account, kind="create", state="failed", error_kind="forbidden", summary="Denied (403): no plan"
        )
        for address in (url("operation", failed), reverse("customers:account", args=[account.public_id])):
            page = prose_of(staff.get(address))
            assert page.index("Denied (403): no plan.") < page.index(cause)
            assert never not in page

    @pytest.mark.parametrize("state", ["queued", "sending", "succeeded", "cancelled"])
    def test_only_a_failed_one_is_sent_again(self, staff: Client, state: str) -> None:
        operation = OperationFactory(state=state)
        staff.post(url("operation-retry", operation), {"client_token": "a" * 32})
        assert Operation.objects.count() == 1

    def test_a_delete_is_asked_anew_on_its_page(self, staff: Client) -> None:
        """There it asks for the password, and for a second person where one is needed."""
        failed = OperationFactory(kind="delete", state="failed", error_kind="rejected")
        page = text_of(staff.get(url("operation", failed)))
        assert reverse("customers:account-delete", args=[failed.account.public_id]) in page
        assert "Retry operation" not in page
        staff.post(url("operation-retry", failed), {"client_token": "a" * 32})
        assert Operation.objects.count() == 1

    @pytest.mark.parametrize("name", ["operation-cancel", "operation-retry", "operation-decide"])
    def test_who_may(self, client: Client, db: None, name: str) -> None:
        operation = OperationFactory()
        for role in ("finance", "auditor"):
            sign_in(client, UserFactory(role=role))
            assert client.post(url(name, operation)).status_code == 403
        assert client.get(url(name, operation)).status_code == 405
        operation.refresh_from_db()
        assert operation.state == "queued"


class TestDecide:
    """An unknown create in front of the real sandbox: linked, sent again, or ended. Always with a reason."""

    @pytest.fixture
    def unknown(self, desk: Desk, client: Client) -> Operation:
        sign_in(client, desk.person)
        desk.sandbox.admin.arm("create-then-504")
        operation = desk.perform(desk.ask_create())
        assert operation.state == "unknown"
        return operation

    def decide(self, client: Client, operation: Operation, choice: str, **more: str) -> Any:
        data = {"choice": choice, "reason": "Seen in the console."} | more
        return client.post(url("operation-decide", operation), data)

    def test_linking_looks_at_the_account_first(self, client: Client, desk: Desk, unknown: Operation) -> None:
        real = desk.sandbox.admin.accounts()[0]["id"]
        answer = self.decide(client, unknown, "link", provider_id=f" {real} ")
        assert answer.headers["Location"] == url("operation", unknown)
        unknown.refresh_from_db()
        account = Account.objects.get()
        assert (unknown.state, account.provider_id, account.state) == ("succeeded", real, "active")
        assert AuditEvent.objects.get(verb="account.linked").reason == "Seen in the console."

    def test_an_account_that_is_not_there_is_not_linked(self, client: Client, unknown: Operation) -> None:
        answer = self.decide(client, unknown, "link", provider_id="sg" + "0" * 32)
        words = text_of(answer)
        assert answer.status_code == 422
        assert "has no account with this ID" in words
        assert "sg" + "0" * 32 in words
        assert "Seen in the console." in words
        assert 'value="link" checked' in words

    def test_another_customers_account_is_not_linked(self, client: Client, desk: Desk, unknown: Operation) -> None:
        other = desk.created("other@southwind.example")
        answer = self.decide(client, unknown, "link", provider_id=other.provider_id or "")
        assert answer.status_code == 422
        assert "already belongs to Northwind" in text_of(answer)

    def test_an_account_with_another_email_is_not_linked_by_itself(
        self, client: Client, desk: Desk, unknown: Operation
    ) -> None:
        """The address is shown, and it is linked only where the person confirms it."""
        stranger = desk.sandbox.admin.add_account(email="stranger@elsewhere.example")
        answer = self.decide(client, unknown, "link", provider_id=stranger["id"])
        assert "email is stranger@elsewhere.example" in text_of(answer)
        unknown.refresh_from_db()
        assert unknown.state == "unknown"
        confirmed = self.decide(client, unknown, "link", provider_id=stranger["id"], although_different="on")
        assert confirmed.status_code == 303
        assert desk.account(unknown).provider_id == stranger["id"]

    def test_sending_again(self, client: Client, desk: Desk, unknown: Operation) -> None:
        assert self.decide(client, unknown, "send_again").status_code == 303
        unknown.refresh_from_db()
        assert unknown.state == "queued"
        assert desk.drain(unknown).state == "succeeded"
        assert len(desk.sandbox.admin.accounts()) == 1  # the first request had worked, and that is found out

    def test_stopping(self, client: Client, desk: Desk, unknown: Operation) -> None:
        assert self.decide(client, unknown, "stop").status_code == 303
        unknown.refresh_from_db()
        assert unknown.state == "failed"
        assert len(desk.sandbox.admin.requests("create")) == 1

    @pytest.mark.parametrize("wrong", [{"reason": ""}, {"reason": "  "}, {"choice": ""}, {"choice": "try_again"},
                                       {"choice": "link", "provider_id": ""}])  # fmt: skip
    def test_half_a_decision_is_none(self, client: Client, unknown: Operation, wrong: dict[str, str]) -> None:
        answer = self.decide(client, unknown, **{"choice": "stop", **wrong})
        assert answer.status_code == 422
        unknown.refresh_from_db()
        assert unknown.state == "unknown"

    def test_a_late_decision_tells_the_first_and_keeps_the_evidence(self, client: Client, unknown: Operation) -> None:
        other = sign_in(Client(), UserFactory(name="Vera Lind"))
        assert self.decide(other, unknown, "stop", reason="No invoice for it.").status_code == 303
        late = self.decide(client, unknown, "link", provider_id="sg4711")
        assert late.status_code == 409
        words = prose_of(late)
        assert "Vera Lind was first: Operation resolved" in words
        assert "No invoice for it." in words
        assert "Your entry: Evidence Seen in the console." in words
        assert "Your entry: Provider account ID sg4711" in words
        unknown.refresh_from_db()
        assert unknown.state == "failed"

    def test_a_decision_about_what_waits_again_is_made_again(self, staff: Client) -> None:
        operation = OperationFactory(state="needs_attention", error_kind="unknown", attempt_count=3)
        opened = fields(staff.get(url("operation", operation)))
        other = sign_in(Client(), UserFactory(name="Vera Lind"))
        assert self.decide(other, operation, "try_again", **opened).status_code == 303
        waits = {"state": "needs_attention", "concurrency_key": operation.concurrency_key}
        Operation.objects.filter(pk=operation.pk).update(**waits)
        late = self.decide(staff, operation, "give_up", **opened)
        assert late.status_code == 409
        assert "Vera Lind was first: Operation resolved" in prose_of(late)
        assert text_of(late).count("Seen in the console.") == 2  # what Vera said, and the field
        operation.refresh_from_db()
        assert operation.state == "needs_attention"
        assert self.decide(staff, operation, "give_up", **fields(late)).status_code == 303

    def test_ones_own_second_click_is_told_from_another_persons(self, client: Client, unknown: Operation) -> None:
        self.decide(client, unknown, "stop")
        again = self.decide(client, unknown, "stop")
        assert again.status_code == 409
        assert "You already did this: Operation resolved" in prose_of(again)

    @pytest.mark.parametrize(("choice", "state"), [("try_again", "queued"), ("give_up", "failed")])
    def test_other_kinds(self, staff: Client, choice: str, state: str) -> None:
        operation = OperationFactory(state="needs_attention", error_kind="unknown", attempt_count=3)
        assert self.decide(staff, operation, choice).status_code == 303
        operation.refresh_from_db()
        assert operation.state == state

    def test_a_create_nothing_was_sent_of_can_be_tried_again(self, staff: Client) -> None:
        operation = OperationFactory(kind="create", state="needs_attention", error_kind="budget")
        assert 'value="try_again"' in text_of(staff.get(url("operation", operation)))
        assert self.decide(staff, operation, "send_again").status_code == 422
        assert self.decide(staff, operation, "try_again").status_code == 303

    def test_an_unknown_change_is_found_out_by_reading(self, staff: Client) -> None:
        operation = OperationFactory(kind="offerings", state="unknown", not_before=timezone.now() + timedelta(hours=1))
        words = text_of(staff.get(url("operation", operation)))
        assert "We're checking SendGrid until we know the outcome." in words
        assert 'name="choice"' not in words
