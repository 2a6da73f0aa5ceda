"""A person whose unique words stand in every declared column of every table, and who lived through the life of a
customer at a provider: after the erasure nothing has them, and all that is signed is as it was."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from billing.closing.runs.verification import verify_closed_months
from billing.models import (
    Decision,
    ExchangeRate,
    InvoiceComparison,
    InvoiceMatch,
    MonthClosing,
    Statement,
    StatementLine,
    UsagePeriod,
)  # fmt: skip
from customers.directory.commands import add_note, edit_customer
from customers.models import (
    Account,
    Breaker,
    Customer,
    DriftIgnore,
    InvariantCheck,
    Note,
    Operation,
    Recovery,
    RemoteAccount,
    UsageReading,
)  # fmt: skip
from customers.monitoring import invariants
from customers.operations import commands as operation_commands
from portal import audit
from portal.access.models import FormerSsoLink, User
from portal.audit.chain import seal_pending, verify_chain
from portal.audit.permits import permit_erasure
from portal.commands import Command
from portal.notices.models import Notice
from portal.personal_data import Declaration, personal_tables
from portal.privacy.models import SubjectRequest
from tests.billing.closing.closed import close
from tests.billing.pricing.statements.agreed import BASE, OVERAGE, contract, figure, price_list
from tests.billing.pricing.statements.agreed import account as priced_account
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import World
from tests.privacy.planted import EMAIL, FIRST, LAST, NAME, PHONE, TRACES, admin, dumped, erased, searched, traces
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.long]
MEMBER_EMAIL, MEMBER_NAME = "wanda.xyzzy@planted-member.example", "Wandamira Xyzzington"
OF_MEMBER = ("wanda.xyzzy", "wandamira", "xyzzington", "planted-member", "203.0.113.77", "netscapist")


def lived(desk: Desk) -> Customer:  # noqa: F811 - the fixture
    """The customer's life: created at the provider, edited, changed, suspended, deleted, with notes and mistakes."""
    operation = desk.perform(desk.ask_create(EMAIL, first_name=FIRST, last_name=LAST))
    assert operation.state == "succeeded", operation.summary
    account = desk.account(operation)
    customer = account.customer
    facts = {"first_name": FIRST, "last_name": LAST, "phone": PHONE, "tags": [f"friend of {LAST}"]}
    edit_customer(Command(desk.person), customer=customer, facts=facts)
    add_note(Command(desk.person), customer=customer, account=account, text=f"{NAME} called from {PHONE}.")
    asked = Command(desk.person, reason=f"{NAME} <{EMAIL}> asked for it", token=uuid.uuid4().hex)
    assert desk.perform(operation_commands.request_suspend(asked, account=account)).state == "succeeded"
    account.refresh_from_db()
    assert desk.perform(desk.ask("delete", account, without_reading=True)).state == "succeeded"
    assert Account.objects.get(pk=account.pk).state == "deleted"
    return customer


def fill_tables(customer: Customer, account: Account) -> None:
    """Rows of the tables that a portal with one of everything lacks."""
    now, person = timezone.now(), admin()
    operation = Operation.objects.filter(account=account).first()
    Note.objects.create(customer=customer, author=person, text="Note")
    Breaker.objects.create(connection=account.connection)
    today = now.date()
    DriftIgnore.objects.create(account=account, field="state", found="x", by=person, reason="x", until_on=today, at=now)
    InvariantCheck.objects.create(slot="x", started_at=now)
    Recovery.objects.create(
        connection=account.connection, epoch=1, began_at=now, backup_at=now, remote_account_mark=0, scan_mark=0
    )
    UsageReading.objects.create(
        operation=operation, account=account, moment="before", source="credits", taken_at=now, failure="x"
    )
    Notice.objects.create(kind="x", about="x", title="x", text="x", path="/", raised_at=now, not_before=now)
    SubjectRequest.objects.create(
        code="AAAA", kind="contact", requested_by=person, requested_at=now, not_before=now, reason="x",
        expires_at=now + timedelta(days=1),
    )  # fmt: skip
    figures = UsagePeriod.objects.all()
    Decision.objects.create(period=figures.first(), verdict="accepted", reason="x", by=person, at=now)
    ExchangeRate.objects.create(
        from_currency="EUR", to_currency="USD", rate=Decimal("1.1"), on=now.date(), source="x", by=person, at=now
    )
    MonthClosing.objects.create(
        month=now.date().replace(day=1), n=99, requested_by=person, requested_at=now, not_before=now, state="failed"
    )
    comparison = InvoiceComparison.objects.create(
        connection=account.connection, month=now.date().replace(day=1), currency="EUR", compared_at=now
    )
    InvoiceMatch.objects.create(
        comparison=comparison, n=99, account=account, result="different", kind="base", start_on=today, end_on=today
    )


