"""Budgets of a signed-in person: how many files, secrets and calls to a provider in a while."""

from __future__ import annotations

from collections.abc import Callable
from importlib import reload

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings
from structlog.testing import capture_logs

from portal import environment, sign_in_settings
from portal.access.permissions import rules
from portal.access.throttling import _FILES, ROUTES_OF_PERSON
from tests.support.factories import UserFactory
from tests.support.people import sign_in


@pytest.fixture
def admin(db: None) -> Client:
    return sign_in(Client(), UserFactory(role="admin"))


ADDRESSES = {"file": "audit:export", "provider": "customers:drift-scan", "change": "customers:create"}


@pytest.mark.parametrize(("budget", "send"), [("file", Client.get), ("provider", Client.post), ("change", Client.post)])
def test_who_asks_too_often_is_refused_for_a_while(
    budget: str, send: Callable[..., object], admin: Client, settings: Settings
) -> None:
    settings.PERSON_LIMITS = {budget: "3/10m/key"}
    address = reverse(ADDRESSES[budget])
    answers = [send(admin, address).status_code for _ in range(5)]
    assert [status == 429 for status in answers] == [False, False, False, True, True]
    assert admin.get(reverse("audit:list")).status_code == 200, "pages are read as before"
    colleague = sign_in(Client(), UserFactory(role="admin"))
    assert send(colleague, address).status_code != 429, "each has a budget"


def test_a_refusal_is_logged_with_the_person(admin: Client, settings: Settings) -> None:
    settings.PERSON_LIMITS = {"file": "1/10m/key"}
    with capture_logs() as lines:
        for _ in range(2):
            admin.get(reverse("audit:export"))
    assert [line["budget"] for line in lines if line["event"] == "request over its limit refused"] == ["file"]


def test_every_file_and_only_declared_routes_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PRODUCTION", True)
    monkeypatch.setenv("SECOND_FACTOR_ROLES", "admin")
    limits = reload(sign_in_settings).PERSON_LIMITS
    assert set(ROUTES_OF_PERSON.values()) | {"file", "change"} == set(limits)
    routes = rules().routes
    assert set(ROUTES_OF_PERSON) <= set(routes)
    sends_files = {name for name, rule in routes.items() if "GET" in rule and name.endswith(_FILES)}
    assert len(sends_files) >= 19
