from django.urls import path

from customers.accounts import action_views
from customers.accounts import views as account_views
from customers.accounts.create import views as create_views
from customers.accounts.keys import hygiene_views, secret_views
from customers.accounts.keys import views as key_views
from customers.accounts.offerings import views as offering_views
from customers.accounts.sending import views as sending_views
from customers.accounts.settings import views as settings_views
from customers.bulk import secret_views as bulk_secret_views
from customers.bulk import views as bulk_views
from customers.connections import views as connection_views
from customers.directory import views as customer_views
from customers.monitoring import views as monitoring_views
from customers.operations import views as operation_views
from customers.pages import panels as page_panels
from customers.reconcile import import_views
from customers.reconcile import views as reconcile_views
from customers.recovery import views as recovery_views
from customers.schedules import views as schedule_views

app_name = "customers"
urlpatterns = [
    path("customers/", customer_views.customer_list, name="list"),
    path("customers/export/", customer_views.customer_export, name="export"),
    path("customers/new/", create_views.customer_create, name="create"),
    path("customers/new/duplicates/", create_views.customer_duplicates, name="duplicates"),
    path("customers/new/offering-sum/", offering_views.offering_sum, name="offering-sum"),
    path("customers/<uuid:public_id>/", customer_views.customer_detail, name="detail"),
    path("customers/<uuid:public_id>/edit/", customer_views.customer_edit, name="edit"),
    path("customers/<uuid:public_id>/archive/", customer_views.customer_archive, name="archive"),
    path("customers/<uuid:public_id>/restore/", customer_views.customer_restore, name="restore"),
    path("customers/<uuid:public_id>/notes/", customer_views.note_add, name="note-add"),
    path("customers/<uuid:public_id>/timeline/", page_panels.customer_timeline, name="customer-timeline"),
    path("customers/<uuid:public_id>/accounts/new/", account_views.account_create, name="account-create"),
    path("accounts/<uuid:public_id>/", account_views.account_detail, name="account"),
    path("accounts/<uuid:public_id>/timeline/", page_panels.account_timeline, name="account-timeline"),
    path("accounts/<uuid:public_id>/operations/", page_panels.account_operations, name="account-operations"),
    path("accounts/<uuid:public_id>/refresh/", action_views.account_refresh, name="account-refresh"),
    path("accounts/<uuid:public_id>/username/", action_views.account_username, name="account-username"),
    path("accounts/<uuid:public_id>/offerings/", offering_views.offerings_edit, name="account-offerings"),
    path("accounts/<uuid:public_id>/offerings/changes/", offering_views.offerings_changes, name="offerings-changes"),
    path("accounts/<uuid:public_id>/suspend/", action_views.account_suspend, name="account-suspend"),
    path("accounts/<uuid:public_id>/unsuspend/", action_views.account_unsuspend, name="account-unsuspend"),
    path("accounts/<uuid:public_id>/delete/", action_views.account_delete, name="account-delete"),
    path("accounts/<uuid:public_id>/settings/", settings_views.account_settings, name="account-settings"),
    path("keys/", hygiene_views.keys_list, name="keys"),
    path("keys/export/", hygiene_views.keys_export, name="keys-export"),
    path("keys/change/", hygiene_views.key_drill, name="keys-change"),
    path("accounts/<uuid:public_id>/keys/", key_views.key_list, name="account-keys"),
    path("accounts/<uuid:public_id>/keys/new/", key_views.key_create, name="key-create"),
    path("accounts/<uuid:public_id>/keys/<str:key_id>/edit/", key_views.key_edit, name="key-edit"),
    path("accounts/<uuid:public_id>/keys/<str:key_id>/rotate/", key_views.key_rotate, name="key-rotate"),
    path("accounts/<uuid:public_id>/keys/<str:key_id>/delete/", key_views.key_delete, name="key-delete"),
    path("accounts/<uuid:public_id>/keys/<str:key_id>/secret/", secret_views.key_secret, name="key-secret"),
    path("accounts/<uuid:public_id>/keys/<str:key_id>/let-go/", secret_views.key_let_go, name="key-let-go"),
    path("accounts/<uuid:public_id>/sending/", sending_views.sending_setup, name="account-sending"),
    path("accounts/<uuid:public_id>/domains/new/", sending_views.domain_add, name="domain-add"),
    path("accounts/<uuid:public_id>/domains/<str:name>/", sending_views.domain_detail, name="domain"),
    path("accounts/<uuid:public_id>/domains/<str:name>/check/", sending_views.domain_check, name="domain-check"),
    path("accounts/<uuid:public_id>/domains/<str:name>/test/", sending_views.test_message, name="test-message"),
    path("accounts/<uuid:public_id>/sign-in-as/", action_views.account_sign_in_as, name="account-sign-in-as"),
    path("drift/", reconcile_views.drift_board, name="drift"),
    path("drift/export/", reconcile_views.drift_export, name="drift-export"),
    path("drift/scans/", reconcile_views.drift_scans, name="drift-scans"),
    path("drift/scan/", reconcile_views.drift_scan, name="drift-scan"),
    path("drift/<uuid:public_id>/<slug:field>/", reconcile_views.drift_act, name="drift-act"),
    path("drift/orphans/", reconcile_views.orphan_list, name="orphans"),
    path("drift/duplicates/", reconcile_views.duplicate_list, name="duplicate-accounts"),
    path("drift/duplicates/<uuid:public_id>/merge/", reconcile_views.duplicate_merge, name="duplicate-merge"),
    path("drift/orphans/<uuid:public_id>/adopt/", reconcile_views.orphan_adopt, name="orphan-adopt"),
    path("drift/orphans/<uuid:public_id>/aside/", reconcile_views.orphan_aside, name="orphan-aside"),
    path("drift/orphans/<uuid:public_id>/watch/", reconcile_views.orphan_watch, name="orphan-watch"),
    path("estate/<uuid:public_id>/", import_views.account_import_page, name="estate"),
    path("estate/<uuid:public_id>/look/", import_views.account_import_scan, name="estate-look"),
    path("estate/<uuid:public_id>/propose/", import_views.account_import_propose, name="estate-propose"),
    path("estate/<uuid:public_id>/choose/", import_views.account_import_choose, name="estate-choose"),
    path("estate/<uuid:public_id>/start/", import_views.account_import_start, name="estate-start"),
    path("estate/<uuid:public_id>/pause/", import_views.account_import_pause, name="estate-pause"),
    path("estate/<uuid:public_id>/progress/", import_views.account_import_progress, name="estate-progress"),
    path("accounts/<uuid:public_id>/schedules/new/", schedule_views.schedule_new, name="schedule-new"),
    path("accounts/<uuid:public_id>/hold/", schedule_views.hold_place, name="hold-place"),
    path("changes/", bulk_views.bulk_list, name="bulk-list"),
    path("changes/new/", bulk_views.bulk_new, name="bulk-new"),
    path("changes/<uuid:public_id>/", bulk_views.bulk_set, name="bulk"),
    path("changes/<uuid:public_id>/act/", bulk_views.bulk_act, name="bulk-act"),
    path("changes/<uuid:public_id>/cancel/", bulk_views.bulk_cancel, name="bulk-cancel"),
    path("changes/<uuid:public_id>/decide/", bulk_views.bulk_decide, name="bulk-decide"),
    path("changes/<uuid:public_id>/export/", bulk_views.bulk_export, name="bulk-export"),
    path("changes/<uuid:public_id>/secrets/", bulk_secret_views.bulk_secrets, name="bulk-secrets"),
    path("coming/", schedule_views.coming, name="coming"),
    path("schedules/<uuid:public_id>/edit/", schedule_views.schedule_edit, name="schedule-edit"),
    path("schedules/<uuid:public_id>/cancel/", schedule_views.schedule_cancel, name="schedule-cancel"),
    path("holds/<uuid:public_id>/release/", schedule_views.hold_release, name="hold-release"),
    path("operations/", operation_views.operation_list, name="operations"),
    path("operations/<uuid:public_id>/", operation_views.operation_detail, name="operation"),
    path("operations/<uuid:public_id>/progress/", operation_views.operation_progress, name="operation-progress"),
    path("operations/<uuid:public_id>/cancel/", operation_views.operation_cancel, name="operation-cancel"),
    path("operations/<uuid:public_id>/retry/", operation_views.operation_retry, name="operation-retry"),
    path("operations/<uuid:public_id>/decide/", operation_views.operation_decide, name="operation-decide"),
    path("connections/", connection_views.connection_list, name="connections"),
    path("connections/new/", connection_views.connection_create, name="connection-create"),
    path("connections/<uuid:public_id>/", connection_views.connection_detail, name="connection"),
    path("connections/<uuid:public_id>/edit/", connection_views.connection_edit, name="connection-edit"),
    path("connections/<uuid:public_id>/verify/", connection_views.connection_verify, name="connection-verify"),
    path("connections/<uuid:public_id>/pause/", connection_views.connection_pause, name="connection-pause"),
    path("connections/<uuid:public_id>/resume/", connection_views.connection_resume, name="connection-resume"),
    path("connections/<uuid:public_id>/key/", connection_views.connection_key, name="connection-key"),
    path("connections/<uuid:public_id>/catalogue/", connection_views.connection_catalogue, name="connection-catalogue"),
    path("engine/", monitoring_views.system_status_page, name="watch"),
    path("recovery/", recovery_views.recovery_page, name="recovery"),
    path("recovery/<uuid:public_id>/release/", recovery_views.recovery_release, name="recovery-release"),
    path("rail/connections/", page_panels.rail_connections, name="rail-connections"),
    path("rail/operations/", page_panels.rail_operations, name="rail-operations"),
]
