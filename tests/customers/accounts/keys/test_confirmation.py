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
from tests.customers.page_helpers import HTMX, fields, text_of
from tests.support.factories import PASSWORD as THEIRS
from tests.support.factories import OperationFactory, UserFactory
from tests.support.people import CONFIRM_PASSWORD, sign_in

pytestmark = pytest.mark.django_db
DIALOG = HTMX | {"HTTP_HX_TARGET": "dialog"}
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
    sent = {"password": THEIRS, "next": parse_qs(parts.query)["next"][0]}
    return client.get(client.post(parts.path, sent).headers["Location"])


@pytest.mark.parametrize("name", TYPED)
def test_opening_the_form_asks_for_the_password(client: Client, person: User, account: Account, name: str) -> None:
    sign_in(client, person, minutes_ago=11)
    assert confirm(client, client.get(url(name, account)).headers["Location"]).status_code == 200
    in_dialog = sign_in(client, person, minutes_ago=11).get(url(name, account), **HTMX)
    assert in_dialog.headers["HX-Redirect"].startswith("/reauthenticate/")


@pytest.mark.parametrize("how", [{}, DIALOG], ids=["page", "dialog"])
@pytest.mark.parametrize("name", TYPED)
def test_a_form_that_was_open_too_long_comes_back_as_typed(
    client: Client, person: User, account: Account, name: str, how: dict[str, str]
) -> None:
    sign_in(client, person)
    typed = fields(client.get(url(name, account))) | TYPED[name]
    sign_in(client, person, minutes_ago=11)
    asked = client.post(url(name, account), typed, **how)
    assert asked.status_code == 422
    assert not Operation.objects.exists()
    kept, words = fields(asked), text_of(asked)
    assert "Confirm it's you" in words
    assert kept["client_token"] == typed["client_token"]
    for value in ("Typed label", "Typed reason", "203.0.113.9"):
        assert (f"{value} </dd>" in words) == (value in str(typed))
    assert "Typed" not in str(dict(client.session))
    assert client.post(url(name, account), kept | {CONFIRM_PASSWORD: "a bad guess"}, **how).status_code == 422
    assert not Operation.objects.exists()
    done = client.post(url(name, account), kept | {CONFIRM_PASSWORD: THEIRS}, **how)
    assert done.headers["HX-Redirect" if how else "Location"].endswith("/keys/")
    requested = Operation.objects.count()
    assert requested
    client.post(url(name, account), kept, **how)
    assert Operation.objects.count() == requested


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
    asked = client.post(address, {"client_token": "a" * 32})
    assert asked.status_code == 422
    assert Operation.objects.count() == 1
    assert client.post(address, fields(asked) | {CONFIRM_PASSWORD: THEIRS}).status_code == 303
    assert Operation.objects.count() == 2
