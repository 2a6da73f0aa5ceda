"""The command that every change is asked for with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from customers.operations import commands as operation_commands
from portal.commands import Command
from portal.htmx import command_of
from tests.support.factories import AccountFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def request_of_a_user(rf: RequestFactory) -> HttpRequest:
    request = rf.post("/", {"client_token": "a token of the page"}, REMOTE_ADDR="192.0.2.7")
    request.user = UserFactory()
    return request


def test_an_event_takes_who_why_and_from_where(request_of_a_user: HttpRequest) -> None:
    command = Command(request_of_a_user.user, reason="Unpaid", request=request_of_a_user)  # type: ignore[arg-type]
    customer = CustomerFactory()
    event = command.record(verb="customer.archived", obj=customer)
    assert (event.actor, event.reason, event.ip) == (command.actor, "Unpaid", "192.0.2.7")
    assert command.record(verb="customer.archived", obj=customer, reason="").reason == ""


def test_the_portal_itself_is_no_person() -> None:
    assert Command(None).record(verb="customer.archived", obj=CustomerFactory()).actor is None
    with pytest.raises(TypeError, match="only a user"):
        _ = Command(None).person


def test_a_request_without_a_token_is_a_mistake_of_ours() -> None:
    command = Command(UserFactory(), reason="Unpaid")
    with pytest.raises(TypeError, match="token"):
        operation_commands.request_suspend(command, account=AccountFactory())
    assert operation_commands.request_suspend(replace(command, token="a token"), account=AccountFactory())


def test_a_button_gives_its_token(request_of_a_user: HttpRequest) -> None:
    command = command_of(request_of_a_user)
    assert (command.person, command.token, command.reason) == (request_of_a_user.user, "a token of the page", "")
    assert command.request is request_of_a_user
