"""Record what a provider returned about existing accounts, their keys, domains and usage.

The moment of a reading is the moment it was *requested*, by the database's clock: `now` is taken before the call, here
and in every caller. A reading is written only if what is stored was read at that moment or before, and the condition
stands in the UPDATE itself, so a slow answer never overwrites a newer state, and of two readings at once the one
requested later stays. What an operation concluded is written by `customers.operations.conclusions` and counts as read
at the moment of its conclusion, after the answer to its send: a reading that began before it loses, one that is
requested afterwards wins. Observed columns are also written by `customers.operations.kinds.create` (the requested
package), `customers.reconcile.link` (a new row) and `.drift` (an accepted existence), `customers.accounts.sign_in`
(user name).

No reading takes an account out of "deleted", or into it: the first is a decision of staff
(`customers.reconcile.drift`), the second an operation's or theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from customers.connections.client import client_for
from customers.connections.commands import record_contact
from customers.models import Account, AccountKey, Connection, SendingDomain
from customers.models.account import AccountState, as_rows
from customers.models.breaker import at_work
from customers.models.operation_states import OPEN
from portal.providers import ApiKey, Details, Domain, NotFound, Provider, ProviderError, ProviderOffering, StateReading

READ_EVERY = timedelta(hours=20)
READ_AGAIN_AFTER = timedelta(minutes=10)


def _unless_newer(account_id: int, read_at: str, now: datetime) -> QuerySet[Account]:
    """Return the account if its column `read_at` is not later than `now` and it is not deleted; else an empty query
    set."""
    not_newer = Q(**{read_at: None}) | Q(**{f"{read_at}__lte": now})
    return Account.objects.filter(not_newer, pk=account_id).exclude(state=AccountState.DELETED)


def record_state(*, account_id: int, reading: StateReading, now: datetime) -> None:
    """Store the state the provider reported, with its own word for it. The change time moves when a known state does.

    A reported "deleted" is not accepted on one reading, nor is a 404.
    """
    state = AccountState.UNKNOWN if str(reading.state) == AccountState.DELETED else reading.state
    unchanged = Q(state__in=(state, AccountState.PENDING, AccountState.UNKNOWN))
    _unless_newer(account_id, "state_read_at", now).update(
        state=state,
        state_raw=reading.raw[:60],
        state_read_at=now,
        read_tried_at=now,
        changed_at=Case(When(unchanged, then=F("changed_at")), default=Value(now)),
        changed_what=Case(When(unchanged, then=F("changed_what")), default=Value(f"State read: {reading.raw}"[:120])),
    )


def record_details(*, account_id: int, details: Details, now: datetime) -> None:
    """Store the result of one read of an account: settings, counts, last activity, and its state."""
    _unless_newer(account_id, "settings_read_at", now).update(
        settings=asdict(details.settings),
        settings_read_at=now,
        domain_count=details.domains,
        member_count=details.members,
        last_activity_at=details.last_activity_at,
    )
    record_state(account_id=account_id, reading=details.state, now=now)


def record_gone(*, account_id: int, now: datetime) -> None:
    """Record that the provider does not know the account. One reading makes its state unknown, not deleted."""
    _unless_newer(account_id, "state_read_at", now).update(
        state=AccountState.UNKNOWN, state_raw="not found", state_read_at=now, read_tried_at=now
    )


def record_offerings(*, account_id: int, offerings: list[ProviderOffering], now: datetime) -> None:
    columns = columns_of_offerings(as_rows(offerings))
    _unless_newer(account_id, "offerings_read_at", now).update(**columns, offerings_read_at=now)


def columns_of_offerings(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the observed columns that a list of offerings fills, without the moment it was read at."""
    package = next((row["name"] for row in rows if row["type"] == "package"), "")
    return {"offerings": rows, "package": package[:200]}


def _hold(account_id: int) -> Account | None:
    """Lock the account's row until the transaction ends, to compare its keys or domains with an answer and write them.
    Returns None where the account is deleted, as they are with it."""
    account = Account.objects.select_for_update(no_key=True).get(pk=account_id)
    return None if account.state == AccountState.DELETED else account


