"""Nothing of a closed month can be changed; what a superuser changes past the triggers is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from billing.closing.runs import content
from billing.closing.runs.verification import chain_off, verify_closed_months
from billing.models import (
    BillingTerms,
    Blocker,
    InvoiceComparison,
    InvoiceMatch,
    MonthClosing,
    ProviderInvoice,
    ProviderInvoiceLine,
    Statement,
    StatementCase,
    StatementCounter,
    StatementFinding,
    StatementLine,
    UsagePeriod,
)
from customers.models import Connection
from portal.audit.models import AuditEvent
from tests.billing.closing.closed import LATER, block, close, compared
from tests.billing.closing.runs.test_runs import customers
from tests.billing.pricing.statements.agreed import NOVEMBER

pytestmark = pytest.mark.django_db
CLOSED: tuple[tuple[type[models.Model], tuple[str, ...]], ...] = (
    (MonthClosing, (*content.RUN, "row_hash")),
    (Statement, (*content.STATEMENT, "digest")),
    (StatementLine, content.LINE),
    (StatementFinding, content.FINDING),
    (StatementCase, content.CASE),
    (ProviderInvoice, content.INVOICE),
    (ProviderInvoiceLine, content.INVOICE_LINE),
    (InvoiceComparison, content.COMPARISON),
    (InvoiceMatch, content.MATCH),
    (Blocker, content.BLOCKER),
)
TABLES = [pytest.param(model, id=model.__name__) for model, _columns in CLOSED]


@pytest.fixture
def month() -> MonthClosing:
    """A closed month with a row in every table."""
    first, second = customers(2)
    UsagePeriod.objects.filter(account=second.accounts.get()).update(allowed=90_000)  # which is a finding
    for each in Connection.objects.all():
        compared(each, 9000, 8995)
    block(first, accepted="Agreed by phone.")
    run = close()
    assert [model for model, _names in CLOSED if not model._base_manager.exists()] == []
    assert verify_closed_months().problems == []
    return run


@contextmanager
def past_triggers() -> Iterator[None]:
    """Do what a superuser can: on SQLite, without the triggers."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield
            cursor.execute("SET LOCAL session_replication_role = DEFAULT")
            return
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'billing_%'")
        triggers = cursor.fetchall()
        for name, _sql in triggers:
            cursor.execute(f'DROP TRIGGER "{name}"')
        yield
        for _name, sql in triggers:
            cursor.execute(sql)


def other_value(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value of the column's type that differs; a foreign key becomes another number, checked by nobody."""
    if isinstance(field, models.JSONField):
        return {"forged": True}
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, Decimal)):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, UUID):
        return UUID(int=value.int ^ 1)
    if isinstance(value, str):
        return f"{value[:-1]}{'a' if value[-1:] != 'a' else 'b'}"
    assert value is None
    kind = field.target_field if isinstance(field, models.ForeignKey) else field
    if isinstance(kind, models.DateTimeField):
        return LATER
    if isinstance(kind, models.DateField):
        return NOVEMBER
    return 99 if isinstance(kind, models.IntegerField) else "99"


def column_of(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    return next(each for each in model._meta.concrete_fields if each.attname == name)


@pytest.mark.parametrize(("model", "names"), CLOSED)
def test_every_column_is_hashed(model: type[models.Model], names: tuple[str, ...]) -> None:
    """A new column needs a version of the content of its own: it must not change the hash of what is closed."""
    assert set(names) == {each.attname for each in model._meta.concrete_fields}


class RolledBack(Exception):
    pass


@pytest.mark.parametrize(("model", "names"), CLOSED)
def test_every_changed_column_is_found(month: MonthClosing, model: type[models.Model], names: tuple[str, ...]) -> None:
    row = model._base_manager.order_by("pk").last()
    assert row is not None
    for name in names:
        sql, values = forged_update(row, name)
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, values)
        with pytest.raises(RolledBack), transaction.atomic():  # noqa: PT012  all of it is undone
            forge(sql, values)
            assert verify_closed_months().problems != [], name
            raise RolledBack
    assert verify_closed_months().problems == []


def forged_update(row: models.Model, name: str) -> tuple[str, list[Any]]:
    meta, field = row._meta, column_of(type(row), name)
    value = field.get_db_prep_save(other_value(field, getattr(row, name)), connection=connection)
    return f'UPDATE "{meta.db_table}" SET "{field.column}" = %s WHERE "{meta.pk.column}" = %s', [value, row.pk]  # noqa: S608  our own names


def forge(sql: str, values: list[Any]) -> None:
    """Change a row past the triggers, and past a constraint that refuses it to a superuser too."""
    try:
        with transaction.atomic(), past_triggers(), connection.cursor() as cursor:
            cursor.execute(sql, values)
    except IntegrityError:
        with without_checks(), past_triggers(), connection.cursor() as cursor:
            cursor.execute(sql, values)


@contextmanager
def without_checks() -> Iterator[None]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
            yield
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
            return
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' AND "
            "conrelid::regclass::text LIKE 'billing_%'"
        )
        for table, name in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        yield


def undo_broken_keys() -> None:
    """Let the test end although keys point nowhere: it is rolled back."""
    connection.needs_rollback = True


@pytest.mark.parametrize("model", TABLES)
def test_a_deleted_row_is_found(month: MonthClosing, model: type[models.Model]) -> None:
    rows = model._base_manager.order_by("pk")
    pk = rows.values_list("pk", flat=True).last()
    with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
        rows.filter(pk=pk)._raw_delete(rows.db)
    with past_triggers():
        rows.filter(pk=pk)._raw_delete(rows.db)
    assert verify_closed_months().problems != []
    undo_broken_keys()


