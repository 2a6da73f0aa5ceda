"""Commands on provider invoices: enter, edit, and withdraw one, and its lines one at a time.

Each holds the invoice's row. What a closed month compared can't be changed anymore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from billing.closing.invoices.texts import AccountNames, minor_of, typed_amount
from billing.models import ProviderInvoice, ProviderInvoiceLine
from billing.pricing.amounts import check_currency
from billing.pricing.rating.currency import minor_unit_places
from customers.models import Account, Connection
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.edits import refuse_stale
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal
from portal.row_inserts import insert_rows

HEADER = ("number", "issued_on", "currency", "total", "note")
LINE = ("kind", "account_text", "offering", "description", "start_on", "end_on", "quantity", "amount")
State = ProviderInvoice.State
# The worker task that compares what an invoice of the connection (its key) concerns, again.
COMPARE = "billing.compare_invoices"


def header_of(invoice: ProviderInvoice) -> dict[str, Any]:
    """Return the header as its form shows it."""
    total = typed_amount(invoice.total_minor, invoice.currency)
    return {"number": invoice.number, "issued_on": invoice.issued_on, "currency": invoice.currency, "total": total,
            "note": invoice.note}  # fmt: skip


def line_facts(line: ProviderInvoiceLine, currency: str) -> dict[str, Any]:
    """Return a line as its form shows it."""
    return {name: getattr(line, name) for name in LINE if name != "amount"} | {
        "amount": typed_amount(line.amount_minor, currency)
    }


def enter_invoice(
    command: Command,
    *,
    connection: Connection,
    number: str,
    issued_on: date,
    currency: str,
    total_minor: int,
    note: str = "",
    filename: str = "",
    lines: Iterable[Mapping[str, Any]] = (),
) -> ProviderInvoice:
    """Store an invoice, with the lines of a file where it has one. Raises `Refusal` if the number exists."""
    require(command.person, Permission.CLOSE_MONTHS)
    check_currency(currency)
    with transaction.atomic():
        invoice = ProviderInvoice(
            connection=connection, number=number, issued_on=issued_on, currency=currency, total_minor=total_minor,
            note=note, filename=filename[-200:], entered_by=command.person, entered_at=command.now,
        )  # fmt: skip
        _with_number(invoice, lambda: invoice.save(force_insert=True))
        insert_rows(ProviderInvoiceLine, ({"invoice_id": invoice.pk, **line} for line in lines))
        told = header_of(invoice) | {"connection": connection.name, "lines": invoice.lines.count()}
        command.record(verb="invoice.entered", obj=invoice, after=told | ({"file": filename} if filename else {}))
        enqueue_on_commit(COMPARE, connection.pk)
    return invoice


def _with_number(invoice: ProviderInvoice, store: Callable[[], object]) -> None:
    """Store the invoice, and refuse a number that another one of the connection has."""
    try:
        with transaction.atomic():
            store()
    except IntegrityError:
        others = ProviderInvoice.objects.filter(
            connection=invoice.connection_id, number=invoice.number, state=State.ENTERED
        )
        if not others.exclude(pk=invoice.pk).exists():
            raise
        words = {"number": invoice.number}
        raise Refusal(
            _("Invoice %(number)s of this connection was already entered. Edit that one, or withdraw it first.")
            % words,
            field="number",
        ) from None


def _held(invoice: ProviderInvoice) -> ProviderInvoice:
    """Lock the invoice and return it as stored. Raises `Refusal` if it may not change. Needs a transaction."""
    rows = ProviderInvoice.objects.select_for_update(of=("self",), no_key=True).select_related("connection", "closing")
    held = rows.get(pk=invoice.pk)
    if held.state == State.WITHDRAWN:
        raise Refusal(_("This invoice was withdrawn. Enter it again to change it."))
    if held.closing:
        text = _("%(month)s, which compared this invoice, is closed. Enter a correction as an invoice of its own.")
        raise Refusal(text % {"month": f"{held.closing.month:%Y-%m}"})
    return held


def _count_change(invoice: ProviderInvoice, *changed: str) -> None:
    invoice.edits += 1
    invoice.save(update_fields=[*changed, "edits"])
    enqueue_on_commit(COMPARE, invoice.connection_id)


def edit_invoice(
    command: Command, *, invoice: ProviderInvoice, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> bool:
    """Change the header; return whether that changed it. Raises `EditConflict` and `Refusal`."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        before = header_of(held)
        refuse_stale(before, facts, seen)
        after = {**before, **facts}
        check_currency(after["currency"])
        if minor_unit_places(after["currency"]) != minor_unit_places(held.currency) and held.lines.exists():
            text = _("This currency has other decimal places. Withdraw the invoice, then enter it again.")
            raise Refusal(text, field="currency")
        changed = {name: after[name] for name in HEADER if after[name] != before[name]}
        if not changed:
            return False
        for name, value in changed.items():
            if name != "total":
                setattr(held, name, value)
        held.total_minor = minor_of(after["total"], after["currency"], field="total")
        fields = (*(name for name in HEADER if name != "total"), "total_minor")
        _with_number(held, lambda: held.save(update_fields=fields))
        _count_change(held)
        command.record(verb="invoice.edited", obj=held, before={name: before[name] for name in changed}, after=changed)
    return True


