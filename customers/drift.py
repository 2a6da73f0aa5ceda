"""Where an account at the provider is not as we want it, and what a person may do about it.

Three values stand side by side: what we want (the account's desire), and what the provider said, with when it said so.
Nothing here acts by itself: a person pushes ours, accepts theirs, or looks away for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers import operations
from customers.models import Account, DriftIgnore, Operation, Sighting
from customers.models.account import AccountState, as_offerings
from customers.operations import StaleVersion, UnableToAsk
from customers.states import OPEN
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed

ROUTE = "customers:drift-act"
# All other states are set and lifted by the provider itself: they are shown, never pushed or accepted.
OURS_TO_SET = (AccountState.ACTIVE, AccountState.STOPPED_BY_US)


class Field(models.TextChoices):
    EXISTENCE = "existence", gettext_lazy("Existence")
    STATE = "state", gettext_lazy("State")
    OFFERINGS = "offerings", gettext_lazy("Offerings")
    CAP = "monthly_cap", gettext_lazy("Monthly cap")
    NAME = "name", gettext_lazy("Name")
    WEBSITE = "website", gettext_lazy("Website")


OF_SETTINGS = (Field.CAP, Field.NAME, Field.WEBSITE)


@dataclass(frozen=True)
class Drift:
    """One field of one account that differs. `found` and `wanted` are as stored; `read_at` is when it was found."""

    account: Account
    field: Field
    wanted: Any
    found: Any
    read_at: datetime | None
    ignored: DriftIgnore | None = None

    @property
    def can_push(self) -> bool:
        """Whether an ordinary operation would bring ours about."""
        if self.field == Field.EXISTENCE:
            return False
        return self.field != Field.STATE or self.found in OURS_TO_SET

    @property
    def can_accept(self) -> bool:
        if self.field == Field.EXISTENCE:
            return bool(self.found == "gone")
        return self.field != Field.STATE or self.found in OURS_TO_SET


def drifting(accounts: QuerySet[Account]) -> QuerySet[Account]:
    """Those of `accounts` that differ in anything, ignored or not. Not while an operation works on them: then what is
    wanted is on its way."""
    missing = Sighting.objects.filter(
        connection=OuterRef("connection"), provider_id=OuterRef("provider_id"), missing_since__isnull=False
    )
    working = Operation.objects.filter(account=OuterRef("pk"), state__in=OPEN)
    states = (
        Q(desired_state=Account.Desired.ACTIVE) & ~Q(state__in=(AccountState.ACTIVE, AccountState.UNKNOWN))
        | Q(desired_state=Account.Desired.STOPPED) & ~Q(state__in=(AccountState.STOPPED_BY_US, AccountState.UNKNOWN))
        | Q(desired_state=Account.Desired.DELETED)
    )
    lists = Q(offerings__isnull=False) & ~Q(desired_offerings=[]) & ~Q(offerings=F("desired_offerings"))
    settings = Q(settings__isnull=False) & ~Q(desired_settings={}) & ~Q(settings=F("desired_settings"))
    return (
        accounts.filter(provider_id__isnull=False, duplicate_of=None)
        .exclude(state__in=(AccountState.DELETED, AccountState.PENDING))
        .filter(states | lists | settings | Exists(missing))
        .exclude(Exists(working))
    )


def drifts_of(accounts: Iterable[Account], *, today: date) -> list[Drift]:
    """Every difference of these accounts, field by field. A constant number of queries."""
    rows = list(accounts)
    keys = [each.provider_id for each in rows if each.provider_id]
    sightings = {
        (each.connection_id, each.provider_id): each
        for each in Sighting.objects.filter(provider_id__in=keys, missing_since__isnull=False)
    }
    ignores = {(each.account_id, each.field): each for each in DriftIgnore.objects.filter(account__in=rows)}
    found: list[Drift] = []
    for account in rows:
        sighting = sightings.get((account.connection_id, account.provider_id or ""))
        for field, wanted, value, read_at in _differences(account, sighting):
            ignore = ignores.get((account.pk, field))
            still = ignore if ignore and ignore.until_on >= today and ignore.found == value else None
            found.append(Drift(account, field, wanted, value, read_at, still))
    return found


def _differences(account: Account, sighting: Sighting | None) -> Iterable[tuple[Field, Any, Any, datetime | None]]:
    if sighting is not None:
        yield Field.EXISTENCE, "there", "gone" if sighting.gone_at else "missing", sighting.missing_since
    if account.state not in (AccountState.UNKNOWN, account.desired_state):
        yield Field.STATE, account.desired_state, account.state, account.state_read_at
    if account.offerings is not None and account.desired_offerings and account.offerings != account.desired_offerings:
        yield Field.OFFERINGS, account.desired_offerings, account.offerings, account.offerings_read_at
    if account.settings is not None and account.desired_settings:
        for field in OF_SETTINGS:
            wanted, value = account.desired_settings.get(field), account.settings.get(field)
            if wanted != value:
                yield field, wanted, value, account.settings_read_at


def looked_away(accounts: QuerySet[Account], *, today: date) -> set[int]:
    """The keys of those accounts whose every difference is ignored today. Looks at those with a live ignore alone."""
    live = DriftIgnore.objects.filter(until_on__gte=today).values("account")
    seen: dict[int, bool] = {}
    for each in drifts_of(drifting(accounts.filter(pk__in=live)), today=today):
        seen[each.account.pk] = seen.get(each.account.pk, True) and each.ignored is not None
    return {key for key, all_ignored in seen.items() if all_ignored}


def drift_of(account: Account, field: str, *, today: date) -> Drift | None:
    """This very difference, as it is now; None when there is none any more."""
    fresh = drifting(Account.objects.filter(pk=account.pk)).select_related("connection", "customer").first()
    if fresh is None:
        return None
    return next((each for each in drifts_of([fresh], today=today) if each.field == field), None)


def push(
    *, actor: User, drift: Drift, reason: str, client_token: str, now: datetime, request: HttpRequest | None = None
) -> Operation:
    """Ask the ordinary operation that makes the provider's value ours. Raises `UnableToAsk`."""
    account = drift.account
    if not drift.can_push:
        raise UnableToAsk(_("Only the provider can change this."))
    common: dict[str, Any] = {
        "actor": actor, "account": account, "reason": reason, "client_token": client_token, "now": now,
        "request": request,
    }  # fmt: skip
    if drift.field == Field.STATE:
        ask = {
            Account.Desired.ACTIVE: operations.ask_unsuspend,
            Account.Desired.STOPPED: operations.ask_suspend,
            Account.Desired.DELETED: operations.ask_delete,
        }[Account.Desired(account.desired_state)]
        return ask(**common)
    if drift.field == Field.OFFERINGS:
        return operations.ask_offerings(
            base=as_offerings(drift.found), version=account.version, offerings=account.wanted_offerings, **common
        )
    return operations.ask_settings(
        base=account.settings or {}, version=account.version, changes={str(drift.field): drift.wanted}, **common
    )


