"""Lines that a customer's statements of a month have beside the rated case: opening balances, and adjustments of closed
months (R9). Neither counts toward a minimum commit, and neither is discounted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any

from billing.models import Contract, LineKind, OpeningBalance, PriceVersion, StatementLine
from billing.pricing.adjustments.corrections import Correction, corrections_of, frozen_texts
from billing.pricing.adjustments.late_figures import LateMonth, late_months
from billing.pricing.adjustments.open_month import closed_months
from billing.pricing.rating.adjusted import figure_to_json
from billing.pricing.rating.currency import minor_unit_places
from billing.pricing.rating.lines import RatedLine
from billing.pricing.statements.frozen import FrozenCases
from billing.pricing.statements.results import Draft, in_minor_units
from billing.usage.ledger import last_batch
from billing.usage.periods import last_day
from customers.models import Account

UNDECIDED = "adjustment_undecided"


class Additions:
    """Reads what is added to the statements of one month, for all customers or for some (pk)."""

    def __init__(self, month: date, *, now: datetime, customers: Collection[int] | None = None) -> None:
        self.month, self.now, self.customers = month, now, customers
        self._read_at: tuple[int, int] | None = None
        self._late: dict[int, list[LateMonth]] = {}
        self._balances: dict[int, list[OpeningBalance]] = {}
        self._frozen = FrozenCases()

    def renew(self) -> None:
        """Read what came since: late figures only if there is a new ledger batch, or a month was closed."""
        closed, batch = closed_months(), last_batch()
        if self._read_at != (closed.runs, batch):
            self._read_at = (closed.runs, batch)
            self._late = late_months(closed, self.customers) if closed.open == self.month else {}
        rows = OpeningBalance.objects.filter(month=self.month, customer__isnull=False, removed_at=None)
        if self.customers is not None:
            rows = rows.filter(customer__in=self.customers)
        self._balances = defaultdict(list)
        for row in rows.order_by("pk"):
            self._balances[row.customer_id or 0].append(row)

    @property
    def owners(self) -> set[int]:
        """The customers whose statements something is added to."""
        return {*self._late, *self._balances}

    def of(self, customer: int) -> tuple[Any, ...]:
        """Return everything that decides what is added, for a digest; nothing if nothing is."""
        balances = [each.pk for each in self._balances.get(customer, ())]
        late = [month.pending for month in self._late.get(customer, ())]
        return (balances, late) if balances or late else ()

    def add_to(self, customer: int, drafts: Sequence[Draft]) -> list[Draft]:
        """Return the drafts with what is added to them, and drafts of its own for currencies that they lack."""
        by_currency = {each.currency: each for each in drafts}
        for balance in self._balances.get(customer, ()):
            draft = by_currency.setdefault(balance.currency, _empty(balance.currency))
            _add(draft, _balance_line(balance))
        if months := self._late.get(customer):
            self._add_corrections(months, by_currency)
        return list(by_currency.values())

    def _add_corrections(self, months: Sequence[LateMonth], by_currency: dict[str, Draft]) -> None:
        found = corrections_of(months, self._frozen, frozen_texts(months), now=self.now)
        rows = _Rows(found)
        for each in found:
            draft = by_currency.setdefault(each.statement.currency, _empty(each.statement.currency))
            for line in each.adjustment.lines:
                _add(draft, rows.line(each, line))
            if each.adjustment.undecided:
                draft.findings.append(_finding(each))
                draft.is_exact = False


def _empty(currency: str) -> Draft:
    return Draft(currency, 0, None, False, True, [], [], [])


def _add(draft: Draft, line: dict[str, Any]) -> None:
    draft.lines.append({**line, "n": len(draft.lines) + 1})
    draft.total_minor += line["amount_minor"]
    if draft.total_high_minor is not None:
        draft.total_high_minor += line["amount_minor"]


def _balance_line(balance: OpeningBalance) -> dict[str, Any]:
    return {
        "n": 0,
        "key": f"opening/{balance.pk}",
        "kind": LineKind.OPENING.value,
        "account_id": None,
        "customer_id": None,
        "connection_id": None,
        "offering": "",
        "package": "",
        "tier": 0,
        "start_on": balance.month,
        "end_on": last_day(balance.month),
        "days": None,
        "of_days": None,
        "quantity": 1,
        "quantity_high": None,
        "rate": None,
        "per": 1,
        "gross_minor": balance.amount_minor,
        "discount_minor": 0,
        "amount_minor": balance.amount_minor,
        "amount_high_minor": None,
        "open_ended": False,
        "account_code": balance.account_code,
        "tax_code": balance.tax_code,
        "price_version_id": None,
        "contract_id": None,
        "adjusts_id": None,
        "figure_id": None,
        "because": {"description": balance.description},
    }


class _Rows:
    """Makes lines of corrections, with the rows that they name. Four queries."""

    def __init__(self, found: Sequence[Correction]) -> None:
        lines = [(each, line) for each in found for line in each.adjustment.lines]
        accounts = {each.figure.account for each, _line in lines}
        self.connections = dict(Account.objects.filter(pk__in=accounts).values_list("pk", "connection"))
        self.versions = _pks(PriceVersion, {line.version for _each, line in lines if line.version})
        self.contracts = _pks(Contract, {name for _each, line in lines if (name := _contract_of(line))})
        keys = {_key(line) for _each, line in lines}
        rows = StatementLine.objects.filter(statement__in={each.statement.pk for each, _line in lines}, key__in=keys)
        self.numbers = {
            (statement, key): n for statement, key, n in rows.order_by().values_list("statement", "key", "n")
        }

    def line(self, found: Correction, line: RatedLine) -> dict[str, Any]:
        statement, figure, places = found.statement, found.figure, minor_unit_places(found.statement.currency)
        account, key = int(line.account) if line.account else None, _key(line)
        gross, discount = in_minor_units(line.gross, places), in_minor_units(line.discount, places)
        # A reversal and a line at another price can have the same key.
        is_reversal = line.because["after"] is None
        return {
            "n": 0,
            "key": f"adj/{statement.pk}/{figure.pk}{'/reversal' if is_reversal else ''}/{key}",
            "kind": LineKind.ADJUSTMENT.value,
            "account_id": account,
            "customer_id": statement.customer if account else None,
            "connection_id": self.connections.get(account) if account else None,
            "offering": line.offering,
            "package": found.package if account else "",
            "tier": line.tier,
            "start_on": line.service_start,
            "end_on": line.service_end,
            "days": line.days,
            "of_days": line.of_days,
            "quantity": line.quantity,
            "quantity_high": line.quantity_high if isinstance(line.quantity_high, int) else None,
            "rate": line.rate,
            "per": line.per,
            "gross_minor": gross,
            "discount_minor": discount,
            "amount_minor": gross - discount,
            "amount_high_minor": None,
            "open_ended": False,
            "account_code": line.account_code,
            "tax_code": line.tax_code,
            "price_version_id": self.versions.get(line.version) if line.version else None,
            "contract_id": self.contracts.get(_contract_of(line)),
            "adjusts_id": statement.pk,
            "figure_id": figure.pk,
            "because": {
                **_told(found),
                "line": self.numbers.get((statement.pk, key)),
                "kind": line.kind,
                "key": key,
                "before": line.because["before"],
                "after": line.because["after"],
            },
        }


def _told(found: Correction) -> dict[str, Any]:
    """Return what a line and a finding both tell of a correction."""
    statement, figure, adjustment = found.statement, found.figure, found.adjustment
    return {
        "month": f"{statement.month:%Y-%m}",
        "statement": statement.number,
        "statement_id": statement.public_id,
        "figure_account": figure.account,
        "figure_period": [f"{figure.start_on}", f"{figure.end_on}"],
        "version": figure.n,
        "cause": figure.cause,
        "from": figure_to_json(adjustment.before) if adjustment.before else None,
        "to": figure_to_json(adjustment.late.period),
    }


def _finding(found: Correction) -> dict[str, Any]:
    start, end = found.figure.start_on, found.figure.end_on
    detail = {"period": {"start": f"{start}", "end": f"{end}"}, **_told(found), "codes": found.adjustment.undecided}
    return {"account_id": found.figure.account, "kind": UNDECIDED, "offering": "", "detail": detail}


def _key(line: RatedLine) -> str:
    """Return the key of the closed statement's line."""
    return f"{line.account or ''}/{line.kind}/{line.offering}/{line.service_start}/{line.tier}"


def _contract_of(line: RatedLine) -> str:
    return str(line.because["contract"] or "")


def _pks(model: type[PriceVersion] | type[Contract], public_ids: Iterable[str]) -> dict[str, int]:
    wanted = set(public_ids)
    rows = model._default_manager.filter(public_id__in=wanted).values_list("public_id", "pk") if wanted else ()
    return {str(public_id): pk for public_id, pk in rows}
