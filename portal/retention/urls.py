from django.urls import path

from portal.retention import views

app_name = "retention"
urlpatterns = [
    path("", views.rule_list, name="rules"),
    path("<slug:code>/", views.rule_edit, name="rule"),
]
