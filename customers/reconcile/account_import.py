"""Import a connection's existing accounts: match them to customers, have the user review the proposal, link them.

    scan (customers.observed.account_list) -> propose -> review -> start -> chunks until all is done

A match is made only where it is unambiguous. Nothing is changed at the provider. An account without a match stays
unlinked.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.connections.client import client_for
from customers.models import AccountImport, AccountImportItem, Connection, Customer, RemoteAccount
from customers.operations.commands import UnableToAsk
from customers.reconcile.link import NotNow, link_account
from portal import audit
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.email_addresses import mailbox_key
from portal.encryption import DecryptionError
from portal.providers import Provider
from portal.queue import enqueue_on_commit

IMPORT_CHUNK = "customers.takeover_chunk"
LEASE = timedelta(seconds=90)
CHUNK_SECONDS = 40.0
TRIES = 5
# The connection's row is not locked meanwhile, for operations need it: the second of two tries again.
PROPOSALS = 5
ROWS_MAX, BYTES_MAX = 20_000, 5_000_000
COLUMNS = ("provider_id", "external_reference", "company", "email")


@dataclass(frozen=True)
class ImportRow:
    """One row of the uploaded list, about one account at the provider."""

    provider_id: str
    external_reference: str = ""
    company: str = ""
    email: str = ""


# --- The uploaded list ------------------------------------------------------------------------------------------------


def read_list(content: bytes) -> list[ImportRow]:
    """Parse a CSV file with `provider_id` and any of the other `COLUMNS`. Raises `UnableToAsk`, naming the line."""
    if len(content) > BYTES_MAX:
        raise UnableToAsk(_("The file is larger than 5 MB."), field="listed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnableToAsk(_("The file is not UTF-8 text."), field="listed") from None
    if "\x00" in text:
        raise UnableToAsk(_("The file is not a CSV file."), field="listed")
    try:
        return _read_rows(csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ","))
    except csv.Error:
        raise UnableToAsk(_("The file is not a CSV file."), field="listed") from None


def _read_rows(reader: csv.DictReader[str]) -> list[ImportRow]:
    names = {(name or "").strip().casefold(): name for name in reader.fieldnames or ()}
    if "provider_id" not in names:
        raise UnableToAsk(
            _("The first line has to name the columns: provider_id, and any of external_reference, company, email."),
            field="listed",
        )
    found: dict[str, ImportRow] = {}
    for row in reader:
        if len(found) >= ROWS_MAX:
            raise UnableToAsk(_("The file has more than 20,000 lines."), field="listed")
        facts = {name: (row.get(names[name]) or "").strip() for name in COLUMNS if name in names}
        _check_line(facts, found, line=reader.line_num)
        found[facts["provider_id"]] = ImportRow(**facts)
    return list(found.values())


def _check_line(facts: dict[str, str], found: dict[str, ImportRow], *, line: int) -> None:
    def refuse(why: str) -> UnableToAsk:
        return UnableToAsk(_("Line %(line)d: %(why)s") % {"line": line, "why": why}, field="listed")

    if not facts["provider_id"]:
        raise refuse(_("the account's id is missing."))
    if facts["provider_id"] in found:
        raise refuse(_("this account's id stands in the file twice."))
    limits = {"provider_id": 100, "external_reference": 100, "company": 200, "email": 254}
    if long := next((name for name, value in facts.items() if len(value) > limits[name]), None):
        raise refuse(_("%(column)s is too long.") % {"column": long})
    if facts.get("email"):
        try:
            validate_email(facts["email"])
        except ValidationError:
            raise refuse(_("this is not an e-mail address.")) from None


# --- Proposal ---------------------------------------------------------------------------------------------------------


def propose_import(
    *,
    actor: User,
    connection: Connection,
    listed: Iterable[ImportRow],
    now: datetime,
    request: HttpRequest | None = None,
) -> AccountImport:
    """Propose a customer for every unlinked account of the connection. An open proposal is made anew, unless it runs.
    Raises `UnableToAsk`."""
    remote_accounts = list(RemoteAccount.objects.filter(connection=connection).orphans())
    if not remote_accounts:
        raise UnableToAsk(_("Every account in the provider's list has a customer already."))
    rows = {each.provider_id: each for each in listed}
    match = _Matcher()
    facts = {"connection": connection, "asked_by": actor, "not_before": now, "created_at": now}
    for _attempt in range(PROPOSALS):
        try:
            with transaction.atomic():
                _discard_proposal(connection)
                account_import = AccountImport.objects.create(**facts)
                items = [match.item(account_import, each, rows.get(each.provider_id)) for each in remote_accounts]
                AccountImportItem.objects.bulk_create(items, batch_size=500)
                told = {"accounts": len(items)}
                audit.record(actor=actor, verb="estate.proposed", obj=account_import, after=told, request=request)
        except IntegrityError:  # a colleague proposed at this moment: discard theirs
            continue
        return account_import
    raise UnableToAsk(_("A colleague makes a proposal at this moment. Review it, or try again."))


def _discard_proposal(connection: Connection) -> None:
    """Delete the open proposal, if there is one that was not started: its row is locked while that is checked."""
    unfinished = AccountImport.objects.select_for_update(no_key=True).filter(connection=connection)
    found = unfinished.exclude(state=AccountImport.State.ENDED).first()
    if found is None:
        return
    if found.state != AccountImport.State.PROPOSED:
        started = AuditEvent.objects.filter(object_id=found.public_id, verb="estate.started").order_by("pk").last()
        who = {"who": started.actor if started and started.actor else found.asked_by}
        raise UnableToAsk(
            _("An import of this connection is running. %(who)s started it. Wait until it has ended, then try again.")
            % who
            if found.state == AccountImport.State.RUNNING
            else _("An import of this connection is paused. %(who)s started it. Resume it first.") % who
        )
    found.delete()


class _Matcher:
    """Customers by the values that identify an account. What fits two customers fits none."""

    def __init__(self) -> None:
        self.by: dict[str, dict[str, list[Customer]]] = {
            name: defaultdict(list) for name in ("reference", "email", "company")
        }
        for customer in Customer.objects.filter(archived_at=None).order_by("pk"):
            self.by["email"][mailbox_key(customer.email)].append(customer)
            self.by["company"][_plain(customer.company_name)].append(customer)
            if customer.external_reference:
                self.by["reference"][customer.external_reference].append(customer)

    def item(
        self, account_import: AccountImport, remote_account: RemoteAccount, row: ImportRow | None
    ) -> AccountImportItem:
        email = (row.email if row else "") or remote_account.email
        company = (row.company if row else "") or remote_account.name
        facts: dict[str, Any] = {
            "account_import": account_import,
            "remote_account": remote_account,
            "company": company[:200],
            "email": email[:254],
            "reference": row.external_reference if row else "",
        }
        ways = (
            (AccountImportItem.Basis.LISTED, "reference", row.external_reference if row else ""),
            (AccountImportItem.Basis.EMAIL, "email", mailbox_key(email)),
            (AccountImportItem.Basis.COMPANY, "company", _plain(company)),
        )
        for basis, name, value in ways:
            found = self.by[name].get(value, []) if value else []
            if len(found) == 1:
                return AccountImportItem(basis=basis, customer=found[0], take=True, **facts)
            if found:
                note = _("%(n)d customers fit: choose by hand.") % {"n": len(found)}
                return AccountImportItem(basis=AccountImportItem.Basis.NONE, note=note, **facts)
        if email:
            return AccountImportItem(basis=AccountImportItem.Basis.NEW, group=self._group(facts), take=True, **facts)
        note = _("Neither e-mail nor a line in your list names its owner.")
        return AccountImportItem(basis=AccountImportItem.Basis.NONE, note=note, **facts)

    @staticmethod
    def _group(facts: dict[str, Any]) -> str:
        return str(facts["reference"] or mailbox_key(facts["email"]))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def choose_items(*, account_import: AccountImport, take: bool, items: Iterable[int] = (), basis: str = "") -> int:
    """Select or clear items, one by one or all of a basis; return how many are selected now. An item without a customer
    can't be selected."""
    open_items = account_import.items.filter(Q(customer__isnull=False) | ~Q(group=""))
    chosen = (
        open_items.filter(basis=basis)
        if basis in AccountImportItem.Basis.values
        else open_items.filter(pk__in=list(items))
    )
    with transaction.atomic():
        # The run's row is locked until the end: a start comes before this change or counts it in.
        if AccountImport.objects.filter(pk=account_import.pk, state=AccountImport.State.PROPOSED).update(
            state=AccountImport.State.PROPOSED
        ):
            chosen.update(take=take)
    return account_import.items.filter(take=True).count()


