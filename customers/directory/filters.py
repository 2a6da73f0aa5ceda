"""Filters of the customer list, read from the URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from customers.connections.catalogue import offering_label
from customers.models import Connection
from customers.models.account import AccountState
from portal.access.models import User
from portal.filters import Filter, ListFilters, one_of, search_filter, size_filter, sort_filter
from portal.providers import CAPABILITIES, Capabilities
from portal.query_params import line, uuid_or_none
from portal.state_labels import NOT_CREATED, account_state_text

VIEWS: dict[str, str | Promise] = {
    "all": _("All"),
    "attention": _("Needs review"),
    "near": _("Over 80%"),
    "stopped": _("Suspended or blocked"),
    "mine": _("My customers"),
    "no-reading": _("No usage data"),
    "archived": _("Archived"),
}
# Views that include customers without any account.
VIEWS_OF_CUSTOMERS = frozenset({"all", "mine", "archived"})
NO_ACCOUNT = "none"
NOBODY = "nobody"
# Instead of a package's name: accounts that have a monthly cap, and those that have none.
CAPPED, UNCAPPED = "cap:yes", "cap:no"
CAP_CHOICES: dict[str, str | Promise] = {CAPPED: _("With a monthly cap"), UNCAPPED: _("No cap")}
SORTS = ("name", "state", "package", "use", "changed")
DEFAULT_SORT = "-changed"
SIZES = (25, 50, 100, 200)
DEFAULT_SIZE = 50


def _owner(text: str) -> str | None:
    if text == NOBODY:
        return text
    key = uuid_or_none(text)
    return str(key) if key else None


def _state_words(state: str) -> str:
    return gettext("No account yet") if state == NO_ACCOUNT else account_state_text(state)


def _package_words(package: str) -> str:
    return str(CAP_CHOICES.get(package) or offering_label(package))


def _owner_words(owner: str) -> str:
    if owner == NOBODY:
        return gettext("Unassigned")
    return User.objects.filter(public_id=owner).values_list("name", flat=True).first() or gettext("unknown")


class CustomerFilters(ListFilters):
    view = Filter(_("View"), one_of(VIEWS), initial="all", words=VIEWS)
    q = search_filter()
    state = Filter(_("State"), one_of((*AccountState.values, NOT_CREATED, NO_ACCOUNT)), words=_state_words)
    connection = Filter(_("Connection"), one_of(()), initial=None)
    provider = Filter(_("Provider"), one_of(()), words=lambda kind: CAPABILITIES[kind].label)
    package = Filter(_("Package"), line, words=_package_words)
    owner = Filter(_("Owner"), _owner, words=_owner_words)
    sort = sort_filter(SORTS, DEFAULT_SORT)
    size = size_filter(SIZES, DEFAULT_SIZE)

    def __init__(
        self, query: Mapping[str, str], user: User, *, connections: dict[int, Connection] | None = None
    ) -> None:
        self.user = user
        self.connections = Connection.objects.in_bulk() if connections is None else connections
        by_key = {str(each.public_id): each for each in self.connections.values()}
        super().__init__(query, connection=by_key.get, provider=one_of(self.kinds))

    @property
    def by(self) -> str:
        return str(self.sort).removeprefix("-")

    @property
    def descending(self) -> bool:
        return str(self.sort).startswith("-")

    @property
    def narrowed(self) -> bool:
        chosen = self.q or self.state or self.connection or self.provider or self.package or self.owner
        return bool(chosen or self.lists_nothing)

    @cached_property
    def with_bare(self) -> bool:
        """True if customers without an account belong to this list."""
        of_account = bool(self.connection or self.provider or self.package or self.state not in ("", NO_ACCOUNT))
        return self.view in VIEWS_OF_CUSTOMERS and not of_account and not self.lists_nothing

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kinds of provider with a connection, and their labels."""
        return {each.kind: each.provider_label for each in self.connections.values()}

    def connections_that(self, can: Callable[[Capabilities], bool]) -> list[int]:
        return [pk for pk, each in self.connections.items() if can(each.capabilities)]

    @property
    def only_bare(self) -> bool:
        return bool(self.state == NO_ACCOUNT)
