"""The groups of figures of `make bench`. Each is measured in a process of its own, on a seeded database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from statistics import median

from django.db import transaction
from django.test import Client

from portal.access.models import User
from tests.bench.demo_start import measure_start
from tests.bench.export_rates import measure_exports
from tests.bench.measure import measure_pages, measure_upkeep
from tests.bench.portal_pages import measure_portal
from tests.bench.results import Row
from tests.bench.timing import Timing, get, measured
from tests.support.people import sign_in

SLOPE_ROUNDS = 25
SLOPE = "customers list, database CPU"


def _pages(last: date, only: str) -> Iterator[Row]:
    yield from measure_portal(only)
    yield from measure_pages(last, only)


def _upkeep(last: date, only: str) -> Iterable[Row]:
    return measure_upkeep(last) if only in "upkeep" else ()


def _slope(last: date, only: str) -> Iterator[Row]:
    """Yield the database's time for one customers list; the frame compares sizes."""
    client = sign_in(Client(SERVER_NAME="localhost"), User.objects.filter(role="admin").order_by("pk")[0])
    page = Timing()
    for n in range(SLOPE_ROUNDS + 3):
        if n == 3:
            page = Timing()
        measured(lambda: get(client, "/customers/"), page)
    spread = min(page.database), max(page.database)
    yield Row("slope", SLOPE, median(page.database), "ms", None, None, None, "lower", spread, page.queries)


def _start(last: date, only: str) -> Iterable[Row]:
    return measure_start() if only in "start and memory" else ()


def _optional(name: str) -> Callable[[date, str], Iterable[Row]]:
    """Return the measurement of `tests/bench/<name>_rates.py`, which nothing else imports."""

    def measure(last: date, only: str) -> Iterable[Row]:
        module = f"tests.bench.{name}_rates"
        if only not in name or not find_spec(module):
            return ()
        rows: Iterable[Row] = getattr(import_module(module), f"measure_{name}")()
        return rows

    return measure


# In the order in which they are measured. Those of pages are within a transaction that is rolled back.
GROUPS: dict[str, Callable[[date, str], Iterable[Row]]] = {
    "pages": _pages,
    "exports": measure_exports,
    "upkeep": _upkeep,
    "slope": _slope,
    "sync": _optional("sync"),
    "rating": _optional("rating"),
    "engine": _optional("engine"),
    "start": _start,
}
OF_ITS_OWN = frozenset({"sync", "rating", "engine", "start"})


def measure_group(name: str, last: date, only: str) -> list[Row]:
    if name in OF_ITS_OWN:
        return list(GROUPS[name](last, only))
    with transaction.atomic():
        rows = list(GROUPS[name](last, only))
        transaction.set_rollback(True)
    return rows
