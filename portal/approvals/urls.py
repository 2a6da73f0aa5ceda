from django.urls import path

from portal.approvals import views

app_name = "approvals"
urlpatterns = [
    path("", views.approval_list, name="list"),
    path("rules/", views.rule_list, name="rules"),
    path("rules/<slug:kind>/", views.rule_edit, name="rule"),
    path("<uuid:public_id>/", views.approval_detail, name="detail"),
    path("<uuid:public_id>/decide/", views.approval_decide, name="decide"),
    path("<uuid:public_id>/cancel/", views.approval_cancel, name="cancel"),
]
