"""Helpers of the tests of prices and contracts."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from billing.models import Contract, PriceList, PriceVersion
from billing.pricing.contracts import commands as contract_commands
from billing.pricing.lists import commands, drafts
from customers.models import Customer
from portal.access.models import User
from portal.commands import Command
from tests.support.edits import fields_of
from tests.support.factories import PACKAGE, UserFactory
from tests.support.people import sign_in

BASE = {"offering": PACKAGE, "component": "base", "amount": "89.95"}
OVERAGE = {
    "offering": PACKAGE,
    "component": "overage",
    "included": 100_000,
    "per": 1000,
    "tiers": [{"up_to": 400_000, "rate": "0.85"}, {"up_to": None, "rate": "0.70"}],
}
IP = {"offering": "postkeeper.x.ip.v2", "component": "dedicated_ip", "amount": "20", "included": 1}


def client_of(role: str = "finance", name: str = "Fiona Finance") -> Client:
    return sign_in(Client(), UserFactory(role=role, name=name))


def by(person: User | None = None) -> Command:
    return Command(person or UserFactory(role="finance"))


def new_list(name: str = "Standard", *, side: str = "sell", kind: str = "sendgrid", currency: str = "EUR") -> PriceList:
    return commands.create_price_list(by(), name=name, side=side, provider_kind=kind, currency=currency)


def draft_with(price_list: PriceList, *prices: dict[str, Any]) -> PriceVersion:
    draft = drafts.start_draft(by(), price_list=price_list)
    drafts.replace_prices(by(), version=draft, prices=list(prices), seen_edits=draft.edits)
    draft.refresh_from_db()
    return draft


def published(price_list: PriceList, *prices: dict[str, Any], since: Any) -> PriceVersion:
    draft = draft_with(price_list, *prices)
    return drafts.publish_version(by(), version=draft, valid_from=since, seen_edits=draft.edits)


def contract_of(customer: Customer, *lists: PriceList, since: Any, until: Any = None, **facts: Any) -> Contract:
    """A published contract."""
    draft = contract_commands.start_contract(by(), customer=customer)
    fields = {f"list_{each.provider_kind}": str(each.public_id) for each in lists}
    contract_commands.edit_contract(
        by(), contract=draft, facts={"valid_from": since, "valid_until": until, **fields, **facts}
    )
    draft.refresh_from_db()
    return contract_commands.publish_contract(by(), contract=draft, seen_edits=draft.edits)


def page_of(client: Client, route: str, *args: Any, query: str = "", status: int = 200) -> str:
    answer = client.get(reverse(f"billing:{route}", args=args) + query)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return words_of(answer)


def words_of(answer: Any) -> str:
    """The words of a page, without tags."""
    text = b"".join(answer) if answer.streaming else answer.content
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.decode())))


def posted(client: Client, url: str, status: int = 303, **values: Any) -> HttpResponse:
    answer = client.post(url, values)
    assert answer.status_code == status, words_of(answer)[:3000]
    return answer


def saved(client: Client, url: str, status: int = 303, **values: Any) -> HttpResponse:
    """Open an edit form and send it with these values."""
    fields = fields_of(client.get(url).content.decode())
    return posted(client, url, status, **(fields | values))
