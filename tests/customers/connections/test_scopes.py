"""A connection whose key carries scopes and whose accounts belong to one of ours: added, checked, changed, told."""

from __future__ import annotations

import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from customers.models import Connection
from portal.audit.models import AuditEvent
from portal.providers import CAPABILITIES
from tests.customers.accounts.create.test_create import lacking
from tests.customers.keys import account_with_keys, connection_with_keys
from tests.customers.page_helpers import text_of
from tests.support.edits import seen_at
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess

NEW = "customers:connection-create"
SCOPES = [scope.name for scope in CAPABILITIES["ahasend"].own_scopes]


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    return sign_in(client, UserFactory(role="admin"))


def typed(sandbox: SandboxProcess, **more: str) -> dict[str, str]:
    return {
        "kind": "ahasend", "name": "AhaSend", "region": "other", "base_url": sandbox.base_url,
        "api_key": sandbox.ahasend_key, "account_id": sandbox.ahasend_account, "keep_keys": "on",
        "requests_per_minute": "3000", "creates_per_hour": "50",
    } | more  # fmt: skip


def added(admin: Client, sandbox: SandboxProcess, **more: str) -> tuple[Connection, str]:
    """The connection, and its page."""
    answer = admin.post(reverse(NEW), typed(sandbox, **more))
    assert answer.status_code in {302, 303}, text_of(answer)
    return Connection.objects.get(), text_of(admin.get(answer.headers["Location"]))


def row_of(page: str, scope: str) -> str:
    start = page.index(f'pk-mono">{scope}</td>')
    return page[start : page.index("</tr>", start)]


def test_the_kind_is_chosen_first(admin: Client) -> None:
    page = text_of(admin.get(reverse(NEW)))
    for kind in CAPABILITIES:
        assert f"{reverse(NEW)}?kind={kind}" in page
    assert "api_key" not in page


@pytest.mark.parametrize(
    ("kind", "has", "lacks"),
    [
        ("ahasend", ["account_id", "keep_keys"], ["v2_auth", "v2_username", "v2_password", "test_accounts_only"]),
        ("sendgrid", ["v2_auth", "v2_username", "v2_password", "test_accounts_only"], ["account_id", "keep_keys"]),
    ],
)
def test_each_kind_asks_for_its_own(admin: Client, kind: str, has: list[str], lacks: list[str]) -> None:
    page = text_of(admin.get(f"{reverse(NEW)}?kind={kind}"))
    assert [name for name in has if f'name="{name}"' not in page] == []
    assert [name for name in lacks if f'name="{name}"' in page] == []


def test_sources_of_usage_are_the_kinds_own(admin: Client, sandbox: SandboxProcess) -> None:
    assert "Pooled usage report" not in text_of(admin.get(f"{reverse(NEW)}?kind=sendgrid"))
    connection, _page = added(admin, sandbox, usage_source="credits")
    assert connection.usage_source == "pooled"


def test_adding_a_connection_lists_the_granted_scopes(admin: Client, sandbox: SandboxProcess) -> None:
    connection, page = added(admin, sandbox)
    assert (connection.account_id, connection.keep_keys, connection.kind) == (sandbox.ahasend_account, True, "ahasend")
    assert len(SCOPES) == 8
    for scope in CAPABILITIES["ahasend"].own_scopes:
        assert "Granted" in row_of(page, scope.name), scope.name
        assert scope.allows in row_of(page, scope.name)
    assert "Catalog" not in page
    assert "v2 sign-in" not in page
    assert "Usage: pooled usage report" in page
    assert sandbox.ahasend_key not in page + str(list(AuditEvent.objects.values()))
    assert sandbox.admin.aha.accounts() == [], "the check changed nothing"


def test_a_missing_scope_is_named_with_what_to_do(admin: Client, sandbox: SandboxProcess) -> None:
    key = sandbox.admin.aha.add_key(sandbox.ahasend_account, missing_scopes=["sub-accounts:suspend"])
    _connection, page = added(admin, sandbox, api_key=key)
    missing = [scope for scope in SCOPES if "Missing" in row_of(page, scope)]
    assert missing == ["sub-accounts:suspend"]
    assert "Add the scope sub-accounts:suspend to the key in AhaSend, then test the connection again." in row_of(
        page, missing[0]
    )


