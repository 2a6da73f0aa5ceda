"""Script strings in every field of every answer of a provider: what is stored of them is shown as text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse
from requests.adapters import HTTPAdapter

from customers.connections import client as connection_client
from customers.models import Account, Operation, RemoteAccount
from portal.providers import ProviderError
from tests.billing.usage.test_damaged_answers import CASES, Answers, Case, _account
from tests.house.hostile import _routes
from tests.house.reflections import dangers
from tests.house.scripts import MARK, SCRIPTS, fitting
from tests.providers.test_mutations import changed, paths
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.samples import sample

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def _texts(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where an answer has a text."""
    for path in paths(body):
        found = body
        for step in path:
            found = found[step]
        if path and isinstance(found, str):
            yield path


def _addresses(account: Account, *, every: bool) -> list[str]:
    """Return the pages of this account, its customer, its connection and its operations, and if `every` the others."""
    rows: dict[str, list[Any]] = {
        "accounts/": [account], "usage/accounts/": [account], "prices/quotes/accounts/": [account],
        "customers/": [account.customer], "connections/": [account.connection], "estate/": [account.connection],
        "usage/pools/": [account.connection], "drift/": [account], "operations/": list(Operation.objects.all()[:3]),
        "drift/orphans/": list(RemoteAccount.objects.orphans()[:2]),
    }  # fmt: skip
    found = []
    for name, pattern, converters in _routes(get_resolver()):
        if not converters:
            found += [reverse(name)] if every else []
        elif set(converters) == {"public_id"}:
            known = max((each for each in rows if pattern.startswith(each)), key=len, default="")
            with suppress(NoReverseMatch):
                found += [reverse(name, args=[row.public_id]) for row in rows.get(known, [])]
    return found


def _act(case: Case, account: Account, body: Any) -> None:
    """Let the portal read the answer, and keep what it makes of it; a refusal is an answer too."""
    answers = Answers({case.end: body} | {end: each for end, each in case.more.items() if end != case.end})
    connection_client._clients.clear()
    with suppress(ProviderError), patch.object(HTTPAdapter, "send", answers.send), transaction.atomic():
        case.act(Account.objects.select_related("connection", "customer").get(pk=account.pk))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.sample(6)
def test_no_page_runs_what_a_provider_says(name: str, client: Client) -> None:
    """Each text of the answer alone, with a string each, then all thirty in all of them; a page after each round."""
    case = CASES[name]
    sign_in(client, UserFactory(role="admin"))
    client.raise_request_exception = False
    account = _account(case.kind)
    _act(case, account, case.body)
    places = list(_texts(case.body))
    shown, broken = 0, []
    strings = sample(range(len(SCRIPTS)), 1, name=name)
    for n in strings:
        for number, at in enumerate(places):
            with transaction.atomic():
                _act(case, account, changed(case.body, at, SCRIPTS[(n + number) % len(SCRIPTS)]))
        for room in (60, 200, 10_000):
            body = case.body
            for number, at in enumerate(places):
                if at[-1] not in ("id", "account_id"):
                    body = changed(body, at, fitting(n + number, room))
            with suppress(AssertionError):
                _act(case, account, body)
        account = Account.objects.select_related("connection", "customer").get(pk=account.pk)
        for url in _addresses(account, every=n == strings[-1]):
            answer = client.get(url)
            if answer.status_code >= 500:
                broken.append(f"{url}: {answer.status_code}")
            if answer.streaming or not answer["Content-Type"].startswith("text/html"):
                continue
            page = answer.content.decode()
            shown += MARK in page
            broken += [f"{url}: {each}" for each in dangers(page, (MARK,))]
    print(f"{name}: {len(places)} texts, {shown} pages show a string")  # noqa: T201
    assert not broken, "\n".join(broken)


def test_something_of_them_is_shown(client: Client) -> None:
    """The state of an account is shown as the provider says it."""
    sign_in(client, UserFactory(role="admin"))
    account = _account("sendgrid")
    case = CASES["sendgrid state"]
    _act(case, account, changed(case.body, ("state",), SCRIPTS[0]))
    assert Account.objects.get(pk=account.pk).state_raw == SCRIPTS[0]
    page = client.get(reverse("customers:account", args=[account.public_id])).content.decode()
    assert "&lt;i id=zqx&gt;" in page
