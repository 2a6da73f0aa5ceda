"""Page fragments that are requested separately: timelines, an account's operations, and the navigation's contents."""

from __future__ import annotations

import uuid

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers.accounts.queries import operations_of_account as operations_of
from customers.accounts.views import account_head
from customers.directory.timeline import Timeline, timeline_of_account, timeline_of_customer
from customers.models import Customer
from customers.operations.view_helpers import account_or_404
from customers.pages.navigation import rail_connections_now, rail_operations_now
from portal.htmx import is_fragment, render_page

PER_PAGE = 50


@require_GET
def customer_timeline(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    customer = get_object_or_404(Customer, public_id=public_id)
    page = reverse("customers:detail", args=[public_id])
    return _timeline(request, timeline_of_customer(customer, asked=request.GET), page)


@require_GET
def account_timeline(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    account = account_or_404(public_id)
    page = reverse("customers:account", args=[public_id])
    return _timeline(request, timeline_of_account(account, asked=request.GET), page)


def _timeline(request: HttpRequest, timeline: Timeline, page: str) -> HttpResponse:
    if not is_fragment(request):
        return redirect(f"{page}?{request.GET.urlencode()}")
    template = "customers/_timeline_entries.html" if request.GET.get("before") else "customers/_timeline.html"
    return render(request, template, {"timeline": timeline, "here": request.path, "page_url": page})


@require_GET
def account_operations(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show all operations of this account."""
    head = account_head(public_id)
    page = Paginator(operations_of(head["account"]), PER_PAGE).get_page(request.GET.get("page"))
    return render_page(request, "customers/account_operations.html", head | {"page": page})


@require_GET
def rail_connections(request: HttpRequest) -> HttpResponse:
    """Show the status of each connection at the bottom of the navigation."""
    return render(request, "customers/_rail_connections.html", {"connections": rail_connections_now()})


@require_GET
def rail_operations(request: HttpRequest) -> HttpResponse:
    """Show what is in progress, and how much of it waits for a review."""
    return render(request, "customers/_rail_operations.html", {"now": rail_operations_now()})