def record_keys(*, account_id: int, keys: Iterable[ApiKey], now: datetime) -> None:
    """Store a complete list of an account's keys. A key that was created, changed or deleted since the request is left
    as it is, and so are all where a list requested later is stored."""
    listed = {key.id: key for key in keys}
    with transaction.atomic():
        account = _hold(account_id)
        if account is None or (account.keys_read_at and account.keys_read_at > now):
            return
        known = AccountKey.objects.filter(account=account_id, gone_at=None, read_at__lte=now)
        known.exclude(key_id__in=listed).update(gone_at=now)
        _keep_keys(account_id, listed.values(), now)
        Account.objects.filter(pk=account_id).update(keys_read_at=now)


def record_key(*, account_id: int, key: ApiKey, now: datetime) -> None:
    """Store one key as the provider returned it."""
    with transaction.atomic():
        if _hold(account_id):
            _keep_keys(account_id, [key], now)


def _keep_keys(account_id: int, keys: Iterable[ApiKey], now: datetime) -> None:
    """Store those of `keys` of which nothing later is known. The account's row must be locked."""
    newer = _newer(AccountKey.objects.filter(account=account_id), now)
    known_since = set(newer.values_list("key_id", flat=True))
    rows = [
        AccountKey(
            account_id=account_id, key_id=key.id, label=key.label[:255], public_key=key.public_key[:120],
            scopes=list(key.scopes), ip_allow_list=list(key.ip_allow_list), made_at=key.created_at,
            last_used_at=key.last_used_at, read_at=now,
        )
        for key in keys if key.id not in known_since
    ]  # fmt: skip
    AccountKey.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["account", "key_id"],
        update_fields=[
            "label", "public_key", "scopes", "ip_allow_list", "made_at", "last_used_at", "read_at", "gone_at",
        ],
    )  # fmt: skip


def _newer(rows: QuerySet[Any], now: datetime) -> QuerySet[Any]:
    return rows.filter(Q(read_at__gt=now) | Q(gone_at__gt=now))


def record_key_gone(*, account_id: int, key_id: str, now: datetime) -> None:
    AccountKey.objects.filter(account=account_id, key_id=key_id, gone_at=None).update(gone_at=now, read_at=now)


def record_domains(*, account_id: int, domains: Iterable[Domain], now: datetime) -> None:
    """Store a complete list of an account's sending domains. One that was added or checked since the request is left as
    it is."""
    listed = {domain.name: domain for domain in domains}
    with transaction.atomic():
        if not _hold(account_id):
            return
        known = SendingDomain.objects.filter(account=account_id, gone_at=None, read_at__lte=now)
        known.exclude(name__in=listed).update(gone_at=now)
        _keep_domains(account_id, listed.values(), now)


def record_domain(*, account_id: int, domain: Domain, now: datetime) -> None:
    """Store one sending domain as the provider returned it, with its DNS records."""
    with transaction.atomic():
        if _hold(account_id):
            _keep_domains(account_id, [domain], now)


def _keep_domains(account_id: int, domains: Iterable[Domain], now: datetime) -> None:
    """Store those of `domains` of which nothing later is known. The account's row must be locked."""
    newer = _newer(SendingDomain.objects.filter(account=account_id), now)
    known_since = set(newer.values_list("name", flat=True))
    rows = [
        SendingDomain(
            account_id=account_id, name=domain.name[:255], valid=domain.valid,
            records=[asdict(record) for record in domain.records], checked_at=domain.checked_at,
            made_at=domain.created_at, read_at=now,
        )
        for domain in domains if domain.name[:255] not in known_since
    ]  # fmt: skip
    SendingDomain.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["account", "name"],
        update_fields=["valid", "records", "checked_at", "made_at", "read_at", "gone_at"],
    )  # fmt: skip


def record_all_gone(*, account_id: int, now: datetime) -> None:
    """Record that the account's keys and domains were deleted with it."""
    AccountKey.objects.filter(account=account_id, gone_at=None).update(gone_at=now)
    SendingDomain.objects.filter(account=account_id, gone_at=None).update(gone_at=now)


