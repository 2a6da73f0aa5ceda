"""Record what a provider returned about existing accounts, their keys, domains and usage.

The moment of a reading is the moment it was *requested*, by the database's clock: `now` is taken before the call, here
and in every caller. A reading is written only if what is stored was read at that moment or before, and the condition
stands in the UPDATE itself, so a slow answer never overwrites a newer state, and of two readings at once the one
requested later stays. What an operation concluded is written by `customers.operations.conclusions` and counts as read
at the moment of its conclusion, after the answer to its send: a reading that began before it loses, one that is
requested afterwards wins. Observed columns are also written by `customers.operations.kinds.create` (the requested
package), `customers.reconcile.link` (a new row) and `.drift` (an accepted existence), `customers.accounts.sign_in`
(username).

No reading takes an account out of "deleted", or into it: the first is a decision of staff
(`customers.reconcile.drift`), the second an operation's or theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Case, F, Model, Q, QuerySet, Value, When

from customers.connections.client import client_for
from customers.connections.commands import record_contact
from customers.models import Account, AccountKey, AccountSpan, Connection, Operation, SendingDomain
from customers.models.account import AccountState, as_rows, package_name_of
from customers.models.breaker import readable
from customers.models.operation_states import OPEN
from customers.observed import spans
from portal.providers import (
    CAPABILITIES,
    ApiKey,
    Details,
    Domain,
    Identity,
    NotFound,
    Provider,
    ProviderError,
    ProviderOffering,
    StateReading,
)

Value_ = TypeVar("Value_")
USERNAME_MAX = Account._meta.get_field("v2_username").max_length or 0
READ_EVERY = timedelta(hours=20)
READ_AGAIN_AFTER = timedelta(minutes=10)
OFFERINGS_AGAIN_AFTER = timedelta(hours=2)


@dataclass(frozen=True)
class Seen(Generic[Value_]):
    """A provider's report on an account, not stored yet. `record` stores it, also on the account it was read
    with, and returns whether it did: inside a transaction the account's row is then locked."""

    value: Value_
    record: Callable[[], bool]


def _not_newer(read_at: str, now: datetime) -> Q:
    """Match accounts whose column `read_at` is not later than `now`."""
    return Q(**{read_at: None}) | Q(**{f"{read_at}__lte": now})


def _unless_newer(account_id: int, read_at: str, now: datetime) -> QuerySet[Account]:
    """Return the account if its column `read_at` is not later than `now` and it is not deleted; else an empty query
    set."""
    return Account.objects.filter(_not_newer(read_at, now), pk=account_id).exclude(state=AccountState.DELETED)


def record_state(*, account_id: int, reading: StateReading, now: datetime, operation: Operation | None = None) -> bool:
    """Store the state the provider reported, with its own word for it. The change time moves when a known state does.
    `operation`: the one that made a change which this reading shows. Returns whether it was stored.

    A reported "deleted" is not accepted on one reading, nor is a 404.
    """
    known = _unless_newer(account_id, "state_read_at", now)
    columns = _columns_of_reading(reading, now)
    return spans.record_reading(known, kind=AccountSpan.Kind.STATE, columns=columns, now=now, operation=operation)


def _columns_of_reading(reading: StateReading, now: datetime) -> dict[str, Any]:
    """Return the columns of a state that was read at `now`."""
    state = AccountState.UNKNOWN if str(reading.state) == AccountState.DELETED else reading.state
    unchanged = Q(state__in=(state, AccountState.PENDING, AccountState.UNKNOWN))
    return columns_of_state(reading) | {
        "state": state,
        "state_read_at": now,
        "read_tried_at": now,
        "changed_at": Case(When(unchanged, then=F("changed_at")), default=Value(now)),
        "changed_what": Case(
            When(unchanged, then=F("changed_what")), default=Value(f"State updated: {reading.raw}"[:120])
        ),
    }


def record_details(*, account_id: int, details: Details, now: datetime, operation: Operation | None = None) -> bool:
    """Store the result of one read of an account: settings, counts, last activity, and its state. Returns whether the
    state was stored. One UPDATE where neither was read later and the state is what is stored."""
    settings = columns_of_details(details) | {"settings_read_at": now}
    known, columns = _unless_newer(account_id, "settings_read_at", now), _columns_of_reading(details.state, now)
    both = known.filter(_not_newer("state_read_at", now), state=columns["state"])
    if both.update(**settings, **columns):
        return True
    known.update(**settings)
    return record_state(account_id=account_id, reading=details.state, now=now, operation=operation)


def record_gone(*, account_id: int, now: datetime) -> None:
    """Record that the provider does not know the account. One reading makes its state unknown, not deleted."""
    columns = {"state": AccountState.UNKNOWN, "state_raw": "not found", "state_read_at": now, "read_tried_at": now}
    known = _unless_newer(account_id, "state_read_at", now)
    spans.record_reading(known, kind=AccountSpan.Kind.STATE, columns=columns, now=now, is_answer=False)


