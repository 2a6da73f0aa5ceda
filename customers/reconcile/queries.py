"""Queries of the drift board: accounts that differ, and unlinked accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.connections.queries import connection_choices
from customers.models import Account, Customer, Operation, RemoteAccount, Scan
from customers.observed.matching import possible_creates
from customers.reconcile.drift import Drift, Field, drifting, drifts_of, looked_away
from portal.email_addresses import spellings
from portal.formats import number_text
from portal.query_params import searchable, uuid_or_none
from portal.state_labels import account_state_text

PER_PAGE = 50
AT_ONCE = 500
HEADER = (
    "customer", "external reference", "connection", "account id", "what", "we want", "the provider says", "read at",
    "ignored until", "ignored because",
)  # fmt: skip


@dataclass
class Board:
    """The board. `groups` are the accounts of this page with their differences; ignored ones are left out unless
    requested."""

    page: Page[Account]
    groups: list[tuple[Account, list[Drift]]]
    view: str
    orphans: int
    connection_choices: list[tuple[str, str]]
    kept: list[tuple[str, str]]
    scans: list[Scan] = field(default_factory=list)

    @property
    def checked_at(self) -> datetime | None:
        return min((each.started_at for each in self.scans if each.state == Scan.State.COMPLETE), default=None)


def board(asked: Mapping[str, str], *, today: date) -> Board:
    """Return the board that the URL requests. The number of queries does not depend on the number of rows."""
    show_ignored = asked.get("view") == "ignored"
    page = Paginator(_shown(asked, today=today), PER_PAGE).get_page(asked.get("page"))
    by_account: dict[int, list[Drift]] = {}
    for each in drifts_of(page.object_list, today=today):
        if show_ignored or each.ignored is None:
            by_account.setdefault(each.account.pk, []).append(each)
    return Board(
        page=page,
        groups=[(account, by_account[account.pk]) for account in page.object_list if account.pk in by_account],
        view="ignored" if show_ignored else "",
        orphans=RemoteAccount.objects.orphans().count(),
        connection_choices=connection_choices(),
        kept=[(name, asked[name]) for name in ("view", "connection") if asked.get(name)],
        scans=latest_scans(),
    )


def _shown(asked: Mapping[str, str], *, today: date) -> QuerySet[Account]:
    accounts = _narrowed(Account.objects.all(), asked)
    found = drifting(accounts).select_related("customer", "connection").order_by("-changed_at", "-pk")
    if asked.get("view") == "ignored":
        return found
    return found.exclude(pk__in=looked_away(accounts, today=today))


def drift_export_rows(asked: Mapping[str, str], *, today: date) -> Iterator[list[Any]]:
    """Yield every difference that the board shows for this URL, one to a row, in its order."""
    waiting = _shown(asked, today=today).iterator(chunk_size=AT_ONCE)
    while accounts := list(islice(waiting, AT_ONCE)):
        for each in drifts_of(accounts, today=today):
            if each.ignored and asked.get("view") != "ignored":
                continue
            account, ignored = each.account, each.ignored
            yield [
                account.customer.company_name, account.customer.external_reference, account.connection.name,
                account.provider_id, each.field.label, value_text(each, each.wanted), value_text(each, each.found),
                each.read_at, ignored and ignored.until_on, ignored and ignored.reason,
            ]  # fmt: skip


def value_text(drift: Drift, value: Any) -> str:
    """Return a value of the board in words."""
    match drift.field:
        case Field.STATE:
            return account_state_text(str(value), drift.account.provider_label)
        case Field.OFFERINGS:
            return ", ".join(f"{row['name']} x {row['quantity']}" for row in value)
        case Field.CAP if value == 0:
            return _("No cap")
        case Field.CAP:
            return ngettext("%(n)s e-mail a month", "%(n)s e-mails a month", int(value)) % {"n": number_text(value)}
        case Field.EXISTENCE:
            words = {"there": _("There"), "deleted": _("Deleted")}
            return (words | {"missing": _("Missing in its list"), "gone": _("Gone from its list")})[value]
        case _:
            return str(value)


def latest_scans() -> list[Scan]:
    """Return the newest complete scan of each connection, and the newest of all where that is another: one that runs,
    or one that failed, with the reason."""
    newest = Scan.objects.order_by().values("connection").annotate(last=Max("pk")).values("last")
    wanted = Q(pk__in=newest) | Q(pk__in=newest.filter(state=Scan.State.COMPLETE))
    return list(Scan.objects.filter(wanted).select_related("connection").order_by("connection__name", "state"))


def _narrowed(found: QuerySet[Account], asked: Mapping[str, str]) -> QuerySet[Account]:
    if key := uuid_or_none(asked.get("connection", "")):
        found = found.filter(connection__public_id=key)
    text = searchable(asked.get("q", "")).casefold()
    if text:
        customers = Customer.objects.filter(search__contains=text).values("pk")
        found = found.filter(Q(customer__in=customers) | Q(provider_id=text))
    return found


@dataclass
class Orphans:
    """The unlinked accounts. `rows` are those of the page, each with the open create that may have made it."""

    page: Page[RemoteAccount]
    rows: list[tuple[RemoteAccount, Operation | None]]
    view: str
    connection_choices: list[tuple[str, str]]
    kept: list[tuple[str, str]]


def orphans(asked: Mapping[str, str]) -> Orphans:
    """Return the accounts at the provider that no account of ours names; the ignored ones where requested."""
    ignored = asked.get("view") == "ignored"
    found = (
        RemoteAccount.objects.unowned().filter(ignored_at__isnull=False) if ignored else RemoteAccount.objects.orphans()
    )
    if key := uuid_or_none(asked.get("connection", "")):
        found = found.filter(connection__public_id=key)
    text = searchable(asked.get("q", ""))
    if text:
        found = found.filter(
            Q(email__icontains=text) | Q(name__icontains=text) | Q(website__icontains=text) | Q(provider_id=text)
        )
    ordered = found.select_related("connection", "ignored_by", "possible_duplicate_of__account").order_by(
        "-made_at", "pk"
    )
    page = Paginator(ordered, PER_PAGE).get_page(asked.get("page"))
    possible = possible_creates(page)
    return Orphans(
        page=page,
        rows=[(each, possible.get(each.pk)) for each in page],
        view="ignored" if ignored else "",
        connection_choices=connection_choices(),
        kept=[(name, asked[name]) for name in ("view", "connection") if asked.get(name)],
    )


def customers_like(remote_account: RemoteAccount, *, text: str) -> QuerySet[Customer]:
    """Return the customers an unlinked account may belong to: those searched for, else those of its email or name."""
    if text := searchable(text).casefold():
        return Customer.objects.filter(search__contains=text, archived_at=None)[:20]
    facts: Any = Q(pk__in=[])
    if remote_account.email:
        for spelling in spellings(remote_account.email):
            facts |= Q(email__iexact=spelling)
    if remote_account.name:
        facts |= Q(company_name__iexact=remote_account.name)
    return Customer.objects.filter(facts, archived_at=None)[:20]
