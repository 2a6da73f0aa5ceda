"""Times of the portal's pages on a seeded database, beside the floors of `tests.bench.floors` in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import Count
from django.test import Client

from customers.models import Account, Customer, Operation
from portal.access.models import User
from tests.bench.floors import ADMIN_CHANGE, ADMIN_LIST, FLOOR, floors_are_served
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


def measure_portal(only: str = "") -> list[str]:
    """Print the times of each page; return the names of those that miss their share of the floor's speed."""
    client = sign_in(Client(SERVER_NAME="localhost"), User.objects.filter(role="admin").order_by("pk")[0])
    missed = []
    with floors_are_served():
        change = ADMIN_CHANGE % Account.objects.order_by("pk")[100].pk
        for page in (page for page in pages() if only in page.name):
            headers: dict[str, Any] = {"headers": {"HX-Request": "true", "HX-Target": "list"}} if page.fragment else {}
            of_page, least, admin = Timing(), Timing(), Timing()
            size = len(client.get(page.address, **headers).content)
            peer = change if page.name in ("account", "customer", "operation") else ADMIN_LIST
            for n in range(ROUNDS + 1):
                if n == 1:  # the first one warmed up
                    of_page, least, admin = Timing(), Timing(), Timing()
                measured(partial(get, client, FLOOR), least)
                measured(partial(get, client, page.address, **headers), of_page)
                measured(partial(get, client, peer), admin)
            ratio = least.work / of_page.work
            misses = ratio < page.least or (page.most and of_page.queries > page.most)
            print(
                f"{page.name:30} {of_page} {size / 1000:5.0f} kB  {ratio:4.2f} of the floor's speed,"
                f" {admin.work / of_page.work:4.1f} of admin's{'  MISSES ' + str(page.least) if misses else ''}",
                flush=True,
            )
            if misses:
                missed.append(page.name)
    return missed
