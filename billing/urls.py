from django.urls import path

from billing.closing.accounting import views as accounting_views
from billing.closing.documents import views as document_views
from billing.closing.invoices import line_views as invoice_line_views
from billing.closing.invoices import views as invoice_views
from billing.closing.matching import views as matching_views
from billing.closing.months import views as month_views
from billing.closing.terms import views as terms_views
from billing.pricing.connections import views as connection_views
from billing.pricing.contracts import draft_views as contract_draft_views
from billing.pricing.contracts import views as contract_views
from billing.pricing.lists import csv_views, draft_views
from billing.pricing.lists import views as list_views
from billing.pricing.margin import views as margin_views
from billing.pricing.opening_balances import views as balance_views
from billing.pricing.parallel import views as parallel_views
from billing.pricing.quotes import views as quote_views
from billing.pricing.rates import views as rate_views
from billing.pricing.statements import views as statement_views
from billing.pricing.unpriced import views as unpriced_views
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
    path("statements/", statement_views.statement_list, name="statements"),
    path("statements/export/", statement_views.statements_export, name="statements-export"),
    path("statements/findings/", statement_views.statement_findings, name="statement-findings"),
    path("statements/customers/<uuid:public_id>/", statement_views.customer_drafts, name="statements-of-customer"),
    path("statements/costs/", statement_views.cost_list, name="costs"),
    path("statements/costs/export/", statement_views.costs_export, name="costs-export"),
    path("statements/costs/<uuid:public_id>/", statement_views.cost_statement, name="cost"),
    path("statements/costs/<uuid:public_id>/export/", statement_views.cost_export, name="cost-export"),
    path("statements/parallel/", parallel_views.parallel_months, name="parallel-months"),
    path("statements/parallel/new/", parallel_views.parallel_upload, name="parallel-upload"),
    path("statements/parallel/<uuid:public_id>/", parallel_views.parallel_month, name="parallel-month"),
    path("statements/parallel/<uuid:public_id>/progress/", parallel_views.parallel_progress, name="parallel-progress"),
    path("statements/parallel/<uuid:public_id>/compare/", parallel_views.parallel_compare, name="parallel-compare"),
    path("statements/parallel/<uuid:public_id>/match/", parallel_views.parallel_match, name="parallel-match"),
    path("statements/parallel/<uuid:public_id>/export/", parallel_views.parallel_export, name="parallel-export"),
    path("statements/balances/", balance_views.opening_balances, name="opening-balances"),
    path("statements/balances/new/", balance_views.opening_balances_add, name="opening-balances-add"),
    path(
        "statements/balances/<uuid:public_id>/remove/",
        balance_views.opening_balances_remove,
        name="opening-balances-remove",
    ),
    path("statements/<uuid:public_id>/", statement_views.statement, name="statement"),
    path("statements/<uuid:public_id>/export/", statement_views.statement_export, name="statement-export"),
    path("months/", month_views.month_list, name="months"),
    path("blockers/<uuid:public_id>/accept/", month_views.blocker_accept, name="blocker-accept"),
    path("blockers/<uuid:public_id>/reopen/", month_views.blocker_reopen, name="blocker-reopen"),
    path("months/<str:month>/", month_views.month_detail, name="month"),
    path("months/<str:month>/progress/", month_views.month_progress, name="month-progress"),
    path("months/<str:month>/check/", month_views.month_check, name="month-check"),
    path("months/<str:month>/close/", month_views.month_close, name="month-close"),
    path("months/<str:month>/assign/", month_views.blockers_assign, name="blockers-assign"),
    path("invoices/", invoice_views.provider_invoices, name="provider-invoices"),
    path("invoices/new/", invoice_views.provider_invoice_add, name="provider-invoice-add"),
    path("invoices/import/", invoice_views.provider_invoice_import, name="provider-invoice-import"),
    path(
        "invoices/compare/<uuid:public_id>/<str:month>/", matching_views.invoice_comparison, name="invoice-comparison"
    ),
    path(
        "invoices/compare/<uuid:public_id>/<str:month>/export/",
        matching_views.invoice_comparison_export,
        name="invoice-comparison-export",
    ),
    path("invoices/<uuid:public_id>/", invoice_views.provider_invoice, name="provider-invoice"),
    path("invoices/<uuid:public_id>/edit/", invoice_views.provider_invoice_edit, name="provider-invoice-edit"),
    path(
        "invoices/<uuid:public_id>/withdraw/", invoice_views.provider_invoice_withdraw, name="provider-invoice-withdraw"
    ),
    path("invoices/<uuid:public_id>/lines/new/", invoice_line_views.invoice_line_add, name="invoice-line-add"),
    path("invoices/<uuid:public_id>/lines/<int:n>/", invoice_line_views.invoice_line_edit, name="invoice-line-edit"),
    path(
        "invoices/<uuid:public_id>/lines/<int:n>/remove/",
        invoice_line_views.invoice_line_remove,
        name="invoice-line-remove",
    ),
    path(
        "invoices/<uuid:public_id>/lines/<int:n>/account/",
        invoice_line_views.invoice_line_account,
        name="invoice-line-account",
    ),
    path("statements/<uuid:public_id>/pack/", document_views.dispute_pack, name="statement-pack"),
    path("months/<str:month>/accounting/", accounting_views.accounting, name="month-accounting"),
    path("months/<str:month>/accounting/export/", accounting_views.accounting_export, name="month-accounting-export"),
    path("months/<str:month>/accruals/", accounting_views.accruals_panel, name="month-accruals"),
    path("months/<str:month>/accruals/export/", accounting_views.accruals_export, name="month-accruals-export"),
    path("margin/", margin_views.margin, name="margin"),
    path("margin/export/", margin_views.margin_export, name="margin-export"),
    path("margin/without-use/", margin_views.idle, name="idle-accounts"),
    path("margin/without-use/export/", margin_views.idle_export, name="idle-accounts-export"),
    path("usage/runs/", usage_views.run_list, name="runs"),
    path("usage/runs/start/", usage_views.run_start, name="run-start"),
    path("usage/runs/<uuid:public_id>/", usage_views.run_detail, name="run"),
    path("usage/runs/<uuid:public_id>/progress/", usage_views.run_progress, name="run-progress"),
    path("usage/runs/<uuid:public_id>/retry/", usage_views.run_retry, name="run-retry"),
    path("prices/", list_views.price_lists, name="price-lists"),
    path("prices/new/", list_views.price_list_create, name="price-list-create"),
    path("prices/lists/<uuid:public_id>/", list_views.price_list_detail, name="price-list"),
    path("prices/lists/<uuid:public_id>/edit/", list_views.price_list_edit, name="price-list-edit"),
    path("prices/lists/<uuid:public_id>/archive/", list_views.price_list_archive, name="price-list-archive"),
    path("prices/lists/<uuid:public_id>/restore/", list_views.price_list_restore, name="price-list-restore"),
    path("prices/lists/<uuid:public_id>/draft/", draft_views.draft_start, name="price-draft-start"),
    path("prices/lists/<uuid:public_id>/import/", csv_views.price_import, name="price-import"),
    path("prices/versions/<uuid:public_id>/", draft_views.price_version, name="price-version"),
    path("prices/versions/<uuid:public_id>/add/", draft_views.price_add, name="price-add"),
    path("prices/versions/<uuid:public_id>/edit/", draft_views.price_edit, name="price-edit"),
    path("prices/versions/<uuid:public_id>/remove/", draft_views.price_remove, name="price-remove"),
    path("prices/versions/<uuid:public_id>/publish/", draft_views.price_publish, name="price-publish"),
    path("prices/versions/<uuid:public_id>/effects/", draft_views.price_effects, name="price-effects"),
    path("prices/versions/<uuid:public_id>/export/", csv_views.price_export, name="price-export"),
    path("prices/quotes/new-account/", quote_views.new_account_quote, name="quote-new-account"),
    path("prices/quotes/accounts/<uuid:public_id>/", quote_views.account_bill, name="account-bill"),
    path("prices/quotes/accounts/<uuid:public_id>/offerings/", quote_views.offerings_quote, name="quote-offerings"),
    path("prices/quotes/accounts/<uuid:public_id>/schedule/", quote_views.schedule_quote, name="quote-schedule"),
    path("prices/quotes/changes/<uuid:public_id>/", quote_views.bulk_quotes, name="quote-bulk"),
    path("prices/unpriced/", unpriced_views.unpriced, name="unpriced"),
    path("prices/unpriced/<uuid:public_id>/", unpriced_views.unpriced_add, name="unpriced-add"),
    path("prices/rates/", rate_views.exchange_rates, name="exchange-rates"),
    path("prices/rates/new/", rate_views.exchange_rate_add, name="exchange-rate-add"),
    path("prices/connections/", connection_views.connection_billings, name="connection-billings"),
    path("prices/connections/<uuid:public_id>/", connection_views.connection_billing, name="connection-billing"),
    path("prices/terms/", terms_views.terms, name="billing-terms"),
    path("contracts/", contract_views.contract_list, name="contracts"),
    path("contracts/of/<uuid:public_id>/", contract_views.customer_contracts, name="customer-contracts"),
    path("contracts/of/<uuid:public_id>/new/", contract_views.contract_start, name="contract-start"),
    path("contracts/<uuid:public_id>/", contract_views.contract_detail, name="contract"),
    path("contracts/<uuid:public_id>/edit/", contract_draft_views.contract_edit, name="contract-edit"),
    path("contracts/<uuid:public_id>/discount/", contract_draft_views.contract_discount, name="contract-discount"),
    path("contracts/<uuid:public_id>/override/", contract_draft_views.contract_override, name="contract-override"),
    path("contracts/<uuid:public_id>/remove/", contract_draft_views.contract_term_remove, name="contract-term-remove"),
    path("contracts/<uuid:public_id>/publish/", contract_views.contract_publish, name="contract-publish"),
    path("contracts/<uuid:public_id>/end/", contract_views.contract_end, name="contract-end"),
]