def planted_value(each: Declaration, name: str) -> Any:
    column = each.table._meta.get_field(name)
    kind, longest = column.get_internal_type(), getattr(column, "max_length", None) or 1000
    if kind == "JSONField":
        return {"who": NAME, EMAIL: [PHONE, {"first": FIRST, "last": LAST.upper()}]}
    if kind == "EmailField":
        return EMAIL
    sentence = f"{NAME}, {EMAIL.upper()} {PHONE}: {LAST}"
    return next(text for text in (sentence, EMAIL, PHONE) if len(text) <= longest)


def plant_everywhere(customer: Customer) -> list[str]:
    """Put the words into every erasable column of one row of every table, the person's own where there is one. Returns
    the columns."""
    planted = []
    for each in personal_tables():
        if each.by or each.removed or each.model in ("sessions.Session", "access.User"):
            continue
        rows = each.table._base_manager.order_by("pk")
        own = rows.filter(**{each.of_customer: customer.pk}) if each.of_customer else rows
        row = (own.first() or rows.last()) if not each.frozen else open_row(each, own.first() or rows.last())
        assert row is not None, f"{each.model} has no row to plant in"
        is_own = bool(each.of_customer and own.filter(pk=row.pk).exists())
        values = {name: planted_value(each, name) for name in each.erased if column_holds_text(each, name)}
        if not is_own:  # names alone count in rows of their own
            values = {name: without_names_alone(value) for name, value in values.items()}
        if each.model == "customers.Customer":  # by these the person is known
            values |= {"first_name": FIRST, "last_name": LAST, "email": EMAIL, "phone": PHONE}
        if each.model == "billing.Blocker":  # a reason is one of an acceptance
            values |= {"accepted_at": timezone.now(), "accepted_by": admin()}
        with permit_erasure(each.table, [row.pk]) if each.append_only else unguarded():
            each.table._base_manager.filter(pk=row.pk).update(**values)
        planted += [f"{each.model}.{name}" for name in values if name in each.erased]
    return planted


def column_holds_text(each: Declaration, name: str) -> bool:
    return each.table._meta.get_field(name).get_internal_type() not in ("BinaryField", "GenericIPAddressField")


def open_row(each: Declaration, row: Any) -> Any:
    """A row that no closed month has frozen."""
    open_ones = {
        "billing.MonthClosing": {"state": "failed"},
        "billing.ProviderInvoice": {"closing": None},
        "billing.ProviderInvoiceLine": {"invoice__closing": None},
        "billing.InvoiceMatch": {"comparison__closing": None},
        "billing.Blocker": {"accepted_at": None},
    }
    return each.table._base_manager.filter(**open_ones[each.model]).last() or row


def without_names_alone(value: Any) -> Any:
    if isinstance(value, dict):
        return {"who": NAME, EMAIL: [PHONE]}
    return value.removesuffix(f": {LAST}")


