"""Suspend, unsuspend, delete, sign in as, refresh and the v2 user name, as pages and as dialogs."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Operation, SignInRequest
from portal.audit.models import AuditEvent
from tests.customers.conftest import Desk
from tests.customers.page_helpers import HTMX, fields, text_of
from tests.support.edits import seen_at
from tests.support.factories import PASSWORD as THEIRS
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import CONFIRM_PASSWORD, sign_in

DEEDS = ("suspend", "unsuspend", "delete", "sign-in-as")


@pytest.fixture
def staff(client: Client, desk: Desk) -> Client:
    return sign_in(client, desk.person)


@pytest.fixture
def account(db: None) -> Account:
    return AccountFactory(customer__company_name="Larkfield Outdoor")


def url(deed: str, account: Account) -> str:
    return reverse(f"customers:account-{deed}", args=[account.public_id])


def account_url(account: Account) -> str:
    return reverse("customers:account", args=[account.public_id])


class TestSuspend:
    def test_says_what_follows_in_the_providers_words(self, staff: Client, account: Account) -> None:
        words = text_of(staff.get(url("suspend", account)))
        for title, detail in (each[1:] for each in account.connection.capabilities.suspend_consequences):
            assert title in words
            assert detail in words
        assert "Suspend Larkfield Outdoor?" in words
        assert "Queued behind another operation." not in words

    def test_is_a_fragment_for_a_dialog(self, staff: Client, account: Account) -> None:
        answer = staff.get(url("suspend", account), **HTMX)
        assert "<html" not in text_of(answer)
        assert 'id="dialog-title"' in text_of(answer)
        assert 'hx-target="#dialog"' in text_of(answer)

    def test_asks_for_the_operation(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        data = fields(staff.get(url("suspend", account))) | {"why": "abuse", "reason": "Two complaints, case 3318."}
        answer = staff.post(url("suspend", account), data)
        assert answer.status_code == 303
        assert answer.headers["Location"] == account_url(account)
        operation = Operation.objects.get(kind="suspend")
        assert operation.reason == "Abuse report: Two complaints, case 3318."
        assert AuditEvent.objects.get(verb="account.suspend_asked").reason == operation.reason
        assert desk.perform(operation).state == "succeeded"
        assert desk.sandbox.admin.account(account.provider_id)["state"] == "deactivated"

    def test_htmx_is_sent_to_the_account(self, staff: Client, account: Account) -> None:
        data = fields(staff.get(url("suspend", account))) | {"reason": "Unpaid since May"}
        answer = staff.post(url("suspend", account), data, **HTMX)
        assert answer.headers["HX-Redirect"] == account_url(account)

    def test_a_double_click_is_one_operation(self, staff: Client, account: Account) -> None:
        data = fields(staff.get(url("suspend", account))) | {"reason": "Unpaid"}
        assert [staff.post(url("suspend", account), data).status_code for _ in range(3)] == [303] * 3
        assert Operation.objects.count() == 1

    @pytest.mark.parametrize("why", ["", "other"])
    def test_needs_a_reason(self, staff: Client, account: Account, why: str) -> None:
        data = fields(staff.get(url("suspend", account))) | {"why": why, "reason": "  "}
        answer = staff.post(url("suspend", account), data, **HTMX)
        assert answer.status_code == 422
        assert "Enter a reason or select a category." in text_of(answer)
        assert not Operation.objects.exists()

    def test_a_category_is_a_reason(self, staff: Client, account: Account) -> None:
        page = staff.get(url("suspend", account))
        assert "optional" not in text_of(page)
        staff.post(url("suspend", account), fields(page) | {"why": "unpaid", "reason": ""})
        assert Operation.objects.get().reason == "Unpaid"

    def test_waits_its_turn(self, staff: Client, account: Account) -> None:
        OperationFactory(account=account, kind="offerings", state="sending")
        words = text_of(staff.get(url("suspend", account)))
        assert "Queued behind another operation." in words
        assert "In progress: Change offerings." in words

    def test_the_same_twice_is_refused_with_its_code(self, staff: Client, account: Account) -> None:
        first = OperationFactory(account=account, kind="suspend")
        data = fields(staff.get(url("suspend", account))) | {"reason": "Unpaid"}
        answer = staff.post(url("suspend", account), data)
        assert answer.status_code == 422
        assert first.code in text_of(answer)

    @pytest.mark.parametrize("state", ["stopped_by_provider", "banned", "deleted"])
    def test_is_not_offered_where_it_cannot_work(self, staff: Client, state: str) -> None:
        words = text_of(staff.get(url("suspend", AccountFactory(state=state))))
        assert "Not available right now" in words
        assert "Suspend account</button>" not in words

    @pytest.mark.parametrize("state", ["suspended", "banned"])
    def test_what_the_provider_stopped_meanwhile_is_left_as_it_is(self, desk: Desk, state: str) -> None:
        account = desk.created()
        operation = desk.ask("suspend", account)
        desk.sandbox.admin.set_state(account.provider_id, state)
        operation = desk.perform(operation)
        assert (operation.state, operation.error_kind, operation.attempt_count) == ("failed", "held", 0)
        assert desk.sandbox.admin.account(account.provider_id)["state"] == state

    def test_unsuspend(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        assert desk.perform(desk.ask("suspend", account)).state == "succeeded"
        data = fields(staff.get(url("unsuspend", account))) | {"why": "paid", "reason": "Invoice 12"}
        assert staff.post(url("unsuspend", account), data).status_code == 303
        assert desk.perform(Operation.objects.latest("pk")).state == "succeeded"
        assert desk.sandbox.admin.account(account.provider_id)["state"] == "activated"


class TestDelete:
    def data(self, staff: Client, account: Account, **more: str) -> dict[str, str]:
        typed = {"why": "left", "reason": "Contract ended", "confirm": account.customer.company_name}
        return fields(staff.get(url("delete", account))) | typed | more

    def test_deletes_after_a_last_reading(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        assert "can't be undone" in text_of(staff.get(url("delete", account)))
        assert staff.post(url("delete", account), self.data(staff, account)).status_code == 303
        operation = desk.perform(Operation.objects.get(kind="delete"))
        assert operation.state == "succeeded"
        assert operation.payload["without_reading"] is False
        assert operation.usage_readings.count() == 1

    @pytest.mark.parametrize("typed", ["", "Larkfield", "larkfield outdoor", "Larkfield Outdoors"])
    def test_the_name_is_typed_exactly(self, staff: Client, account: Account, typed: str) -> None:
        answer = staff.post(url("delete", account), self.data(staff, account, confirm=typed))
        assert answer.status_code == 422
        assert "Contract ended" in text_of(answer)
        assert not Operation.objects.exists()

    def test_blanks_around_the_name_do_not_matter(self, staff: Client, account: Account) -> None:
        data = self.data(staff, account, confirm="  Larkfield  Outdoor ")
        assert staff.post(url("delete", account), data).status_code == 303

    def test_needs_a_password_typed_lately(self, client: Client, account: Account) -> None:
        sign_in(client, UserFactory(), minutes_ago=30)
        answer = client.get(url("delete", account))
        assert answer.status_code == 302
        assert "reauthenticate" in answer.headers["Location"]
        typed = {"why": "gone", "reason": "Typed x", "confirm": "Larkfield Outdoor", "client_token": "a" * 32}
        dialog = HTMX | {"HTTP_HX_TARGET": "dialog"}
        for how in ({}, dialog):
            asked = client.post(url("delete", account), typed, **how)
            assert asked.status_code == 422
            assert fields(asked) == typed | {"resent": "1"}
        assert not Operation.objects.exists()

    def test_skipping_the_last_reading_needs_a_failed_delete_first(self, staff: Client, account: Account) -> None:
        address = url("delete", account) + "?without_reading=1"
        assert "Delete without a final usage snapshot." not in text_of(staff.get(address))
        OperationFactory(account=account, kind="delete", state="failed", error_kind="no_reading")
        assert "Delete without a final usage snapshot." in text_of(staff.get(address))
        answer = staff.post(address, self.data(staff, account))
        assert answer.status_code == 422  # the tick is missing
        assert staff.post(address, self.data(staff, account, without_reading="on")).status_code == 303
        assert Operation.objects.latest("pk").payload["without_reading"] is True

    def test_the_tick_alone_means_nothing(self, staff: Client, account: Account) -> None:
        staff.post(url("delete", account), self.data(staff, account, without_reading="on"))
        assert Operation.objects.latest("pk").payload["without_reading"] is False


class TestSignInAs:
    def data(self, staff: Client, account: Account) -> dict[str, str]:
        return fields(staff.get(url("sign-in-as", account))) | {"why": "sender", "reason": "case 3318"}

    def test_records_and_then_redirects(self, staff: Client, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        account = desk.created()
        answer = staff.post(url("sign-in-as", account), self.data(staff, account))
        link = answer.headers["Location"]
        assert answer.status_code == 303
        assert link.startswith(f"{desk.sandbox.base_url}/_login/")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        event = AuditEvent.objects.get(verb="account.signed_in_as")
        assert (event.actor, event.reason) == (desk.person, "Sender verification: case 3318")
        code = link.split("code=")[1]
        assert code not in caplog.text
        kept = str(
            list(AuditEvent.objects.values()) + list(Operation.objects.values()) + list(Account.objects.values())
        )
        assert code not in kept

    def test_the_page_is_a_plain_form_in_a_new_tab(self, staff: Client, desk: Desk, account: Account) -> None:
        page = staff.get(url("sign-in-as", account))
        words = text_of(page)
        assert 'target="_blank" rel="noopener"' in words
        form = words.split('<form class="pk-dialog-form"')[1].split(">")[0]
        assert "hx-" not in form
        policy = page.headers["Content-Security-Policy"]
        assert "form-action 'self' https://sendgrid.com https://*.sendgrid.com" in policy
        assert "script-src 'self';" in policy
        assert "form-action 'self';" in staff.get(url("suspend", account)).headers["Content-Security-Policy"]

    def test_needs_a_reason(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        answer = staff.post(url("sign-in-as", account), self.data(staff, account) | {"why": "", "reason": " "})
        assert answer.status_code == 422
        assert not desk.sandbox.admin.requests("sso")

    def test_when_the_provider_gives_no_link(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.arm("status-500", "sso", count=None)
        answer = staff.post(url("sign-in-as", account), self.data(staff, account))
        assert answer.status_code == 502
        assert "SendGrid didn't return a sign-in link." in text_of(answer)
        assert "case 3318" in text_of(answer)
        assert len(desk.sandbox.admin.requests("sso")) == 1  # never tried twice by itself
        assert not SignInRequest.objects.exists()  # what gave no link does not count
        assert not AuditEvent.objects.filter(verb="account.signed_in_as").exists()

    def test_a_foreign_address_is_refused(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.arm("redirect", "sso", status=303, location="https://sendgrid.com.evil.example/?code=1")
        answer = staff.post(url("sign-in-as", account), self.data(staff, account))
        assert answer.status_code == 502
        assert "Location" not in answer.headers

    def test_an_unwritten_record_gives_no_link(
        self, staff: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = desk.created()
        data = self.data(staff, account)

        def refuse(**_: object) -> None:
            raise RuntimeError("disk full")

        monkeypatch.setattr("portal.commands.audit.record", refuse)
        staff.raise_request_exception = False
        answer = staff.post(url("sign-in-as", account), data)
        assert answer.status_code == 500
        assert "_login" not in str(answer.headers) + text_of(answer)

    def test_ten_an_hour(self, staff: Client, desk: Desk, account: Account) -> None:
        def signed_in(hours_ago: float, actor: object) -> None:
            at = timezone.now() - timedelta(hours=hours_ago)
            SignInRequest.objects.create(requested_by=actor, requested_at=at)

        for _ in range(9):
            signed_in(0.5, desk.person)
        signed_in(2, desk.person)
        signed_in(0.5, UserFactory())
        made = desk.created()
        assert staff.post(url("sign-in-as", made), self.data(staff, made)).status_code == 303
        answer = staff.post(url("sign-in-as", made), self.data(staff, made))
        assert answer.status_code == 429
        assert "the limit of 10 customer sign-ins per hour" in text_of(answer)
        assert len(desk.sandbox.admin.requests("sso")) == 1

    @pytest.mark.parametrize("state", ["banned", "deleted"])
    def test_only_where_the_state_allows(self, staff: Client, state: str) -> None:
        account = AccountFactory(state=state)
        assert "Sign-in as this customer isn't available right now" in text_of(staff.get(url("sign-in-as", account)))
        data = {"reason": "try", "client_token": "a" * 32}
        assert staff.post(url("sign-in-as", account), data).status_code == 422

    def test_get_never_signs_in(self, staff: Client, desk: Desk) -> None:
        staff.get(url("sign-in-as", desk.created()))
        assert not desk.sandbox.admin.requests("sso")

    def test_needs_a_password_typed_within_the_hour(self, client: Client, account: Account) -> None:
        sign_in(client, UserFactory(), minutes_ago=61)
        assert "Confirm it's you" in text_of(client.post(url("sign-in-as", account), {}))

    def test_a_form_that_is_sent_again_is_confirmed_on_its_own_page(self, client: Client, desk: Desk) -> None:
        """Only that page names the provider in its policy: Chromium would stop the redirect from any other."""
        account = desk.created()
        sign_in(client, UserFactory(), minutes_ago=61)
        asked = client.post(url("sign-in-as", account), {"reason": "Typed x", "client_token": "a" * 32})
        again = client.post(url("sign-in-as", account), fields(asked) | {CONFIRM_PASSWORD: THEIRS})
        assert (again.status_code, "Typed x" in text_of(again)) == (422, True)
        assert "form-action 'self' http" in again.headers["Content-Security-Policy"]
        assert not desk.sandbox.admin.requests("sso")


class TestSmallThings:
    def test_refresh_reads_live(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.set_state(account.provider_id, "suspended")
        answer = staff.post(url("refresh", account))
        assert answer.headers["Location"] == account_url(account)
        account.refresh_from_db()
        assert (account.state, account.state_raw) == ("stopped_by_provider", "suspended")

    def test_refresh_keeps_the_last_reading_when_it_fails(self, staff: Client, desk: Desk) -> None:
        account = desk.created()
        desk.sandbox.admin.arm("status-500", "state", count=None)
        assert staff.post(url("refresh", account)).status_code == 303
        account.refresh_from_db()
        assert account.state == "active"

    def test_refresh_is_never_a_get(self, staff: Client, account: Account) -> None:
        assert staff.get(url("refresh", account)).status_code == 405

    def test_the_user_name_is_kept_and_audited(self, staff: Client, desk: Desk, account: Account) -> None:
        Account.objects.filter(pk=account.pk).update(v2_username="old")
        assert 'value="old"' in text_of(staff.get(url("username", account), **HTMX))
        assert (
            staff.post(
                url("username", account), {"username": " new.name "} | seen_at(staff, url("username", account))
            ).status_code
            == 303
        )
        account.refresh_from_db()
        assert account.v2_username == "new.name"
        event = AuditEvent.objects.get(verb="account.username_edited")
        assert (event.before, event.after) == ({"v2_username": "old"}, {"v2_username": "new.name"})

    def test_the_same_user_name_is_no_change(self, staff: Client, account: Account) -> None:
        staff.post(url("username", account), {"username": account.v2_username})
        assert not AuditEvent.objects.filter(verb="account.username_edited").exists()

    def test_a_user_name_that_is_too_long(self, staff: Client, account: Account) -> None:
        assert staff.post(url("username", account), {"username": "x" * 121}).status_code == 422


@pytest.mark.parametrize("deed", [*DEEDS, "username"])
@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("finance", 403), ("auditor", 403)])
def test_who_may(client: Client, account: Account, deed: str, role: str, status: int) -> None:
    sign_in(client, UserFactory(role=role))
    assert client.get(url(deed, account)).status_code == status
    if status == 403:
        assert client.post(url(deed, account), {"reason": "x", "client_token": "a" * 32}).status_code == 403
        assert not Operation.objects.exists()


@pytest.mark.parametrize("deed", DEEDS)
def test_unknown_accounts_are_not_found(staff: Client, deed: str) -> None:
    address = reverse(f"customers:account-{deed}", args=["00000000-0000-0000-0000-000000000000"])
    assert staff.get(address).status_code == 404


@pytest.mark.parametrize("deed", DEEDS)
def test_names_are_escaped(staff: Client, deed: str) -> None:
    account = AccountFactory(customer__company_name="<img src=x onerror=alert(1)>")
    for more in ({}, HTMX):
        assert b"<img src=x" not in staff.get(url(deed, account), **more).content
