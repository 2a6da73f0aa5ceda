"""The offerings editor in front of the real sandbox: fresh reading, live consequences, conflicts side by side."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Account, Operation
from portal.access.models import User
from portal.providers import ProviderOffering
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.customers.page_helpers import HTMX, fields, hidden, text_of
from tests.support.factories import OfferingFactory, UserFactory
from tests.support.people import sign_in

TWO = ProviderOffering(ADDON.name, "addon", 2)


def rows(*offerings: ProviderOffering) -> list[dict[str, Any]]:
    return [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in offerings]


@pytest.fixture
def staff(client: Client, desk: Desk) -> Client:
    return sign_in(client, desk.person)


@pytest.fixture
def account(desk: Desk) -> Account:
    return desk.created()


def edit_url(account: Account) -> str:
    return reverse("customers:account-offerings", args=[account.public_id])


def changes_url(account: Account) -> str:
    return reverse("customers:offerings-changes", args=[account.public_id])


def choice(page: Any, *offerings: ProviderOffering, **more: str) -> dict[str, str]:
    """The editor's form as a browser would send it with this choice."""
    package = next(each.name for each in offerings if each.type == "package")
    addons = {each.name: str(each.quantity) for each in offerings if each.type == "addon"}
    data = fields(page) | {"package": package, "reason": "", "checked": "on"}
    return data | {f"addon-{ADDON.name}": addons.get(ADDON.name, "0")} | more


class TestEditor:
    def test_reads_the_list_at_the_provider(self, staff: Client, desk: Desk, account: Account) -> None:
        desk.sandbox.admin.change_account(account.provider_id, offerings=rows(BIGGER, TWO))
        page = staff.get(edit_url(account))
        assert page.status_code == 200
        assert json.loads(hidden(page, "base")) == rows(BIGGER, TWO)
        assert "Pro 300K" in text_of(page)
        assert "Current at SendGrid" in text_of(page)
        account.refresh_from_db()
        assert account.package == BIGGER.name

    def test_shows_the_last_reading_if_the_provider_is_unreachable(
        self, staff: Client, desk: Desk, account: Account
    ) -> None:
        desk.sandbox.admin.arm("status-503", "offerings", count=None)
        page = staff.get(edit_url(account))
        assert page.status_code == 200
        assert "Couldn't load data from SendGrid" in text_of(page)
        assert json.loads(hidden(page, "base")) == rows(PACKAGE, ADDON)

    def test_replacing_the_list(self, staff: Client, desk: Desk, account: Account) -> None:
        page = staff.get(edit_url(account))
        answer = staff.post(edit_url(account), choice(page, BIGGER, TWO, reason="Winter sale"))
        assert answer.status_code == 303
        assert answer.headers["Location"] == reverse("customers:account", args=[account.public_id])
        operation = Operation.objects.get(kind="offerings")
        assert operation.payload["offerings"] == rows(BIGGER, TWO)
        assert operation.reason == "Winter sale"
        assert desk.perform(operation).state == "succeeded"
        assert desk.sandbox.admin.account(account.provider_id)["offerings"] == rows(BIGGER, TWO)

    def test_a_double_click_is_one_operation(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER)
        assert {staff.post(edit_url(account), data).status_code for _ in range(3)} == {303}
        assert Operation.objects.filter(kind="offerings").count() == 1

    def test_the_tick_is_needed_and_what_was_typed_stays(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER, TWO, reason="Winter sale")
        del data["checked"]
        answer = staff.post(edit_url(account), data)
        assert answer.status_code == 422
        assert "Select this box to continue." in text_of(answer)
        assert 'value="Winter sale"' in text_of(answer)
        assert f'value="{BIGGER.name}" checked' in text_of(answer)
        assert not Operation.objects.filter(kind="offerings").exists()

    def test_nothing_different_is_refused(self, staff: Client, account: Account) -> None:
        answer = staff.post(edit_url(account), choice(staff.get(edit_url(account)), PACKAGE, ADDON))
        assert answer.status_code == 422
        assert "You made no changes to the offerings." in text_of(answer)

    @pytest.mark.parametrize("base", ["", "nonsense", "{}", "[1]", '[{"name": 1}]', "null"])
    def test_a_broken_base_sends_nothing(self, staff: Client, account: Account, base: str) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER) | {"base": base}
        answer = staff.post(edit_url(account), data)
        assert answer.status_code in (303, 422)
        assert not Operation.objects.filter(kind="offerings").exists()

    @pytest.mark.parametrize(("role", "status"), [("finance", 403), ("auditor", 403), ("admin", 200)])
    def test_who_may(self, client: Client, account: Account, role: str, status: int) -> None:
        sign_in(client, UserFactory(role=role))
        assert client.get(edit_url(account)).status_code == status

    def test_a_pending_account_has_nothing_to_edit(self, staff: Client, desk: Desk) -> None:
        pending = desk.ask_create("new@northwind.example").account
        assert staff.get(edit_url(pending)).status_code == 303


