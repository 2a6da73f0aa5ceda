"""Find and fix rows that earlier faults of the portal damaged. The command `repair` is a thin layer over this.

Every fix is one transaction with its audit event, has its finding as its condition, and may run beside workers and
twice. Nothing is sent to a provider here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from customers.connections import credentials
from customers.models import Account, Attempt, Connection, Offering, Operation, Step
from customers.models.account import as_offerings, as_rows
from customers.models.operation_states import FINAL, OVERWRITTEN, REPAIRED, OperationState
from customers.observed import duplicates
from customers.operations import attempts, transitions
from customers.operations.request import PERFORM
from portal import audit
from portal.leases import LostLease
from portal.queue import enqueue_on_commit
from portal.texts import say

# The review of an operation that several workers claimed without sending it; older rows contain the sentence itself.
LOST_OFTEN = (say("worker.lost_often"), "Three workers ended while preparing this. Nothing was sent.")


@dataclass(frozen=True)
class RepairFinding:
    """A damaged row: `what` names it and the fix. `fix` returns False when the row changed meanwhile or cannot be fixed
    now; None is for what needs a manual decision."""

    topic: str
    what: str
    fix: Callable[[datetime], bool] | None = None


def find() -> Iterator[RepairFinding]:
    """Return everything that `repair` would fix or list. Writes nothing."""
    return chain(_credentials(), _unmarked_duplicates(), _passed_over_sends(), _false_reviews(), _trimmed_names())


# -- connections and accounts


def _credentials() -> Iterator[RepairFinding]:
    seen: dict[str, Connection] = {
        each.credential_hash: each
        for each in Connection.objects.filter(credential_hash__isnull=False)
        if each.credential_hash
    }
    for connection, hashed in credentials.without_hash():
        if other := seen.get(hashed):
            yield RepairFinding(
                "credential",
                f"{connection.name} uses the same key as {other.name}: merge its duplicates, then pause it",
            )
            continue
        seen[hashed] = connection
        yield RepairFinding(
            "credential", f"{connection.name}: store the hash of its key", partial(_store_hash, connection)
        )


def _store_hash(connection: Connection, now: datetime) -> bool:
    credentials.fill_hashes()
    return Connection.objects.filter(pk=connection.pk, credential_hash__isnull=False).exists()


def _unmarked_duplicates() -> Iterator[RepairFinding]:
    for kept, others in duplicates.unmarked():
        for account in others:
            yield RepairFinding(
                "duplicate",
                f"account {account.provider_id} of {account}: mark it as a duplicate of the account of {kept}",
                partial(_mark, account, kept),
            )


def _mark(account: Account, kept: Account, now: datetime) -> bool:
    return duplicates.mark(account=account, kept=kept, now=now)


# -- operations


def passed_over() -> QuerySet[Operation]:
    """Return operations that left `sending` without a step: a second claim overwrote the row, and the effect of the
    send is unknown. What an earlier run searched for is history."""
    unsure = Attempt.objects.filter(operation=OuterRef("pk"), outcome__in=attempts.UNCERTAIN)
    repaired = Step.objects.filter(REPAIRED, operation=OuterRef("pk"), after=OperationState.UNKNOWN).order_by("-n")
    return (
        Operation.objects.filter(Exists(unsure), state__in=OVERWRITTEN)
        .alias(repaired=Coalesce(Subquery(repaired.values("n")[:1]), 0))
        .annotate(
            began=Count("steps", filter=Q(steps__after=OperationState.SENDING, steps__n__gt=F("repaired"))),
            ended=Count("steps", filter=Q(steps__before=OperationState.SENDING, steps__n__gt=F("repaired"))),
        )
        .filter(began__gt=F("ended"))
        .select_related("account__customer", "connection")
        .order_by("pk")
    )


def _passed_over_sends() -> Iterator[RepairFinding]:
    for operation in passed_over():
        yield RepairFinding(
            "send",
            f"{operation.code} is {operation.state} but was sent without a response: check its outcome",
            partial(_look_for, operation),
        )


def _look_for(operation: Operation, now: datetime) -> bool:
    """Search for the outcome of an operation. One that had ended and was not applied ends as failed: it is not sent
    again."""
    before, had_ended = operation.state, operation.state in FINAL
    note = say("repaired.looked_for")
    try:
        with transaction.atomic():
            transitions.reopen_as_unknown(
                operation, now=now, note=note, error_kind="rejected" if had_ended else "unknown"
            )
            _audit(operation, before, OperationState.UNKNOWN, note)
            enqueue_on_commit(PERFORM, operation.pk)
    except (LostLease, IntegrityError):  # moved meanwhile, or another operation holds its concurrency key
        return False
    return True


def false_reviews() -> QuerySet[Operation]:
    """Return operations that were left for review because three workers claimed them and none sent anything."""
    sent = Attempt.objects.filter(operation=OuterRef("pk")).exclude(outcome=Attempt.Outcome.NOT_SENT)
    return (
        Operation.objects.filter(
            ~Exists(sent), state=OperationState.NEEDS_ATTENTION, error_kind="poison", summary__in=LOST_OFTEN
        )
        .select_related("account__customer", "connection")
        .order_by("pk")
    )


def _false_reviews() -> Iterator[RepairFinding]:
    for operation in false_reviews():
        yield RepairFinding(
            "review", f"{operation.code} needs review and was never sent: queue it again", partial(_queue, operation)
        )


def _queue(operation: Operation, now: datetime) -> bool:
    before = operation.state
    note = say("repaired.queued")
    try:
        with transaction.atomic():
            operation.take_over()
            transitions.move(
                operation,
                OperationState.QUEUED,
                now=now,
                summary=note,
                not_before=now,
                concurrency_key="",
                error_kind="",
            )
            _audit(operation, before, OperationState.QUEUED, note)
            enqueue_on_commit(PERFORM, operation.pk)
    except LostLease:
        return False
    return True


def _audit(operation: Operation, before: str, after: str, note: str) -> None:
    audit.record(
        actor=None,
        verb="operation.repaired",
        obj=operation,
        before={"state": before},
        after={"state": after},
        reason=note,
    )


# -- names of offerings


def _trimmed_names() -> Iterator[RepairFinding]:
    """Yield names that lost spaces at their ends on the way from the provider. What is sold under such a name today is
    in the catalog as the provider spells it."""
    spelled: dict[int, dict[str, list[str]]] = {}
    for connection_id, name in Offering.objects.filter(gone_at=None).values_list("connection_id", "name"):
        spelled.setdefault(connection_id, {}).setdefault(name.strip(), []).append(name)
    for connection_id, names in spelled.items():
        odd = {short: full for short, full in names.items() if full != [short]}
        if odd:
            yield from _of_connection(connection_id, odd)


def _of_connection(connection_id: int, odd: dict[str, list[str]]) -> Iterator[RepairFinding]:
    accounts = Account.objects.filter(connection=connection_id, duplicate_of=None).order_by("pk")
    for account in accounts.select_related("customer", "connection").iterator(chunk_size=500):
        held = {str(row["name"]) for row in account.desired_offerings}
        wrong = {name: odd[name] for name in sorted(held & odd.keys()) if name not in odd[name]}
        doubtful = [name for name in sorted(held & odd.keys()) if name in odd[name] or len(odd[name]) > 1]
        if doubtful:
            yield RepairFinding(
                "name", f"{account}: {', '.join(map(repr, doubtful))} matches more than one name in the catalog"
            )
        restored = {name: full[0] for name, full in wrong.items() if len(full) == 1}
        if restored:
            what = ", ".join(f"rename {name!r} to {full!r}" for name, full in restored.items())
            yield RepairFinding("name", f"{account}: {what}", partial(_restore_names, account, restored))


def _restore_names(account: Account, restored: dict[str, str], now: datetime) -> bool:
    before = account.desired_offerings
    named = [row | {"name": restored.get(row["name"], row["name"])} for row in before]
    after = as_rows(as_offerings(named))
    with transaction.atomic():
        changed = Account.objects.filter(pk=account.pk, version=account.version).update(
            desired_offerings=after,
            version=F("version") + 1,
            changed_at=now,
            changed_what=_("Offering names restored"),
        )
        if changed:
            audit.record(
                actor=None,
                verb="account.names_restored",
                obj=account,
                before={"offerings": before},
                after={"offerings": after},
            )
    return bool(changed)
