"""From provisioned to sending, over HTTP: what is needed, the domains, their records, the e-mail, a test message."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Connection, KeySecret, Operation, SendingDomain
from portal.access.models import User
from tests.customers.keys import RECORDS, account_with_keys, connection_with_keys, domain_of, key_of, secret_of
from tests.customers.page_helpers import HTMX, fields, prose_of, text_of
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
NAME = "mail.larkfield.example"
IN_PLACE = [{"required": True} | row | {"in_place": True} for row in RECORDS]
ONE_MISSING = [IN_PLACE[0], IN_PLACE[1] | {"in_place": False}, IN_PLACE[2] | {"in_place": False}]


@pytest.fixture
def person(db: None) -> User:
    user: User = UserFactory(name="Nadia Berg", email="nadia@postkeeper.example")
    return user


@pytest.fixture
def staff(client: Client, person: User) -> Client:
    return sign_in(client, person)


@pytest.fixture
def account(person: User) -> Account:
    """With a kept key, at an address where nobody answers."""
    account = account_with_keys(connection_with_keys(base_url="http://127.0.0.1:9"))
    secret_of(key_of(account), person, kept=True, shown_at=timezone.now())
    return account


def url(name: str, account: Account, *more: str) -> str:
    return reverse(f"customers:{name}", args=[account.public_id, *more])


class TestWhatIsNeeded:
    def test_a_kept_key(self, staff: Client, account: Account) -> None:
        words = prose_of(staff.get(url("account-sending", account)))
        assert "Uses the API key “Web shop”, stored (encrypted) by Nadia Berg." in words
        assert "Add domain" in words

    def test_without_one_it_says_how_to_get_one(self, staff: Client, account: Account) -> None:
        KeySecret.objects.update(kept=False, sealed="")
        answer = staff.get(url("account-sending", account))
        assert "Create a key and select “Store this key (encrypted) for sending setup”" in prose_of(answer)
        assert url("key-create", account) in text_of(answer)
        assert "Add domain" not in prose_of(answer)

    @pytest.mark.parametrize(("role", "linked"), [("customer_success", False), ("admin", True)])
    def test_where_keys_are_not_kept_it_says_who_can_change_that(
        self, client: Client, account: Account, role: str, linked: bool
    ) -> None:
        KeySecret.objects.update(kept=False, sealed="")
        Connection.objects.update(keep_keys=False)
        answer = sign_in(client, UserFactory(role=role)).get(url("account-sending", account))
        assert "Storing API keys is turned off for AhaSend test. An admin can turn it on" in prose_of(answer)
        settings = reverse("customers:connection-edit", args=[account.connection.public_id])
        assert (settings in text_of(answer)) is linked

    def test_a_key_that_is_gone_counts_as_none(self, staff: Client, account: Account) -> None:
        account.keys.update(gone_at=timezone.now())
        assert "The portal needs an API key for this account" in prose_of(staff.get(url("account-sending", account)))

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("stopped_by_us", "This account is suspended"),
            ("stopped_by_provider", "AhaSend blocked this account"),
            ("banned", "AhaSend blocked this account"),
            ("deleted", "The account is deleted"),
        ],
    )
    def test_an_account_that_is_not_active(self, staff: Client, account: Account, state: str, said: str) -> None:
        Account.objects.update(state=state)
        domain_of(account)
        for address in (url("account-sending", account), url("domain", account, NAME), url("domain-add", account)):
            answer = staff.get(address)
            assert said in prose_of(answer), address
            assert "Add domain" not in prose_of(answer)
            assert "Check DNS" not in prose_of(answer)
            assert "load, operation" not in text_of(answer)

    def test_a_provider_without_it(self, staff: Client) -> None:
        assert "Sending is set up at SendGrid" in prose_of(staff.get(url("account-sending", AccountFactory())))


class TestDomains:
    def test_the_list(self, staff: Client, account: Account) -> None:
        domain_of(account)
        checked = timezone.now() - timedelta(minutes=4)
        domain_of(account, "news.larkfield.example", records=ONE_MISSING, checked_at=checked)
        domain_of(account, "shop.larkfield.example", records=IN_PLACE, checked_at=checked, valid=True)
        OperationFactory(account=account, kind="domain_add", payload={"domain": "new.larkfield.example"})
        words = prose_of(staff.get(url("account-sending", account)))
        for said in ("Not checked yet", "1 record missing", "1 of 2", "4 min ago", "Verified", "2 of 2"):
            assert said in words
        assert "new.larkfield.example Queued" in words

    def test_a_stored_list_asks_for_a_fresh_one(self, staff: Client, account: Account) -> None:
        domain_of(account)
        assert "load, operation" not in text_of(staff.get(url("account-sending", account)))
        account.domains.update(read_at=timezone.now() - timedelta(minutes=5))
        assert "load, operation" in text_of(staff.get(url("account-sending", account)))

    def test_when_the_provider_is_down_the_stored_list_stays(self, staff: Client, account: Account) -> None:
        domain_of(account, read_at=timezone.now() - timedelta(minutes=5))
        answer = staff.get(url("account-sending", account) + "?live=1", **HTMX)
        assert "Couldn't load data from AhaSend" in prose_of(answer)
        assert "Showing data from 5 min ago." in prose_of(answer)
        assert NAME in prose_of(answer)
        assert "load, operation" not in text_of(answer)

    def test_adding_one_is_an_operation(self, staff: Client, account: Account) -> None:
        page = staff.get(url("domain-add", account), **HTMX)
        assert "<html" not in text_of(page)
        typed = fields(page) | {"name": "https://News.Larkfield.example/"}
        answer = staff.post(url("domain-add", account), typed, **HTMX)
        assert answer.headers["HX-Redirect"] == url("account-sending", account)
        assert Operation.objects.get(kind="domain_add").payload["domain"] == "news.larkfield.example"

    def test_what_a_typed_domain_became_is_said(self, staff: Client, account: Account) -> None:
        typed = fields(staff.get(url("domain-add", account))) | {"name": "Straße.Larkfield.example"}
        answer = staff.post(url("domain-add", account), typed)
        kept = "xn--strae-oqa.larkfield.example"
        assert Operation.objects.get(kind="domain_add").payload["domain"] == kept
        assert f"Saved as {kept}." in text_of(staff.get(answer.headers["Location"]))

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("", "Enter the domain the customer will send from."), ("localhost", "Enter a domain name, such as"),
            (NAME, "The account already has this domain."),
        ],
    )  # fmt: skip
    def test_what_cannot_be_added(self, staff: Client, account: Account, name: str, why: str) -> None:
        domain_of(account)
        typed = fields(staff.get(url("domain-add", account))) | {"name": name}
        answer = staff.post(url("domain-add", account), typed, **HTMX)
        assert answer.status_code == 422
        field = answer.context["form"]["name"]
        assert (field.value(), len(field.errors)) == (name, 1)
        assert why in field.errors[0]
        assert why in prose_of(answer)
        assert not Operation.objects.filter(kind="domain_add").exists()


class TestRecords:
    def test_the_table_and_what_is_missing(self, staff: Client, account: Account) -> None:
        domain_of(account, records=ONE_MISSING, checked_at=timezone.now())
        answer = staff.get(url("domain", account, NAME))
        words = prose_of(answer)
        assert "1 required record is missing TXT mail.larkfield.example" in words
        assert "Missing (optional)" in words
        assert "Verified" in words
        for row in RECORDS:
            assert f'data-copy="{row["content"]}"' in text_of(answer)
            assert f'data-copy="{row["host"]}"' in text_of(answer)

    def test_nothing_checked_is_nothing_missing(self, staff: Client, account: Account) -> None:
        domain_of(account)
        words = prose_of(staff.get(url("domain", account, NAME)))
        assert "Not checked yet" in words
        assert "missing" not in words.lower()

    def test_the_e_mail(self, staff: Client, account: Account) -> None:
        domain_of(account)
        file = staff.get(url("domain", account, NAME) + "?download=txt")
        letter = file.content.decode()
        assert file.headers["Content-Disposition"] == f'attachment; filename="dns-{NAME}.txt"'
        assert file.headers["Content-Type"] == "text/plain; charset=utf-8"
        for row in RECORDS:
            assert f"Type: {row['type']}" in letter
            assert f"   Host: {row['host']}\n   Value: {row['content']}" in letter
        assert "CNAME (recommended)" in letter
        page = staff.get(url("domain", account, NAME))
        assert letter in html.unescape(page.content.decode())
        link = text_of(page).split('href="mailto:')[1].split('"')[0]
        address, _, query = link.partition("?")
        assert address == account.customer.email
        assert parse_qs(urlsplit(f"?{query}").query)["body"] == [letter.replace("\n", "\r\n")]

    def test_a_check_that_fails_says_why_and_keeps_the_reading(self, staff: Client, account: Account) -> None:
        domain_of(account, records=IN_PLACE, valid=True, checked_at=timezone.now())
        answer = staff.post(url("domain-check", account, NAME), **HTMX)
        assert answer.status_code == 200
        assert "Couldn't check DNS" in prose_of(answer)
        assert "Verified" in prose_of(answer)
        answer = staff.post(url("domain-check", account, NAME), follow=True)
        assert "Couldn't check DNS" in prose_of(answer)

    @pytest.mark.parametrize("name", ["domain", "domain-check", "test-message"])
    def test_unknown_domains_are_not_found(self, staff: Client, account: Account, name: str) -> None:
        call = staff.post if name == "domain-check" else staff.get
        assert call(url(name, account, "nobody.example")).status_code == 404


class TestMessage:
    @pytest.fixture
    def verified(self, account: Account) -> Account:
        domain_of(account, records=IN_PLACE, valid=True, checked_at=timezone.now())
        return account

    def ask(self, staff: Client, account: Account, **typed: str) -> Any:
        page = staff.get(url("test-message", account, NAME))
        data = fields(page) | {"sender": f"test@{NAME}", "recipient": "nadia@postkeeper.example"} | typed
        return staff.post(url("test-message", account, NAME), data)

    def test_one_message_is_an_operation(self, staff: Client, verified: Account) -> None:
        page = staff.get(url("test-message", verified, NAME))
        assert f'value="test@{NAME}"' in text_of(page)
        assert 'value="nadia@postkeeper.example"' in text_of(page)
        answer = self.ask(staff, verified)
        assert answer.headers["Location"] == url("domain", verified, NAME)
        payload = Operation.objects.get(kind="test_message").payload
        assert (payload["sender"], payload["recipient"]) == (f"test@{NAME}", "nadia@postkeeper.example")

    @pytest.mark.parametrize("name", ["xn--larkfld-r2a.example", "larkfüld.example"])
    @pytest.mark.parametrize("typed", ["test@LARKFÜLD.example", "test@xn--larkfld-r2a.example"])
    def test_every_spelling_of_the_domain_is_the_domain(
        self, staff: Client, verified: Account, typed: str, name: str
    ) -> None:
        SendingDomain.objects.update(name=name)
        address = url("test-message", verified, name)
        staff.post(address, fields(staff.get(address)) | {"sender": typed, "recipient": "inbox@postkeeper.example"})
        operation = Operation.objects.get(kind="test_message")
        assert operation.payload["sender"] == f"test@{name}"
        assert "inbox@postkeeper.example" in prose_of(staff.get(url("domain", verified, name)))

    @pytest.mark.parametrize("typed", [{"sender": "test@other.example"}, {"sender": "x"}, {"recipient": ""}])
    def test_what_cannot_be_sent(self, staff: Client, verified: Account, typed: dict[str, str]) -> None:
        answer = self.ask(staff, verified, **typed)
        assert answer.status_code == 422
        assert not Operation.objects.filter(kind="test_message").exists()

    def test_not_before_the_records_are_in_place(self, staff: Client, account: Account) -> None:
        domain_of(account, records=ONE_MISSING, checked_at=timezone.now())
        assert "Send test message" not in prose_of(staff.get(url("domain", account, NAME)))
        assert "Check DNS first" in prose_of(staff.get(url("test-message", account, NAME)))
        assert self.ask(staff, account).status_code == 422

    def test_the_page_follows_one_under_way_and_rests_when_it_is_old(self, staff: Client, verified: Account) -> None:
        sent = OperationFactory(
            account=verified, kind="test_message", state="sending",
            payload={"sender": f"test@{NAME}", "recipient": "nadia@postkeeper.example"},
        )  # fmt: skip
        address = url("domain", verified, NAME)
        assert 'data-poll="3"' in text_of(staff.get(address))
        ended = timezone.now() - timedelta(minutes=5)
        Operation.objects.filter(pk=sent.pk).update(
            state="succeeded", finished_at=ended, concurrency_key="", result={"message_id": "m-1"}
        )
        assert 'hx-trigger="load"' in text_of(staff.get(address))
        fragment = staff.get(address + "?status=1", **HTMX)
        assert "hx-trigger" not in text_of(fragment)
        assert "Refresh status" in prose_of(fragment)
        assert "nadia@postkeeper.example" in prose_of(fragment)


@pytest.mark.parametrize("name", ["domain-add", "test-message"])
@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("finance", 403), ("auditor", 403)])
def test_who_may(client: Client, account: Account, name: str, role: str, status: int) -> None:
    domain_of(account)
    sign_in(client, UserFactory(role=role))
    address = url(name, account, *([NAME] if name == "test-message" else []))
    assert client.get(address).status_code == status
    if status == 403:
        assert client.post(address, {"client_token": "a" * 32}).status_code == 403
        assert client.post(url("domain-check", account, NAME)).status_code == 403
        assert client.get(url("account-sending", account)).status_code == 200
        assert client.get(url("domain", account, NAME)).status_code == 200


def test_names_are_escaped(staff: Client, account: Account) -> None:
    domain_of(account, records=[RECORDS[0] | {"content": "<img src=x onerror=alert(1)>", "host": '"><b>'}])
    assert b"<img src=x" not in staff.get(url("domain", account, NAME)).content
