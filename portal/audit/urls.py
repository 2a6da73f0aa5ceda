from django.urls import path

from portal.audit import views

app_name = "audit"
urlpatterns = [
    path("", views.audit_list, name="list"),
    path("export/", views.audit_export, name="export"),
    path("access/", views.audit_access, name="access"),
    path("access/export/", views.audit_access_export, name="access-export"),
]
