"""Scan a provider's whole account list and store the result: which accounts are there, missing or unlinked.

Nothing here changes anything at a provider, and nothing is concluded from a scan that did not reach the end of the list
or whose result is implausible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from customers.connections import commands as connection_commands
from customers.connections.client import recorded
from customers.connections.commands import record_contact
from customers.models import Account, Connection, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState
from customers.models.remote_account import RemoteAccount, Scan
from customers.observed import matching
from portal import audit
from portal.access.models import User
from portal.clock import database_now
from portal.leases import LostLease
from portal.notices import raising as notices
from portal.providers import Evidence, ListedAccount, NotFound, Provider, ProviderError
from portal.queue import enqueue_on_commit

log = structlog.get_logger(__name__)

SCAN = "customers.walk"
# Until a worker starts a scan, its lease says when its message is sent again; after this time it is given up.
DELIVER_AGAIN, WAITS_FOR_A_WORKER = timedelta(minutes=1), timedelta(hours=1)
DELIVERIES = 50
PATIENCE = 600.0
BATCH = 500
# Missing accounts count as gone after a second complete scan that starts this much later.
GONE_AFTER = timedelta(hours=12)
# A scan that lacks more than this share of what was there, and more than this many, is implausible.
BELIEVABLE_SHARE = 0.2
BELIEVABLE_COUNT = 5
NIGHTLY_HOUR, NIGHTLY_TRIES = 2, 3
# How long a list may take to name an account of ours, and how many missing ones are checked one by one.
LIST_LAG = timedelta(minutes=15)
LACKING_READ = 10
# How far the clock of the machine that replaced a key may be behind the database's.
CLOCKS = timedelta(minutes=15)
REFUSED = "scan.refused"
POSSIBLE_DUPLICATE = "account.possible_duplicate"
Clock = Callable[[], datetime]
Through = Callable[[Iterator[ListedAccount]], Iterable[ListedAccount]]


def begin_scan(
    *, connection: Connection, kind: str, slot: str, now: datetime, asked_by: User | None = None, taken: bool = False
) -> tuple[Scan, bool]:
    """Return the scan of this slot and whether it was begun just now. While another one runs, that one is returned.

    `taken`: the caller scans at once. Then one that still waits for a worker ends: this one reads the same list."""
    expire_scans(now=now, connection=connection)
    if taken:
        message = "Another scan of this account list started before a worker picked up this one."
        _waiting(connection=connection).update(state=Scan.State.INCOMPLETE, finished_at=now, message=message)
    try:
        with transaction.atomic():
            scan = Scan.objects.create(
                connection=connection,
                kind=kind,
                slot=slot,
                started_at=now,
                asked_by=asked_by,
                taken_at=now if taken else None,
                lease_until=now + (Scan.LEASE if taken else DELIVER_AGAIN),
            )
            return scan, True
    except IntegrityError:
        same = Scan.objects.filter(connection=connection, kind=kind, slot=slot).first()
        running = Scan.objects.filter(connection=connection, state=Scan.State.RUNNING).first()
        found = same or running
        if found is None:
            return begin_scan(connection=connection, kind=kind, slot=slot, now=now, asked_by=asked_by, taken=taken)
        return found, False


def _waiting(**of: Any) -> QuerySet[Scan]:
    """Return the scans that no worker has started. One that searches for an unknown create is run by its caller."""
    return Scan.objects.filter(state=Scan.State.RUNNING, taken_at=None, **of).exclude(kind=Scan.Kind.UNKNOWN)


def expire_scans(*, now: datetime, connection: Connection | None = None) -> None:
    """End scans, of one connection or all: those whose worker did not return, and those that no worker started."""
    of = {"connection": connection} if connection else {}
    held = Scan.objects.filter(~Q(taken_at=None) | Q(kind=Scan.Kind.UNKNOWN), state=Scan.State.RUNNING, **of)
    held.filter(lease_until__lt=now).update(
        state=Scan.State.INCOMPLETE, finished_at=now, message="The worker stopped before the scan finished."
    )
    _waiting(**of).filter(started_at__lt=now - WAITS_FOR_A_WORKER).update(
        state=Scan.State.INCOMPLETE,
        finished_at=now,
        message="No worker started this scan within an hour. Check the workers, then scan again.",
    )


def enqueue_waiting_scans(*, now: datetime) -> None:
    """Enqueue again the scans whose message was lost or waits in a long queue, each once a minute."""
    for scan in _waiting(lease_until__lte=now).order_by("pk")[:DELIVERIES]:
        again = _waiting(pk=scan.pk, lease_until=scan.lease_until)
        if again.update(lease_until=now + DELIVER_AGAIN):
            enqueue_on_commit(SCAN, scan.pk)


def read_account_list(
    scan: Scan,
    provider: Provider,
    *,
    clock: Clock = database_now,
    through: Through = iter,
    patience: float = PATIENCE,
) -> Scan:
    """Read the whole list and store it. Rows pass `through`, for a caller that renews a lease of its own meanwhile.

    Never raises `ProviderError`: then the scan is incomplete, its message says why, and nothing else was written."""
    with recorded() as exchanges:
        try:
            return _walk(scan, through(provider.list_accounts(patience=patience)), clock, provider, exchanges)
        except LostLease as lost:
            if lost.row is not scan:  # the caller lost its own lease meanwhile
                raise
            scan.refresh_from_db()
            return scan


def _walk(
    scan: Scan, rows: Iterable[ListedAccount], clock: Clock, provider: Provider, exchanges: list[Evidence]
) -> Scan:
    try:
        found = {remote.id: remote for remote in scan.renewing(rows)}
    except ProviderError as error:
        return end_scan(scan, Scan.State.INCOMPLETE, now=clock(), message=str(error))
    except BaseException:  # also of a scan that was closed meanwhile: ending it raises `LostLease`
        end_scan(scan, Scan.State.INCOMPLETE, now=clock(), message=_("The scan was interrupted."))
        raise
    if not scan.connection.is_current():
        return end_scan(
            scan, Scan.State.INCOMPLETE, now=clock(), message=_("The connection was edited during the scan.")
        )
    record_contact(scan.connection, now=clock())
    if refusal := _not_believable(scan, found):
        return end_scan(scan, Scan.State.REFUSED, now=clock(), message=refusal, seen=len(found))
    lacking = _may_be_anothers(scan, found) or _lacks_what_exists(scan, found, provider, clock)
    measured = {"proves_absence": not lacking, "clock_skew": _skew_by(clock, exchanges)}
    return _keep(scan, found, clock, measured)


def _may_be_anothers(scan: Scan, found: dict[str, ListedAccount]) -> bool:
    """Return whether this may be the list of another reseller than the one an open create was sent to: the key was
    replaced since, and the list names no account that was known before."""
    sent = [each.window.intended_at for each in matching.open_creates(scan.connection)]
    replaced_at = connection_commands.key_replaced_at(scan.connection, since=min(sent) - CLOCKS) if sent else None
    if replaced_at is None:
        return False
    met = RemoteAccount.objects.filter(connection=scan.connection, first_seen_at__lt=replaced_at)
    ours = Account.objects.filter(connection=scan.connection, created_at__lt=replaced_at)
    return found.keys().isdisjoint({*met.values_list("provider_id", flat=True), *_ids(ours)})


def _lacks_what_exists(scan: Scan, found: dict[str, ListedAccount], provider: Provider, clock: Clock) -> bool:
    """Return whether the list is missing a stored account that exists at the provider: then others may be missing too.

    An account younger than `LIST_LAG` need not be listed yet, and one that counts as gone is not expected."""
    just_made = Operation.objects.filter(
        account=OuterRef("pk"), kind=OperationKind.CREATE, finished_at__gt=scan.started_at - LIST_LAG
    )
    gone = RemoteAccount.objects.filter(
        connection=scan.connection, provider_id=OuterRef("provider_id"), gone_at__isnull=False
    )
    ours = should_be_there(scan.connection, before=scan.started_at).exclude(Exists(just_made)).exclude(Exists(gone))
    lacking = [each for each in ours.order_by("pk") if each.provider_id not in found]
    if len(lacking) > LACKING_READ:
        return True
    for account in lacking:
        scan.renew(now=clock())
        try:
            provider.state(account.ref)
        except NotFound:
            continue
        except ProviderError:
            return True
        return True
    return False


def _skew_by(clock: Clock, exchanges: list[Evidence]) -> int | None:
    """Return by how many seconds the provider's clock is ahead of the rows' one; None if not measured."""
    told = [each.clock_skew for each in exchanges if each.clock_skew is not None]
    return round(told[-1] + (datetime.now(UTC) - clock()).total_seconds()) if told else None


def should_be_there(connection: Connection, *, before: datetime) -> QuerySet[Account]:
    """Return the accounts of ours that a scan begun at `before` must list: not those that were created since."""
    created_since = Operation.objects.filter(account=OuterRef("pk"), kind=OperationKind.CREATE, finished_at__gt=before)
    there = Account.objects.filter(
        connection=connection, provider_id__isnull=False, duplicate_of=None, created_at__lt=before
    )
    return there.exclude(state=AccountState.DELETED).exclude(Exists(created_since))


def _not_believable(scan: Scan, found: dict[str, ListedAccount]) -> str:
    """Return why the whole scan is rejected; "" when it is plausible. A list that suddenly lacks much of what was there
    is more likely another account's list, or a broken one, than correct."""
    remote_accounts = RemoteAccount.objects.filter(connection=scan.connection)
    known = set(remote_accounts.filter(first_seen_at__isnull=False).values_list("provider_id", flat=True))
    known |= set(_ids(should_be_there(scan.connection, before=scan.started_at)))
    known -= set(remote_accounts.filter(missing_since__isnull=False).values_list("provider_id", flat=True))
    known -= set(_ids(Account.objects.filter(connection=scan.connection, state=AccountState.DELETED)))
    lost = len(known - found.keys())
    if lost > BELIEVABLE_COUNT and lost > len(known) * BELIEVABLE_SHARE:
        return _(
            "%(lost)d of %(known)d accounts went missing in one scan. The account list looks incomplete, so it "
            "was ignored."
        ) % {
            "lost": lost,
            "known": len(known),
        }
    return ""