# --- The run ----------------------------------------------------------------------------------------------------------


def start_import(
    *, actor: User, account_import: AccountImport, now: datetime, request: HttpRequest | None = None
) -> None:
    """Start the run, or resume it after a pause. Raises `UnableToAsk`."""
    with transaction.atomic():
        changed = AccountImport.objects.filter(
            pk=account_import.pk, state__in=(AccountImport.State.PROPOSED, AccountImport.State.PAUSED)
        ).update(state=AccountImport.State.RUNNING, not_before=now, message="")
        if not changed and not AccountImport.objects.filter(pk=account_import.pk).exists():
            raise UnableToAsk(_("A colleague made a new proposal just now. Review it, then start."))
        total = account_import.items.filter(take=True).count()
        if not total:
            raise UnableToAsk(_("Select at least one account."))
        if changed:
            AccountImport.objects.filter(pk=account_import.pk).update(total=total)
            account_import.items.filter(take=False).update(state=AccountImportItem.State.LEFT)
            audit.record(
                actor=actor, verb="estate.started", obj=account_import, after={"accounts": total}, request=request
            )  # fmt: skip
            enqueue_on_commit(IMPORT_CHUNK, account_import.pk)
    account_import.refresh_from_db()


def pause_import(*, actor: User, account_import: AccountImport, request: HttpRequest | None = None) -> None:
    """Stop after the account that is being read. Imported accounts stay so."""
    with transaction.atomic():
        if AccountImport.objects.filter(pk=account_import.pk, state=AccountImport.State.RUNNING).update(
            state=AccountImport.State.PAUSED
        ):
            audit.record(actor=actor, verb="estate.paused", obj=account_import, request=request)
    account_import.refresh_from_db()


