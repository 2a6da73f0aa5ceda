"""What a page is compared with: a bare signed-in view of the same rows, and Django's admin of the same table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test.utils import override_settings
from django.urls import include, path

from customers.models import Account
from customers.models.account import LISTED
from portal.access.permissions import Rule, rule_of

FLOOR, ADMIN_LIST, ADMIN_CHANGE = (
    "/bench/floor/",
    "/bench/admin/customers/account/",
    "/bench/admin/customers/account/%d/change/",
)
_COLUMNS = (
    "customer__company_name",
    "email",
    "connection__name",
    "provider_id",
    "state",
    "package",
    "usage_used",
    "usage_allowed",
    "changed_at",
)
_PLAIN = """<!doctype html><title>Floor</title><table>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>
{% endfor %}</tr>{% endfor %}</table>"""


def floor(request: HttpRequest) -> HttpResponse:
    """Return 50 rows by one indexed query, in a template that does nothing else."""
    rows = Account.objects.filter(LISTED).order_by("-changed_at", "-id").values_list(*_COLUMNS)[:50]
    return HttpResponse(engines["django"].from_string(_PLAIN).render({"rows": rows, "user": request.user}, request))


class Site(AdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        return request.user.is_authenticated


class AccountAdmin(ModelAdmin):  # type: ignore[type-arg]  # not generic while it runs
    list_display = ("customer", "email", "connection", "provider_id", "state", "package", "usage_used", "changed_at")
    list_select_related = ("customer", "connection")
    list_per_page = 50
    list_filter = ("state", "connection")
    search_fields = ("customer__company_name", "email", "provider_id")
    raw_id_fields = ("customer", "duplicate_of")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        return super().get_queryset(request).filter(LISTED)  # the rows that the portal lists, by the same index

    def has_view_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return True

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission
    has_module_permission = has_view_permission  # type: ignore[assignment]  # called without an object


@contextmanager
def floors_are_served() -> Iterator[None]:
    """Serve the floors beside the portal, which refuses routes without a declared permission: these have home's."""

    def rule(route: str) -> Rule | None:
        return rule_of("home" if route.startswith(("bench", "admin")) else route)

    installed = [*settings.INSTALLED_APPS, "django.contrib.admin"]
    with (
        override_settings(INSTALLED_APPS=installed, ROOT_URLCONF="tests.bench.urls"),
        patch("portal.access.middleware.rule_of", rule),
        patch("portal.access.middleware.refuse_to_start"),
    ):
        yield


def urls() -> list[object]:
    site = Site()
    site.register(Account, AccountAdmin)
    return [
        path("bench/floor/", floor, name="bench-floor"),
        path("bench/admin/", site.urls),
        path("", include("portal.urls")),
    ]
