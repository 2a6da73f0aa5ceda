"""Queries of price lists. Cost lists exist for nobody who may not see cost."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from django.db.models import BooleanField, Count, Exists, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404
from django.shortcuts import get_object_or_404

from billing.models import ConnectionBilling, ContractPriceList, PriceList, PriceVersion, Side
from billing.pricing.lists.filters import PriceListFilters
from billing.pricing.lists.versions import newest_in_force
from portal.access.models import User
from portal.access.permissions import Permission
from portal.typed_text import matches


def visible_lists(user: User) -> QuerySet[PriceList]:
    lists = PriceList.objects.all()
    return lists if user.may(Permission.VIEW_COST) else lists.filter(side=Side.SELL)


def price_list_or_404(user: User, public_id: uuid.UUID) -> PriceList:
    return get_object_or_404(visible_lists(user), public_id=public_id)


def version_or_404(user: User, public_id: uuid.UUID) -> PriceVersion:
    rows = PriceVersion.objects.filter(price_list__in=visible_lists(user))
    return get_object_or_404(rows.select_related("price_list", "published_by"), public_id=public_id)


def draft_or_404(user: User, public_id: uuid.UUID) -> PriceVersion:
    """Return a draft that the user may change. Raises `Http404` for a version that is published."""
    version = version_or_404(user, public_id)
    if version.published_at:
        raise Http404
    return version


def price_list_rows(user: User, filters: PriceListFilters, *, today: date) -> QuerySet[Any]:
    """Return the lists with the version in force today, the next one, whether there is a draft, and who uses them."""
    published = PriceVersion.objects.filter(price_list=OuterRef("pk"), published_at__isnull=False)
    drafts = PriceVersion.objects.filter(price_list=OuterRef("pk"), published_at=None)
    current = newest_in_force(today)
    scheduled = published.filter(valid_from__gt=today).order_by("valid_from")
    contracts = ContractPriceList.objects.filter(price_list=OuterRef("pk")).order_by().values("price_list")
    connections = ConnectionBilling.objects.filter(cost_list=OuterRef("pk")).order_by().values("cost_list")
    customers = contracts.annotate(found=Count("contract__customer", distinct=True)).values("found")
    rows: QuerySet[Any] = filters.narrow(visible_lists(user)).annotate(
        current_n=Subquery(current.values("n")[:1], output_field=IntegerField()),
        current_from=Subquery(current.values("valid_from")[:1]),
        next_from=Subquery(scheduled.values("valid_from")[:1]),
        has_draft=Exists(drafts, output_field=BooleanField()),
        customer_count=Coalesce(Subquery(customers), 0, output_field=IntegerField()),
        connection_count=Coalesce(
            Subquery(connections.annotate(found=Count("*")).values("found")), 0, output_field=IntegerField()
        ),
    )
    for word in filters.q.split()[:5]:
        rows = rows.filter(matches("name__icontains", word))
    rows = rows.filter(archived_at__isnull=filters.show != "archived")
    if filters.show == "draft":
        rows = rows.filter(has_draft=True)
    if filters.show == "none":
        rows = rows.filter(current_n=None)
    return rows.order_by("side", "provider_kind", "name")