def due_imports(*, now: datetime) -> list[int]:
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    return list(
        AccountImport.objects.filter(free, state=AccountImport.State.RUNNING, not_before__lte=now).values_list(
            "pk", flat=True
        )
    )


def connection_of_import(account_import_id: int) -> int:
    """Return the connection of a run; 0 where there is no such run."""
    return AccountImport.objects.filter(pk=account_import_id).values_list("connection", flat=True).first() or 0


def import_chunk(
    account_import_id: int,
    *,
    connect: Callable[[Connection], Provider] = client_for,
    clock: Callable[[], datetime] = database_now,
    seconds: float = CHUNK_SECONDS,
) -> None:
    """Import accounts until the time is up. Safe to call at any time: one worker holds a run, and no account can be
    imported twice."""
    account_import = _claim(account_import_id, now=clock())
    if account_import is None:
        return
    mine = AccountImport.objects.filter(pk=account_import.pk, fence=account_import.fence)
    until = monotonic() + seconds
    try:
        provider = connect(account_import.connection)
        while monotonic() < until:
            if not mine.filter(state=AccountImport.State.RUNNING).update(lease_until=clock() + LEASE):
                break
            item = _next(account_import)
            if item is None:
                mine.filter(state=AccountImport.State.RUNNING).update(
                    state=AccountImport.State.ENDED, finished_at=clock()
                )
                break
            _take(item, provider, now=clock())
    except NotNow as refusal:
        mine.update(not_before=refusal.retry_at, message=str(refusal)[:500])
    except DecryptionError as refusal:
        mine.filter(state=AccountImport.State.RUNNING).update(
            state=AccountImport.State.PAUSED, message=str(refusal)[:500]
        )
    mine.update(lease_until=None)


def _claim(account_import_id: int, *, now: datetime) -> AccountImport | None:
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    due_one = AccountImport.objects.filter(
        free, pk=account_import_id, state=AccountImport.State.RUNNING, not_before__lte=now
    )
    account_import = due_one.select_related("connection", "asked_by").first()
    if account_import is None:
        return None
    if due_one.filter(fence=account_import.fence).update(fence=F("fence") + 1, lease_until=now + LEASE) != 1:
        return None
    account_import.fence += 1
    return account_import


def _next(account_import: AccountImport) -> AccountImportItem | None:
    waiting = account_import.items.filter(take=True, state=AccountImportItem.State.WAITING)
    return waiting.select_related("remote_account__connection", "customer", "account_import__asked_by").first()


def _take(item: AccountImportItem, provider: Provider, *, now: datetime) -> None:
    """Import one account. `NotNow` leaves it waiting; every other refusal marks it as failed."""
    state, message, customer = AccountImportItem.State.DONE, "", item.customer
    try:
        customer = link_account(
            actor=item.account_import.asked_by,
            remote_account=item.remote_account,
            customer=_customer_of(item),
            provider=provider,
            now=now,
            reason=str(item.get_basis_display()),
        ).customer
    except NotNow as refusal:
        if item.tries + 1 < TRIES:
            AccountImportItem.objects.filter(pk=item.pk).update(tries=F("tries") + 1)
            raise
        state, message = AccountImportItem.State.FAILED, str(refusal)
    except UnableToAsk as refusal:
        state, message = AccountImportItem.State.FAILED, str(refusal)
    with transaction.atomic():
        waiting = AccountImportItem.objects.filter(pk=item.pk, state=AccountImportItem.State.WAITING)
        settled = waiting.update(state=state, message=message[:500], customer=customer)
        if settled:
            field = "done" if state == AccountImportItem.State.DONE else "failed"
            AccountImport.objects.filter(pk=item.account_import_id).update(**{field: F(field) + 1})


def _customer_of(item: AccountImportItem) -> Customer:
    """Return the account's customer; a new one is added with the first account of its group."""
    if item.customer is not None:
        return item.customer
    public_id = uuid.uuid5(item.account_import.public_id, item.group)
    made = Customer.objects.filter(public_id=public_id)
    if customer := made.first():
        return customer
    try:
        with transaction.atomic():
            customer = Customer.objects.create(
                public_id=public_id, company_name=item.company or item.email.partition("@")[2] or item.email,
                email=item.email, website=item.remote_account.website, external_reference=item.reference,
            )  # fmt: skip
            audit.record(
                actor=item.account_import.asked_by, verb="customer.created", obj=customer, customer=customer,
                after={"company_name": customer.company_name, "email": customer.email},
            )  # fmt: skip
            return customer
    except IntegrityError:
        if customer := made.first():
            return customer
        raise UnableToAsk(_("Another customer has this external reference.")) from None
