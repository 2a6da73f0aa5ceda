"""Provider invoices for pages: the list with its sums, an invoice with its lines, and accounts to assign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.utils.translation import gettext_lazy as _

from billing.models import InvoiceLineKind, ProviderInvoice, ProviderInvoiceLine
from billing.pricing.statements.amounts import minor_text
from billing.usage.periods import last_day, month_or_none
from customers.models import Account, Connection
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.paging import KeyedRows, LongPage, long_page
from portal.query_params import uuid_or_none
from portal.typed_text import matches

A_PAGE = 50
LINES_A_PAGE = 100
SUGGESTED = 20
MATCHES = {"matched": _("With an account"), "unmatched": _("Account not matched"), "none": _("Without an account")}


class InvoiceFilters(ListFilters):
    """Filters of the list. `month` is that of the invoice's date."""

    connection = Filter(_("Connection"), uuid_or_none)
    month = Filter(_("Month"), month_or_none)
    state = Filter(_("State"), one_of(ProviderInvoice.State.values), lookup="state")
    q = search_filter()
    page = page_filter()

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query)
        if self.connection and not Connection.objects.filter(public_id=self.connection).exists():
            self.refuse("connection")

    def narrowed(self) -> QuerySet[ProviderInvoice]:
        found = self.narrow(ProviderInvoice.objects.all())
        if self.connection:
            found = found.filter(connection__public_id=self.connection)
        if self.month:
            found = found.filter(issued_on__gte=self.month, issued_on__lte=last_day(self.month))
        for word in self.q.split()[:5]:
            found = found.filter(matches("number__icontains", word) | matches("note__icontains", word))
        return found


class InvoiceLineFilters(ListFilters):
    kind = Filter(_("Kind"), one_of(InvoiceLineKind.values), lookup="kind")
    account = Filter(_("Account"), one_of(MATCHES))
    q = search_filter()
    page = page_filter()

    def narrowed(self, invoice: ProviderInvoice) -> QuerySet[ProviderInvoiceLine]:
        found = self.narrow(invoice.lines.all())
        if self.account == "matched":
            found = found.filter(account__isnull=False)
        elif self.account:
            text = Q(account_text="")
            found = found.filter(~text if self.account == "unmatched" else text, account=None)
        for word in self.q.split()[:5]:
            said = matches("account_text__icontains", word) | matches("offering__icontains", word)
            found = found.filter(said | matches("description__icontains", word))
        return found


@dataclass(frozen=True, slots=True)
class InvoiceSum:
    """Invoices of one currency together, without those that were withdrawn."""

    currency: str
    total_minor: int
    invoices: int

    def __str__(self) -> str:
        return minor_text(self.total_minor, self.currency)


def invoice_sums(found: QuerySet[ProviderInvoice]) -> list[InvoiceSum]:
    rows = (
        found.filter(state=ProviderInvoice.State.ENTERED)
        .order_by("currency")
        .values("currency")
        .annotate(total=Sum("total_minor"), n=Count("pk"))
    )
    return [InvoiceSum(row["currency"], int(row["total"]), row["n"]) for row in rows]


def invoice_page(filters: InvoiceFilters, number: str) -> LongPage:
    rows = ProviderInvoice.objects.select_related("connection", "closing")
    return long_page(KeyedRows(filters.narrowed().order_by("-issued_on", "-pk"), rows), number, A_PAGE)


def line_page(invoice: ProviderInvoice, filters: InvoiceLineFilters, number: str) -> LongPage:
    rows = ProviderInvoiceLine.objects.select_related("account")
    return long_page(KeyedRows(filters.narrowed(invoice).order_by("n"), rows), number, LINES_A_PAGE)


@dataclass(frozen=True, slots=True)
class InvoiceTotals:
    """The sums of an invoice's lines: `missing_minor` is what its total has beyond them."""

    lines: int
    sum_minor: int
    tax_minor: int
    unmatched: int
    first_end: date | None
    last_end: date | None
    missing_minor: int
    currency: str

    @property
    def sum_text(self) -> str:
        return minor_text(self.sum_minor, self.currency)

    @property
    def tax_text(self) -> str:
        return minor_text(self.tax_minor, self.currency)

    @property
    def missing_text(self) -> str:
        return minor_text(self.missing_minor, self.currency, signed=True)

    @property
    def months(self) -> list[date]:
        """The first and last month in which its services end: one of them where they are the same."""
        ends = [each.replace(day=1) for each in (self.first_end, self.last_end) if each]
        return sorted(set(ends))


def totals_of(invoice: ProviderInvoice) -> InvoiceTotals:
    unmatched = Q(account=None) & ~Q(account_text="")
    row = invoice.lines.order_by().aggregate(
        n=Count("pk"),
        sum=Sum("amount_minor"),
        tax=Sum("amount_minor", filter=Q(kind=InvoiceLineKind.TAX)),
        unmatched=Count("pk", filter=unmatched),
        first=Min("end_on"),
        last=Max("end_on"),
    )
    added = int(row["sum"] or 0)
    return InvoiceTotals(
        row["n"], added, int(row["tax"] or 0), row["unmatched"], row["first"], row["last"],
        invoice.total_minor - added, invoice.currency,
    )  # fmt: skip


def suggested_accounts(connection: Connection, words: str) -> list[Account]:
    """Return accounts of the connection that a line may be about: each word stands in ID, email, username or name."""
    wanted = [word for word in words.split()[:6] if len(word) > 1]
    if not wanted:
        return []
    found = Account.objects.filter(connection=connection, duplicate_of=None).select_related("customer")
    for word in wanted:
        named = matches("email__icontains", word) | matches("customer__company_name__icontains", word)
        found = found.filter(named | Q(provider_id__icontains=word) | Q(v2_username__icontains=word))
    return list(found.order_by("email", "pk")[:SUGGESTED])
