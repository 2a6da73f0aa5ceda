"""A rated case as rows of a statement, its lines and its findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from billing.pricing.rating.books import CustomerPrices, PriceBooks
from billing.pricing.rating.case import Case
from billing.pricing.rating.currency import minor_unit_places
from billing.pricing.rating.engine import rate_accounts
from billing.pricing.rating.lines import OpenEnd, RatedLine, RatingFinding
from billing.pricing.statements.cases import PreparedCase
from billing.pricing.statements.compact import compacted
from customers.models import AccountSpan
from customers.models.account import package_name_of

# Findings that say something about a statement without making its amount doubtful.
NOTED = frozenset({"allowed_differs", "uncertain_day", "uncertain_state_day", "interval"})
NO_CONTRACT = "no_contract"


@dataclass(slots=True)
class Draft:
    """A rated case as it is stored. Lines and findings are values by column, without the statement."""

    currency: str
    total_minor: int
    total_high_minor: int | None
    open_ended: bool
    is_exact: bool
    versions: list[str]
    lines: list[dict[str, Any]]
    findings: list[dict[str, Any]]


class Books:
    """Price books by currency and price versions, made once for all customers that pay by the same ones."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, tuple[str, ...]], PriceBooks] = {}

    def of(self, case: Case) -> PriceBooks:
        versions = tuple(name for each in case.price_lists for name in (each.id, *(one.id for one in each.versions)))
        key = (case.side, case.currency, versions)
        if key not in self._found:
            self._found[key] = PriceBooks(case.side, case.currency, case.price_lists)
        return self._found[key]


def rate_prepared(prepared: PreparedCase, books: Books, version_pks: Mapping[str, int]) -> Draft:
    """Rate a case; one without a currency has findings alone."""
    case, lines = prepared.case, _Lines(prepared, version_pks)
    if not case.currency:
        missing = [
            RatingFinding(NO_CONTRACT, each.id, period.start, period.end, {"provider": each.provider})
            for each in case.accounts
            for period in each.periods
            if not (each.billing_starts_on and period.end < each.billing_starts_on)
        ]
        return lines.draft(prepared, (), missing)
    result = rate_accounts(case.accounts, CustomerPrices(books.of(case), case.contracts, case.customer), case.month)
    draft = lines.draft(prepared, result.lines, result.findings)
    low, high = result.total.amount, result.total.amount_high
    draft.total_minor, draft.open_ended = in_minor_units(low, lines.places), isinstance(high, OpenEnd)
    if isinstance(high, Decimal) and high != low:
        draft.total_high_minor = in_minor_units(high, lines.places)
    draft.is_exact &= high == low
    return draft


class _Lines:
    """Makes lines and findings of a case, with the rows that the engine knows by ID."""

    def __init__(self, prepared: PreparedCase, version_pks: Mapping[str, int]) -> None:
        self.accounts, self.version_pks = prepared.accounts, version_pks
        self.contracts = {each.terms.id: each.pk for each in prepared.agreements}
        currency = prepared.case.currency
        self.places = minor_unit_places(currency) if currency else 0
        self._packages: dict[tuple[str, date], str] = {}

    def draft(self, prepared: PreparedCase, lines: Collection[RatedLine], findings: Iterable[RatingFinding]) -> Draft:
        """Return the draft; its total is added by the caller."""
        found = [*prepared.findings, *findings]
        contracts = {each.terms.id for each in prepared.agreements}
        return Draft(
            currency=prepared.case.currency,
            total_minor=0,
            total_high_minor=None,
            open_ended=False,
            is_exact=all(each.code in NOTED for each in found),
            versions=sorted({each.version for each in lines if each.version} | contracts),
            lines=[self.line(each, n) for n, each in enumerate(lines, 1)],
            findings=[self.finding(each) for each in found],
        )

    def line(self, line: RatedLine, n: int) -> dict[str, Any]:
        facts = self.accounts[line.account] if line.account else None
        contract = line.because.get("contract") or (line.because.get("price") or {}).get("contract")
        high = line.amount_high
        return {
            "n": n,
            "key": f"{line.account or ''}/{line.kind}/{line.offering}/{line.service_start}/{line.tier}",
            "kind": line.kind,
            "account_id": facts.pk if facts else None,
            "customer_id": facts.customer if facts else None,
            "connection_id": facts.connection.pk if facts else None,
            "offering": line.offering,
            "package": self.package_of(line.account, line.period_start) if line.account else "",
            "tier": line.tier,
            "start_on": line.service_start,
            "end_on": line.service_end,
            "days": line.days,
            "of_days": line.of_days,
            "quantity": line.quantity,
            "quantity_high": line.quantity_high if isinstance(line.quantity_high, int) else None,
            "rate": line.rate,
            "per": line.per,
            "gross_minor": in_minor_units(line.gross, self.places),
            "discount_minor": in_minor_units(line.discount, self.places),
            "amount_minor": in_minor_units(line.amount, self.places),
            "amount_high_minor": in_minor_units(high, self.places) if isinstance(high, Decimal) else None,
            "open_ended": isinstance(high, OpenEnd),
            "account_code": line.account_code,
            "tax_code": line.tax_code,
            "price_version_id": self.version_pks.get(line.version) if line.version else None,
            "contract_id": self.contracts.get(contract) if contract else None,
            "adjusts_id": None,
            "figure_id": None,
            "because": compacted(line),
        }

    def package_of(self, account: str, start: date) -> str:
        """Return the account's package in a billing period: that of the figure, else the last one in force."""
        key = (account, start)
        if key not in self._packages:
            facts = self.accounts[account]
            figure = next((each.package for each in facts.periods if each.start_on == start), "")
            last = facts.spans.get(AccountSpan.Kind.OFFERINGS, [])[-1:]
            self._packages[key] = figure or (package_name_of(last[0].value or []) if last else "")
        return self._packages[key]

    def finding(self, finding: RatingFinding) -> dict[str, Any]:
        period = {"start": finding.period_start.isoformat(), "end": finding.period_end.isoformat()}
        account = self.accounts.get(finding.account)
        return {
            "account_id": account.pk if account else None,
            "kind": finding.code,
            "offering": str(finding.details.get("offering", ""))[:200],
            "detail": {"period": period, **finding.details},
        }


def in_minor_units(amount: Decimal, places: int) -> int:
    """Return an amount, which has the places of its currency, as minor units."""
    return int(amount.scaleb(places))
