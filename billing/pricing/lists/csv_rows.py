"""Rows of a price list's CSV file: one for each component, and for overage one for each tier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from billing.pricing.amounts import MOST_TIERS
from billing.pricing.lists.kinds import COMPONENTS
from billing.pricing.lists.prices import Price, default_of, tiers_of
from billing.pricing.rating import case
from billing.pricing.rating.case_json import MEMBERS
from portal.refusals import Refusal


@dataclass
class PriceRow:
    """One row; None where its cell is empty. `number` counts the rows below the header, from 1."""

    offering: str = ""
    component: str | None = None
    amount: str | None = None
    included: int | None = None
    mode: str | None = None
    per: int | None = None
    block_size: int | None = None
    up_to: int | None = None
    rate: str | None = None
    when_changed: str | None = None
    prorated: bool | None = None
    on_start: str | None = None
    on_close: str | None = None
    bill_when_suspended: bool | None = None
    account_code: str | None = None
    tax_code: str | None = None
    number: int = 0

    def full_clean(self, exclude: Iterable[str] = (), **_options: Any) -> None:
        """Refuse a row without what its component needs, or with what it can't have. Called by the import."""
        errors = {} if self.component is None or "component" in exclude else self._errors(set(exclude))
        if self.component is None and "component" not in exclude:
            errors["component"] = _("Enter one of: %(names)s.") % {"names": ", ".join(COMPONENTS)}
        if errors:
            raise ValidationError(errors)

    def _errors(self, exclude: set[str]) -> dict[str, str]:
        component = str(self.component)
        needed = ("rate",) if component == case.OVERAGE else ("amount",)
        can_have = columns_of(component)
        errors = {name: _("This cell is empty. Enter a value.") for name in needed if getattr(self, name) is None}
        words = {"component": component}
        for name in COLUMNS[2:]:
            if name not in can_have and getattr(self, name) is not None:
                errors[name] = _("Rows of “%(component)s” don't use this column. Clear the cell.") % words
        return {name: text for name, text in errors.items() if name not in exclude}

    @property
    def key(self) -> tuple[str, str]:
        return self.offering, str(self.component)


COLUMNS = tuple(each.name for each in fields(PriceRow) if each.name != "number")
# The columns that tell rows apart.
KEY_COLUMNS = ("offering", "component", "up_to")


def columns_of(component: str) -> set[str]:
    """Return the columns of a component beside its key."""
    members = set(MEMBERS[component])
    return (members - {"tiers"}) | {"up_to", "rate"} if "tiers" in members else members


@dataclass(frozen=True)
class CellError:
    """Why a file is refused, and what to do: the row below the header, the column ("" for the whole row)."""

    number: int
    column: str
    text: str


def rows_of_prices(prices: Iterable[Price]) -> Iterator[PriceRow]:
    """Return the rows of the prices, each with all its values."""
    for price in prices:
        values = {name: None if value == "" else value for name, value in price.items() if name != "tiers"}
        values["offering"] = price["offering"]
        for tier in price.get("tiers") or [{}]:
            yield PriceRow(**(values | tier))


def prices_of_rows(rows: Sequence[PriceRow]) -> tuple[list[Price], list[CellError]]:
    """Return the prices that the rows have together, and what contradicts itself."""
    by_key: dict[tuple[str, str], list[PriceRow]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    prices: list[Price] = []
    errors: list[CellError] = []
    for (offering, component), own in by_key.items():
        errors += _contradictions(component, own)
        members, wrong = _members(component, own)
        errors += wrong
        prices.append({"offering": offering, "component": component, **members})
    return prices, sorted(errors, key=lambda each: (each.number, COLUMNS.index(each.column or COLUMNS[0])))


def _contradictions(component: str, rows: Sequence[PriceRow]) -> Iterator[CellError]:
    first = rows[0]
    for row in rows[1:]:
        if component != case.OVERAGE:
            words = {"n": first.number, "component": component}
            text = _("Row %(n)d has the price of “%(component)s” of this offering already. Remove one of them.") % words
            yield CellError(row.number, "component", text)
            continue
        for name in columns_of(component) - {"up_to", "rate"}:
            value = getattr(row, name)
            if value is not None and value != getattr(first, name):
                text = _("Row %(n)d of the same overage has another value. Enter the same, or clear the cell.")
                yield CellError(row.number, name, text % {"n": first.number})


def _members(component: str, rows: Sequence[PriceRow]) -> tuple[Price, list[CellError]]:
    first, members = rows[0], Price()
    errors: list[CellError] = []
    for name in MEMBERS[component]:
        if name == "tiers":
            members[name], errors = _tiers(rows)
        else:
            value = getattr(first, name)
            members[name] = default_of(component, name) if value is None else value
    if component == case.OVERAGE:
        members["included"] = members["included"] or 0
        if members["mode"] != case.BLOCK and members["block_size"] is not None:
            text = _("Only the mode “block” has a block size. Clear the cell, or enter the mode “block”.")
            errors.append(CellError(first.number, "block_size", text))
        if members["mode"] == case.BLOCK and members["block_size"] is None:
            errors.append(CellError(first.number, "block_size", _("Enter how many emails a block has.")))
    return members, errors


def _tiers(rows: Sequence[PriceRow]) -> tuple[list[dict[str, Any]], list[CellError]]:
    if len(rows) > MOST_TIERS:
        text = _("An overage can have up to %(n)d tiers. Remove rows.") % {"n": MOST_TIERS}
        return [], [CellError(rows[MOST_TIERS].number, "", text)]
    entered: dict[str, Any] = {"mode": rows[0].mode, "block_size": rows[0].block_size}
    for n, row in enumerate(rows, 1):
        entered |= {f"up_to_{n}": row.up_to, f"rate_{n}": row.rate}
    try:
        return tiers_of(entered), []
    except Refusal as refusal:
        column, _underscore, place = refusal.field.rpartition("_")
        return [], [CellError(rows[int(place) - 1].number, column, str(refusal))]
