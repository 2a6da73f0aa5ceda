"""Filters of the customer list, read from the URL. Everything unknown is left out, never an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from customers.models import Connection
from customers.models.account import AccountState
from portal.access.models import User
from portal.providers import Capabilities
from portal.query_params import line, searchable, uuid_or_none
from portal.state_labels import NOT_CREATED

VIEWS: dict[str, str | Promise] = {
    "all": _("All"),
    "attention": _("Needs attention"),
    "near": _("Over 80 %"),
    "stopped": _("Stopped"),
    "mine": _("Mine"),
    "no-reading": _("No reading"),
    "archived": _("Archived"),
}
# Views that include customers without any account.
VIEWS_OF_CUSTOMERS = frozenset({"all", "mine", "archived"})
NO_ACCOUNT = "none"
NOBODY = "nobody"
# Instead of a package's name: accounts that have a monthly cap, and those that have none.
CAPPED, UNCAPPED = "cap:yes", "cap:no"
SORTS = ("name", "state", "package", "use", "changed")
DEFAULT_SORT = "-changed"
SIZES = (25, 50, 100, 200)
DEFAULT_SIZE = 50


@dataclass(frozen=True)
class CustomerFilters:
    user: User
    view: str = "all"
    q: str = ""
    state: str = ""
    connection: Connection | None = None
    provider: str = ""
    package: str = ""
    owner: str = ""
    sort: str = DEFAULT_SORT
    size: int = DEFAULT_SIZE
    connections: dict[int, Connection] = field(default_factory=dict)

    @property
    def by(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def narrowed(self) -> bool:
        return bool(self.q or self.state or self.connection or self.provider or self.package or self.owner)

    @cached_property
    def with_bare(self) -> bool:
        """True if customers without an account belong to this list."""
        of_account = bool(self.connection or self.provider or self.package or self.state not in ("", NO_ACCOUNT))
        return self.view in VIEWS_OF_CUSTOMERS and not of_account

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kinds of provider with a connection, and their labels."""
        return {each.kind: each.provider_label for each in self.connections.values()}

    def connections_that(self, can: Callable[[Capabilities], bool]) -> list[int]:
        return [pk for pk, each in self.connections.items() if can(each.capabilities)]

    @property
    def only_bare(self) -> bool:
        return self.state == NO_ACCOUNT


def read_customer_filters(query: QueryDict, user: User) -> CustomerFilters:
    connections = {each.pk: each for each in Connection.objects.all()}
    wanted = query.get("connection", "")
    sort, state, size = query.get("sort", ""), query.get("state", ""), query.get("size", "")
    return CustomerFilters(
        user=user,
        view=_one_of(query.get("view", ""), VIEWS, "all"),
        q=searchable(query.get("q", "")),
        state=_one_of(state, (*AccountState.values, NOT_CREATED, NO_ACCOUNT), ""),
        connection=next((each for each in connections.values() if str(each.public_id) == wanted), None),
        provider=_one_of(query.get("provider", ""), {each.kind for each in connections.values()}, ""),
        package=line(query.get("package", "")),
        owner=_owner(query.get("owner", "")),
        sort=sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT,
        size=int(size) if size in {str(each) for each in SIZES} else DEFAULT_SIZE,
        connections=connections,
    )


def _one_of(value: str, known: object, otherwise: str) -> str:
    return value if value in known else otherwise  # type: ignore[operator]


def _owner(value: str) -> str:
    if value == NOBODY:
        return value
    return str(uuid_or_none(value) or "")