def _ids(accounts: QuerySet[Account]) -> list[str]:
    return [each for each in accounts.values_list("provider_id", flat=True) if each]


def _keep(scan: Scan, found: dict[str, ListedAccount], clock: Clock, measured: dict[str, Any]) -> Scan:
    known = set(RemoteAccount.objects.filter(connection=scan.connection).values_list("provider_id", flat=True))
    _see_all(scan, list(found.values()), clock)
    with transaction.atomic():
        scan.renew(now=clock())
        missing = _mark_missing(scan, now=clock())
        orphans = RemoteAccount.objects.filter(connection=scan.connection).orphans().count()
        _report_possible_duplicates(scan, now=clock())
        return end_scan(
            scan,
            Scan.State.COMPLETE,
            now=clock(),
            seen=len(found),
            first_seen=len(found.keys() - known),
            orphans=orphans,
            missing=missing,
            **measured,
        )


def _see_all(scan: Scan, rows: list[ListedAccount], clock: Clock) -> None:
    for start in range(0, len(rows), BATCH):
        with transaction.atomic():  # a scan that stalled in between would overwrite a newer one's remote accounts
            scan.renew(now=clock())
            _see(scan, rows[start : start + BATCH], read_by=clock())


def _see(scan: Scan, rows: Iterable[ListedAccount], *, read_by: datetime) -> None:
    """Store listed accounts. A new one counts as existing by `read_by`, not by the scan's start: an account may have
    been created since, and a create must never mistake its own account for an older one."""
    remote_accounts = [
        RemoteAccount(
            connection=scan.connection,
            provider_id=row.id,
            email=row.email[:254],
            first_email=row.email[:254],
            name=row.settings.name[:255] if row.settings else "",
            website=row.settings.website[:255] if row.settings else "",
            made_at=row.created_at,
            first_seen_at=read_by,
            last_seen_at=scan.started_at,
        )
        for row in rows
    ]
    RemoteAccount.objects.bulk_create(
        remote_accounts,
        update_conflicts=True,
        unique_fields=["connection", "provider_id"],
        update_fields=["email", "name", "website", "made_at", "last_seen_at"],
    )
    met = RemoteAccount.objects.filter(
        connection=scan.connection, provider_id__in=[each.provider_id for each in remote_accounts]
    )
    met.filter(first_seen_at=None).update(first_seen_at=read_by)
    met.filter(first_email="").exclude(email="").update(first_email=F("email"))
    met.exclude(missing_since=None, gone_at=None).update(missing_since=None, gone_at=None)


