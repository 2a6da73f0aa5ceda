"""Parsers of SendGrid's answers. An invalid required field makes the whole answer unusable; others become None."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from portal.providers.base import (
    CatalogEntry,
    ListedAccount,
    ProviderOffering,
    ReportedState,
    StateReading,
    Usage,
    UsageSource,
)
from portal.providers.calls import Answer
from portal.providers.parsing import mapping, moment, read_day, text, token, whole

NAME_MAX = 500
"""Longest offering name accepted. An account may have one that is too long for the catalog."""

ID_MAX = 100
PAGE = 100
_STATES = {
    "activated": ReportedState.ACTIVE,
    "deactivated": ReportedState.STOPPED_BY_US,
    "suspended": ReportedState.STOPPED_BY_PROVIDER,
    "banned": ReportedState.BANNED,
    "indeterminate": ReportedState.INDETERMINATE,
}


def account_page(answer: Answer) -> tuple[list[ListedAccount], str]:
    """Return the rows, and the cursor of the next page ("" = no more). The list ends with an empty page, or a short one
    without a cursor; a short page alone is no end, as servers clamp limits. After a full page without a cursor, the
    last ID received is the cursor. An empty page may lack `accounts`, but only if nothing else is in it."""
    data = answer.json()
    listed = mapping(data).get("accounts")
    if listed is None and isinstance(data, dict) and set(data) <= {"accounts", "pages"}:
        listed = []
    if not isinstance(listed, list):
        raise answer.unusable("SendGrid's response contains no account list.")
    rows = [_account(answer, row) for row in listed]
    last = token(mapping(mapping(data).get("pages")).get("last"), limit=500) if rows else ""
    return rows, last or (rows[-1].id if len(rows) >= PAGE else "")


def _account(answer: Answer, row: Any) -> ListedAccount:
    found = mapping(row)
    account_id = token(found.get("id"), limit=ID_MAX)
    if not account_id:
        raise answer.unusable("SendGrid's account list contains an account without a valid ID.")
    return ListedAccount(
        id=account_id,
        created_at=moment(found.get("created_at")),
        email=text(found.get("email")),
    )


def offerings(answer: Answer) -> list[ProviderOffering]:
    """Return the offerings. A missing list is not an empty one: writing it back would remove all offerings."""
    return [_offering(answer, item) for item in _listed(answer, "offerings")]


def catalog(answer: Answer) -> list[CatalogEntry]:
    return [_catalog_entry(answer, entry) for entry in _listed(answer, "catalog")]


def _listed(answer: Answer, name: str) -> list[Any]:
    listed = mapping(answer.json()).get(name)
    if not isinstance(listed, list):
        raise answer.unusable(f"SendGrid's response contains no list of {name}.")
    return listed


def _offering(answer: Answer, item: Any) -> ProviderOffering:
    found = mapping(item)
    name, kind = token(found.get("name"), limit=NAME_MAX), token(found.get("type"), limit=100)
    quantity = 1 if found.get("quantity") is None else whole(found["quantity"])
    if not name or not kind or quantity is None:
        raise answer.unusable("SendGrid's list contains an invalid offering.")
    return ProviderOffering(name=name, type=kind, quantity=quantity)


def _catalog_entry(answer: Answer, entry: Any) -> CatalogEntry:
    found = mapping(entry)
    named = mapping(found.get("entitlements")).items()
    entitlements = {text(name): amount for name, value in named if (amount := whole(value)) is not None}
    return CatalogEntry(offering=_offering(answer, found.get("offering")), entitlements=entitlements)


def state(answer: Answer) -> StateReading:
    raw = text(mapping(answer.json()).get("state"), limit=100)
    if not raw:
        raise answer.unusable("SendGrid returned no state.")
    return StateReading(state=_STATES.get(raw.lower(), ReportedState.UNKNOWN), raw=raw)


def credits(answer: Answer) -> Usage:  # noqa: A001 - SendGrid's word for it
    """Return usage of the current period: from `last_reset` to the day before `next_reset`."""
    found = mapping(answer.json())
    if "used" not in found:
        raise answer.unusable("SendGrid's response contains no credits.")
    next_on = read_day(found.get("next_reset"))
    start_on, end_on = period(read_day(found.get("last_reset")), next_on and next_on - timedelta(days=1))
    return Usage(
        source=UsageSource.CREDITS,
        used=whole(found["used"]),
        allowed=whole(found.get("total")),
        remaining=whole(found.get("remain")),
        overage=whole(found.get("overage")),
        period_start_on=start_on,
        period_end_on=end_on,
        period_inferred=start_on is None,
        raw=answer.redactor.plain(found),
    )


def statistics(answer: Answer, first: date, last: date) -> dict[date, int]:
    """Return the requests per day. One invalid row makes the answer unusable: a sum over the others would be too low
    and look exact. A count is a number in JSON, never a text, and a day has one entry."""
    rows = answer.json()
    if not isinstance(rows, list):
        raise answer.unusable("SendGrid's response contains no statistics.")
    found: dict[date, int] = {}
    for row in rows:
        day = read_day(mapping(row).get("date"))
        if day is None or not first <= day <= last:
            raise answer.unusable("SendGrid's statistics contain an invalid day, or one that was not requested.")
        if day in found:
            raise answer.unusable("SendGrid's statistics contain a day twice.")
        count = _requests(mapping(row).get("stats"))
        if count is None:
            raise answer.unusable("SendGrid's statistics contain a day without a valid number of requests.")
        found[day] = count
    return found


def _requests(entries: Any) -> int | None:
    if not isinstance(entries, list) or len(entries) != 1:
        return None
    count = mapping(mapping(entries[0]).get("metrics")).get("requests")
    return whole(count) if isinstance(count, int) else None


def period(start_on: date | None, end_on: date | None) -> tuple[date | None, date | None]:
    """Return both dates, or neither if they are reversed; such dates stay visible in `raw` only."""
    if start_on and end_on and end_on < start_on:
        return None, None
    return start_on, end_on