def record_offerings(
    *, account_id: int, offerings: list[ProviderOffering], now: datetime, operation: Operation | None = None
) -> bool:
    """Store the offerings the provider reported. `operation`: the one that made a change which this reading shows.
    Returns whether they were stored."""
    columns = columns_of_offerings(as_rows(offerings)) | {"offerings_read_at": now}
    known = _unless_newer(account_id, "offerings_read_at", now)
    return spans.record_reading(known, kind=AccountSpan.Kind.OFFERINGS, columns=columns, now=now, operation=operation)


def columns_of_offerings(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the observed columns that a list of offerings fills, without the moment it was read at."""
    return {"offerings": rows, "package": package_name_of(rows)[:200]}


def columns_of_details(details: Details) -> dict[str, Any]:
    """Return the observed columns that a reading of settings fills, without its state and its moment."""
    return {
        "settings": asdict(details.settings),
        "domain_count": details.domains,
        "member_count": details.members,
        "last_activity_at": details.last_activity_at,
    }


def columns_of_state(reading: StateReading) -> dict[str, Any]:
    """Return the observed columns that a state as the provider reported it fills, without the moment."""
    return {"state": reading.state, "state_raw": reading.raw[:60]}


@dataclass(frozen=True)
class _Parts:
    """The keys or the domains of accounts. `name` is the column that tells those of one account apart, `columns` are
    read from one as the provider returned it."""

    model: type[Model]
    name: str
    columns: Callable[[Any], dict[str, Any]]


def _key_columns(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.id,
        "label": key.label[:255],
        "public_key": key.public_key[:120],
        "scopes": list(key.scopes),
        "ip_allow_list": list(key.ip_allow_list),
        "made_at": key.created_at,
        "last_used_at": key.last_used_at,
        "is_open_to_all": not key.ip_allow_list,
    }


def _domain_columns(domain: Domain) -> dict[str, Any]:
    return {
        "name": domain.name[:255],
        "valid": domain.valid,
        "records": [asdict(record) for record in domain.records],
        "checked_at": domain.checked_at,
        "made_at": domain.created_at,
    }


_KEYS = _Parts(AccountKey, "key_id", _key_columns)
_DOMAINS = _Parts(SendingDomain, "name", _domain_columns)


def record_keys(*, account_id: int, keys: Iterable[ApiKey], now: datetime) -> None:
    """Store a complete list of an account's keys. Where a list requested later is stored, all are left as they are."""
    with transaction.atomic():
        if _unless_newer(account_id, "keys_read_at", now).update(keys_read_at=now):
            _record(_KEYS, account_id, keys, now, complete=True)


def record_key(*, account_id: int, key: ApiKey, now: datetime) -> None:
    """Store one key as the provider returned it."""
    _record(_KEYS, account_id, [key], now)


def record_key_gone(*, account_id: int, key_id: str, now: datetime) -> None:
    AccountKey.objects.filter(account=account_id, key_id=key_id, gone_at=None).update(gone_at=now, read_at=now)


def record_domains(*, account_id: int, domains: Iterable[Domain], now: datetime) -> None:
    """Store a complete list of an account's sending domains."""
    _record(_DOMAINS, account_id, domains, now, complete=True)


def record_domain(*, account_id: int, domain: Domain, now: datetime) -> None:
    """Store one sending domain as the provider returned it, with its DNS records."""
    _record(_DOMAINS, account_id, [domain], now)


@transaction.atomic
def _record(parts: _Parts, account_id: int, told: Iterable[Any], now: datetime, *, complete: bool = False) -> None:
    """Store keys or domains; what a complete list lacks is marked as gone. One that was created, changed or deleted
    since the request is left as it is, and so are all of a deleted account, as they are deleted with it."""
    account = Account.objects.select_for_update(no_key=True).get(pk=account_id)
    if account.state == AccountState.DELETED:
        return
    listed = {columns[parts.name]: columns for columns in map(parts.columns, told)}
    if parts is _KEYS and listed:
        offered = set(CAPABILITIES[account.provider_kind].key_scopes)
        for columns in listed.values():
            columns["is_full_access"] = bool(offered) and offered.issubset(columns["scopes"])
    stored = parts.model._default_manager.filter(account=account_id)
    if complete:
        known = stored.filter(gone_at=None, read_at__lte=now)
        known.exclude(**{f"{parts.name}__in": listed}).update(gone_at=now)
    known_since = set(stored.filter(Q(read_at__gt=now) | Q(gone_at__gt=now)).values_list(parts.name, flat=True))
    fields = {"read_at", "gone_at"}.union(*listed.values()) - {parts.name}
    parts.model._default_manager.bulk_create(
        [
            parts.model(account_id=account_id, read_at=now, **columns)
            for name, columns in listed.items()
            if name not in known_since
        ],
        update_conflicts=True,
        unique_fields=["account", parts.name],
        update_fields=fields,
    )


def record_all_gone(*, account_id: int, now: datetime) -> None:
    """Record that the account's keys and domains were deleted with it."""
    for parts in (_KEYS, _DOMAINS):
        parts.model._default_manager.filter(account=account_id, gone_at=None).update(gone_at=now)


def read_account(
    *, account: Account, now: datetime, provider: Provider | None = None, operation: Operation | None = None
) -> None:
    """Read an account live: its settings and state in one, or its state, offerings and (where it is not known) the v2
    username, as the provider's capabilities say. `operation`: the one that changed it just before. Raises
    `ProviderError`."""
    provider = provider or client_for(account.connection, interactive=True)
    capabilities = account.connection.capabilities
    Account.objects.filter(pk=account.pk).update(read_tried_at=now)
    try:
        read_state(account=account, provider=provider, now=now, operation=operation)
    except NotFound:
        record_gone(account_id=account.pk, now=now)
        raise
    if capabilities.offerings:
        found = provider.offerings(account.ref)
        record_offerings(account_id=account.pk, offerings=found, now=now, operation=operation)
    record_contact(account.connection, now=now)
    if not capabilities.settings and not account.v2_username:
        learn_identity(account=account, provider=provider)


def read_state(
    *, account: Account, provider: Provider, now: datetime, operation: Operation | None = None
) -> StateReading:
    """Read and store the account's state, with everything else the same reading returns. `operation`: the one that made
    a change which this reading shows. Raises `ProviderError`."""
    seen = see_state(account=account, provider=provider, now=now, operation=operation)
    seen.record()
    return seen.value


def see_state(
    *, account: Account, provider: Provider, now: datetime, operation: Operation | None = None
) -> Seen[StateReading]:
    """Read the account's state as `read_state` does, and leave it to the caller to store it. Raises `ProviderError`."""
    if not account.connection.capabilities.settings:
        reading = provider.state(account.ref)
        write = partial(record_state, reading=reading)
    else:
        details = provider.details(account.ref)
        reading, write = details.state, partial(record_details, details=details)

    def record() -> bool:
        stored = write(account_id=account.pk, now=now, operation=operation)
        if stored:
            account.state, account.state_read_at = _columns_of_reading(reading, now)["state"], now
        return stored

    return Seen(reading, record)


def see_offerings(
    *, account: Account, provider: Provider, now: datetime, operation: Operation | None = None
) -> Seen[list[dict[str, Any]]]:
    """Read the account's offerings, as rows, and leave it to the caller to store them. Raises `ProviderError`."""
    found = provider.offerings(account.ref)
    rows = as_rows(found)

    def record() -> bool:
        stored = record_offerings(account_id=account.pk, offerings=found, now=now, operation=operation)
        if stored:
            account.offerings, account.offerings_read_at = rows, now
        return stored

    return Seen(rows, record)


def read_keys(*, account: Account, now: datetime, provider: Provider | None = None) -> list[ApiKey]:
    """Read the account's keys live. `now` is the time of the request. Raises `ProviderError`."""
    provider = provider or client_for(account.connection, interactive=True)
    keys = provider.keys(account.ref)
    record_keys(account_id=account.pk, keys=keys, now=now)
    record_contact(account.connection, now=now)
    return keys


def storable_username(identity: Identity) -> str:
    """Return the v2 username, or "" where there is none or it is too long: a shortened one is another account's."""
    username = identity.username or ""
    return username if len(username) <= USERNAME_MAX else ""


def learn_identity(*, account: Account, provider: Provider) -> None:
    """Fill the v2 username from the provider where none is stored. A failure is not an error: it is read again later.

    Where the email came as well, the connection's identity probe is known to work.
    """
    try:
        identity = provider.identity(account.ref)
    except ProviderError:
        return
    if username := storable_username(identity):
        Account.objects.filter(pk=account.pk, v2_username="").update(v2_username=username)
    if identity.email is not None:
        account.connection.as_read().filter(probe_available=None).update(probe_available=True)


def accounts_to_read(*, now: datetime, read_before: datetime | None = None) -> QuerySet[Account]:
    """Return the accounts whose last reading is old or missing, oldest first; not while an operation is open. A reading
    from before `read_before` is old in any case."""
    old, tried = now - READ_EVERY, now - READ_AGAIN_AFTER
    if read_before:
        old, tried = max(old, read_before), max(tried, read_before)
    return (
        Account.objects.filter(
            Q(state_read_at=None)
            | Q(state_read_at__lt=old)
            # A suspend reads the state alone.
            | Q(offerings_read_at__lt=now - READ_EVERY, read_tried_at__lt=now - OFFERINGS_AGAIN_AFTER),
            Q(read_tried_at=None) | Q(read_tried_at__lt=tried),
            readable("connection__"),
            provider_id__isnull=False,
            duplicate_of=None,
        )
        .exclude(state=AccountState.DELETED)
        .exclude(operations__state__in=OPEN)
        .order_by("state_read_at")
    )


def accounts_to_read_of(connection: Connection, *, now: datetime) -> QuerySet[Account]:
    """Return those of one connection. On hold, whatever was last read before the hold is read again."""
    return accounts_to_read(now=now, read_before=connection.on_hold_since).filter(connection=connection)
