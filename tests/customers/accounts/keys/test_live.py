"""Keys and sending against the sandbox over HTTP: what a page shows is what the provider has."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Account, AccountKey, Connection, KeySecret, Operation
from portal.audit.models import AuditEvent
from tests.customers.conftest import Desk
from tests.customers.keys import created_account, desk_with_keys, perform_all, publish_records
from tests.customers.page_helpers import HTMX, fields, prose_of, text_of
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess

pytestmark = pytest.mark.django_db
NAME = "mail.larkfield.example"


@pytest.fixture
def keys_desk(db: None, sandbox: SandboxProcess) -> Desk:
    return desk_with_keys(sandbox)


@pytest.fixture
def staff(client: Client, keys_desk: Desk) -> Client:
    return sign_in(client, keys_desk.person)


@pytest.fixture
def account(keys_desk: Desk) -> Account:
    return created_account(keys_desk)


def url(name: str, account: Account, *more: str) -> str:
    return reverse(f"customers:{name}", args=[account.public_id, *more])


def ask_key(staff: Client, account: Account, **typed: Any) -> None:
    data = fields(staff.get(url("key-create", account))) | {"label": "Web shop", "rights": "setup"} | typed
    assert staff.post(url("key-create", account), data).status_code == 303


def show(staff: Client, account: Account, key: AccountKey) -> str:
    answer = text_of(staff.post(url("key-secret", account, key.key_id)))
    return answer.split('data-copy="')[1].split('"')[0]


class TestKeys:
    def test_a_key_lives_its_whole_life(
        self, staff: Client, keys_desk: Desk, account: Account, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        ask_key(staff, account, rights="send", ip_allow_list="203.0.113.9")
        (made,) = perform_all(keys_desk)
        words = prose_of(staff.get(url("account-keys", account) + "?live=1"))
        assert "API key “Web shop” created" in words
        assert f"Web shop {made.code} Send only 203.0.113.9/32 No known use" in words
        key = AccountKey.objects.get()
        secret = show(staff, account, key)
        assert secret.startswith("aha-sk-")
        data = fields(staff.get(url("key-edit", account, key.key_id))) | {"label": "Shop", "rights": "send"}
        assert staff.post(url("key-edit", account, key.key_id), data).status_code == 303
        perform_all(keys_desk)
        key.refresh_from_db()
        assert (key.label, key.ip_allow_list) == (f"Shop · {made.code}", [])
        data = fields(staff.get(url("key-rotate", account, key.key_id))) | {"old": "then"}
        staff.post(url("key-rotate", account, key.key_id), data)
        new, _old = perform_all(keys_desk)
        words = prose_of(staff.get(url("account-keys", account) + "?live=1"))
        assert new.code in words
        assert made.code not in words
        assert show(staff, account, AccountKey.objects.get(gone_at=None)) != secret
        everything = str(
            [list(model.objects.values()) for model in (Operation, AuditEvent, KeySecret, AccountKey)] + [caplog.text]
        )
        assert secret not in everything

    def test_the_list_is_read_live(self, staff: Client, keys_desk: Desk, account: Account) -> None:
        ask_key(staff, account)
        perform_all(keys_desk)
        AccountKey.objects.all().delete()
        Account.objects.update(keys_read_at=None)
        assert "Web shop" not in prose_of(staff.get(url("account-keys", account))).replace("“Web shop” created", "")
        answer = staff.get(url("account-keys", account) + "?live=1", **HTMX)
        assert "Web shop op_" in prose_of(answer)
        assert 'hx-swap-oob="true"' in text_of(answer)
        assert Connection.objects.get().last_answer_at is not None


class TestSending:
    @pytest.fixture
    def kept(self, staff: Client, keys_desk: Desk, account: Account) -> Account:
        ask_key(staff, account, keep="on")
        perform_all(keys_desk)
        return account

    def add_domain(self, staff: Client, desk: Desk, account: Account) -> None:
        data = fields(staff.get(url("domain-add", account))) | {"name": NAME}
        assert staff.post(url("domain-add", account), data).status_code == 303
        perform_all(desk)

    def test_from_provisioned_to_sending(self, staff: Client, keys_desk: Desk, kept: Account) -> None:
        self.add_domain(staff, keys_desk, kept)
        assert f"{NAME} Not checked yet" in prose_of(staff.get(url("account-sending", kept) + "?live=1"))
        answer = staff.post(url("domain-check", kept, NAME), **HTMX)
        assert "3 required records are missing" in prose_of(answer)
        keys_desk.sandbox.admin.switch("aha_dns_cache_seconds", 0)
        keys_desk.sandbox.admin.aha.publish(kept.provider_id, NAME, "DKIM", "Return path")
        answer = staff.post(url("domain-check", kept, NAME), **HTMX)
        assert f"1 required record is missing TXT {NAME} New records" in prose_of(answer)
        publish_records(keys_desk, kept, NAME)
        answer = staff.post(url("domain-check", kept, NAME), **HTMX)
        assert "All required records found" in prose_of(answer)
        assert AuditEvent.objects.filter(verb="domain.checked").count() == 3
        data = fields(staff.get(url("test-message", kept, NAME)))
        data |= {"sender": f"test@{NAME}", "recipient": "nadia@postkeeper.example"}
        assert staff.post(url("test-message", kept, NAME), data).status_code == 303
        perform_all(keys_desk)
        answer = staff.get(url("domain", kept, NAME) + "?status=1", **HTMX)
        assert "nadia@postkeeper.example Delivered" in prose_of(answer)

    def test_a_kept_key_that_is_refused_pauses_nothing(self, staff: Client, keys_desk: Desk, kept: Account) -> None:
        self.add_domain(staff, keys_desk, kept)
        key = AccountKey.objects.get()
        keys_desk.connect(keys_desk.connection).delete_key(kept.ref, key.key_id)
        answer = staff.post(url("domain-check", kept, NAME), **HTMX)
        assert "rejected the stored key" in prose_of(answer)
        assert Connection.objects.get().paused == ""

    def test_a_kept_key_that_may_not_do_it(self, staff: Client, keys_desk: Desk, account: Account) -> None:
        ask_key(staff, account, rights="send", keep="on")
        perform_all(keys_desk)
        words = prose_of(staff.get(url("account-sending", account) + "?live=1"))
        assert "The stored key is missing a required scope." in words
