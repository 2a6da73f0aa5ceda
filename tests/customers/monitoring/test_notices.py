"""What admins are told of: once for each thing that lasts, by mail, and not at all when it is over before."""

from __future__ import annotations

import smtplib
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.connections import commands as connection_commands
from customers.monitoring import invariants, nightly_check
from portal.access.models import User
from portal.commands import Command
from portal.notices import delivery, raising
from portal.notices.models import Notice
from tests.customers.conftest import Desk
from tests.customers.page_helpers import text_of
from tests.support.people import sign_in

NOW = timezone.now()


@pytest.fixture
def admin(db: None) -> User:
    for name, role, active in (("ada", "admin", True), ("old", "admin", False), ("finn", "finance", True)):
        User.objects.create_user(f"{name}@postkeeper.example", name=name, role=role, is_active=active)
    return User.objects.get(email="ada@postkeeper.example")


def told(title: str = "Something") -> None:
    raising.raised("kind", about="x", title=title, text="Review usage.", path="/engine/", now=NOW)


def test_admins_at_work_are_told_once_while_it_lasts(admin: User) -> None:
    told()
    told("Something else")
    assert delivery.deliver(now=NOW) == 1
    assert delivery.deliver(now=NOW + timedelta(hours=1)) == 0
    (message,) = mail.outbox
    assert message.to == [admin.email]
    assert message.subject == "Postkeeper: Something else"
    assert "/engine/" in message.body
    raising.ended("kind", about="x", now=NOW)
    told()
    assert delivery.deliver(now=NOW) == 1


def test_what_is_over_is_not_told(admin: User) -> None:
    told()
    raising.ended("kind", about="x", now=NOW)
    assert delivery.deliver(now=NOW) == 0
    assert mail.outbox == []


def test_a_mail_server_that_is_down_costs_a_delay(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise smtplib.SMTPServerDisconnected

    told()
    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)
        assert delivery.deliver(now=NOW) == 0
        assert delivery.deliver(now=NOW) == 0
    notice = Notice.objects.get()
    assert (notice.tries, notice.mailed_at) == (1, None)
    assert delivery.deliver(now=notice.not_before) == 1


def test_a_refused_key_is_told_and_over_with_the_next(admin: User, desk: Desk, client: Client) -> None:
    for _ in range(3):
        connection_commands.pause_for_auth(desk.connection, message="The key was refused (401).", now=NOW)
    assert delivery.deliver(now=NOW) == 1
    assert desk.connection.name in mail.outbox[0].subject
    shown = text_of(sign_in(client, admin).get(reverse("customers:watch")))
    assert "the provider rejected the key" in shown
    assert "to 1 admin" in shown
    desk.connection.refresh_from_db()
    connection_commands.resume_connection(Command(admin), connection=desk.connection)
    assert Notice.objects.get().ended_at


def test_a_pause_by_hand_is_nobodys_news(admin: User, desk: Desk) -> None:
    connection_commands.pause_connection(Command(admin, NOW, reason="Maintenance"), connection=desk.connection)
    assert not Notice.objects.exists()


def test_a_broken_rule_is_told_and_over_when_it_holds(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*, now: object) -> list[invariants.InvariantFinding]:
        return [invariants.InvariantFinding("I4", ["operation 7"])]

    with monkeypatch.context() as night:
        night.setattr("customers.monitoring.invariants.check", broken)
        nightly_check.check_now()
    assert "I4" in Notice.objects.get().text
    nightly_check.check_now()
    assert Notice.objects.get().ended_at
