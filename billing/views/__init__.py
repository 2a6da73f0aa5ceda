"""Function views, one module per page."""

from billing.views.accounts import account_accept, account_usage, account_usage_panel
from billing.views.pool import pool
from billing.views.report import usage_export, usage_report
from billing.views.runs import run_detail, run_list, run_progress, run_retry, run_start

__all__ = [
    "account_accept",
    "account_usage",
    "account_usage_panel",
    "pool",
    "run_detail",
    "run_list",
    "run_progress",
    "run_retry",
    "run_start",
    "usage_export",
    "usage_report",
]
