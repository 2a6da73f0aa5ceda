from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [
    path("usage/", views.usage_report, name="usage"),
    path("usage/export/", views.usage_export, name="usage-export"),
    path("usage/accounts/<uuid:public_id>/", views.account_usage, name="account-usage"),
    path("usage/accounts/<uuid:public_id>/panel/", views.account_usage_panel, name="account-usage-panel"),
    path("usage/accounts/<uuid:public_id>/accept/", views.account_accept, name="account-accept"),
    path("usage/pools/<uuid:public_id>/", views.pool, name="pool"),
    path("usage/runs/", views.run_list, name="runs"),
    path("usage/runs/start/", views.run_start, name="run-start"),
    path("usage/runs/<uuid:public_id>/", views.run_detail, name="run"),
    path("usage/runs/<uuid:public_id>/progress/", views.run_progress, name="run-progress"),
    path("usage/runs/<uuid:public_id>/retry/", views.run_retry, name="run-retry"),
]
