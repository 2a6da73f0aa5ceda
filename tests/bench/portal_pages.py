"""Times of the portal's pages on a seeded database, beside the floors of `tests.bench.floors` in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from django.db.models import Count
from django.test import Client

from customers.models import Account, Customer, Operation
from portal.access.models import User
from tests.bench.floors import ADMIN_CHANGE, ADMIN_LIST, FLOOR, floors_are_served
from tests.bench.results import Row
from tests.bench.timing import Timing, get, measured
from tests.support.people import sign_in

ROUNDS = 7


@dataclass(frozen=True)
class Page:
    """`least`: the share of the floor's speed that it must reach; `most`: statements it may take at most."""

    name: str
    address: str
    least: float
    most: int = 0
    fragment: bool = False


def pages() -> Iterator[Page]:
    account = Account.objects.filter(state="active", connection__kind="sendgrid").order_by("pk")[100]
    many = Customer.objects.annotate(n=Count("accounts")).order_by("-n", "pk")[0]
    operation = Operation.objects.order_by("-pk")[0]
    customers = "/customers/"
    yield Page("customers", customers, 0.4, most=12)
    yield Page("customers, fragment", customers, 0.7, fragment=True)
    for view in ("attention", "near", "stopped", "mine", "no-reading", "archived"):
        yield Page(f"customers, {view}", f"{customers}?view={view}", 0.3)
    yield Page("customers, state", f"{customers}?state=stopped_by_us", 0.3)
    yield Page("customers, selective search", f"{customers}?q=company+4711", 0.3)
    yield Page("customers, broad search", f"{customers}?q=birch&sort=name", 0.3)
    for sort in ("name", "package", "-use", "state"):
        yield Page(f"customers, sort {sort}", f"{customers}?sort={sort}", 0.3)
    yield Page("customers, page 1,500", f"{customers}?page=1500", 0.3)
    yield Page("customers, page 1,500 by name", f"{customers}?page=1500&sort=name", 0.3)
    yield Page("home", "/", 0.5, most=14)
    yield Page("account", f"/accounts/{account.public_id}/", 0.5, most=12)
    yield Page("account's usage panel", f"/usage/accounts/{account.public_id}/panel/", 0.5, fragment=True)
    yield Page("customer", f"{customers}{many.public_id}/", 0.5)
    yield Page("operations", "/operations/", 0.5)
    yield Page("operations, page 4,000", "/operations/?page=4000", 0.3)
    yield Page("operation", f"/operations/{operation.public_id}/", 0.5)
    yield Page("audit", "/audit/", 0.5)
    yield Page("audit, search", "/audit/?customer=birch+h+company+47", 0.3)
    yield Page("connections", "/connections/", 0.5)


def measure_portal(only: str = "") -> Iterator[Row]:
    """Yield the figures of each page: its speed beside the floor's and Django admin's, its statements, and its size."""
    client = sign_in(Client(SERVER_NAME="localhost"), User.objects.filter(role="admin").order_by("pk")[0])
    with floors_are_served():
        change = ADMIN_CHANGE % Account.objects.order_by("pk")[100].pk
        for page in (page for page in pages() if only in page.name):
            peer = change if page.name in ("account", "customer", "operation") else ADMIN_LIST
            yield from _figures(client, page, peer)


def _figures(client: Client, page: Page, peer: str) -> Iterator[Row]:
    headers: dict[str, Any] = {"headers": {"HX-Request": "true", "HX-Target": "list"}} if page.fragment else {}
    size = len(client.get(page.address, **headers).content) / 1000
    of_page, least, admin = Timing(), Timing(), Timing()
    for n in range(ROUNDS + 1):
        if n == 1:  # the first one warmed up
            of_page, least, admin = Timing(), Timing(), Timing()
        measured(partial(get, client, FLOOR), least)
        measured(partial(get, client, page.address, **headers), of_page)
        measured(partial(get, client, peer), admin)
    ratio, spread, statements = least.work / of_page.work, of_page.spread, of_page.queries
    yield Row(
        "pages / bare signed-in view", page.name, of_page.work, "ms", least.work, ratio, page.least, "higher", spread,
        statements,
    )  # fmt: skip
    database = median(of_page.database)
    most = 10 if page.name == "customers" else 25 if page.name.startswith("customers") else None
    yield Row("database CPU of pages", page.name, database, "ms", None, None, most, "lower")
    if page.most:
        yield Row("statements", page.name, statements, "", None, None, page.most, "lower")
    if page.name in ("customers", "account"):
        must = 1.5 if page.name == "customers" else None
        yield Row(
            "pages / Django admin", page.name, of_page.work, "ms", admin.work, admin.work / of_page.work, must, "higher"
        )
    yield Row("HTML uncompressed", page.name, size, "kB", None, None, 60 if page.name == "customers" else None, "lower")