def withdraw_invoice(command: Command, *, invoice: ProviderInvoice, reason: str) -> None:
    """Leave an invoice out of all comparisons, with a reason. It stays readable."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        held.state, held.withdrawn_reason = State.WITHDRAWN, reason
        _count_change(held, "state", "withdrawn_reason")
        command.because(reason).record(verb="invoice.withdrawn", obj=held, after={"number": held.number})


def add_line(command: Command, *, invoice: ProviderInvoice, facts: Mapping[str, Any]) -> ProviderInvoiceLine:
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        n = (held.lines.aggregate(last=Max("n"))["last"] or 0) + 1
        line = ProviderInvoiceLine(invoice=held, n=n)
        _fill(line, facts, held)
        line.save(force_insert=True)
        _count_change(held)
        command.record(verb="invoice.line_added", obj=held, after={"line": n, **line_facts(line, held.currency)})
    return line


def edit_line(
    command: Command,
    *,
    invoice: ProviderInvoice,
    n: int,
    facts: Mapping[str, Any],
    seen: Mapping[str, Any] | None = None,
) -> bool:
    """Change a line; return whether that changed it. Raises `EditConflict` and `Refusal`."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        line = _line_of(held, n)
        before = line_facts(line, held.currency)
        refuse_stale(before, facts, seen)
        changed = {name: value for name, value in facts.items() if value != before[name]}
        if not changed:
            return False
        _fill(line, before | changed, held)
        line.save(update_fields=[*(name for name in LINE if name != "amount"), "account", "amount_minor"])
        _count_change(held)
        command.record(
            verb="invoice.line_edited",
            obj=held,
            before={"line": n} | {name: before[name] for name in changed},
            after=changed,
        )
    return True


def remove_line(command: Command, *, invoice: ProviderInvoice, n: int, seen_edits: int) -> None:
    """Remove a line. Raises `Refusal` if the invoice was changed since it was shown."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        if held.edits != seen_edits:
            raise Refusal(_("Someone changed this invoice while you had it open. Review it, then remove the line."))
        line = _line_of(held, n)
        told = {"line": n, **line_facts(line, held.currency)}
        line.delete()
        _count_change(held)
        command.record(verb="invoice.line_removed", obj=held, before=told)


def assign_account(command: Command, *, invoice: ProviderInvoice, n: int, account: Account) -> int:
    """Let the line, and all lines of the invoice that write the same account and have none, be about `account`; return
    their number."""
    require(command.person, Permission.CLOSE_MONTHS)
    with transaction.atomic():
        held = _held(invoice)
        line = _line_of(held, n)
        if account.connection_id != held.connection_id or account.duplicate_of_id:
            raise Refusal(_("Select an account of the invoice's connection."))
        same = ProviderInvoiceLine.objects.filter(invoice=held, n=n)
        if line.account_text:
            same |= ProviderInvoiceLine.objects.filter(invoice=held, account_text=line.account_text, account=None)
        assigned = same.update(account=account)
        _count_change(held)
        told = {"line": n, "written": line.account_text, "lines": assigned, "account": account.email}
        command.record(verb="invoice.account_assigned", obj=held, after=told)
    return assigned


def _line_of(invoice: ProviderInvoice, n: int) -> ProviderInvoiceLine:
    line = invoice.lines.filter(n=n).first()
    if line is None:
        raise Refusal(_("Someone removed this line. Return to the invoice."))
    return line


def _fill(line: ProviderInvoiceLine, facts: Mapping[str, Any], invoice: ProviderInvoice) -> None:
    """Write what was typed to the line. An account that was assigned stays while its text is the same."""
    if facts["end_on"] < facts["start_on"]:
        raise Refusal(_("Enter the first day of service or a later one."), field="end_on")
    if line._state.adding or facts["account_text"] != line.account_text:
        text = facts["account_text"]
        line.account_id = AccountNames(invoice.connection_id, text).find(text) if text else None
    for name in LINE:
        if name != "amount":
            setattr(line, name, facts[name])
    line.amount_minor = minor_of(facts["amount"], invoice.currency, field="amount")