def test_early_access_that_is_off_is_explained(admin: Client, sandbox: SandboxProcess) -> None:
    sandbox.admin.switch("aha_early_access", False)
    _connection, page = added(admin, sandbox)
    assert "early access" in page
    assert "checks failed. See the details below." in page


def test_a_wrong_key_is_a_finding_and_no_scope_is_called_missing(admin: Client, sandbox: SandboxProcess) -> None:
    _connection, page = added(admin, sandbox, account_id=str(uuid.uuid4()))
    assert "The API key or the parent account ID is wrong." in page
    assert [scope for scope in SCOPES if "Not tested" not in row_of(page, scope)] == []


def test_before_any_check_nothing_is_claimed(admin: Client) -> None:
    connection = connection_with_keys(checks=[], verified_at=None)
    page = text_of(admin.get(reverse("customers:connection", args=[connection.public_id])))
    assert [scope for scope in SCOPES if "Not tested" not in row_of(page, scope)] == []


def test_scopes_stand_in_their_own_table_alone(admin: Client) -> None:
    connection = connection_with_keys(checks=lacking("sub-accounts:read"))
    page = text_of(admin.get(reverse("customers:connection", args=[connection.public_id])))
    assert page.count("sub-accounts:read</td>") == 1


@pytest.mark.parametrize("account_id", ["", "42", "c0a4f6f2-8f0e-4a3b-8a58", "sg0f3e5a7712c94b18a2d6c05e91b7f4aa"])
def test_our_account_is_a_uuid(admin: Client, sandbox: SandboxProcess, account_id: str) -> None:
    answer = admin.post(reverse(NEW), typed(sandbox, account_id=account_id))
    assert answer.status_code == 422
    assert 'id="id_account_id_error"' in text_of(answer)
    assert sandbox.ahasend_key not in text_of(answer)
    assert not Connection.objects.exists()


def test_the_parent_account_id_is_fixed_once_accounts_are_known(admin: Client, sandbox: SandboxProcess) -> None:
    connection = connection_with_keys(base_url=sandbox.base_url)
    url = reverse("customers:connection-edit", args=[connection.public_id])
    other = str(uuid.uuid4())
    facts = typed(sandbox, name="Renamed", api_key="", account_id=other, keep_keys="")
    assert admin.post(url, facts | seen_at(admin, url)).status_code in (302, 303)
    connection.refresh_from_db()
    assert (connection.name, connection.account_id, connection.keep_keys) == ("Renamed", other, False)
    account_with_keys(connection)
    admin.post(url, facts | {"account_id": str(uuid.uuid4()), "name": "Again"} | seen_at(admin, url))
    connection.refresh_from_db()
    assert (connection.name, connection.account_id) == ("Again", other)


def test_replacing_the_key_asks_for_no_other_password(admin: Client) -> None:
    address = reverse("customers:connection-key", args=[connection_with_keys().public_id])
    assert "v2_password" not in text_of(admin.get(address))
    other = reverse("customers:connection-key", args=[ConnectionFactory().public_id])
    assert "v2_password" in text_of(admin.get(other))


# -- the command --------------------------------------------------------------------------------------------------


def connect(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch, *more: str, key: str = "") -> str:
    monkeypatch.setenv("PORTAL_API_KEY", key or sandbox.ahasend_key)
    said = StringIO()
    call_command("connect", "ahasend", "--name", "AhaSend", "--base-url", sandbox.base_url, *more, stdout=said)
    return said.getvalue()


@pytest.mark.django_db
def test_the_command_connects_and_tells_of_every_scope(
    sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = connect(sandbox, monkeypatch, "--account-id", sandbox.ahasend_account.upper(), "--keep-keys")
    connection = Connection.objects.get()
    assert (connection.account_id, connection.usage_source) == (sandbox.ahasend_account, "pooled")
    assert connection.keep_keys is True
    for scope in SCOPES:
        assert f"{scope:<28} ok" in said
    assert said.rstrip().endswith("AhaSend was added.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "more",
    [
        (), ("--account-id", "42"), ("--account-id", str(uuid.uuid4()), "--usage-source", "credits"),
        ("--account-id", str(uuid.uuid4()), "--test-accounts-only"),
    ],
)  # fmt: skip
def test_options_of_another_kind_are_refused_and_nothing_stored(
    sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch, more: Any
) -> None:
    with pytest.raises(CommandError):
        connect(sandbox, monkeypatch, *more)
    assert not Connection.objects.exists()