def accept(*, actor: User, drift: Drift, reason: str, now: datetime, request: HttpRequest | None = None) -> None:
    """Take the provider's value over as what we want. Nothing is sent. Raises `UnableToAsk`, `StaleVersion`."""
    _may(actor, reason)
    if not drift.can_accept:
        raise UnableToAsk(_("This can't be taken over: only the provider can lift it."))
    account = drift.account
    before, after = _desire(drift)
    if drift.field == Field.EXISTENCE:
        columns: dict[str, Any] = {"desired_state": "deleted", "state": AccountState.DELETED, "state_raw": "gone"}
    else:
        columns = after
    with transaction.atomic():
        changed = Account.objects.filter(pk=account.pk, version=account.version).update(
            **columns, version=F("version") + 1, changed_at=now, changed_what=_("The provider's value accepted")
        )
        if changed != 1:
            account.refresh_from_db()
            raise StaleVersion(account)
        DriftIgnore.objects.filter(account=account, field=drift.field).delete()
        audit.record(
            actor=actor, verb="drift.accepted", obj=account, customer=account.customer, account=account,
            before=before, after=after, reason=reason, request=request,
        )  # fmt: skip


def _desire(drift: Drift) -> tuple[dict[str, Any], dict[str, Any]]:
    """The desire before and after taking the provider's value over."""
    account = drift.account
    match drift.field:
        case Field.EXISTENCE:
            return {"desired_state": account.desired_state}, {"desired_state": "deleted"}
        case Field.STATE:
            return {"desired_state": account.desired_state}, {"desired_state": drift.found}
        case Field.OFFERINGS:
            return {"desired_offerings": account.desired_offerings}, {"desired_offerings": drift.found}
        case _:
            settings = account.desired_settings | {str(drift.field): drift.found}
            return {"desired_settings": account.desired_settings}, {"desired_settings": settings}


def ignore(
    *, actor: User, drift: Drift, until_on: date, reason: str, now: datetime, request: HttpRequest | None = None
) -> None:
    """Look away until a day, or until the provider says something else. Raises `UnableToAsk`."""
    _may(actor, reason)
    if until_on <= now.date():
        raise UnableToAsk(_("Choose a day to come."), field="until_on")
    with transaction.atomic():
        DriftIgnore.objects.update_or_create(
            account=drift.account,
            field=drift.field,
            defaults={"found": drift.found, "until_on": until_on, "by": actor, "reason": reason[:500], "at": now},
        )
        audit.record(
            actor=actor, verb="drift.ignored", obj=drift.account, customer=drift.account.customer,
            account=drift.account, after={"field": str(drift.field), "until": until_on.isoformat()}, reason=reason,
            request=request,
        )  # fmt: skip


def _may(actor: User, reason: str) -> None:
    if not actor.is_active or not allowed(actor.role, ROUTE, "POST"):
        raise UnableToAsk(_("Your role may not do this."))
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")
