"""Import a connection's existing accounts: match them to customers, have the user review the proposal, link them.

    scan (customers.observed.account_list) -> propose -> review -> start -> chunks until all is done

A match is made only where it is unambiguous. Nothing is changed at the provider. An account without a match stays
unlinked.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from customers.connections.client import client_for
from customers.models import Account, AccountImport, AccountImportItem, Connection, Customer, RemoteAccount
from customers.reconcile.import_list import ImportRow
from customers.reconcile.link import NotNow, link_account
from portal import audit
from portal.approvals import gate
from portal.audit.models import AuditEvent
from portal.clock import database_now
from portal.commands import Command
from portal.email_addresses import mailbox_key
from portal.encryption import DecryptionError
from portal.leases import AT_ONCE, work_on
from portal.providers import Provider
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal
from portal.typed_text import comparable, is_visible, nfc

IMPORT_CHUNK = "customers.takeover_chunk"
CHUNK_SECONDS = 40.0
TRIES = 5
# The connection's row is not locked meanwhile, for operations need it: the second of two tries again.
PROPOSALS = 5
UNMATCHED_SHOWN = 50


# --- Proposal ---------------------------------------------------------------------------------------------------------


def propose_import(command: Command, *, connection: Connection, listed: Iterable[ImportRow]) -> AccountImport:
    """Propose a customer for every unlinked account of the connection. An open proposal is replaced, unless
    it runs. Raises `Refusal`."""
    remote_accounts = list(RemoteAccount.objects.filter(connection=connection).orphans())
    if not remote_accounts:
        raise Refusal(_("Every account in the provider's account list is already linked to a customer."))
    rows = {each.provider_id: each for each in listed}
    match = _Matcher()
    facts = {
        "connection": connection,
        "asked_by": command.person,
        "not_before": command.now,
        "created_at": command.now,
        "unmatched": _unmatched(connection, rows, {each.provider_id for each in remote_accounts}),
    }
    for _attempt in range(PROPOSALS):
        try:
            with transaction.atomic():
                _discard_proposal(connection)
                account_import = AccountImport.objects.create(**facts)
                items = [match.item(account_import, each, rows.get(each.provider_id)) for each in remote_accounts]
                AccountImportItem.objects.bulk_create(items, batch_size=500)
                command.record(verb="estate.proposed", obj=account_import, after={"accounts": len(items)})
        except IntegrityError:  # a colleague proposed at this moment: discard theirs
            continue
        return account_import
    raise Refusal(_("Someone else is matching these accounts right now. Review the result, or try again."))


def _unmatched(connection: Connection, rows: dict[str, ImportRow], found: set[str]) -> dict[str, Any]:
    """Return how many rows of the list match none of the accounts `found`, and the first of them: line, ID, the code of
    the reason, and the customer where there is one."""
    left = sorted((row for row in rows.values() if row.provider_id not in found), key=lambda row: row.line)
    shown = left[:UNMATCHED_SHOWN]
    ids = [row.provider_id for row in shown]
    linked = dict(
        Account.objects.filter(provider_kind=connection.kind, provider_id__in=ids, duplicate_of=None).values_list(
            "provider_id", "customer__company_name"
        )
    )
    ignored = dict(
        RemoteAccount.objects.filter(connection=connection, provider_id__in=ids).values_list(
            "provider_id", "ignored_at"
        )
    )

    def reason(provider_id: str) -> str:
        if provider_id in linked:
            return "linked"
        if provider_id not in ignored:
            return "unknown"
        return "ignored" if ignored[provider_id] else "missing"

    first = [[row.line, row.provider_id, reason(row.provider_id), linked.get(row.provider_id) or ""] for row in shown]
    return {"count": len(left), "first": first} if left else {}


def _discard_proposal(connection: Connection) -> None:
    """Delete the open proposal, if there is one that was not started: its row is locked while that is checked."""
    unfinished = AccountImport.objects.select_for_update(no_key=True).filter(connection=connection)
    found = unfinished.exclude(state=AccountImport.State.ENDED).first()
    if found is None:
        return
    if found.state != AccountImport.State.PROPOSED:
        started = AuditEvent.objects.filter(object_id=found.public_id, verb="estate.started").order_by("pk").last()
        who = {"who": started.actor if started and started.actor else found.asked_by}
        raise Refusal(
            _(
                "An import for this connection is in progress, started by %(who)s. Wait until it finishes, "
                "then try again."
            )
            % who
            if found.state == AccountImport.State.RUNNING
            else _("An import for this connection is paused, started by %(who)s. Resume it first.") % who
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
                self.by["reference"][nfc(customer.external_reference)].append(customer)

    def item(
        self, account_import: AccountImport, remote_account: RemoteAccount, row: ImportRow | None
    ) -> AccountImportItem:
        email = (row.email if row else "") or remote_account.email
        company = (row.company if row else "") or remote_account.name
        company = company if is_visible(company) else ""
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
                note = _("%(n)d customers match. Link the account manually.") % {"n": len(found)}
                return AccountImportItem(basis=AccountImportItem.Basis.NONE, note=note, **facts)
        if email:
            group = facts["reference"] or mailbox_key(facts["email"])
            return AccountImportItem(basis=AccountImportItem.Basis.NEW, group=group, take=True, **facts)
        note = _("No email address and no row in your list identifies the customer.")
        return AccountImportItem(basis=AccountImportItem.Basis.NONE, note=note, **facts)


def _plain(text: str) -> str:
    return comparable(text).lower()


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


def start_import(command: Command, *, account_import: AccountImport) -> None:
    """Start the run, or resume it after a pause. Raises `Refusal`."""
    with transaction.atomic():
        changed = AccountImport.objects.filter(
            pk=account_import.pk, state__in=(AccountImport.State.PROPOSED, AccountImport.State.PAUSED)
        ).update(state=AccountImport.State.RUNNING, not_before=command.now, message="")
        if not changed and not AccountImport.objects.filter(pk=account_import.pk).exists():
            raise Refusal(
                _("Someone else just matched these accounts again. Review the result, then start the import.")
            )
        total = account_import.items.filter(take=True).count()
        if not total:
            raise Refusal(_("Select at least one account."))
        if changed:
            AccountImport.objects.filter(pk=account_import.pk).update(total=total)
            account_import.items.filter(take=False).update(state=AccountImportItem.State.LEFT)
            command.record(verb="estate.started", obj=account_import, after={"accounts": total})
            enqueue_on_commit(IMPORT_CHUNK, account_import.pk)
    account_import.refresh_from_db()


def pause_import(command: Command, *, account_import: AccountImport) -> None:
    """Stop after the account that is being read. Imported accounts stay so."""
    with transaction.atomic():
        if AccountImport.objects.filter(pk=account_import.pk, state=AccountImport.State.RUNNING).update(
            state=AccountImport.State.PAUSED
        ):
            command.record(verb="estate.paused", obj=account_import)
    account_import.refresh_from_db()


def due_imports(*, now: datetime) -> list[int]:
    due = AccountImport.objects.filter(state=AccountImport.State.RUNNING).due(now=now)
    return list(due.values_list("pk", flat=True))


def connection_of_import(account_import_id: int) -> int:
    """Return the connection of a run; 0 where there is no such run."""
    return AccountImport.objects.filter(pk=account_import_id).values_list("connection", flat=True).first() or 0


def import_chunk(
    account_import_id: int,
    *,
    connect: Callable[[Connection], Provider] = client_for,
    clock: Callable[[], datetime] = database_now,
    seconds: float = CHUNK_SECONDS,
) -> bool:
    """Import accounts until the time is up. Return whether more can be imported at once. Safe to call at any time: one
    worker holds a run, and no account can be imported twice."""
    running = AccountImport.objects.filter(state=AccountImport.State.RUNNING).select_related("connection", "asked_by")
    account_import = running.claim(account_import_id, now=clock())
    if account_import is None:
        return False
    try:
        step = partial(_step, account_import, connect(account_import.connection), clock)
        return work_on(account_import, step, clock=clock, seconds=seconds)
    except DecryptionError as refusal:
        account_import.as_read().update(state=AccountImport.State.PAUSED, message=str(refusal)[:500])
        account_import.release()
        return False


def _step(account_import: AccountImport, provider: Provider, clock: Callable[[], datetime]) -> timedelta | None:
    """Import one account, or end the run."""
    account_import.renew(now=clock())
    item = _next(account_import)
    if item is None:
        account_import.write(state=AccountImport.State.ENDED, finished_at=clock())
        return None
    try:
        _take(item, provider, now=clock())
    except NotNow as refusal:
        account_import.as_read().update(message=str(refusal)[:500])
        return refusal.retry_at - clock()
    return AT_ONCE


def _next(account_import: AccountImport) -> AccountImportItem | None:
    waiting = account_import.items.filter(take=True, state=AccountImportItem.State.WAITING)
    return waiting.select_related("remote_account__connection", "customer", "account_import__asked_by").first()


def _take(item: AccountImportItem, provider: Provider, *, now: datetime) -> None:
    """Import one account. `NotNow` leaves it waiting; every other refusal marks it as failed."""
    state, message, customer = AccountImportItem.State.DONE, "", item.customer
    try:
        customer = link_account(
            Command(item.account_import.asked_by, now, reason=str(item.get_basis_display())),
            remote_account=item.remote_account,
            customer=_customer_of(item),
            provider=provider,
        ).customer
    except (gate.ApprovalRequired, gate.NobodyLeft):
        state, message = (
            AccountImportItem.State.FAILED,
            _("Linking this needs approval. Link it on its own page."),
        )
    except Refusal as refusal:
        if isinstance(refusal, NotNow) and item.tries + 1 < TRIES:
            AccountImportItem.objects.filter(pk=item.pk).update(tries=F("tries") + 1)
            raise
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
    try:
        with transaction.atomic():
            customer, created = Customer.objects.get_or_create(
                public_id=uuid.uuid5(item.account_import.public_id, item.group),
                defaults={
                    "company_name": item.company or item.email.partition("@")[2] or item.email,
                    "email": item.email,
                    "website": item.remote_account.website,
                    "external_reference": item.reference,
                },
            )
            if created:
                audit.record(
                    actor=item.account_import.asked_by,
                    verb="customer.created",
                    obj=customer,
                    after={"company_name": customer.company_name, "email": customer.email},
                )
    except IntegrityError:
        raise Refusal(_("Another customer already has this external reference.")) from None
    return customer
