from django.urls import path

from portal.browser_reports import views

app_name = "browser-reports"
urlpatterns = [
    # The address of portal.security_headers.REPORTS_PATH.
    path("browser-reports/", views.collect, name="collect"),
    path("engine/browser-reports/", views.report_list, name="list"),
]