class TestValuesOfTheProvider:
    """What an account has is shown, accepted and sent back as it came."""

    def test_a_name_with_blanks_goes_back_byte_for_byte(self, staff: Client, desk: Desk, account: Account) -> None:
        odd = [ProviderOffering("x.trailing ", "addon", 2), ProviderOffering(" y.pool", "ip pool ", 1)]
        desk.sandbox.admin.change_account(account.provider_id, offerings=rows(PACKAGE, *odd))
        page = staff.get(edit_url(account))
        assert staff.post(edit_url(account), choice(page, BIGGER, *odd)).status_code == 303
        assert desk.perform(Operation.objects.get(kind="offerings")).state == "succeeded"
        sent = desk.sandbox.admin.account(account.provider_id)["offerings"]
        assert sorted(sent, key=lambda each: str(each["name"])) == sorted(
            rows(BIGGER, *odd), key=lambda each: str(each["name"])
        )

    def test_more_of_an_add_on_than_may_be_typed(self, staff: Client, desk: Desk, account: Account) -> None:
        many = ProviderOffering(ADDON.name, "addon", 1_500)
        desk.sandbox.admin.change_account(account.provider_id, offerings=rows(PACKAGE, many))
        page = staff.get(edit_url(account))
        assert staff.post(edit_url(account), choice(page, BIGGER, many)).status_code == 303
        assert desk.perform(Operation.objects.get(kind="offerings")).state == "succeeded"

    def test_more_than_that_may_not_be_typed(self, staff: Client, desk: Desk, account: Account) -> None:
        many, more = (ProviderOffering(ADDON.name, "addon", count) for count in (1_500, 1_501))
        desk.sandbox.admin.change_account(account.provider_id, offerings=rows(PACKAGE, many))
        answer = staff.post(edit_url(account), choice(staff.get(edit_url(account)), PACKAGE, more))
        assert answer.status_code == 422
        assert "less than or equal to 1500" in text_of(answer)
        assert 'value="1501"' in text_of(answer)


class TestChanges:
    def test_the_column_says_what_is_lost(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), ProviderOffering("postkeeper.ei.free-100.v1", "package", 1))
        answer = staff.post(changes_url(account), data, **HTMX)
        words = text_of(answer)
        assert answer.status_code == 200
        assert "<html" not in words
        assert "The account will lose" in words
        assert "2 dedicated IPs" in words
        assert "postkeeper.ei.free-100.v1  \u00d7 1\n" in answer.content.decode()
        assert "disabled" not in words
        assert not Operation.objects.filter(kind="offerings").exists()

    def test_the_tick_is_for_one_list_only(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER, reason="Kept")
        words = text_of(staff.post(changes_url(account), data, **HTMX))
        assert "<input" not in words  # what was typed stands beside it, and is not replaced
        page = text_of(staff.post(changes_url(account), data))
        assert 'value="Kept"' in page
        assert not re.search(r'<input[^>]*name="checked"[^>]* checked', page)

    def test_without_changes_the_button_is_off(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), PACKAGE, ADDON)
        assert "disabled" in text_of(staff.post(changes_url(account), data, **HTMX))

    def test_works_without_script(self, staff: Client, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER)
        page = staff.post(changes_url(account), data)
        assert "<html" in text_of(page)
        assert "Selected" in text_of(page)
        assert staff.post(edit_url(account), choice(page, BIGGER)).status_code == 303