def record_usage(
    *,
    account_id: int,
    used: int | None,
    allowed: int | None,
    overage: int | None,
    start_on: date | None,
    end_on: date | None,
    now: datetime,
) -> None:
    """Store the account's usage in its current billing period, as billing read it, also after the account was deleted.
    Counts are emails; dates are inclusive."""
    not_newer = Q(usage_read_at=None) | Q(usage_read_at__lte=now)
    Account.objects.filter(not_newer, pk=account_id).update(
        usage_used=used,
        usage_allowed=allowed,
        usage_overage=overage,
        usage_start_on=start_on,
        usage_end_on=end_on,
        usage_read_at=now,
        usage_missing_since=None,
    )


def mark_usage_missing(*, account_ids: Iterable[int], asked_at: datetime, now: datetime) -> None:
    """Record that a due reading failed. The last figures stay; the time since when they are missing is stored. Where
    another reading was requested after `asked_at` and succeeded, nothing is missing."""
    older = Q(usage_read_at=None) | Q(usage_read_at__lte=asked_at)
    missing = Account.objects.filter(older, pk__in=account_ids, usage_missing_since=None)
    missing.update(usage_missing_since=now)


def read_account(*, account: Account, now: datetime, provider: Provider | None = None) -> None:
    """Read an account live: its settings and state in one, or its state, offerings and (where it is not known) the v2
    user name, as the provider's capabilities say. Raises `ProviderError`."""
    provider = provider or client_for(account.connection, interactive=True)
    capabilities = account.connection.capabilities
    Account.objects.filter(pk=account.pk).update(read_tried_at=now)
    try:
        read_state(account=account, provider=provider, now=now)
    except NotFound:
        record_gone(account_id=account.pk, now=now)
        raise
    if capabilities.offerings:
        record_offerings(account_id=account.pk, offerings=provider.offerings(account.ref), now=now)
    record_contact(account.connection, now=now)
    if not capabilities.settings and not account.v2_username:
        learn_identity(account=account, provider=provider)


def read_state(*, account: Account, provider: Provider, now: datetime) -> StateReading:
    """Read and store the account's state, with everything else the same reading returns. Raises `ProviderError`."""
    if not account.connection.capabilities.settings:
        reading = provider.state(account.ref)
        record_state(account_id=account.pk, reading=reading, now=now)
        return reading
    details = provider.details(account.ref)
    record_details(account_id=account.pk, details=details, now=now)
    return details.state


def read_keys(*, account: Account, now: datetime, provider: Provider | None = None) -> list[ApiKey]:
    """Read the account's keys live. `now` is the time of the request. Raises `ProviderError`."""
    provider = provider or client_for(account.connection, interactive=True)
    keys = provider.keys(account.ref)
    record_keys(account_id=account.pk, keys=keys, now=now)
    record_contact(account.connection, now=now)
    return keys


def learn_identity(*, account: Account, provider: Provider) -> None:
    """Fill the v2 user name from the provider where none is stored. A failure is not an error: it is read again later.

    Where the email came as well, the connection's identity probe is known to work.
    """
    try:
        identity = provider.identity(account.ref)
    except ProviderError:
        return
    if identity.username:
        Account.objects.filter(pk=account.pk, v2_username="").update(v2_username=identity.username[:120])
    if identity.email is not None:
        asked = Connection.objects.filter(pk=account.connection_id, revision=account.connection.revision)
        asked.filter(probe_available=None).update(probe_available=True)


def accounts_to_read(*, now: datetime) -> QuerySet[Account]:
    """Return the accounts whose last reading is old or missing, oldest first; not while an operation is open."""
    return (
        Account.objects.filter(
            Q(state_read_at=None) | Q(state_read_at__lt=now - READ_EVERY),
            Q(read_tried_at=None) | Q(read_tried_at__lt=now - READ_AGAIN_AFTER),
            at_work("connection__"),
            provider_id__isnull=False,
            duplicate_of=None,
        )
        .exclude(state=AccountState.DELETED)
        .exclude(operations__state__in=OPEN)
        .order_by("state_read_at")
    )
