"""Versions of a price list on the calendar, and what a published one refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from billing.models import PriceList, PriceVersion
from billing.pricing.lists import drafts
from billing.pricing.lists.versions import VersionRow, in_force_on, version_rows
from portal.refusals import Refusal
from tests.billing.pricing.pages import BASE, by, draft_with, new_list, published
from tests.support.factories import PACKAGE

pytestmark = pytest.mark.django_db
JANUARY, JULY, TODAY = date(2026, 1, 1), date(2026, 7, 1), date(2026, 8, 15)


@pytest.fixture
def price_list() -> PriceList:
    return new_list()


def states_of(price_list: PriceList, today: date = TODAY) -> list[tuple[int, str, date | None]]:
    rows: list[VersionRow] = version_rows(price_list.versions.all(), today)
    return [(row.version.n, row.state, row.last_on) for row in rows]


def test_the_latest_first_day_is_in_force(price_list: PriceList) -> None:
    published(price_list, BASE, since=JANUARY)
    published(price_list, BASE, since=JULY)
    published(price_list, BASE, since=date(2026, 3, 1))
    published(price_list, BASE, since=date(2026, 12, 1))
    draft_with(price_list, BASE)
    assert states_of(price_list) == [
        (5, "draft", None),
        (4, "scheduled", None),
        (3, "replaced", date(2026, 6, 30)),
        (2, "in_force", date(2026, 11, 30)),
        (1, "replaced", date(2026, 2, 28)),
    ]
    in_force = {JANUARY: 1, date(2026, 6, 30): 3, JULY: 2, TODAY: 2, date(2027, 1, 1): 4}
    for day, n in in_force.items():
        version = in_force_on(price_list, day)
        assert version is not None
        assert version.n == n
    assert in_force_on(price_list, JANUARY - timedelta(days=1)) is None


def test_of_the_same_first_day_the_later_one_is_in_force(price_list: PriceList) -> None:
    for _each in range(2):
        published(price_list, BASE, since=JANUARY)
    assert states_of(price_list) == [(2, "in_force", None), (1, "replaced", None)]
    assert states_of(price_list, today=date(2025, 1, 1)) == [(2, "scheduled", None), (1, "replaced", None)]
    version = in_force_on(price_list, TODAY)
    assert version is not None
    assert version.n == 2


CHANGES: dict[str, Callable[[PriceVersion], Any]] = {
    "edit": lambda version: drafts.edit_price(
        by(), version=version, offering=PACKAGE, item="package", facts={"amount": "1.00"}
    ),
    "remove": lambda version: drafts.remove_price(by(), version=version, offering=PACKAGE, item="package"),
    "import": lambda version: drafts.replace_prices(by(), version=version, prices=[], seen_edits=version.edits),
    "publish": lambda version: drafts.publish_version(by(), version=version, valid_from=JULY, seen_edits=version.edits),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_published_version_is_not_changed(price_list: PriceList, change: str) -> None:
    version = published(price_list, BASE, since=JANUARY)
    with pytest.raises(Refusal, match="published this version"):
        CHANGES[change](version)
    with pytest.raises(DatabaseError), transaction.atomic():
        PriceVersion.objects.filter(pk=version.pk).update(prices=[])


@pytest.mark.parametrize("change", CHANGES)
def test_a_draft_of_an_archived_list_is_not_changed(price_list: PriceList, change: str) -> None:
    version = draft_with(price_list, BASE)
    PriceList.objects.update(archived_at="2026-01-01T00:00:00Z")
    with pytest.raises(Refusal, match="archived"):
        CHANGES[change](version)
    with pytest.raises(Refusal, match="archived"):
        drafts.start_draft(by(), price_list=PriceList.objects.get())


def test_a_new_draft_begins_with_the_prices_in_force(price_list: PriceList) -> None:
    first = published(price_list, BASE, since=JANUARY)
    draft = drafts.start_draft(by(), price_list=price_list)
    assert (draft.prices, draft.valid_from, draft.n) == (first.prices, None, 2)
    assert drafts.start_draft(by(), price_list=price_list) == draft
