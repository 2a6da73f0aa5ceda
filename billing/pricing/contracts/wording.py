"""Terms of a contract in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from billing.pricing.lists.kinds import COMPONENTS, FIELDS
from billing.pricing.lists.wording import member_text, name_of
from portal.formats import day_text, money_text, number_text


@dataclass(frozen=True)
class TermLine:
    """A discount or an override: `index` is its place in the terms, `stored` its JSON, for the form that removes it."""

    index: int
    title: str
    text: str
    days: str
    stored: str


def commit_text(commit: Mapping[str, Any] | None, currency: str) -> str:
    """Return the minimum commit as a sentence, "" if there is none."""
    if not commit:
        return ""
    amount = money_text(Decimal(commit["amount"]), currency) if currency else commit["amount"]
    text = _("%(amount)s per month, prorated by days") if commit["prorated"] else _("%(amount)s per month")
    return text % {"amount": amount}


def percent_of(discount: Mapping[str, Any]) -> str:
    percent = Decimal(discount["percent"])
    return _("%(n)s%%") % {"n": number_text(int(percent) if percent == int(percent) else percent.normalize())}


def discount_lines(discounts: Sequence[Mapping[str, Any]]) -> list[TermLine]:
    return [
        TermLine(
            n,
            percent_of(each),
            get_text_list([str(COMPONENTS[kind]) for kind in each["kinds"]], str(_("and"))),
            days_text(each),
            json.dumps(each),
        )
        for n, each in enumerate(discounts)
    ]


def override_lines(overrides: Sequence[Mapping[str, Any]]) -> list[TermLine]:
    return [
        TermLine(
            n,
            f"{name_of(each['offering'])}, {COMPONENTS[each['component']]}",
            "; ".join(f"{label}: {member_text(name, each[name])}" for name, label in FIELDS.items() if name in each),
            days_text(each),
            json.dumps(each),
        )
        for n, each in enumerate(overrides)
    ]


def days_text(term: Mapping[str, Any]) -> str:
    """Return the days of a term: "from 1 Nov", or the first and the last one."""
    first = day_text(date.fromisoformat(term["valid_from"]))
    if not term["valid_until"]:
        return _("from %(first)s") % {"first": first}
    last = day_text(date.fromisoformat(term["valid_until"]))
    return _("%(first)s to %(last)s") % {"first": first, "last": last}
