"""Queries of the drift page: accounts that differ, and unlinked accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from customers.connections.queries import connection_choices, connection_filter
from customers.models import Account, Customer, RemoteAccount, Scan
from customers.observed.matching import possible_creates
from customers.reconcile.drift import Drift, Field, drifting, drifts_of, looked_away
from portal.consistent_reads import streamed_read
from portal.email_addresses import spellings
from portal.filters import Filter, ListFilters, one_of, search_filter
from portal.formats import number_text
from portal.query_params import searchable
from portal.state_labels import account_state_text
from portal.typed_text import matches

PER_PAGE = 50
AT_ONCE = 500
HEADER = (
    "customer",
    "external reference",
    "connection",
    "account ID",
    "field",
    "expected",
    "actual",
    "updated at",
    "snoozed until",
    "snooze reason",
)


class DriftFilters(ListFilters):
    """The filters of the board and of the unlinked accounts; both offer a view of what is ignored."""

    view = Filter(gettext_lazy("View"), one_of(("ignored",)), words={"ignored": gettext_lazy("Include snoozed")})
    connection = connection_filter("connection__public_id")
    q = search_filter()


def board(asked: Mapping[str, str], *, today: date) -> dict[str, Any]:
    """Return the board that the URL requests. `groups` are the accounts of this page with their differences; ignored
    ones are left out unless requested. The number of queries does not depend on the number of rows."""
    filters = DriftFilters(asked)
    show_ignored = filters.view == "ignored"
    page = Paginator(_shown(filters, today=today), PER_PAGE).get_page(asked.get("page"))
    by_account: dict[int, list[Drift]] = {}
    for each in drifts_of(page.object_list, today=today):
        if show_ignored or each.ignored is None:
            by_account.setdefault(each.account.pk, []).append(each)
    return {
        "page": page,
        "groups": [(account, by_account[account.pk]) for account in page.object_list if account.pk in by_account],
        "filters": filters,
        "orphans": RemoteAccount.objects.orphans().count(),
        "connection_choices": connection_choices(),
        "scans": latest_scans(),
    }


def _shown(filters: DriftFilters, *, today: date) -> QuerySet[Account]:
    accounts = filters.narrow(Account.objects.all())
    if text := filters.q.casefold():
        customers = Customer.objects.filter(matches("search__contains", text)).values("pk")
        accounts = accounts.filter(Q(customer__in=customers) | Q(provider_id=text))
    found = drifting(accounts).select_related("customer", "connection").order_by("-changed_at", "-pk")
    if filters.view == "ignored":
        return found
    return found.exclude(pk__in=looked_away(accounts, today=today))


def drift_export_rows(filters: DriftFilters, *, today: date) -> Iterator[list[Any]]:
    """Yield every difference that the board shows with these filters, one to a row, in its order."""
    with streamed_read():
        waiting = _shown(filters, today=today).iterator(chunk_size=AT_ONCE)
        while accounts := list(islice(waiting, AT_ONCE)):
            for each in drifts_of(accounts, today=today):
                if each.ignored and filters.view != "ignored":
                    continue
                account, ignored = each.account, each.ignored
                yield [
                    account.customer.company_name,
                    account.customer.external_reference,
                    account.connection.name,
                    account.provider_id,
                    each.field.label,
                    value_text(each, each.wanted),
                    value_text(each, each.found),
                    each.read_at,
                    ignored and ignored.until_on,
                    ignored and ignored.reason,
                ]


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
            return ngettext("%(n)s email/month", "%(n)s emails/month", int(value)) % {"n": number_text(value)}
        case Field.EXISTENCE:
            words = {"there": _("Exists"), "deleted": _("Deleted")}
            return (
                words | {"missing": _("Missing from the account list"), "gone": _("No longer in the account list")}
            )[value]
        case _:
            return str(value)


def any_running(scans: Iterable[Scan]) -> bool:
    return any(scan.state == Scan.State.RUNNING for scan in scans)


def latest_scans() -> list[Scan]:
    """Return the newest complete scan of each connection, and the newest of all where that is another: one that runs,
    or one that failed, with the reason."""
    newest = Scan.objects.order_by().values("connection").annotate(last=Max("pk")).values("last")
    wanted = Q(pk__in=newest) | Q(pk__in=newest.filter(state=Scan.State.COMPLETE))
    return list(Scan.objects.filter(wanted).select_related("connection").order_by("connection__name", "state"))


def orphans(asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the accounts at the provider that no account of ours names; the ignored ones where requested. `rows` are
    those of the page, each with the open create that may have made it."""
    filters = DriftFilters(asked)
    accounts = RemoteAccount.objects
    ignored = filters.view == "ignored"
    found = filters.narrow(accounts.unowned().filter(ignored_at__isnull=False) if ignored else accounts.orphans())
    if text := filters.q:
        found = found.filter(
            matches("email__icontains", text)
            | matches("name__icontains", text)
            | Q(website__icontains=text)
            | Q(provider_id=text)
        )
    ordered = found.select_related("connection", "ignored_by", "possible_duplicate_of__account").order_by(
        "-made_at", "pk"
    )
    page = Paginator(ordered, PER_PAGE).get_page(asked.get("page"))
    possible = possible_creates(page)
    return {
        "page": page,
        "rows": [(each, possible.get(each.pk)) for each in page],
        "filters": filters,
        "connection_choices": connection_choices(),
    }


def customers_like(remote_account: RemoteAccount, *, text: str) -> QuerySet[Customer]:
    """Return the customers an unlinked account may belong to: those searched for, else those of its email or name."""
    if text := searchable(text).casefold():
        return Customer.objects.filter(matches("search__contains", text), archived_at=None)[:20]
    facts: Any = Q(pk__in=[])
    if remote_account.email:
        for spelling in spellings(remote_account.email):
            facts |= Q(email__iexact=spelling)
    if remote_account.name:
        facts |= matches("company_name__iexact", remote_account.name)
    return Customer.objects.filter(facts, archived_at=None)[:20]