class TestConflict:
    """Somebody else changed the list: nothing is sent, the three lists stand side by side, one click goes on."""

    def test_of_a_stale_page(self, staff: Client, desk: Desk, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER, ADDON, reason="Winter sale")
        other = desk.perform(desk.ask_offerings(account, [PACKAGE, TWO]))
        assert other.state == "succeeded"
        page = staff.post(edit_url(account), data)
        words = text_of(page)
        assert page.status_code == 409
        assert "The offerings at SendGrid changed while you were editing" in words
        assert "Nothing was sent." in words
        assert Operation.objects.filter(kind="offerings").count() == 1
        assert "Resolve the conflict with SendGrid first." in words
        settled = staff.post(changes_url(account), choice(page, BIGGER, ADDON, settle="merge"))
        assert f'value="{BIGGER.name}" checked' in text_of(settled)
        assert hidden(settled, f"addon-{ADDON.name}") == "2"  # theirs, which this person had not touched
        assert hidden(settled, "version") == str(Account.objects.get().version)
        answer = staff.post(edit_url(account), choice(settled, BIGGER, TWO))
        assert answer.status_code == 303
        assert desk.perform(Operation.objects.latest("pk")).state == "succeeded"

    def test_going_on_with_mine(self, staff: Client, desk: Desk, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER)
        desk.perform(desk.ask_offerings(account, [PACKAGE, TWO]))
        page = staff.post(edit_url(account), data)
        settled = staff.post(changes_url(account), choice(page, BIGGER, settle="mine"))
        assert hidden(settled, f"addon-{ADDON.name}") == "0"
        assert json.loads(hidden(settled, "base")) == rows(PACKAGE, TWO)

    def test_of_something_else_on_the_account(self, staff: Client, desk: Desk, account: Account) -> None:
        data = choice(staff.get(edit_url(account)), BIGGER)
        desk.perform(desk.ask("suspend", account))
        page = staff.post(edit_url(account), data)
        assert page.status_code == 409
        assert "The offerings at SendGrid are still the same" in text_of(page)
        settled = staff.post(changes_url(account), choice(page, BIGGER, settle="mine"))
        assert staff.post(edit_url(account), choice(settled, BIGGER)).status_code == 303

    def test_of_an_operation_that_found_another_list(self, staff: Client, desk: Desk, account: Account) -> None:
        operation = desk.ask_offerings(account, [BIGGER, ADDON])
        desk.sandbox.admin.change_account(account.provider_id, offerings=rows(PACKAGE, TWO))
        failed = desk.perform(operation)
        assert (failed.state, failed.error_kind) == ("failed", "conflict")
        page = staff.get(f"{edit_url(account)}?conflict={failed.public_id}")
        words = text_of(page)
        assert "changed while you were editing" in words
        assert "Merge into my version" in words
        settled = staff.post(changes_url(account), choice(page, BIGGER, ADDON, settle="merge"))
        answer = staff.post(edit_url(account), choice(settled, BIGGER, TWO))
        assert answer.status_code == 303
        assert desk.perform(Operation.objects.latest("pk")).state == "succeeded"
        assert desk.sandbox.admin.account(account.provider_id)["offerings"] == rows(BIGGER, TWO)

    @pytest.mark.parametrize("conflict", ["nonsense", "00000000-0000-0000-0000-000000000000"])
    def test_an_operation_that_is_none_is_just_the_editor(self, staff: Client, account: Account, conflict: str) -> None:
        page = staff.get(f"{edit_url(account)}?conflict={conflict}")
        assert page.status_code == 200
        assert "changed while you were editing" not in text_of(page)


