from django.urls import path

from billing.reports import account_views, calendar_views, change_views, export_views, figure_views, pool_views
from billing.reports import views as report_views
from billing.usage import views as usage_views
from billing.worklist import views as worklist_views

app_name = "billing"
urlpatterns = [
    path("usage/", report_views.usage_report, name="usage"),
    path("usage/export/", report_views.usage_export, name="usage-export"),
    path("usage/calendar/", calendar_views.calendar_month, name="usage-calendar"),
    path("usage/exports/", export_views.usage_exports, name="usage-exports"),
    path("usage/exports/<uuid:public_id>/", export_views.usage_export_detail, name="usage-export-detail"),
    path("usage/exports/<uuid:public_id>/progress/", export_views.usage_export_progress, name="usage-export-progress"),
    path("usage/exports/<uuid:public_id>/file/", export_views.usage_export_file, name="usage-export-file"),
    path("usage/as-of/", change_views.usage_as_of, name="usage-as-of"),
    path("usage/as-of/export/", change_views.usage_as_of_export, name="usage-as-of-export"),
    path("usage/changes/", change_views.usage_changes, name="usage-changes"),
    path("usage/changes/export/", change_views.usage_changes_export, name="usage-changes-export"),
    path("usage/accounts/<uuid:public_id>/", account_views.account_usage, name="account-usage"),
    path("usage/accounts/<uuid:public_id>/panel/", account_views.account_usage_panel, name="account-usage-panel"),
    path("usage/accounts/<uuid:public_id>/<str:start>/", figure_views.figure_details, name="figure"),
    path("usage/pools/<uuid:public_id>/", pool_views.pool, name="pool"),
    path("usage/decide/", worklist_views.worklist, name="worklist"),
    path("usage/decide/count/", worklist_views.worklist_count, name="worklist-count"),
    path("usage/decide/recalculated/", worklist_views.worklist_recalculated, name="worklist-recalculated"),
    path("usage/decide/decided/", worklist_views.worklist_decided, name="worklist-decided"),
    path("usage/decide/owner/", worklist_views.worklist_owner, name="worklist-owner"),
    path("usage/decide/<uuid:public_id>/", worklist_views.anomaly_decide, name="decide-anomaly"),
    path("usage/decide/<uuid:public_id>/undo/", worklist_views.anomaly_undo, name="undo-anomaly"),
    path("usage/accounts/<uuid:public_id>/<str:start>/decide/", worklist_views.figure_decide, name="decide-figure"),
    path("usage/accounts/<uuid:public_id>/<str:start>/undo/", worklist_views.figure_undo, name="undo-figure"),
    path("usage/runs/", usage_views.run_list, name="runs"),
    path("usage/runs/start/", usage_views.run_start, name="run-start"),
    path("usage/runs/<uuid:public_id>/", usage_views.run_detail, name="run"),
    path("usage/runs/<uuid:public_id>/progress/", usage_views.run_progress, name="run-progress"),
    path("usage/runs/<uuid:public_id>/retry/", usage_views.run_retry, name="run-retry"),
]
