"""Accesses to customers' accounts and data: sign-ins, secrets, API keys, test messages and exports.

An export of a list names no customer. It may hold rows of each, so it is listed for all of them, with its filters.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from portal.audit import words
from portal.audit.models import AuditEvent
from portal.audit.queries import DayFilters, person_words, users_only
from portal.audit.verbs import ACCESS, access_verbs
from portal.audit.words import FoundCustomer
from portal.filters import Filter, one_of
from portal.query_params import uuid_or_none

CUSTOMER, ACCOUNT = "customers.customer", "customers.account"
OF_LISTS = {"no": _("Without exports of lists")}


def _found(object_type: str, text: str) -> FoundCustomer | None:
    key = uuid_or_none(text)
    return words.find_customer(object_type, key) if key else None


def _label(found: FoundCustomer) -> str:
    return found.label


class AccessFilters(DayFilters):
    """The filters of "Account access". Without a customer or an account, the accesses to all of them are listed."""

    customer = Filter(_("Customer"), lambda text: _found(CUSTOMER, text), initial=None, words=_label)
    account = Filter(_("Account"), lambda text: _found(ACCOUNT, text), initial=None, words=_label)
    kind = Filter(_("Access"), one_of(ACCESS), words=ACCESS)
    person = Filter(_("Team member"), users_only, words=person_words, lookup="actor__public_id")
    lists = Filter(_("Exports of lists"), one_of(OF_LISTS), words=OF_LISTS)

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query)
        key = uuid_or_none(query.get("account", ""))
        self.account_id: uuid.UUID | None = key if self.account else None

    @property
    def about(self) -> FoundCustomer | None:
        """Return the customer, or the customer of the account."""
        found: FoundCustomer | None = self.account or self.customer
        return found


def accesses(filters: AccessFilters) -> QuerySet[AuditEvent]:
    """Return matching accesses, newest first. What the portal did by itself gave nobody access."""
    found = filters.narrow(AuditEvent.objects.order_by("-id")).filter(actor__isnull=False)
    exports = [verb for verb in access_verbs("export") if filters.kind in ("", "export")]
    verbs = access_verbs(filters.kind)
    of_lists = Q(customer_id__isnull=True, verb__in=exports)
    if about := filters.about:
        mine = Q(customer_id=about.customer_id, verb__in=verbs)
        if filters.account_id:
            # An export of a customer holds the rows of each of its accounts.
            of_customer = Q(account_id__isnull=True, customer_id=about.customer_id, verb__in=exports)
            mine = Q(account_id=filters.account_id, verb__in=verbs) | of_customer
        found = found.filter(mine if filters.lists else mine | of_lists)
    else:
        found = found.filter(verb__in=verbs)
        found = found.exclude(of_lists) if filters.lists else found
    return filters.narrow_days(found)
