"""One credential is connected once: refused at the same address, compared first at another one."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from customers.connections import commands as connection_commands
from customers.models import Connection
from portal import encryption
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.conftest import Desk
from tests.support.ahasend import AHASEND_ACCOUNT as PARENT
from tests.support.ahasend import AHASEND_KEY
from tests.support.edits import seen_at
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import EU_KEY, KEY, SandboxProcess

pytestmark = pytest.mark.django_db


def connect(sandbox: SandboxProcess, name: str, *, path: str = "", key: str = KEY, **facts: Any) -> Connection:
    facts = {"name": name, "kind": "sendgrid", "base_url": sandbox.base_url + path} | facts
    return connection_commands.add_connection(Command(None), facts=facts, api_key=key)


@pytest.fixture
def admin(db: None) -> User:
    return UserFactory(role="admin")


@pytest.fixture
def visitor(client: Client, admin: User) -> Client:
    return sign_in(client, admin)


class TestTheSameAddress:
    def test_the_same_key_is_refused_and_the_connection_is_named(self, sandbox: SandboxProcess) -> None:
        connect(sandbox, "First")
        with pytest.raises(Refusal, match="“First” already uses this key at this API URL") as refusal:
            connect(sandbox, "Second")
        assert refusal.value.field == "api_key"
        assert Connection.objects.count() == 1

    @pytest.mark.parametrize("change", [str.upper, lambda url: url + "/"])
    def test_another_spelling_of_the_address_is_the_same_one(self, sandbox: SandboxProcess, change: Any) -> None:
        connect(sandbox, "First")
        with pytest.raises(Refusal, match="First"):
            connect(sandbox, "Second", base_url=change(sandbox.base_url))

    def test_the_page_shows_the_sentence_beside_the_key(self, visitor: Client, sandbox: SandboxProcess) -> None:
        connect(sandbox, "First")
        typed = {
            "kind": "sendgrid", "name": "Second", "region": "other", "base_url": sandbox.base_url, "api_key": KEY,
            "usage_source": "credits", "v2_auth": "key_in_form", "requests_per_minute": "600", "creates_per_hour": "50",
        }  # fmt: skip
        answer = visitor.post(reverse("customers:connection-create"), typed)
        assert answer.status_code == 422
        assert "First" in str(answer.context["form"].errors["api_key"])
        assert KEY not in answer.content.decode()

    def test_a_key_is_not_replaced_by_that_of_another_connection(
        self, visitor: Client, sandbox: SandboxProcess
    ) -> None:
        connect(sandbox, "First")
        second = connect(sandbox, "Second", key=EU_KEY)
        url = reverse("customers:connection-key", args=[second.public_id])
        answer = visitor.post(url, {"api_key": KEY} | seen_at(visitor, url))
        assert answer.status_code == 422
        assert "First" in str(answer.context["form"].errors["api_key"])
        second.refresh_from_db()
        assert second.open("api_key_sealed") == EU_KEY

    def test_an_edit_does_not_bring_it_either(self, sandbox: SandboxProcess, admin: User) -> None:
        connect(sandbox, "First")
        second = connect(sandbox, "Second", key=EU_KEY)
        with pytest.raises(Refusal, match="First"):
            connection_commands.edit_connection(Command(admin), connection=second, facts={}, api_key=KEY)

    def test_a_connection_may_be_given_its_own_key_again(self, sandbox: SandboxProcess, admin: User) -> None:
        first = connect(sandbox, "First")
        connection_commands.replace_key(Command(admin), connection=first, api_key=KEY)

    def test_after_the_key_changed_the_old_one_is_free(self, sandbox: SandboxProcess, admin: User) -> None:
        first = connect(sandbox, "First")
        connection_commands.replace_key(Command(admin), connection=first, api_key=EU_KEY)
        connect(sandbox, "Second")

    def test_a_connection_from_before_the_rule_is_recognized(self, sandbox: SandboxProcess) -> None:
        first = connect(sandbox, "First")
        Connection.objects.filter(pk=first.pk).update(credential_hash=None)
        with pytest.raises(Refusal, match="First"):
            connect(sandbox, "Second")

    def test_two_from_before_the_rule_stay_and_a_third_is_refused(self, sandbox: SandboxProcess) -> None:
        for name in ("First", "Second"):
            row = ConnectionFactory(name=name, base_url=sandbox.base_url)
            row.seal("api_key_sealed", KEY)
            row.save(update_fields=["api_key_sealed"])
        with pytest.raises(Refusal, match="First"):
            connect(sandbox, "Third")
        assert [bool(each.credential_hash) for each in Connection.objects.order_by("pk")] == [True, False]

    def test_a_key_that_does_not_decrypt_stops_nobody_else(self, sandbox: SandboxProcess) -> None:
        broken = ConnectionFactory(name="Broken")
        Connection.objects.filter(pk=broken.pk).update(api_key_sealed="lost:AAAA")
        assert connect(sandbox, "First").credential_hash

    def test_two_at_once_are_one_by_the_database(self, sandbox: SandboxProcess) -> None:
        first, other = connect(sandbox, "First"), ConnectionFactory(base_url=sandbox.base_url)
        with pytest.raises(IntegrityError), transaction.atomic():
            Connection.objects.filter(pk=other.pk).update(credential_hash=first.credential_hash)

    def test_replacing_the_field_key_keeps_the_hash_comparable(
        self, sandbox: SandboxProcess, settings: Settings
    ) -> None:
        connect(sandbox, "First")
        new = "t2:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()
        settings.FIELD_KEYS = f"{new},{settings.FIELD_KEYS}"
        with pytest.raises(Refusal, match="First"):
            connect(sandbox, "Second")
        call_command("rotate_field_keys", stdout=io.StringIO())
        settings.FIELD_KEYS = new
        with pytest.raises(Refusal, match="First"):
            connect(sandbox, "Second")

    def test_an_ahasend_account_is_connected_once(self, sandbox: SandboxProcess) -> None:
        facts = {"kind": "ahasend", "account_id": PARENT}
        connect(sandbox, "First", key=AHASEND_KEY, **facts)
        with pytest.raises(Refusal, match="“First” already uses this account ID") as refusal:
            connect(sandbox, "Second", key=AHASEND_KEY + "x", **(facts | {"account_id": PARENT.upper()}))
        assert refusal.value.field == "account_id"


class TestAnotherAddress:
    def test_without_a_common_account_it_is_allowed_and_marked(self, visitor: Client, sandbox: SandboxProcess) -> None:
        sandbox.admin.add_account(email="one@northwind.example", region="global")
        sandbox.admin.add_account(email="two@northwind.example", region="eu")
        first = connect(sandbox, "Global", path="/global")
        second = connect(sandbox, "Europe", path="/eu")
        assert second.same_key_as == first
        assert AuditEvent.objects.get(verb="connection.created", object_id=second.public_id).after["same_key_as"]
        for here, there in ((first, "Europe"), (second, "Global")):
            page = visitor.get(reverse("customers:connection", args=[here.public_id])).content.decode()
            assert "Same key as" in page
            assert there in page

    def test_with_a_common_account_it_is_refused(self, sandbox: SandboxProcess) -> None:
        account = sandbox.admin.add_account(email="one@northwind.example", region="global")
        connect(sandbox, "Global", path="/global")
        with pytest.raises(Refusal, match=f"account {account['id']} is in both account lists"):
            connect(sandbox, "The same")

    def test_a_list_that_cannot_be_read_is_no_proof(self, sandbox: SandboxProcess) -> None:
        connect(sandbox, "Global", path="/global")
        sandbox.admin.arm("status-500", "list", count=20)
        with pytest.raises(Refusal, match=r"be loaded to compare the two.*Try again"):
            connect(sandbox, "Europe", path="/eu")
        assert Connection.objects.count() == 1

    def test_lists_that_take_too_long_are_compared_by_the_command(
        self, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for region in ("global", "eu"):
            sandbox.admin.add_account(email=f"{region}@northwind.example", region=region)
        connect(sandbox, "Global", path="/global")
        facts = {"name": "Europe", "kind": "sendgrid", "base_url": f"{sandbox.base_url}/eu"}
        with pytest.raises(Refusal, match=r"manage\.py connect"):
            connection_commands.add_connection(Command(None), facts=facts, api_key=KEY, list_seconds=0)
        monkeypatch.setenv("PORTAL_API_KEY", KEY)
        call_command("connect", "sendgrid", name="Europe", base_url=f"{sandbox.base_url}/eu", stdout=io.StringIO())
        assert Connection.objects.get(name="Europe").same_key_as

    def test_the_mark_goes_with_the_key(self, sandbox: SandboxProcess, admin: User) -> None:
        connect(sandbox, "Global", path="/global")
        second = connect(sandbox, "Europe", path="/eu")
        connection_commands.replace_key(Command(admin), connection=second, api_key=EU_KEY)
        second.refresh_from_db()
        assert second.same_key_as is None


def test_the_command_says_why(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_API_KEY", KEY)
    with pytest.raises(CommandError, match="already uses this key"):
        call_command("connect", "sendgrid", name="Again", base_url=desk.sandbox.base_url)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("option", "why"),
    [({"account_id": "42"}, "doesn't use --account-id"), ({"keep_keys": True}, "doesn't support --keep-keys")],
)
def test_the_command_refuses_an_option_of_another_kind(option: dict[str, object], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("connect", "sendgrid", name="Again", **option)


def test_the_hash_does_not_come_from_the_encryption_key_itself() -> None:
    """Same parts, same hash; parts cannot be shifted into one another; another field key gives another hash."""
    one = encryption.keyed_hashes("a", "bc")
    assert one == encryption.keyed_hashes("a", "bc") != encryption.keyed_hashes("ab", "c")
    assert one[0].startswith("t1:")