class TestChoicesOfANewAccount:
    def new(self, staff: Client, desk: Desk) -> str:
        return text_of(staff.get(reverse("customers:create"), {"connection": str(desk.connection.public_id)}))

    def test_are_the_catalogue_of_the_connection(self, staff: Client, desk: Desk) -> None:
        words = self.new(staff, desk)
        assert "Pro 1.5M" in words
        assert f'name="addon-{ADDON.name}"' in words
        assert "Choose a package to see what's included." in words
        assert "alert-circle" not in words

    def test_are_summed_up_beside_the_fields(self, staff: Client, desk: Desk) -> None:
        asked = {"connection": str(desk.connection.public_id), "package": PACKAGE.name, f"addon-{ADDON.name}": "2"}
        words = text_of(staff.get(reverse("customers:offering-sum"), asked))
        assert "100,000 emails/month, 3 dedicated IPs" in words
        assert "<input" not in words

    @pytest.mark.parametrize("connection", ["", "nonsense", "00000000-0000-0000-0000-000000000000"])
    def test_need_a_connection(self, staff: Client, connection: str) -> None:
        assert staff.get(reverse("customers:offering-sum"), {"connection": connection}).status_code == 404

    def test_stay_when_another_connection_is_selected(self, staff: Client, desk: Desk) -> None:
        typed = {"connection": str(desk.connection.public_id), "show": "part", "package": PACKAGE.name}
        page = staff.post(reverse("customers:create"), typed | {f"addon-{ADDON.name}": "7"}, **HTMX)
        assert page.context["offerings_form"].chosen() == [PACKAGE, ProviderOffering(ADDON.name, "addon", 7)]

    def test_show_a_quantity_that_is_not_valid_as_it_was_typed(self, staff: Client, desk: Desk) -> None:
        typed = {"connection": str(desk.connection.public_id), "show": "part", "package": PACKAGE.name}
        page = staff.post(reverse("customers:create"), typed | {f"addon-{ADDON.name}": "99999"}, **HTMX)
        assert hidden(page, f"addon-{ADDON.name}") == "99999"
        assert page.context["offerings_form"].chosen() == [PACKAGE]

    def test_say_when_the_catalogue_could_not_be_read(self, staff: Client, desk: Desk) -> None:
        desk.connection.catalogue_read_at = None
        desk.connection.save(update_fields=["catalogue_read_at"])
        desk.sandbox.admin.arm("status-500", "catalogue", count=None)
        words = self.new(staff, desk)
        assert "Couldn't refresh the catalog" in words
        assert "Pro 1.5M" in words


@pytest.mark.django_db
def test_a_limit_that_the_catalog_lacks_is_not_known(client: Client) -> None:
    sign_in(client, UserFactory())
    offering = OfferingFactory(entitlements={"email_sends_max_monthly": 100_000})
    url = reverse("customers:create") + f"?connection={offering.connection.public_id}"
    cell = re.search(r'data-label="Dedicated IPs">(.*?)</td>', text_of(client.get(url)), re.DOTALL)
    assert cell
    assert "pk-missing" in cell[1]


def test_texts_of_the_provider_are_escaped(staff: Client, desk: Desk, account: Account, other: User) -> None:
    desk.sandbox.admin.put_offering("acme.ei.<script>alert(1)</script>.v1", type="addon", entitlements={"<b>x": 1})
    staff.post(reverse("customers:connection-catalogue", args=[desk.connection.public_id]))
    page = staff.get(edit_url(account))
    assert "<script>alert" not in page.content.decode()
    assert "<b>x" not in page.content.decode()
    assert "alert(1)" in text_of(page)


@pytest.fixture
def other(db: None) -> User:
    return UserFactory()
