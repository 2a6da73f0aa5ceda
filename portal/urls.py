"""URLs of the portal. Each needs its entry in portal/access/permissions.toml, or the portal does not start."""

from django.urls import include, path

from portal import component_sheet, dashboard, health, metrics_endpoint
from portal import help as help_pages

urlpatterns = [
    path("", dashboard.home, name="home"),
    path("", include("portal.access.urls")),
    path("", include("customers.urls")),
    path("", include("billing.urls")),
    path("approvals/", include("portal.approvals.urls")),
    path("personal-data/", include("portal.privacy.urls")),
    path("audit/", include("portal.audit.urls")),
    path("retention/", include("portal.retention.urls")),
    path("", include("portal.browser_reports.urls")),
    path("help/", help_pages.help_contents, name="help"),
    path("help/components/", component_sheet.components, name="help-components"),
    path("help/<slug:slug>/", help_pages.help_guide, name="help-guide"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics_endpoint.metrics_page, name="metrics"),
]

handler400 = "portal.error_pages.bad_request"
handler403 = "portal.error_pages.forbidden"
handler404 = "portal.error_pages.not_found"
handler500 = "portal.error_pages.server_error"
