"""The list of all API keys: what is wrong with each, as filters with counts, and what a row shows.

A finding is told only from what the provider returns. No provider tells which scopes a key used, so the list says that
it is unknown and shows full access as a finding instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.conf import settings
from django.db.models import Case, Count, Exists, Min, OuterRef, Q, QuerySet, Value, When
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.keys.queries import bundle_of
from customers.labels import split_label
from customers.models import AccountKey, Connection, KeySecret
from customers.models.keys import LIVING
from customers.observed import key_lists
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, search_filter, sort_filter
from portal.paging import KeyedRows, LongPage, long_page
from portal.query_params import uuid_or_none
from portal.typed_text import matches

SIZE = 50
NONE = Q(pk__in=())
# Counted one by one: together, each key would be looked up among the secrets.
BY_SECRET = ("outside", "left")
SORTS = {"made": "made_at", "used": "last_used_at"}
DEFAULT_SORT = "made"
# A list that is older is shown as such: the nightly lists make each younger.
STALE = timedelta(hours=26)


def findings(now: datetime) -> dict[str, tuple[str | Promise, Q]]:
    """Return the label of each finding and the living keys that have it, by its name in the URL."""
    secret = KeySecret.objects.filter(account=OuterRef("account"), key_id=OuterRef("key_id"))
    left = list(User.objects.filter(is_active=False).values_list("pk", flat=True))
    age, unused = settings.KEY_MAX_AGE_DAYS, settings.KEY_UNUSED_DAYS
    before = now - timedelta(days=unused)
    found: dict[str, tuple[str | Promise, Q]] = {}
    if age:
        found["old"] = (_("Older than %(n)d days") % {"n": age}, old_keys(now))
    found["never"] = (gettext_lazy("Never used"), Q(last_used_at=None))
    if unused:
        idle = Q(last_used_at__lte=before) | Q(last_used_at=None, made_at__lte=before)
        found["unused"] = (_("Unused for %(n)d days") % {"n": unused}, idle)
    return found | {
        "full": (gettext_lazy("Full access"), Q(is_full_access=True)),
        "open": (gettext_lazy("No IP allowlist"), Q(is_open_to_all=True)),
        "outside": (gettext_lazy("Created outside the portal"), ~Q(Exists(secret))),
        "left": (gettext_lazy("Creator left the team"), Q(Exists(secret.filter(holder__in=left))) if left else NONE),
    }


def old_keys(now: datetime) -> Q:
    """Match keys beyond the age of the settings."""
    return Q(made_at__lte=now - timedelta(days=settings.KEY_MAX_AGE_DAYS))


class KeyFilters(ListFilters):
    finding = Filter(gettext_lazy("Finding"), one_of(()))
    q = search_filter()
    connection = Filter(gettext_lazy("Connection"), one_of(()), initial=None)
    owner = Filter(gettext_lazy("Owner"), uuid_or_none)
    sort = sort_filter(SORTS, DEFAULT_SORT)

    def __init__(self, query: Mapping[str, str], *, now: datetime) -> None:
        self.now, self.findings = now, findings(now)
        kinds = Connection.objects.filter(kind__in=key_lists.KINDS_WITH_KEYS).order_by("name")
        self.connections = {str(each.public_id): each for each in kinds}
        super().__init__(query, finding=one_of(self.findings), connection=self.connections.get)

    @property
    def is_narrowed(self) -> bool:
        return bool(self.finding or self.q or self.connection or self.owner)

    @cached_property
    def before_findings(self) -> QuerySet[AccountKey]:
        """The living keys that the other filters leave."""
        found = AccountKey.objects.filter(LIVING)
        if self.lists_nothing:
            return found.none()
        if self.connection:
            found = found.filter(account__connection=self.connection)
        if self.owner:
            found = found.filter(account__customer__owner__public_id=self.owner)
        if self.q:
            of_customer = matches("account__customer__company_name__icontains", self.q)
            found = found.filter(of_customer | matches("label__icontains", self.q) | Q(account__provider_id=self.q))
        return found

    @property
    def keys(self) -> QuerySet[AccountKey]:
        """The living keys that all filters leave, in their order."""
        found = self.before_findings
        if self.finding:
            found = found.filter(self.findings[self.finding][1])
        return found.order_by(*self._order)

    @property
    def _order(self) -> tuple[str, str]:
        column, descending = SORTS[str(self.sort).removeprefix("-")], str(self.sort).startswith("-")
        return (f"-{column}", "-id") if descending else (column, "id")


@dataclass(frozen=True)
class KeyRow:
    """One key as the list shows it. `creator` None: made outside the portal. `age`: in days, None where the provider
    doesn't tell."""

    key: AccountKey
    label: str
    code: str
    scopes: str
    last4: str
    creator: User | None
    age: int | None
    found: list[str | Promise]
    is_stale: bool


