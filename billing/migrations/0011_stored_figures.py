"""Figures of stored billing periods: what was accepted or held becomes an anomaly, with its decision if there is one.

A process of 0.1.0 then finds no held reading that it could ask to accept.
Every period that was not read before a delete is open here. The next `billing.assess_figures` derives its status, keeps
its first version and adds up the roll-ups.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.db import migrations
from django.db.models import Exists, OuterRef

ACCOUNTS = 500
LONGEST = 62
FILLED = (
    "reported_start_on",
    "status",
    "reason",
    "high",
    "overage_high",
    "package",
    "inferred",
    "next_seen_at",
    "read_after_end_at",
    "days_read",
)


def fill(apps: Any, schema_editor: Any) -> None:
    period = apps.get_model("billing", "UsagePeriod")
    apps.get_model("billing", "Ledger").objects.create(pk=1, last=0)
    accounts = list(period.objects.order_by("account").values_list("account", flat=True).distinct())
    for start in range(0, len(accounts), ACCOUNTS):
        _periods(apps, accounts[start : start + ACCOUNTS])
    _anomalies(apps)
    period.objects.filter(held__isnull=False).update(held=None)


def _periods(apps: Any, accounts: list[int]) -> None:
    """Note on which days each period was read, when a later one was first seen, and what belonged to its figure."""
    period = apps.get_model("billing", "UsagePeriod")
    snapshot = apps.get_model("billing", "UsageSnapshot")
    item = apps.get_model("billing", "SyncItem")
    rows = list(period.objects.filter(account__in=accounts).select_related("current", "account"))
    read = defaultdict(list)
    for account, start_on, at in snapshot.objects.filter(account__in=accounts).values_list(
        "account", "period_start_on", "as_of"
    ):
        read[account, start_on].append(at)
    confirmed = item.objects.filter(account__in=accounts, snapshot__isnull=False)
    for account, start_on, at in confirmed.values_list("account", "snapshot__period_start_on", "read_at"):
        read[account, start_on].append(at)
    first = defaultdict(list)
    for (account, start_on), times in read.items():
        first[account].append((start_on, min(times)))
    for row in rows:
        times = read[row.account_id, row.start_on]
        row.reported_start_on, row.status = row.start_on, "open"
        if row.before_deletion and row.account.state == "deleted":
            row.status, row.reason, row.high, row.overage_high = "final", "before_deletion", row.used, row.overage
        row.package, row.inferred = row.current.package, row.current.period_inferred
        row.next_seen_at = min((at for start_on, at in first[row.account_id] if start_on > row.start_on), default=None)
        row.read_after_end_at = min((at for at in times if at >= row.ends_at), default=None)
        for at in times:
            if 0 <= (day := (at.date() - row.start_on).days) < LONGEST:
                row.days_read |= 1 << day
    period.objects.bulk_update(rows, FILLED, batch_size=500)


def _anomalies(apps: Any) -> None:
    """Every lower reading is an anomaly: decided if finance accepted it, open otherwise."""
    period = apps.get_model("billing", "UsagePeriod")
    snapshot = apps.get_model("billing", "UsageSnapshot")
    accepted = apps.get_model("billing", "Acceptance")
    anomaly = apps.get_model("billing", "Anomaly")
    decision = apps.get_model("billing", "Decision")
    held = set(period.objects.filter(held__isnull=False).values_list("held", flat=True))
    told = snapshot.objects.filter(Exists(accepted.objects.filter(snapshot=OuterRef("pk"))))
    noted = snapshot.objects.filter(lower=True) | snapshot.objects.filter(pk__in=held) | told
    if not noted.exists():
        return
    decided = {row.snapshot_id: row for row in accepted.objects.all()}
    periods: dict[Any, Any] = defaultdict(lambda: None)
    for row in period.objects.filter(account__in=set(noted.order_by().values_list("account", flat=True))):
        periods[row.account_id, row.start_on] = row
    for row in noted.select_related("account").defer("raw").distinct().order_by("pk"):
        of = periods[row.account_id, row.period_start_on]
        known = decided.get(row.pk)
        kind = "fell" if row.lower else "after_deletion"
        found = anomaly.objects.create(
            connection_id=row.account.connection_id,
            account_id=row.account_id,
            period=of,
            kind=kind,
            snapshot=row,
            before=str(of.used) if of else "",
            after=str(row.used),
            effect=abs((of.used if of else 0) - row.used),
            cause=f"{kind}/{row.account.connection_id}/{row.run_id or row.as_of.date()}",
            opened_at=row.as_of,
            closed_at=known.at if known else None,
        )
        if known:
            decision.objects.create(
                anomaly=found,
                period=of,
                verdict="correction" if row.lower else "counted",
                reason=known.reason,
                by_id=known.by_id,
                at=known.at,
            )


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_figures")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=False)]
