"""Provider invoices: what may be entered and changed, and what is recorded."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from billing.closing.invoices import commands
from billing.models import MonthClosing, ProviderInvoice
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.edits import EditConflict
from portal.refusals import Refusal
from tests.billing.closing.invoiced import by, invoice, line
from tests.billing.pricing.statements.agreed import FIRST, LAST, NOVEMBER, NOW
from tests.support.factories import AccountFactory, ConnectionFactory, UserFactory

pytestmark = pytest.mark.django_db
FACTS: dict[str, Any] = {
    "kind": "base", "account_text": "", "offering": "", "description": "", "start_on": FIRST, "end_on": LAST,
    "quantity": None, "amount": "89.95",
}  # fmt: skip


def closed(found: ProviderInvoice) -> None:
    facts = {"requested_by": found.entered_by, "requested_at": NOW, "not_before": NOW}
    run = MonthClosing.objects.create(month=NOVEMBER, n=1, **facts)
    ProviderInvoice.objects.filter(pk=found.pk).update(closing=run)


def test_an_invoice_is_entered_and_recorded() -> None:
    account = AccountFactory()
    found = invoice(account.connection, line(account))
    assert (found.total_minor, found.lines.get().account) == (8995, account)
    event = AuditEvent.objects.get(verb="invoice.entered")
    assert event.object_id == found.public_id
    assert event.after["total"] == "89.95"


def test_a_number_is_entered_once_per_connection() -> None:
    connection, other = ConnectionFactory(), ConnectionFactory()
    first = invoice(connection)
    invoice(other)
    with pytest.raises(Refusal, match="already entered") as refused:
        invoice(connection)
    assert refused.value.field == "number"
    commands.withdraw_invoice(by(), invoice=first, reason="Replaced")
    invoice(connection)


def test_an_edit_writes_what_changed() -> None:
    found = invoice(ConnectionFactory(), line())
    assert not commands.edit_invoice(by(), invoice=found, facts={"number": "2026-11"})
    assert commands.edit_invoice(by(), invoice=found, facts={"total": "90.00", "note": "By post"})
    found.refresh_from_db()
    assert (found.total_minor, found.note, found.edits) == (9000, "By post", 1)
    assert AuditEvent.objects.get(verb="invoice.edited").before == {"total": "89.95", "note": ""}


def test_an_edit_of_a_field_that_changed_is_a_conflict() -> None:
    found = invoice(ConnectionFactory())
    with pytest.raises(EditConflict):
        commands.edit_invoice(by(), invoice=found, facts={"note": "Mine"}, seen={"note": "Before"})


def test_a_number_of_another_invoice_is_refused() -> None:
    connection = ConnectionFactory()
    invoice(connection, number="A")
    found = invoice(connection, number="B")
    with pytest.raises(Refusal, match="already entered"):
        commands.edit_invoice(by(), invoice=found, facts={"number": "A"})


def test_amounts_keep_their_decimal_places() -> None:
    found = invoice(ConnectionFactory(), line())
    with pytest.raises(Refusal, match="other decimal places"):
        commands.edit_invoice(by(), invoice=found, facts={"currency": "JPY"})
    with pytest.raises(Refusal, match="2 decimal places") as refused:
        commands.edit_invoice(by(), invoice=found, facts={"total": "1.005"})
    assert refused.value.field == "total"


class TestLines:
    def test_lines_are_numbered_and_find_their_account(self) -> None:
        account = AccountFactory(v2_username="northwind")
        found = invoice(account.connection)
        texts = [account.provider_id, account.email.upper(), "Northwind", "stranger", ""]
        lines = [commands.add_line(by(), invoice=found, facts=FACTS | {"account_text": each}) for each in texts]
        assert [each.n for each in lines] == [1, 2, 3, 4, 5]
        assert [each.account for each in lines] == [account, account, account, None, None]

    def test_an_email_of_two_accounts_finds_none(self) -> None:
        account = AccountFactory()
        AccountFactory(connection=account.connection, email=account.email)
        found = invoice(account.connection)
        text = {"account_text": account.email}
        assert commands.add_line(by(), invoice=found, facts=FACTS | text).account is None

    def test_an_edit_looks_for_the_account_again(self) -> None:
        account = AccountFactory()
        found = invoice(account.connection, line(text="stranger"))
        assert commands.edit_line(by(), invoice=found, n=1, facts={"account_text": account.email, "amount": "1"})
        changed = found.lines.get()
        assert (changed.account, changed.amount_minor) == (account, 100)

    def test_other_fields_leave_the_assigned_account(self) -> None:
        account = AccountFactory()
        found = invoice(account.connection, line(text="stranger"))
        commands.assign_account(by(), invoice=found, n=1, account=account)
        commands.edit_line(by(), invoice=found, n=1, facts={"quantity": 3})
        assert found.lines.get().account == account

    def test_all_lines_with_the_same_text_are_assigned(self) -> None:
        account = AccountFactory()
        found = invoice(account.connection, line(text="x"), line(text="x"), line(text="y"))
        assert commands.assign_account(by(), invoice=found, n=1, account=account) == 2
        assert [each.account for each in found.lines.order_by("n")] == [account, account, None]

    def test_an_account_of_another_connection_is_refused(self) -> None:
        found = invoice(ConnectionFactory(), line(text="x"))
        with pytest.raises(Refusal, match="of the invoice's connection"):
            commands.assign_account(by(), invoice=found, n=1, account=AccountFactory())

    def test_the_service_ends_after_it_starts(self) -> None:
        found = invoice(ConnectionFactory())
        with pytest.raises(Refusal) as refused:
            commands.add_line(by(), invoice=found, facts=FACTS | {"end_on": date(2026, 10, 31)})
        assert refused.value.field == "end_on"

    def test_a_line_is_removed_from_the_invoice_as_seen(self) -> None:
        found = invoice(ConnectionFactory(), line(), line())
        with pytest.raises(Refusal, match="Someone changed"):
            commands.remove_line(by(), invoice=found, n=1, seen_edits=7)
        commands.remove_line(by(), invoice=found, n=1, seen_edits=0)
        assert found.lines.get().n == 2
        with pytest.raises(Refusal, match="removed this line"):
            commands.edit_line(by(), invoice=found, n=1, facts={"quantity": 3})


CHANGES: dict[str, Any] = {
    "edit": lambda each: commands.edit_invoice(by(), invoice=each, facts={"note": "x"}),
    "withdraw": lambda each: commands.withdraw_invoice(by(), invoice=each, reason="x"),
    "add": lambda each: commands.add_line(by(), invoice=each, facts=FACTS),
    "line": lambda each: commands.edit_line(by(), invoice=each, n=1, facts={"quantity": 1}),
    "remove": lambda each: commands.remove_line(by(), invoice=each, n=1, seen_edits=0),
    "assign": lambda each: commands.assign_account(
        by(), invoice=each, n=1, account=AccountFactory(connection=each.connection)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
class TestUnchangeable:
    def test_nothing_of_a_closed_month_changes(self, change: Any) -> None:
        found = invoice(ConnectionFactory(), line(text="x"))
        closed(found)
        with pytest.raises(Refusal, match="2026-11, which compared this invoice, is closed"):
            change(found)

    def test_a_withdrawn_invoice_stays(self, change: Any) -> None:
        found = invoice(ConnectionFactory(), line(text="x"))
        commands.withdraw_invoice(by(), invoice=found, reason="Wrong")
        with pytest.raises(Refusal, match="was withdrawn"):
            change(found)


def test_only_those_who_close_months_enter() -> None:
    for role in ("auditor", "customer_success"):
        with pytest.raises(Refusal, match="role"):
            commands.enter_invoice(
                Command(UserFactory(role=role), NOW), connection=ConnectionFactory(), number="1", issued_on=FIRST,
                currency="EUR", total_minor=1,
            )  # fmt: skip
