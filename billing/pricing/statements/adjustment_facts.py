"""Explanation of an adjustment for pages: which line of which closed statement it corrects, why, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.dateformat import format as date_format
from django.utils.translation import gettext as _

from billing.labels import cause
from billing.models import Statement, StatementLine, Status
from billing.pricing.statements.numbers import statement_number
from billing.pricing.statements.queries import LINES_A_PAGE
from portal import formats

ARROW = " \u2192 "


def adjustment_facts(line: StatementLine, currency: str, *, prefix: str) -> Iterable[tuple[str, str, str]]:
    """Yield label, text and address of what explains the line. `prefix`: that of statement numbers. Takes no query."""
    because = line.because
    yield _("Corrects"), _corrected(because, prefix), _address(because)
    start, end = (formats.day_text(date.fromisoformat(day)) for day in because["figure_period"])
    page = reverse("billing:figure", args=[line.account.public_id, because["figure_period"][0]]) if line.account else ""
    words = {"figure": f"{_figure(because['from'])}{ARROW}{_figure(because['to'])}", "start": start, "end": end}
    yield _("Usage"), _("%(figure)s, from %(start)s to %(end)s") % words, page
    yield _("Reason"), cause(because["cause"]), ""
    for label, side in ((_("Billed so far"), "before"), (_("Rated again"), "after")):
        if told := because[side]:
            yield label, _billed(told, because["kind"], currency), ""


def _corrected(because: Mapping[str, Any], prefix: str) -> str:
    month = date_format(date.fromisoformat(f"{because['month']}-01"), "F Y")
    words = {"n": statement_number(because["statement"], prefix), "line": because["line"], "month": month}
    if because["statement"] and because["line"]:
        return _("Statement %(n)s, line %(line)s, %(month)s") % words
    return _("Statement %(n)s, %(month)s") % words if because["statement"] else _("Statement of %(month)s") % words


def _address(because: Mapping[str, Any]) -> str:
    page = reverse("billing:statement", args=[because["statement_id"]])
    if not because["line"]:
        return page
    number = (because["line"] - 1) // LINES_A_PAGE + 1
    return f"{page}{f'?page={number}' if number > 1 else ''}#line-{because['line']}"


def _figure(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["used"] is None:
        return _("not known")
    used = formats.number_text(figure["used"])
    if figure["high"] not in (None, figure["used"]):
        used = f"{used} \u2013 {formats.number_text(figure['high'])}"
    return _("%(n)s emails (%(status)s)") % {"n": used, "status": str(Status(figure["status"]).label).lower()}


def _billed(told: Mapping[str, Any], kind: str, currency: str) -> str:
    amount = formats.money_text(Decimal(told["amount"]), currency)
    if kind == "commit":
        return amount
    return _("%(quantity)s for %(amount)s") % {"quantity": formats.number_text(told["quantity"]), "amount": amount}


@dataclass(frozen=True, slots=True)
class AdjustingStatement:
    """A statement with lines that correct another one, and how many."""

    statement: Statement
    lines: int


def adjusted_by(statement: Statement) -> list[AdjustingStatement]:
    """Return the statements that correct a closed statement, the oldest first."""
    if statement.state != Statement.State.CLOSED:
        return []
    counts: dict[int, int] = {}
    for pk in statement.adjustments.order_by("statement__month").values_list("statement", flat=True):
        counts[pk] = counts.get(pk, 0) + 1
    found = Statement.objects.in_bulk(list(counts))
    return [AdjustingStatement(found[pk], lines) for pk, lines in counts.items()]