def _mark_missing(scan: Scan, *, now: datetime) -> int:
    """Mark what a complete scan lacks as missing, and after `GONE_AFTER` as gone. Returns how many are ours."""
    met_once = RemoteAccount.objects.filter(connection=scan.connection, provider_id=OuterRef("provider_id"))
    never_met = should_be_there(scan.connection, before=scan.started_at).filter(~Exists(met_once))
    RemoteAccount.objects.bulk_create(
        [
            RemoteAccount(connection=scan.connection, provider_id=provider_id, missing_since=scan.started_at)
            for provider_id in never_met.values_list("provider_id", flat=True)
            if provider_id
        ],
        ignore_conflicts=True,
    )
    unseen = RemoteAccount.objects.filter(
        Q(last_seen_at=None) | Q(last_seen_at__lt=scan.started_at), connection=scan.connection
    )
    unseen.filter(missing_since=None).update(missing_since=scan.started_at)
    unseen.filter(missing_since__lte=scan.started_at - GONE_AFTER, gone_at=None).update(gone_at=scan.started_at)
    ours = Account.objects.filter(
        connection=OuterRef("connection"), provider_id=OuterRef("provider_id"), duplicate_of=None
    ).exclude(state=AccountState.DELETED)
    return unseen.filter(Exists(ours)).count()


