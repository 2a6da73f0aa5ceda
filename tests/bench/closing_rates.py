"""Measure a rated month's page and its accounting file. `tests.bench.rating_rates` rates the month.

The page's floor is a bare signed-in view, the file's is COPY of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import partial
from typing import Any

from django.db import connection as database
from django.test import Client
from django.urls import reverse

from billing.closing.blockers.refresh import refresh_month
from billing.closing.matching.comparison import compare_with_invoices
from billing.models import MonthClosing
from customers.models import Connection
from portal.access.models import User
from tests.bench.export_rates import _compared, _copied
from tests.bench.floors import FLOOR, floors_are_served
from tests.bench.results import Row
from tests.bench.timing import Timing, get, measured
from tests.support.people import sign_in

ROUNDS = 7
_FILE = """
    SELECT s.number, c.external_reference, c.company_name, l.start_on, l.end_on, l.account_code, l.kind, l.offering,
        l.quantity, l.rate, l.per, l.amount_minor, s.currency, l.tax_code, l.because, a.provider_id, a.email, l.n
    FROM billing_statementline l JOIN billing_statement s ON s.id = l.statement_id
        JOIN customers_customer c ON c.id = s.customer_id LEFT JOIN customers_account a ON a.id = l.account_id
    WHERE s.month = '{month}' AND s.side = 'sell' AND s.state = 'closed' ORDER BY s.number, l.n"""
_CLOSE = """
    UPDATE billing_statement s SET state = 'closed', closing_id = %s, closed_at = now(), digest = 'x', number = n.number
    FROM (SELECT id, row_number() OVER (ORDER BY customer_id, currency) AS number FROM billing_statement
        WHERE month = %s AND side = 'sell' AND state = 'draft') n WHERE n.id = s.id"""


def measure_month(month: date, *, now: datetime) -> Iterator[Row]:
    """Yield the figures of a month that is rated. Closes its statements, without their cases."""
    person = User.objects.filter(role="admin").order_by("pk")[0]
    for pk in Connection.objects.order_by("pk").values_list("pk", flat=True):
        compare_with_invoices(pk, month, now=now)
    refresh_month(month, now=now)
    client = sign_in(Client(SERVER_NAME="localhost"), person)
    with floors_are_served():
        yield from _page(client, reverse("billing:month", args=[f"{month:%Y-%m}"]))
    run = MonthClosing.objects.create(month=month, n=1, requested_by=person, requested_at=now, not_before=now)
    with database.cursor() as cursor:
        cursor.execute(_CLOSE, [run.pk, month])
        cursor.execute("ANALYZE billing_statement")
    file = partial(_sent, client, reverse("billing:month-accounting-export", args=[f"{month:%Y-%m}"]))
    yield from _compared("accounting file", file, partial(_copied, _FILE.replace("{month}", f"{month}")))


def _page(client: Any, address: str) -> Iterator[Row]:
    page, floor = Timing(), Timing()
    for n in range(ROUNDS + 1):
        if n == 1:  # the first one warmed up
            page, floor = Timing(), Timing()
        measured(partial(get, client, FLOOR), floor)
        measured(partial(get, client, address), page)
    ratio = floor.work / page.work
    yield Row(
        "month close", "month page / bare signed-in view", page.work, "ms", floor.work, ratio, 0.08, "higher",
        page.spread, page.queries,
    )  # fmt: skip
    yield Row("month close", "month page", page.work, "ms", None, None, 150, "lower", page.spread)


def _sent(client: Any, address: str) -> Iterable[bytes]:
    return client.get(address).streaming_content  # type: ignore[no-any-return]  # of Django's test client
