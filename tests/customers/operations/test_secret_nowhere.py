"""Canaries: the secrets of accounts' keys and our own key, looked for in every table, every log line and every message
after everything that can happen to them. They are nowhere but sealed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import current_app
from django.db import connection as database

from customers.models import KeySecret
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from portal.commands import Command
from tests.customers.sub_accounts import SubDesk, sub_desk
from tests.support.sandbox import AHASEND_KEY, SandboxProcess

DOMAIN = "mail.northwind.example"
LOST = ("reset-after", "after-status-500", "truncated", "crash-after", "wrong-201")


@pytest.fixture
def desk(db: None, sandbox: SandboxProcess) -> SubDesk:
    return sub_desk(sandbox)


@pytest.mark.long
def test_secrets_are_in_no_table_no_log_and_no_message(
    desk: SubDesk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    caplog.set_level(logging.DEBUG)
    messages: list[object] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args=(), **more: messages.append((name, args, more)))
    with django_capture_on_commit_callbacks(execute=True):
        canaries = _a_life(desk)
    assert len(canaries) > len(LOST)
    assert all(each.startswith("aha-sk-") for each in canaries)
    canaries.add(AHASEND_KEY)

    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert messages
    assert "keys.create" in logged, "what is sent is logged at DEBUG, so the search means something"
    for place, text in [*_tables(), ("log", logged), ("messages", repr(messages))]:
        for canary in canaries:
            assert canary not in text, f"{place} holds a secret"
            assert canary[7:40] not in text, f"{place} holds the better part of a secret"


def _a_life(desk: SubDesk) -> set[str]:
    """Keys made on every way, kept, shown and used; returns every secret there was."""
    account = desk.created()
    secret_of: set[str] = set()
    for fault in ("", *LOST):
        if fault:
            desk.sandbox.admin.arm(fault, "aha-key-create")
        operation = desk.drain(desk.ask_key(account, keep=not fault))
        assert operation.state == "succeeded", operation.summary
        secret_of.add(KeySecret.objects.get(key_id=operation.result["key_id"]).open())
    dying = desk.ask_key(account)
    with desk.dies_at("after_answer"):
        desk.perform(dying)
    desk.drain(dying)
    secret_of.add(
        key_secrets.reveal_once(Command(desk.person, dying.finished_at), account=account, key_id=dying.result["key_id"])
    )
    _set_up_sending(desk, account)
    desk.sandbox.admin.arm("status-401", "aha-keys")
    desk.perform(desk.ask_key(account))
    return secret_of


def _set_up_sending(desk: SubDesk, account: Any) -> None:
    assert desk.drain(desk.ask("domain", account, name=DOMAIN)).state == "succeeded"
    desk.sandbox.admin.aha.publish(account.provider_id, DOMAIN)
    kept = key_secrets.secret_for_sending(account)
    assert kept is not None
    found = desk.connect(desk.connection).sending(account.ref, kept.open()).check_dns(DOMAIN)
    observed_accounts.record_domain(account_id=account.pk, domain=found, now=desk.now)
    for fault in ("status-401", "reset-after"):
        desk.sandbox.admin.arm(fault, "aha-message")
        desk.drain(desk.ask("test_message", account, sender=f"a@{DOMAIN}", recipient="me@postkeeper.example"))


def _tables() -> list[tuple[str, str]]:
    """Every row of every table, as text."""
    with database.cursor() as cursor:
        names = database.introspection.table_names(cursor)
        found = []
        for name in names:
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608 names of our own tables
            found.append((name, repr(cursor.fetchall())))
    assert {"customers_attempt", "customers_keysecret", "audit_auditevent"} <= {name for name, _text in found}
    return found


def test_the_canary_would_be_found(desk: SubDesk) -> None:
    """The search finds a secret that lies open."""
    operation = desk.perform(desk.ask_key(desk.created()))
    row = KeySecret.objects.get()
    secret = row.open()
    KeySecret.objects.update(sealed=secret)
    assert operation.state == "succeeded"
    assert [name for name, text in _tables() if secret in text] == ["customers_keysecret"]


def test_a_secret_is_in_no_repr(desk: SubDesk) -> None:
    account = desk.created()
    desk.perform(desk.ask_key(account))
    row = KeySecret.objects.get()
    assert row.open() not in repr(row) + repr(vars(row))