@contextmanager
def unguarded() -> Iterator[None]:
    yield


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect everything that is logged at DEBUG."""
    lines: list[str] = []

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {record.__dict__}")

    handler, root = Collects(level=logging.DEBUG), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for quiet in ("django.db.backends", "faker", "factory"):
        logging.getLogger(quiet).setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def files_with(words: tuple[str, ...]) -> list[str]:
    """Files of the data folder and of the folder of backups that have a word."""
    found = []
    for folder in (Path(settings.DATA_DIR), Path(settings.BACKUP_DIR)):
        for path in folder.rglob("*") if folder.exists() else ():
            if path.is_file() and ".sqlite3" not in path.name:
                text = path.read_bytes().decode("utf-8", "replace").casefold()
                found += [str(path) for word in words if word in text]
    return found


def closed_content() -> list[Any]:
    """Everything of the closed months that is shown or summed."""
    return [
        list(Statement.objects.filter(state="closed").order_by("pk").values_list()),
        list(StatementLine.objects.filter(statement__state="closed").order_by("pk").values_list()),
        list(MonthClosing.objects.filter(state="closed").order_by("pk").values_list()),
    ]


def close_a_month(customer: Customer) -> None:
    one = priced_account(customer, state="deleted", desired_state="deleted", email=EMAIL)
    contract(customer, price_list(BASE, OVERAGE, name=f"List {uuid.uuid4().hex[:6]}"))
    figure(one, 141_238)
    assert close().statements_closed >= 1


def test_a_contact_is_in_nothing_anymore(desk: Desk, settings: Any, tmp_path: Path) -> None:  # noqa: F811
    settings.BACKUP_DIR = tmp_path
    customer = lived(desk)
    close_a_month(customer)
    World(desk)
    account = Account.objects.filter(customer=customer).order_by("pk").first()
    assert account is not None
    fill_tables(customer, account)
    planted = plant_everywhere(customer)
    RemoteAccount.objects.filter(email__iexact=EMAIL).update(gone_at=timezone.now())
    audit.record(actor=admin(), verb="customer.edited", obj=customer, after={"email": EMAIL}, reason=f"{NAME} moved")
    seal_pending()
    before, figures = closed_content(), list(UsagePeriod.objects.order_by("pk").values_list())
    broken = violations()
    assert verify_closed_months().problems == []
    assert len(planted) > 100
    assert {f"{place.rsplit('.', 1)[0]}" for place in traces()} >= {each.rsplit(".", 1)[0] for each in planted}
    request = searched()
    with logged() as lines:
        request = erased(request)
    assert request.state == "erased", request.blocked
    assert traces() == []
    assert [line for line in lines if any(word in line.casefold() for word in TRACES)] == []
    assert files_with(TRACES) == []
    assert sum(counts.get("left", 0) for counts in request.found.values()) == 0
    assert closed_content() == before
    assert list(UsagePeriod.objects.order_by("pk").values_list()) == figures
    assert verify_closed_months().problems == []
    seal_pending()
    assert verify_chain().problems == []
    assert violations() == broken


def test_a_team_member_is_in_nothing_anymore(desk: Desk, settings: Any, tmp_path: Path) -> None:  # noqa: F811
    settings.BACKUP_DIR = tmp_path
    member = UserFactory(name=MEMBER_NAME, email=MEMBER_EMAIL, role="admin")
    desk.person = member
    account = desk.created("other@northwind.example")
    client = sign_in(Client(REMOTE_ADDR="203.0.113.77", HTTP_USER_AGENT="Netscapist"), member)
    client.get("/")
    plant_member(member, client)
    customer = CustomerFactory(owner=member)
    note = add_note(Command(member), customer=customer, text=f"Signed, {MEMBER_NAME} <{MEMBER_EMAIL}>")
    edit_customer(Command(member), customer=customer, facts={"owner": None})
    audit.record(actor=member, verb="staff.signed_in", obj=member, request=client.get("/").wsgi_request)
    User.objects.filter(pk=member.pk).update(is_active=False)
    seal_pending()
    assert len(traces(*OF_MEMBER)) > 8
    with logged() as lines:
        request = erased(searched(MEMBER_EMAIL, kind="member"))
    assert request.state == "erased", request.blocked
    cache.clear()  # counters of sign-in end within a day
    assert traces(*OF_MEMBER) == []
    assert [line for line in lines if any(word in line.casefold() for word in OF_MEMBER)] == []
    assert files_with(OF_MEMBER) == []
    assert not Session.objects.filter(session_key=client.session.session_key).exists()
    note.refresh_from_db()
    assert note.author_id == member.pk
    assert Operation.objects.get(account=account).requested_by_id == member.pk
    seal_pending()
    assert verify_chain().problems == []


def plant_member(member: User, client: Client) -> None:
    now = timezone.now()
    address = EmailAddress.objects.create(user=member, email=MEMBER_EMAIL)
    EmailConfirmation.objects.create(email_address=address, key="k", created=now)
    app = SocialApp.objects.create(provider="x", name="x", client_id="x")
    link = SocialAccount.objects.create(
        user=member, provider="x", uid=MEMBER_EMAIL, extra_data={"name": MEMBER_NAME, "email": MEMBER_EMAIL}
    )
    SocialToken.objects.create(app=app, account=link, token="t", token_secret="s")
    FormerSsoLink.objects.create(user=member, issuer="x", subject=MEMBER_EMAIL)
    session = client.session
    session["typed"] = MEMBER_NAME
    session.save()
    Notice.objects.create(
        kind="x", about="y", title=f"{MEMBER_NAME} left", text=MEMBER_EMAIL, path="/", raised_at=now, not_before=now
    )


def violations() -> dict[str, list[str]]:
    return {each.code: each.rows for each in invariants.check(now=timezone.now())}


def test_the_dump_sees_what_is_planted() -> None:
    Customer.objects.create(company_name="x", email=EMAIL, first_name="Zeldamira")
    assert "customers.Customer.email" in traces()
    assert any("zeldamira" in text.casefold() for _place, text in dumped())
