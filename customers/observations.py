"""What was seen at a provider, written down. The only writers of an account's observed columns."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db.models import Q, QuerySet

from customers.clients import client_for
from customers.models import Account, Connection
from customers.models.account import AccountState, as_rows
from customers.states import OPEN
from portal.providers import NotFound, Offering, Provider, ProviderError, StateReading

READ_EVERY = timedelta(hours=20)
READ_AGAIN_AFTER = timedelta(minutes=10)


def observe_state(*, account_id: int, reading: StateReading, now: datetime) -> None:
    """Keep the state the provider gave, its own word beside ours. The change time moves when a known state does."""
    accounts = Account.objects.filter(pk=account_id)
    not_read_before = (AccountState.PENDING, AccountState.UNKNOWN)
    accounts.exclude(state__in=(reading.state, *not_read_before)).update(
        changed_at=now, changed_what=f"State read: {reading.raw}"[:120]
    )
    accounts.update(state=reading.state, state_raw=reading.raw[:60], state_read_at=now, read_tried_at=now)


def observe_gone(*, account_id: int, now: datetime) -> None:
    """The provider does not know the account. It is not called deleted on one reading: its state is unknown."""
    Account.objects.filter(pk=account_id).exclude(state=AccountState.DELETED).update(
        state=AccountState.UNKNOWN, state_raw="not found", state_read_at=now, read_tried_at=now
    )


def observe_offerings(*, account_id: int, offerings: list[Offering], now: datetime) -> None:
    rows = as_rows(offerings)
    package = next((row["name"] for row in rows if row["type"] == "package"), "")
    Account.objects.filter(pk=account_id).update(offerings=rows, offerings_read_at=now, package=package)


def observe_usage(
    *,
    account_id: int,
    used: int | None,
    allowed: int | None,
    overage: int | None,
    start_on: date | None,
    end_on: date | None,
    now: datetime,
) -> None:
    """The account's use in its current cycle, as billing read it. Counts are e-mails; dates are inclusive."""
    Account.objects.filter(pk=account_id).update(
        usage_used=used,
        usage_allowed=allowed,
        usage_overage=overage,
        usage_start_on=start_on,
        usage_end_on=end_on,
        usage_read_at=now,
        usage_missing_since=None,
    )


def usage_missing(*, account_id: int, now: datetime) -> None:
    """A reading was due and did not come. The last figures stay; since when they are missing is kept."""
    Account.objects.filter(pk=account_id, usage_missing_since=None).update(usage_missing_since=now)


def read_account(*, account: Account, now: datetime, provider: Provider | None = None) -> None:
    """Read state, offerings and (where it is not known) the v2 user name, live. Raises `ProviderError`."""
    provider = provider or client_for(account.connection, interactive=True)
    Account.objects.filter(pk=account.pk).update(read_tried_at=now)
    try:
        observe_state(account_id=account.pk, reading=provider.state(account.ref), now=now)
    except NotFound:
        observe_gone(account_id=account.pk, now=now)
        raise
    observe_offerings(account_id=account.pk, offerings=provider.offerings(account.ref), now=now)
    heard_from(connection_id=account.connection_id, now=now)
    if not account.v2_username:
        learn_identity(account=account, provider=provider)


def heard_from(*, connection_id: int, now: datetime) -> None:
    """The provider answered: the age people see beside the connection. Written at most twice a minute."""
    old = Q(last_answer_at=None) | Q(last_answer_at__lt=now - timedelta(seconds=30))
    Connection.objects.filter(old, pk=connection_id).update(last_answer_at=now)


def learn_identity(*, account: Account, provider: Provider) -> None:
    """Fill the v2 user name from the provider when nobody typed one. A failure is not an error: it is asked again.

    Where the e-mail came as well, the connection's identity probe is known to work.
    """
    try:
        identity = provider.identity(account.ref)
    except ProviderError:
        return
    if identity.username:
        Account.objects.filter(pk=account.pk, v2_username="").update(v2_username=identity.username[:120])
    if identity.email is not None:
        Connection.objects.filter(pk=account.connection_id, probe_available=None).update(probe_available=True)


def accounts_to_read(*, now: datetime) -> QuerySet[Account]:
    """Accounts whose last reading is old or never came, oldest first; not while an operation works on them."""
    return (
        Account.objects.filter(
            Q(state_read_at=None) | Q(state_read_at__lt=now - READ_EVERY),
            Q(read_tried_at=None) | Q(read_tried_at__lt=now - READ_AGAIN_AFTER),
            provider_id__isnull=False,
            connection__paused="",
        )
        .exclude(state=AccountState.DELETED)
        .exclude(operations__state__in=OPEN)
        .order_by("state_read_at")
    )