@pytest.mark.parametrize("model", TABLES)
def test_rows_cannot_be_changed_with_django(month: MonthClosing, model: type[models.Model]) -> None:
    row = model._base_manager.order_by("pk").first()
    assert row is not None
    with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
        row.save()
    with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
        model._base_manager.filter(pk=row.pk)._raw_delete("default")


@pytest.mark.parametrize("model", [StatementLine, StatementFinding, ProviderInvoiceLine, InvoiceMatch, Statement])
def test_no_row_joins_what_is_closed(month: MonthClosing, model: type[models.Model]) -> None:
    row: Any = model._base_manager.order_by("pk").first()
    row.pk, row._state.adding = None, True
    for name, value in {"n": 99, "key": "forged", "public_id": UUID(int=5), "number": 99, "currency": "SEK"}.items():
        if hasattr(row, name):
            setattr(row, name, value)
    with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
        row.save()
    with past_triggers():
        row.save()
    assert verify_closed_months().problems != []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no TRUNCATE")
@pytest.mark.parametrize("model", TABLES)
def test_no_table_is_emptied(month: MonthClosing, model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
            cursor.execute(f'TRUNCATE "{model._meta.db_table}" CASCADE')


def test_a_removed_last_month_is_found(month: MonthClosing) -> None:
    remove(month)
    assert verify_closed_months().problems == [
        "Closing 1 of the chain, 2026-11 closing 1, was removed or changed after the audit log noted it."
    ]
    assert list(chain_off(LATER)) != []


def test_a_removed_month_in_the_middle_is_found(month: MonthClosing) -> None:
    close(date(2026, 12, 1), now=LATER.replace(year=2027, month=1))
    remove(month)
    problems = verify_closed_months().problems
    assert "Closing 1 of the chain is missing. The next one is 2: 2026-12 closing 1." in problems


def test_a_removed_end_of_both_logs_needs_the_head(month: MonthClosing) -> None:
    """Whoever can also rewrite the audit log is found by its own chain, or by a head that was noted elsewhere."""
    head = verify_closed_months().head
    remove(month)
    with past_triggers(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute('DROP TRIGGER "audit_auditevent_no_delete"')
        cursor.execute("DELETE FROM audit_auditevent WHERE verb = 'month.closed'")
    assert not AuditEvent.objects.filter(verb="month.closed").exists()
    assert verify_closed_months().problems == []
    assert verify_closed_months(head=head).problems == [
        "The given head 1 is not in the chain. Closings were removed or changed."
    ]


def remove(run: MonthClosing) -> None:
    """Remove a month without a trace in its own tables."""
    statements = Statement.objects.filter(closing=run.pk)
    numbers = statements.exclude(number=None).count()
    with past_triggers():
        for model, _names in CLOSED[2:5]:
            of = model._base_manager.filter(statement__in=list(statements.values_list("pk", flat=True)))
            of._raw_delete("default")
        statements._raw_delete("default")
        ProviderInvoiceLine.objects.all()._raw_delete("default")
        ProviderInvoice.objects.all()._raw_delete("default")
        InvoiceMatch.objects.all()._raw_delete("default")
        InvoiceComparison.objects.all()._raw_delete("default")
        MonthClosing.objects.filter(pk=run.pk)._raw_delete("default")
        if not MonthClosing.objects.exists():
            StatementCounter.objects.update(last=models.F("last") - numbers)


def test_a_changed_counter_is_found(month: MonthClosing) -> None:
    StatementCounter.objects.update(last=7)
    assert verify_closed_months().problems == ["7 statement numbers were given, 2 are there, and the highest one is 2."]


def test_another_prefix_of_numbers_is_found(month: MonthClosing) -> None:
    BillingTerms.objects.update_or_create(pk=1, defaults={"number_prefix": "X-"})
    assert verify_closed_months().problems == [
        "2026-11 closing 1: prefix of statement numbers changed after it was closed. Then: 2, now: 2."
    ]


def test_statements_of_a_closing_that_failed_are_named(month: MonthClosing) -> None:
    with past_triggers():
        MonthClosing.objects.filter(pk=month.pk).update(state="failed", seq=None)
    assert "4 closed statements belong to a closing that failed." in " ".join(verify_closed_months().problems)


def test_the_command_says_what_is_wrong(month: MonthClosing) -> None:
    out = StringIO()
    call_command("verify_closed_months", stdout=out, month="2026-11")
    assert f"Head: 1:{month.row_hash}" in out.getvalue()
    assert "The closed months are intact." in out.getvalue()
    with past_triggers():
        Statement.objects.filter(number=1).update(total_minor=1)
    said = StringIO()
    with pytest.raises(CommandError, match="altered"):
        call_command("verify_closed_months", stdout=StringIO(), stderr=said)
    assert "(number 1) of 2026-11 changed after it was closed." in said.getvalue()
    with pytest.raises(CommandError, match="must be a month"):
        call_command("verify_closed_months", month="November")


def test_another_key_fits_nothing(month: MonthClosing, settings: Any) -> None:
    settings.AUDIT_KEY = "another-key-of-some-length"
    assert verify_closed_months().problems == ["2026-11 closing 1 changed after it was closed."]


def test_content_is_the_same_whatever_the_order() -> None:
    assert content.canonical_row([{"b": 1, "a": [Decimal("1.50")]}]) == b'[{"a":["1.5"],"b":1}]'
    assert json.loads(content.canonical_row([LATER])) == ["2026-12-05T12:00:00.000000+00:00"]
    with pytest.raises(TypeError):
        content.canonical_row([1.5j])
