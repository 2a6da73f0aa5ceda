"""Rows that a retention rule removes, one by one, and what it keeps at any age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.sessions.models import Session

from billing.models import ParallelMonth, ParallelRow, SyncItem, SyncRun, UsageExport
from customers.models import (
    Account,
    AccountImport,
    AccountImportItem,
    Attempt,
    ChangeSet,
    ChangeSetItem,
    InvariantCheck,
    Operation,
    RemoteAccount,
    Scan,
    Schedule,
    Submission,
)
from customers.models.schedule import Hold
from portal.access.models import CacheEntry, User
from portal.approvals.models import Approval
from portal.browser_reports.models import BrowserReport
from portal.installation.models import Backup
from portal.notices.models import Notice
from portal.retention.models import RetentionRun
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

DAY = timedelta(days=1)
_numbers = count(1)


def name() -> str:
    return f"row-{next(_numbers)}"


def user() -> User:
    return User.objects.first() or UserFactory(role="admin")


def account() -> Account:
    """Return an account; in a portal that has many, one of them."""
    there = Account.objects.count()
    made: Account = Account.objects.order_by("pk")[next(_numbers) % there] if there > 50 else AccountFactory()
    return made


def notice(at: datetime | None) -> Any:
    return Notice.objects.create(
        kind="kind", about=name(), title="t", text="t", path="/", raised_at=datetime(2020, 1, 1, tzinfo=UTC),
        not_before=datetime(2020, 1, 1, tzinfo=UTC), ended_at=at,
    )  # fmt: skip


def backup(at: datetime, error: str = "") -> Any:
    return Backup.objects.create(name=name(), started_at=at - DAY, finished_at=at, error=error)


def retention_run(at: datetime) -> Any:
    return RetentionRun.objects.create(
        slot=name(), state="ended", started_at=at - timedelta(hours=1), finished_at=at, not_before=at
    )


def session(at: datetime) -> Any:
    return Session.objects.create(session_key=name(), session_data="x", expire_date=at)


def cache_entry(at: datetime) -> Any:
    return CacheEntry.objects.create(cache_key=name(), value="x", expires=at)


def approval(at: datetime | None) -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    return Approval.objects.create(
        kind="admin_role", subject_label="Someone", payload={}, requested_by=user(), requested_at=begun,
        expires_at=begun, client_token=name(), state="canceled" if at else "waiting", finished_at=at,
    )  # fmt: skip


def operation(at: datetime | None, **facts: Any) -> Operation:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    state = {"state": "succeeded", "finished_at": at} if at else {"state": "queued"}
    made: Operation = OperationFactory(created_at=begun, **(state | facts))
    return made


def attempt(at: datetime | None, **facts: Any) -> Any:
    answer = {"outcome": "applied", "status": 200, "answered_at": at, "response": '{"state": "ok"}'} if at else {}
    return Attempt.objects.create(
        operation=operation(at, **facts), n=1, fence=1, call="PUT /v3/x", request='{"email": "ops@northwind.example"}',
        intended_at=datetime(2015, 1, 1, tzinfo=UTC), result={"account_id": "sg1"}, **answer,
    )  # fmt: skip


def bulk_change(at: datetime | None, *, state: str = "ended", items: int = 2, **facts: Any) -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    made = ChangeSet.objects.create(
        **{
            "kind": "suspend", "reason": "r", "requested_by": user(), "client_token": name(), "created_at": begun,
            "not_before": begun, "state": state, "finished_at": at,
        } | facts
    )  # fmt: skip
    for _ in range(items):
        ChangeSetItem.objects.create(change_set=made, account=account(), version=1, state="cancelled")
    return made


def account_import(at: datetime | None) -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    made = AccountImport.objects.create(
        connection=ConnectionFactory(), state="ended" if at else "proposed", asked_by=user(), created_at=begun,
        not_before=begun, finished_at=at,
    )  # fmt: skip
    AccountImportItem.objects.create(account_import=made, remote_account=remote_account(None), basis="new", group="g")
    return made


def remote_account(at: datetime | None, **facts: Any) -> Any:
    facts = {"connection": ConnectionFactory()} | facts
    return RemoteAccount.objects.create(provider_id=name(), gone_at=at, missing_since=at, **facts)


def scan(at: datetime | None, connection: Any = None, **facts: Any) -> Any:
    """A scan that a later one of the same connection follows, unless the connection is given."""
    begun = (at or datetime(2015, 1, 2, tzinfo=UTC)) - timedelta(minutes=2)
    of = {"connection": connection or ConnectionFactory(), "kind": "nightly", "lease_until": begun, "clock_skew": 0}
    state = {"state": "complete" if at else "running", "finished_at": at, "started_at": begun}
    made = Scan.objects.create(**(of | {"slot": name()} | state | facts))
    if connection is None:
        later = {"state": "complete", "started_at": begun + DAY, "finished_at": datetime(2100, 1, 1, tzinfo=UTC)}
        Scan.objects.create(**(of | {"slot": name()} | later))
    return made


def schedule(at: datetime | None) -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    return Schedule.objects.create(
        account=account(), kind="suspend", base_version=1, reason="r", due_at=begun, requested_by=user(),
        client_token=name(), created_at=begun, state="cancelled" if at else "waiting", ended_at=at,
    )  # fmt: skip


def hold(at: datetime | None, *, released: bool = True) -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    over = {"released_at": at, "released_by": user()} if at and released else {"until": at}
    return Hold.objects.create(account=account(), owner=user(), reason="r", placed_at=begun, **over)


def submission(at: datetime) -> Any:
    return Submission.objects.create(requested_by=user(), client_token=name(), digest="d", submitted_at=at)


def check(at: datetime) -> Any:
    return InvariantCheck.objects.create(slot=name(), started_at=at, finished_at=at)


def sync_run(at: datetime | None, state: str = "complete_with_errors") -> Any:
    """Return the item of a run that ended then."""
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    of = account()
    made = SyncRun.objects.create(
        connection=of.connection, kind="nightly", slot=name(), source="credits", state=state, total=1, failed=1,
        started_at=begun, until=begun, not_before=begun, finished_at=at,
    )  # fmt: skip
    return SyncItem.objects.create(run=made, account=of, state="failed", cause="not_found")


def export(at: datetime | None, state: str = "ready") -> Any:
    begun = datetime(2015, 1, 1, tzinfo=UTC)
    file = {"batch": 1, "rows": 1, "size": 4, "file": b"file", "periods": b"p", "ready_at": at, "sha256": "s" * 64}
    return UsageExport.objects.create(
        by=user(), requested_at=begun if state == "ready" else at, month=begun.date(), with_cost=False, format="csv",
        state=state, not_before=begun, **(file if state == "ready" else {}),
    )  # fmt: skip


def parallel_month(at: datetime, state: str = "ready") -> Any:
    made = ParallelMonth.objects.create(
        month=at.date().replace(day=1), filename="a.csv", by=user(), uploaded_at=at, currency="USD", state=state,
        not_before=at,
    )  # fmt: skip
    for line in (1, 2):
        ParallelRow.objects.create(
            parallel=made, line=line, customer_text="Northwind", currency="USD", amount_minor=100, match="none"
        )
    return made


# By rule: a row that ended at a moment, and rows that stay though they are as old.
def browser_report(at: datetime) -> BrowserReport:
    return BrowserReport.objects.create(
        directive="img-src", blocked=name(), page="home", browser="Firefox", first_seen_at=at, last_seen_at=at
    )


MAKERS: dict[str, Callable[[datetime], Any]] = {
    "notices": notice,
    "browser_reports": browser_report,
    "backup_history": backup,
    "retention_runs": retention_run,
    "sessions": session,
    "sign_in_limits": cache_entry,
    "approvals": approval,
    "attempt_bodies": attempt,
    "bulk_changes": bulk_change,
    "account_imports": account_import,
    "scans": scan,
    "remote_accounts": remote_account,
    "schedules": schedule,
    "holds": hold,
    "submissions": submission,
    "integrity_checks": check,
    "sync_items": sync_run,
    "usage_export_files": export,
    "failed_exports": lambda at: export(at, state="failed"),
    "parallel_months": parallel_month,
}
