"""Personal data in the tables of usage and money. Amounts and figures name nobody."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from portal.personal_data import declare

_BILLING = gettext_lazy("Billing customers and comparing with the provider's invoices.")
_FOREVER = gettext_lazy("As long as the installation exists, unless erased.")
_SETTINGS = gettext_lazy("As long as the retention settings say.")
_TAX = gettext_lazy("Rows of a closed month are tax records: the database refuses a change, and they are signed.")
_SIGNED = gettext_lazy("Part of a closed statement, which is a tax record and signed.")

declare("billing.UsageSnapshot", plain="source package currency raw raw_sha256")
declare("billing.PooledSnapshot", plain="currency method note shares raw raw_sha256")
declare("billing.MidnightReading", plain="zone")
declare("billing.UsagePeriod", plain="reason currency package")
declare("billing.FigureVersion", plain="cause reason currency package")
declare("billing.Anomaly", plain="before after cause")
declare(
    "billing.Decision",
    name=gettext_lazy("Decisions on usage"),
    why=_BILLING,
    until=_FOREVER,
    erased="reason",
    append_only=True,
)
declare("billing.UsageRollup", plain="currency package")
declare("billing.MonthTotal", plain="currency")
declare("billing.StatisticsReading", plain="days")
declare("billing.ResetZone", plain="applied")
declare(
    "billing.PriceList",
    name=gettext_lazy("Price lists"),
    why=_BILLING,
    until=_FOREVER,
    erased="name",
    plain="provider_kind currency",
)
declare(
    "billing.PriceVersion",
    name=gettext_lazy("Price versions"),
    why=_BILLING,
    until=_FOREVER,
    erased="note",
    plain="prices",
    append_only=True,
)
declare(
    "billing.Contract",
    name=gettext_lazy("Contracts"),
    why=_BILLING,
    until=_FOREVER,
    erased="purchase_order accounting_reference note",
    plain="currency terms",
    of_customer="customer",
    append_only=True,
)
declare("billing.ContractPriceList", plain="provider_kind")
declare("billing.ConnectionBilling", plain="zone")
declare(
    "billing.ExchangeRate",
    name=gettext_lazy("Exchange rates"),
    why=_BILLING,
    until=_FOREVER,
    erased="source",
    plain="from_currency to_currency",
    append_only=True,
)
declare("billing.Statement", plain="currency versions inputs digest")
declare("billing.StatementLine", plain="key offering package account_code tax_code because")
declare("billing.StatementFinding", plain="kind offering detail")
declare(
    "billing.StatementCase",
    name=gettext_lazy("Rating cases of closed statements"),
    why=_BILLING,
    until=gettext_lazy("As long as tax law requires."),
    kept={"case": _SIGNED},
)
declare("billing.BillingTerms", plain="number_prefix default_account_code accrued_account_code")
declare(
    "billing.MonthClosing",
    name=gettext_lazy("Month closes"),
    why=_BILLING,
    until=gettext_lazy("As long as tax law requires."),
    erased="note",
    plain="totals contents prev_hash row_hash",
    frozen=_TAX,
)
declare(
    "billing.Blocker",
    name=gettext_lazy("Blockers of a month"),
    why=_BILLING,
    until=_FOREVER,
    erased="detail accepted_reason",
    plain="key kind offering currency fingerprint",
    of_customer="customer",
    frozen=_TAX,
)
declare(
    "billing.OpeningBalance",
    name=gettext_lazy("Opening balances"),
    why=_BILLING,
    until=_FOREVER,
    erased="description",
    plain="currency account_code tax_code",
    of_customer="customer",
)
declare(
    "billing.UsageExport",
    name=gettext_lazy("Usage exports"),
    why=gettext_lazy("Showing what changed since a file was used."),
    until=gettext_lazy(
        "The file: as long as the retention settings say. The rest: as long as the installation exists, unless erased."
    ),
    erased="filters",
    kept={
        "file": gettext_lazy(
            "The file stays as it was downloaded, with its SHA-256. It names companies and accounts by ID, no contact."
        )
    },
    plain="sha256 periods",
)
declare(
    "billing.ProviderInvoice",
    name=gettext_lazy("Provider invoices"),
    why=_BILLING,
    until=gettext_lazy("As long as tax law requires."),
    erased="filename note withdrawn_reason",
    plain="number currency",
    frozen=_TAX,
)
declare(
    "billing.ProviderInvoiceLine",
    name=gettext_lazy("Lines of provider invoices"),
    why=_BILLING,
    until=gettext_lazy("As long as tax law requires."),
    erased="account_text description",
    plain="offering",
    of_customer="account__customer",
    frozen=_TAX,
)
declare("billing.InvoiceComparison", plain="currency billed stamp")
declare(
    "billing.InvoiceMatch",
    name=gettext_lazy("Comparisons with provider invoices"),
    why=_BILLING,
    until=gettext_lazy("As long as tax law requires."),
    erased="account_text lines",
    plain="kind billed_currency",
    of_customer="account__customer",
    frozen=_TAX,
)
declare(
    "billing.ParallelMonth",
    name=gettext_lazy("Parallel months"),
    why=_BILLING,
    until=_SETTINGS,
    erased="filename ignored",
    plain="currency",
)
declare(
    "billing.ParallelRow",
    name=gettext_lazy("Lines of parallel months"),
    why=_BILLING,
    until=_SETTINGS,
    erased="customer_text account_text note",
    plain="currency",
    of_customer="customer",
)
declare(
    "billing.ParallelResult",
    name=gettext_lazy("Results of parallel months"),
    why=_BILLING,
    until=_SETTINGS,
    erased="label reasons findings lines",
    plain="currency",
    of_customer="customer",
)
declare(
    "billing.SyncRun",
    name=gettext_lazy("Usage syncs"),
    why=_BILLING,
    until=_FOREVER,
    erased="message",
    plain="slot source removed_causes",
)
declare(
    "billing.SyncItem",
    name=gettext_lazy("Accounts of usage syncs"),
    why=_BILLING,
    until=_SETTINGS,
    erased="message",
    plain="cause",
    of_customer="account__customer",
)
