"""The form that rotates or deletes many keys: who chooses which, and what a form with mistakes says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.accounts.keys.drill import accounts_of_text, keys_seen_by
from customers.models import Account, ChangeSet, Operation
from customers.operations import key_secrets
from portal.access.models import User
from portal.commands import Command
from tests.customers.keys import account_with_keys, connection_with_keys, key_of, secret_of
from tests.customers.page_helpers import prose_of, text_of
from tests.support.factories import AccountFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
URL = "/keys/change/"


@pytest.fixture
def person() -> User:
    return User.objects.create_user("success@postkeeper.example", name="Nadia Berg", role="customer_success")


@pytest.fixture
def staff(client: Client, person: User) -> Client:
    return sign_in(client, person)


@pytest.fixture
def account() -> Account:
    return account_with_keys(connection_with_keys())


def post(staff: Client, query: str = "", **typed: str) -> Any:
    data = {"kind": "key_rotate", "old": "then", "reason": "Laptop stolen", "client_token": uuid4().hex} | typed
    return staff.post(URL + query, data)


def rows() -> set[tuple[int, str]]:
    made = ChangeSet.objects.get()
    assert made.state == "listing"
    return set(made.items.values_list("account_id", "key_id"))


class TestThePage:
    def test_more_keys_than_fit_say_to_narrow(
        self, staff: Client, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("customers.bulk.commands.MOST", 1)
        for name in ("web", "web2"):
            key_of(account, name)
        said = prose_of(staff.get(URL + "?finding=never"))
        assert "The filtered list has more than 1 keys." in said
        assert "Go back and narrow the list." in said
        listed = prose_of(staff.get("/keys/?finding=never"))
        assert "narrow it to 1 keys" in listed
        assert "Rotate or delete all" not in listed

    def test_errors_are_in_the_order_of_the_fields(self, staff: Client) -> None:
        said = prose_of(staff.post(URL, {"source": "accounts", "client_token": uuid4().hex}))
        summary = said[said.index("Fix the errors below") :]
        places = [summary.index(each) for each in ("Accounts or customers:", "Action:", "Reason:")]
        assert places == sorted(places)


class TestSources:
    def test_pasted_accounts_mean_all_their_keys(self, staff: Client, account: Account) -> None:
        other = account_with_keys(account.connection, customer__company_name="Fjord Foods")
        typed = f"{account.provider_id.upper()}\n\n fjord foods \n"
        answer = post(staff, source="accounts", accounts=typed)
        made = ChangeSet.objects.get()
        assert (answer.status_code, answer.headers["Location"]) == (303, made.get_absolute_url())
        assert (made.kind, made.wanted, made.reason) == ("key_rotate", {"old": "then"}, "Laptop stolen")
        assert rows() == {(account.pk, ""), (other.pk, "")}
        assert Operation.objects.count() == 0

    def test_the_filtered_list_means_its_keys(self, staff: Client, account: Account) -> None:
        key_of(account, "old", made_at=timezone.now() - timedelta(days=800))
        key_of(account, "new")
        assert "The filtered list has 1 key." in prose_of(staff.get(f"{URL}?finding=old"))
        post(staff, "?finding=old", source="filter", kind="key_delete")
        assert rows() == {(account.pk, "old")}
        assert ChangeSet.objects.get().wanted == {}

    def test_without_filters_nothing_is_filtered(self, staff: Client, account: Account) -> None:
        key_of(account)
        assert "The keys of the filtered list" not in prose_of(staff.get(URL))
        assert post(staff, source="filter").status_code == 422
        assert not ChangeSet.objects.exists()

    def test_a_member_means_the_keys_they_revealed(self, staff: Client, account: Account, person: User) -> None:
        gone = User.objects.create_user("gone@postkeeper.example", name="Left Long Ago", role="customer_success")
        for key_id, holder in (("seen", gone), ("deleted", gone), ("other", person), ("unseen", gone)):
            secret_of(key_of(account, key_id), holder)
            if key_id != "unseen":
                key_secrets.reveal_once(Command(holder), account=account, key_id=key_id)
        account.keys.filter(key_id="deleted").update(gone_at=timezone.now())
        User.objects.filter(pk=gone.pk).update(is_active=False)
        assert "Left Long Ago (disabled)" in prose_of(staff.get(URL))
        assert keys_seen_by(gone) == [(account.pk, "seen")]
        post(staff, source="member", member=str(gone.public_id))
        assert rows() == {(account.pk, "seen")}

    def test_a_member_who_revealed_nothing(self, staff: Client, account: Account, person: User) -> None:
        answer = post(staff, source="member", member=str(person.public_id))
        assert answer.status_code == 422
        assert "Nadia Berg revealed the secret of no key that exists." in prose_of(answer)


class TestMistakes:
    def test_lines_that_mean_nothing_are_named(self, staff: Client, account: Account) -> None:
        answer = post(staff, source="accounts", accounts=f"{account.provider_id}\nNobody Ltd")
        assert answer.status_code == 422
        assert "“Nobody Ltd” matches no account and no customer." in prose_of(answer)
        assert not ChangeSet.objects.exists()

    def test_two_customers_of_one_name_are_not_guessed(self, account: Account) -> None:
        account_with_keys(account.connection, customer__company_name="Larkfield Outdoor")
        chosen, wrong = accounts_of_text("Larkfield Outdoor")
        assert (chosen, wrong) == ([], {"Larkfield Outdoor": "matches more than one customer"})

    def test_accounts_whose_keys_nobody_can_list(self, account: Account) -> None:
        AccountFactory(customer__company_name="SendGrid only", provider_id="sg1")
        _chosen, wrong = accounts_of_text("SendGrid only\nsg1")
        assert set(wrong.values()) == {"has no account whose API keys the portal manages"}

    @pytest.mark.parametrize(
        ("typed", "text"),
        [
            ({"source": ""}, "Select which keys."),
            ({"source": "accounts"}, "Enter at least one account or customer."),
            ({"source": "member"}, "Select a team member."),
            ({"source": "accounts", "reason": ""}, "Enter a reason."),
            ({"source": "accounts", "kind": ""}, "Select an action."),
            ({"source": "accounts", "old": ""}, "Select when the old keys are deleted."),
        ],
    )
    def test_a_field_that_is_missing(self, staff: Client, account: Account, typed: dict[str, str], text: str) -> None:
        answer = post(staff, **typed)
        assert answer.status_code == 422
        assert text in prose_of(answer)

    def test_it_asks_to_confirm(self, client: Client, person: User, account: Account) -> None:
        late = sign_in(client, person, minutes_ago=11)
        answer = post(late, source="accounts", accounts=account.provider_id or "")
        assert "confirm" in text_of(answer).lower()
        assert not ChangeSet.objects.exists()

    def test_the_same_form_again_is_one_drill(self, staff: Client, account: Account) -> None:
        for _ in range(2):
            post(staff, source="accounts", accounts=account.provider_id or "", client_token="token-12345678")
        assert ChangeSet.objects.count() == 1

    def test_finance_has_no_such_page(self, client: Client, account: Account) -> None:
        finance = User.objects.create_user("finance@postkeeper.example", name="Fin", role="finance")
        assert sign_in(client, finance).get(URL).status_code == 403
        assert reverse("customers:keys-change") == URL
