"""Integrity checks of accounts, of data read from providers, and of the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.apps import apps
from django.db.models import CharField, Count, Exists, F, JSONField, Model, OuterRef, Q, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import gettext_lazy as _

from customers.models import Account, Operation, RemoteAccount, Scan
from customers.models.account import AccountState
from customers.models.breaker import at_work
from customers.models.operation_states import OPEN, OperationKind, OperationState
from customers.monitoring.invariants import Invariant
from customers.observed.account_list import GONE_AFTER
from portal.audit import chain
from portal.audit.expiry import expired_until
from portal.audit.models import AuditEvent
from portal.logs import KEY_BEGINNINGS, holds_a_key

# Readings come every night; by then two were missed without a notice.
OLDEST_READING = timedelta(hours=36)
ROOMS = ("customers", "billing", "audit", "access")


def one_id_twice(now: datetime) -> Iterator[str]:
    """I1. Constraint `account_unique_at_provider` enforces it for all but duplicates that wait to be merged. Grouped by
    the connection's own kind, so that a database without the constraint or the trigger is found, too."""
    known = Account.objects.order_by().filter(provider_id__isnull=False, merged_at=None)
    for row in known.values("connection__kind", "provider_id").annotate(n=Count("pk")).filter(n__gt=1):
        yield f"{row['provider_id']} at {row['connection__kind']}: {row['n']} accounts"


def id_and_create(now: datetime) -> Iterator[str]:
    """I2. An ID comes from a create that succeeded or from a link, and a create that succeeded returned one."""
    made = Operation.objects.filter(kind=OperationKind.CREATE, state=OperationState.SUCCEEDED)
    for each in made.filter(account__provider_id=None):
        yield f"{each.code} succeeded, but its account has no ID"
    told = made.annotate(told=KT("result__account_id")).filter(told__isnull=False)
    for each in told.exclude(told=F("account__provider_id")).select_related("account"):
        made_id = each.told  # type: ignore[attr-defined]  # annotated
        yield f"{each.code} created {made_id}, but its account is {each.account.provider_id}"
    adopted = AuditEvent.objects.filter(verb="account.adopted", account_id__isnull=False).values("account_id")
    known = Account.objects.filter(provider_id__isnull=False).exclude(public_id__in=adopted)
    if until := expired_until():  # the events of older accounts may have been removed
        known = known.filter(created_at__gt=until)
    for account in known.filter(~Exists(made.filter(account=OuterRef("pk")))):
        yield f"account {account.provider_id} was neither created by an operation nor linked"


def nowhere(now: datetime) -> Iterator[str]:
    """I11. Every account that the last complete scan listed is ours, unlinked, or ignored."""
    walks = Scan.objects.filter(connection=OuterRef("connection"), state=Scan.State.COMPLETE)
    last = Subquery(walks.order_by("-started_at").values("started_at")[:1])
    met = RemoteAccount.objects.filter(last_seen_at__gte=last)
    known = RemoteAccount.objects.unowned().filter(ignored_at__isnull=False) | RemoteAccount.objects.orphans()
    for each in met.unowned().exclude(pk__in=known.values("pk")).select_related("connection"):
        yield f"{each.provider_id} at {each.connection} is neither linked, unlinked nor ignored"


def missing_and_not_said(now: datetime) -> Iterator[str]:
    """I12. An account that two complete scans, twelve hours apart, lacked is marked as gone."""
    later = Scan.objects.filter(
        connection=OuterRef("connection"),
        state=Scan.State.COMPLETE,
        started_at__gte=OuterRef("missing_since") + GONE_AFTER,
    )
    for each in RemoteAccount.objects.filter(Exists(later), missing_since__isnull=False, gone_at=None):
        since = f"{each.missing_since:%Y-%m-%d %H:%M} UTC"
        yield f"{each.provider_id} has been missing since {since} but is not marked as missing from the account list"
    create = Operation.objects.filter(account=OuterRef("pk"), kind=OperationKind.CREATE).order_by("-finished_at")
    living = Account.objects.filter(provider_id__isnull=False, duplicate_of=None).exclude(state=AccountState.DELETED)
    known = living.alias(there_since=Coalesce(Subquery(create.values("finished_at")[:1]), F("created_at")))
    sighted = RemoteAccount.objects.filter(connection=OuterRef("connection"), provider_id=OuterRef("provider_id"))
    walks = Scan.objects.filter(connection=OuterRef("connection"), state=Scan.State.COMPLETE)
    walked = walks.filter(started_at__gt=OuterRef("there_since"))
    for account in known.filter(Exists(walked), ~Exists(sighted)):
        yield f"{account.provider_id} was neither found nor marked as missing by the last scan"


def chain_broken(now: datetime) -> Iterator[str]:
    """I16. The audit log's own verifier checks the whole chain."""
    yield from chain.verify_chain().problems


def secret_in_the_open(now: datetime) -> Iterator[str]:
    """I19. No text of any row looks like a provider's key. Encrypted columns contain none of these letters in a row."""
    for label in ROOMS:
        for model in apps.get_app_config(label).get_models():
            yield from _keys_in(model)


def _keys_in(model: type[Model]) -> Iterator[str]:
    texts = [each.name for each in model._meta.get_fields() if isinstance(each, (CharField, TextField, JSONField))]
    for name in texts:
        told = model._default_manager.annotate(told_text=Cast(name, TextField()))
        likely = Q()
        for beginning in KEY_BEGINNINGS:
            likely |= Q(told_text__contains=beginning)
        for pk, text in told.filter(likely).values_list("pk", "told_text").iterator():
            if holds_a_key(text):
                yield f"{model._meta.label} {pk}, {name}"


def silently_old(now: datetime) -> Iterator[str]:
    """I20. A reading is younger than 36 hours, or it is known since when it is missing: it was tried, the connection is
    paused or unreachable, or an operation is open."""
    old = now - OLDEST_READING
    living = (
        Account.objects.filter(
            at_work("connection__"), provider_id__isnull=False, duplicate_of=None, created_at__lt=old
        )
        .exclude(state__in=(AccountState.DELETED, AccountState.PENDING))
        .exclude(Exists(Operation.objects.filter(account=OuterRef("pk"), state__in=OPEN)))
    )
    untried = living.exclude(read_tried_at__gte=old)
    for account in untried.filter(Q(state_read_at__lt=old) | Q(state_read_at=None)):
        yield f"{account.provider_id}: state last updated {_when(account.state_read_at)}, with no attempt since"
    for account in living.filter(Q(usage_read_at__lt=old), usage_missing_since=None):
        yield f"{account.provider_id}: usage last updated {_when(account.usage_read_at)}, but not marked as missing"


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "never"


INVARIANTS = (
    Invariant(
        "I1",
        _("Each account ID at a provider belongs to one account, and no duplicate is waiting to be merged."),
        one_id_twice,
    ),
    Invariant(
        "I2", _("Every account at a provider was created by an operation or linked by a team member."), id_and_create
    ),
    Invariant(
        "I11", _("Every account in a provider's account list is tracked as linked, unlinked, or ignored."), nowhere
    ),
    Invariant(
        "I12", _("Accounts missing from two scans are marked as no longer in the account list."), missing_and_not_said
    ),
    Invariant("I16", _("The audit log has not been altered."), chain_broken),
    Invariant("I19", _("No provider API key is stored unencrypted."), secret_in_the_open),
    Invariant("I20", _("Account data is at most 36 hours old, or the reason is recorded."), silently_old),
)
