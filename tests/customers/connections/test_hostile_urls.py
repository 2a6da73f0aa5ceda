"""No hostile base URL is stored: by the form, by the command line, or by a command, as production is set up."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from customers.connections import commands as connection_commands
from customers.connections.credentials import check_base_url
from customers.models import Connection
from portal.commands import Command
from portal.refusals import Refusal
from tests.providers.hostile_urls import BASE_URLS
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in
from tests.support.samples import sample

# Outside production the sandbox on this machine is allowed, over plain http alone.
LOCAL = ("http://127.0.0.1:9", "http://localhost", "http://[::1]:8000")


@pytest.mark.parametrize("url", BASE_URLS + LOCAL)
def test_a_hostile_base_url_is_refused_in_production(url: str, settings: Settings) -> None:
    settings.PRODUCTION = True
    with pytest.raises(Refusal):
        check_base_url(url)


@pytest.mark.parametrize("url", BASE_URLS)
def test_a_hostile_base_url_is_refused_in_development(url: str) -> None:
    with pytest.raises(Refusal):
        check_base_url(url)


def test_no_way_stores_one(client: Client, db: None) -> None:
    existing: Connection = ConnectionFactory()
    admin = UserFactory(role="admin")
    sign_in(client, admin)
    typed = {
        "kind": "sendgrid", "name": "Second", "region": "other", "api_key": "SG.test", "usage_source": "credits",
        "v2_auth": "key_in_form", "requests_per_minute": "600", "creates_per_hour": "50",
    }  # fmt: skip
    edit = reverse("customers:connection-edit", args=[existing.public_id])
    shown = sample(BASE_URLS, 10, name="hostile base URLs")
    for url in BASE_URLS:
        for address in (reverse("customers:connection-create"), edit) if url in shown else ():
            answer = client.post(address, typed | {"base_url": url})
            assert answer.status_code == 422, (address, url)
            assert answer.context["form"].errors["base_url"], (address, url)
        facts = {"name": "Second", "kind": "sendgrid", "base_url": url}
        with pytest.raises(Refusal):
            connection_commands.add_connection(Command(admin), facts=facts, api_key="SG.test")
        with pytest.raises(Refusal):
            connection_commands.edit_connection(Command(admin), connection=existing, facts={"base_url": url})
    assert list(Connection.objects.values_list("base_url", flat=True)) == [existing.base_url]


def test_the_command_line_refuses_one(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_API_KEY", "SG.test")
    with pytest.raises(CommandError, match="https"):
        call_command("connect", "sendgrid", "--name", "x", "--base-url", "https://169.254.169.254")
    assert not Connection.objects.exists()
