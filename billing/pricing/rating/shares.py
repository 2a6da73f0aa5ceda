"""Shares of one provider invoice that covers many accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.pricing.rating import case as inputs
from billing.pricing.rating.currency import as_amount, as_minor_units, minor_unit_places
from billing.pricing.rating.lines import InvoiceShare

PARENT, ACCOUNT, UNKNOWN, REMOVED_ACCOUNT, REMOVED = "parent", "account", "unknown", "removed_account", "removed"
UNALLOCATED = "unallocated"


@dataclass(frozen=True, slots=True)
class Part:
    """One that takes part in an invoice."""

    kind: str
    id: str
    count: int
    cost: Decimal


def share_invoice(invoice: inputs.SharedInvoice, currency: str) -> list[InvoiceShare]:
    """Share an invoice by volume or by the provider's own shares. The shares sum to the total of the invoice."""
    places = minor_unit_places(currency)
    total = as_minor_units(invoice.total, places)
    parts = _parts(invoice)
    if not any(part.count for part in parts):
        shares = [0] * len(parts)
    elif invoice.method == inputs.VOLUME:
        shares = largest_remainder(total, parts)
    else:
        shares = _provider_shares(invoice, parts, places)
    found = [
        InvoiceShare(part.kind, part.id, part.count, as_amount(share, places))
        for part, share in zip(parts, shares, strict=True)
    ]
    missing = total - sum(shares)
    if missing:
        found.append(InvoiceShare(UNALLOCATED, "", 0, as_amount(missing, places)))
    return found


def _parts(invoice: inputs.SharedInvoice) -> list[Part]:
    """Return what shares the invoice. The rest of removed accounts is what no last reading of one explains."""
    listed = [
        *[(PARENT, invoice.parent)],
        *[(ACCOUNT, part) for part in invoice.accounts],
        *[(UNKNOWN, part) for part in invoice.unknown],
        *[(REMOVED_ACCOUNT, part) for part in invoice.removed_accounts],
    ]
    rest = max(0, invoice.removed.count - sum(part.count for part in invoice.removed_accounts))
    return [*[Part(kind, each.id, each.count, each.cost) for kind, each in listed], Part(REMOVED, "", rest, Decimal(0))]


def _provider_shares(invoice: inputs.SharedInvoice, parts: Sequence[Part], places: int) -> list[int]:
    """Round the provider's own shares, and split that of all removed accounts by their counts."""
    living = [part for part in parts if part.kind in (PARENT, ACCOUNT, UNKNOWN)]
    removed = parts[len(living) :]
    cents = as_minor_units(invoice.removed.cost, places)
    if any(part.count for part in removed):
        split = largest_remainder(cents, removed)
    else:
        split = [*[0] * (len(removed) - 1), cents]
    return [*[as_minor_units(part.cost, places) for part in living], *split]


def largest_remainder(minor: int, parts: Sequence[Part]) -> list[int]:
    """Split minor units by the counts of the parts. What is left over goes to the largest remainders, of equal ones to
    the larger count, then to the first ID."""
    whole, sign = sum(part.count for part in parts), (-1 if minor < 0 else 1)
    shares, remainders = [], []
    for n, part in enumerate(parts):
        share, remainder = divmod(abs(minor) * part.count, whole)
        shares.append(share)
        remainders.append((-remainder, -part.count, part.id, n))
    for *_rank, n in sorted(remainders)[: abs(minor) - sum(shares)]:
        shares[n] += 1
    return [sign * share for share in shares]