def end_scan(scan: Scan, state: str, *, now: datetime, message: str = "", **counts: Any) -> Scan:
    """End a running scan. Raises `LostLease` when it was closed before, as its worker had not returned."""
    with transaction.atomic():
        scan.write(state=state, finished_at=now, message=message[:500], **counts)
        _tell(scan.connection, state, message, now=now)
    scan.refresh_from_db()
    log.info("scan.ended", scan=str(scan.public_id), state=scan.state, seen=scan.seen)
    return scan


def _tell(connection: Connection, state: str, message: str, *, now: datetime) -> None:
    """Notify the admins of a rejected list. It left the stored accounts as they were, so somebody has to check."""
    if state == Scan.State.COMPLETE:
        notices.ended(REFUSED, about=str(connection.public_id), now=now)
    elif state == Scan.State.REFUSED:
        notices.raised(
            REFUSED,
            about=str(connection.public_id),
            text=message,
            path=reverse("customers:drift"),
            now=now,
            title=_("The account list of %(connection)s looks incomplete") % {"connection": connection.name},
        )


def _report_possible_duplicates(scan: Scan, *, now: datetime) -> None:
    """Report accounts that appeared after their create was sent again: two may be billed then.

    An account fits by its email; where that can't be read, by its time; or an answer that came late names it."""
    orphans = RemoteAccount.objects.filter(connection=scan.connection).orphans()
    over = RemoteAccount.objects.filter(connection=scan.connection, possible_duplicate_of__isnull=False)
    for each in over.exclude(pk__in=orphans.values("pk")):
        notices.ended(POSSIBLE_DUPLICATE, about=str(each.public_id), now=now)
    unreported = orphans.filter(possible_duplicate_of=None).order_by("pk")
    late = matching.late_answers(scan.connection)
    for remote_account in unreported.filter(provider_id__in=late):
        _report_possible_duplicate(late[remote_account.provider_id], remote_account, now=now)
    for create in matching.taken_for_lost(scan.connection):
        for remote_account in unreported.exclude(made_at__lt=create.window.widest):
            if not create.excludes(remote_account) and create.may_have_left(remote_account):
                _report_possible_duplicate(create.operation, remote_account, now=now)


def _report_possible_duplicate(operation: Operation, remote_account: RemoteAccount, *, now: datetime) -> None:
    RemoteAccount.objects.filter(pk=remote_account.pk).update(possible_duplicate_of=operation)
    known = operation.account.provider_id or operation.code
    if operation.state == OperationState.FAILED:
        text = _(
            "%(new)s appeared at %(connection)s after %(code)s for %(customer)s was closed as not created. If "
            "that request created it, it is billed. Link it to the customer, or delete it."
        )
    else:
        text = _(
            "%(new)s appeared at %(connection)s after %(code)s was retried for %(customer)s, whose account is "
            "%(known)s. If the same request created both, both are billed. Check them and delete one."
        )
    text %= {
        "new": remote_account.provider_id,
        "connection": remote_account.connection,
        "code": operation.code,
        "known": known,
        "customer": operation.account.customer,
    }
    title = _("Possible duplicate: %(known)s and %(new)s") % {"known": known, "new": remote_account.provider_id}
    notices.raised(
        POSSIBLE_DUPLICATE,
        about=str(remote_account.public_id),
        title=title,
        text=text,
        path=reverse("customers:orphans"),
        now=now,
    )
    audit.record(
        actor=None,
        verb="account.possible_duplicate",
        obj=remote_account,
        account=operation.account,
        after={"provider_id": remote_account.provider_id, "operation": operation.code},
    )
