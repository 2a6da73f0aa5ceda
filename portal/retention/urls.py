from django.urls import path

from portal.retention import views

app_name = "retention"
urlpatterns = [
    path("", views.retention_page, name="rules"),
    path("<slug:code>/", views.retention_rule, name="rule"),
]
