"""URLs of the portal. Each needs its entry in portal/access/permissions.toml, or the portal does not start."""

from django.urls import include, path

from portal import dashboard, health
from portal import help as help_pages

urlpatterns = [
    path("", dashboard.home, name="home"),
    path("", include("portal.access.urls")),
    path("", include("customers.urls")),
    path("", include("billing.urls")),
    path("audit/", include("portal.audit.urls")),
    path("help/states/", help_pages.states, name="help-states"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]

handler400 = "portal.help.bad_request"
handler403 = "portal.help.forbidden"
handler404 = "portal.help.not_found"
handler500 = "portal.help.server_error"