@dataclass(frozen=True)
class ListAges:
    """How old the lists are that all this comes from."""

    oldest_at: datetime | None
    unlisted: int


def keys_list_page(filters: KeyFilters, number: str | None) -> LongPage:
    return long_page(KeyedRows(filters.keys, with_findings(filters)), number, SIZE)


def with_findings(filters: KeyFilters) -> QuerySet[AccountKey]:
    """Return all keys with what a row shows, and each finding as `is_` and its name."""
    flags = {
        f"is_{name}": Case(When(condition, then=Value(True)), default=Value(False))
        for name, (_label, condition) in filters.findings.items()
    }
    return AccountKey.objects.select_related("account__customer", "account__connection").annotate(**flags)


def finding_counts(filters: KeyFilters) -> list[tuple[str, str | Promise, int]]:
    """Return name, label and number of each finding among the keys that the other filters leave."""
    counts = {
        name: Count("pk", filter=condition)
        for name, (_label, condition) in filters.findings.items()
        if name not in BY_SECRET
    }
    keys = filters.before_findings.order_by()
    found = keys.aggregate(all=Count("pk"), **counts)
    found |= {name: keys.filter(filters.findings[name][1]).count() for name in BY_SECRET}
    rows: list[tuple[str, str | Promise, int]] = [("", _("All"), found["all"])]
    return rows + [(name, label, found[name]) for name, (label, _condition) in filters.findings.items()]


def list_ages() -> ListAges:
    accounts = key_lists.accounts_with_keys().order_by()
    found = accounts.aggregate(oldest_at=Min("keys_read_at"), unlisted=Count("pk", filter=Q(keys_read_at=None)))
    return ListAges(**found)


def key_rows(filters: KeyFilters, keys: Iterable[AccountKey]) -> list[KeyRow]:
    """Return rows of keys that were read `with_findings`. One query, whatever their number."""
    shown = list(keys)
    secrets = KeySecret.objects.filter(
        account__in={each.account_id for each in shown}, key_id__in={each.key_id for each in shown}
    )
    made = {(each.account_id, each.key_id): each for each in secrets.select_related("holder")}
    return [_row(filters, each, made.get((each.account_id, each.key_id))) for each in shown]


def _row(filters: KeyFilters, key: AccountKey, secret: KeySecret | None) -> KeyRow:
    now = filters.now
    label, code = split_label(key.label)
    read_at = key.account.keys_read_at
    return KeyRow(
        key=key,
        label=label,
        code=code,
        scopes=scopes_text(key),
        last4=secret.last4 if secret else "",
        creator=secret.holder if secret else None,
        age=max(0, (now - key.made_at).days) if key.made_at else None,
        found=[text for name, (text, _condition) in filters.findings.items() if getattr(key, f"is_{name}")],
        is_stale=read_at is None or read_at < now - STALE,
    )


def scopes_text(key: AccountKey) -> str:
    """Return the scopes in a few words: their bundle, "Full access", or the first and how many more."""
    if key.is_full_access:
        return _("Full access")
    if bundle := bundle_of(key.account.connection.capabilities, key.scopes):
        return _(bundle.label)
    if len(key.scopes) <= 1:
        return key.scopes[0] if key.scopes else _("None")
    return _("%(scope)s and %(n)d more") % {"scope": key.scopes[0], "n": len(key.scopes) - 1}
