"""What is done to API keys needs a password typed a short while ago, and nothing that was typed is lost for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.models import Account, Operation
from portal.access.models import User
from tests.customers.keys import account_with_keys, key_of
from tests.customers.page_helpers import HTMX, fields, hidden, text_of
from tests.support.factories import PASSWORD, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
FACTS = {"label": "Typed label", "rights": "single", "scopes": ["domains:read"], "ip_allow_list": "203.0.113.9"}
TYPED: dict[str, dict[str, Any]] = {
    "key-create": FACTS,
    "key-edit": FACTS,
    "key-rotate": {"old": "then"},
    "key-delete": {"why": "leaked", "reason": "Typed reason"},
}


@pytest.fixture
def person() -> User:
    user: User = UserFactory()
    return user


@pytest.fixture
def account() -> Account:
    account = account_with_keys()
    key_of(account)
    return account


def url(name: str, account: Account) -> str:
    return reverse(f"customers:{name}", args=[account.public_id, *([] if name == "key-create" else ["key-1"])])


def confirm(client: Client, address: str) -> Any:
    """Type the password on the page the person was sent to, and open where it leads."""
    parts = urlsplit(address)
    assert parts.path == "/reauthenticate/"
    sent = {"password": PASSWORD, "next": parse_qs(parts.query)["next"][0]}
    return client.get(client.post(parts.path, sent).headers["Location"])


@pytest.mark.parametrize("name", TYPED)
def test_opening_the_form_asks_for_the_password(client: Client, person: User, account: Account, name: str) -> None:
    sign_in(client, person, minutes_ago=11)
    assert confirm(client, client.get(url(name, account)).headers["Location"]).status_code == 200
    in_dialog = sign_in(client, person, minutes_ago=11).get(url(name, account), **HTMX)
    assert in_dialog.headers["HX-Redirect"].startswith("/reauthenticate/")


@pytest.mark.parametrize("how", [{}, HTMX], ids=["page", "dialog"])
@pytest.mark.parametrize("name", TYPED)
def test_a_form_that_was_open_too_long_comes_back_as_typed(
    client: Client, person: User, account: Account, name: str, how: dict[str, str]
) -> None:
    sign_in(client, person)
    typed = fields(client.get(url(name, account))) | TYPED[name]
    sign_in(client, person, minutes_ago=11)
    asked = client.post(url(name, account), typed, **how)
    assert not Operation.objects.exists()
    page = confirm(client, asked.headers["HX-Redirect" if how else "Location"])
    words = text_of(page)
    assert page.status_code == 200
    assert "Submit the form again" in words
    assert hidden(page, "client_token") == typed["client_token"]
    for value in ("Typed label", "Typed reason", "203.0.113.9"):
        assert (value in words) == (value in str(typed))
    assert not Operation.objects.exists()  # typing the password alone requests nothing
    assert "Typed" not in text_of(client.get(url(name, account)))  # once
    assert client.post(url(name, account), typed).status_code == 303
    assert Operation.objects.exists()


def test_what_was_typed_comes_back_on_its_own_page_only(client: Client, person: User, account: Account) -> None:
    sign_in(client, person, minutes_ago=11)
    client.post(url("key-delete", account), TYPED["key-delete"])
    sign_in(client, person)
    assert "Typed reason" not in text_of(client.get(url("key-create", account)))


@pytest.mark.parametrize("kind", ["key_create", "key_delete", "key_update"])
def test_sending_a_failed_key_operation_again_asks_too(
    client: Client, person: User, account: Account, kind: str
) -> None:
    failed = OperationFactory(
        account=account, kind=kind, state="failed", finished_at=timezone.now(), reason="Leaked",
        payload={"key": {"label": "Web shop", "scopes": ["domains:read"], "ip_allow_list": []}, "keep": False,
                 "replaces": "", "key_id": "key-1", "changes": {"scopes": ["domains:read"]}},
    )  # fmt: skip
    address = reverse("customers:operation-retry", args=[failed.public_id])
    sign_in(client, person, minutes_ago=11)
    back = client.post(address, {"client_token": "a" * 32})
    assert confirm(client, back.headers["Location"]).request["PATH_INFO"] == f"/operations/{failed.public_id}/"
    assert Operation.objects.count() == 1
    assert client.post(address, {"client_token": "a" * 32}).status_code == 303
    assert Operation.objects.count() == 2
