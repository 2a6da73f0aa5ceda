"""A connection's one invoice shared among its accounts, from the provider's last reports of a month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from billing.models import PooledSnapshot, SyncRun, UsagePeriod
from billing.models.statements import LineKind
from billing.pricing.rating.case import InvoicePart, SharedInvoice
from billing.pricing.rating.currency import minor_unit_places
from billing.pricing.rating.lines import InvoiceShare
from billing.pricing.rating.shares import share_invoice
from billing.pricing.statements.facts import World, account_facts, owner_on
from billing.pricing.statements.results import Draft
from billing.usage.periods import last_day
from billing.usage.pool_reports import with_verdict
from billing.usage.series import Verdict
from customers.models import Account

ACCOUNTS = frozenset({"account", "removed_account"})


def last_reports(connection: int, month: date) -> list[PooledSnapshot]:
    """Return the last report of each period that ends in the month, without those that finance decided to leave out."""
    found = PooledSnapshot.objects.filter(
        connection=connection, period_end_on__gte=month, period_end_on__lte=last_day(month)
    )
    counted: Any = with_verdict(found)
    rows: Iterable[PooledSnapshot] = (
        counted.exclude(verdict=Verdict.WRONG).order_by("period_start_on", "as_of", "seq").defer("raw")
    )
    return list({report.period_start_on: report for report in rows}.values())


def read_after_end(report: PooledSnapshot) -> bool:
    """Return whether the provider gave this report after its period. One that it gave again isn't stored again."""
    again = SyncRun.objects.filter(pooled=report.pk, pooled_at__gte=report.ends_at)
    return report.as_of >= report.ends_at or again.exists()


def removed_periods(report: PooledSnapshot) -> list[tuple[int, int]]:
    """Return accounts of the period that the report does not name any more (pk), with their last usage."""
    named = {share["id"] for share in report.shares}
    rows = UsagePeriod.objects.filter(
        account__connection=report.connection_id,
        account__duplicate_of=None,
        start_on=report.period_start_on,
        used__isnull=False,
    ).order_by("account")
    found = rows.values_list("account", "account__provider_id", "used")
    return [(pk, used) for pk, provider_id, used in found if provider_id not in named and used is not None]


def share_reports(reports: Iterable[PooledSnapshot], method: str, *, world: World) -> list[Draft]:
    """Return a draft of each currency, with the lines of its reports in their order."""
    found: dict[str, Draft] = {}
    for report in reports:
        draft = share_report(report, method, world=world)
        if known := found.get(draft.currency):
            known.total_minor += draft.total_minor
            known.is_exact &= draft.is_exact
            known.lines += [line | {"n": n} for n, line in enumerate(draft.lines, len(known.lines) + 1)]
            known.findings += draft.findings
        else:
            found[draft.currency] = draft
    return list(found.values())


def share_report(report: PooledSnapshot, method: str, *, world: World) -> Draft:
    """Return the draft of a report: a line for each part of the invoice, which add up to its total."""
    accounts = dict(Account.objects.filter(connection=report.connection_id).values_list("provider_id", "pk"))
    removed = removed_periods(report)
    known = [(each, accounts[each["id"]]) for each in report.shares if each["id"] in accounts]
    invoice = SharedInvoice(
        start=report.period_start_on,
        end=report.period_end_on,
        total=report.total_cost,
        method=method,
        parent=InvoicePart("", report.parent_count, report.parent_cost),
        accounts=tuple(_part(each, str(pk)) for each, pk in known),
        unknown=tuple(_part(each, each["id"]) for each in report.shares if each["id"] not in accounts),
        removed_accounts=tuple(InvoicePart(str(pk), used) for pk, used in removed),
        removed=InvoicePart("", report.removed_count, report.removed_cost),
    )
    shares = share_invoice(invoice, report.currency)
    owners = _owners([pk for _share, pk in known] + [pk for pk, _used in removed], report.period_end_on, world)
    lines = [_line(each, n, report, owners, method) for n, each in enumerate(shares, 1)]
    total = sum(line["amount_minor"] for line in lines)
    findings = [] if report.adds_up else [_finding("report_differs", report)]
    findings += [] if read_after_end(report) else [_finding("not_final", report)]
    return Draft(report.currency, total, None, False, not findings, [], lines, findings)


def _part(share: Mapping[str, Any], name: str) -> InvoicePart:
    return InvoicePart(name, share["count"], Decimal(share["cost"]))


def _owners(accounts: Iterable[int], day: date, world: World) -> dict[int, int]:
    """Return who owned each account (pk) on the day."""
    wanted = list(accounts)
    found = dict(Account.objects.filter(pk__in=wanted).values_list("pk", "customer"))
    moved = account_facts(Account.objects.filter(pk__in=world.moved(wanted)), world)
    return found | {each.pk: owner_on(each, day) for each in moved}


def _line(
    share: InvoiceShare, n: int, report: PooledSnapshot, owners: Mapping[int, int], method: str
) -> dict[str, Any]:
    account = int(share.id) if share.kind in ACCOUNTS else None
    amount = int(share.amount.scaleb(minor_unit_places(report.currency)))
    because: dict[str, Any] = {
        "share": share.kind,
        "method": method,
        "total": format(report.total_cost.normalize(), "f"),
        "total_count": report.total_count,
        "report": report.pk,
        "period": [f"{report.period_start_on}", f"{report.period_end_on}"],
    }
    if share.kind == "unknown":
        because |= {"id": share.id}
    return {
        "n": n,
        "key": f"{share.kind}/{share.id}/{report.period_start_on}",
        "kind": LineKind.INVOICE_SHARE.value,
        "account_id": account,
        "customer_id": owners.get(account) if account else None,
        "connection_id": report.connection_id,
        "offering": "",
        "package": "",
        "tier": 0,
        "start_on": report.period_start_on,
        "end_on": report.period_end_on,
        "days": None,
        "of_days": None,
        "quantity": share.count,
        "quantity_high": None,
        "rate": None,
        "per": 1,
        "gross_minor": amount,
        "discount_minor": 0,
        "amount_minor": amount,
        "amount_high_minor": None,
        "open_ended": False,
        "account_code": "",
        "tax_code": "",
        "price_version_id": None,
        "contract_id": None,
        "adjusts_id": None,
        "figure_id": None,
        "because": because,
    }


def _finding(kind: str, report: PooledSnapshot) -> dict[str, Any]:
    parts = report.parent_count + report.accounts_count + report.unmapped_count + report.removed_count
    return {
        "account_id": None,
        "kind": kind,
        "offering": "",
        "detail": {
            "period": {"start": f"{report.period_start_on}", "end": f"{report.period_end_on}"},
            "total": report.total_count,
            "parts": parts,
        },
    }
