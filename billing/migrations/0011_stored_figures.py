"""Figures of stored billing periods: what was accepted or held becomes an anomaly, with its decision if there is one.

Every period that was not read before a delete is open here. The next `billing.assess_figures` derives its status, keeps
its first version and adds up the roll-ups.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.db import migrations
from django.db.models import Exists, F, Min, OuterRef, Subquery

CHUNK = 2000
LONGEST = 62


def fill(apps: Any, schema_editor: Any) -> None:
    period = apps.get_model("billing", "UsagePeriod")
    snapshot = apps.get_model("billing", "UsageSnapshot")
    apps.get_model("billing", "Ledger").objects.create(pk=1, last=0)
    of_current = snapshot.objects.filter(pk=OuterRef("current"))
    later = period.objects.filter(account=OuterRef("account"), start_on__gt=OuterRef("start_on")).order_by("start_on")
    first_reading = (
        snapshot.objects.filter(account=OuterRef("account"), period_start_on=OuterRef("start_on"))
        .order_by()
        .values("account")
        .annotate(at=Min("as_of"))
        .values("at")
    )
    next_at = later.annotate(at=Subquery(first_reading)).values("at")[:1]
    period.objects.update(
        reported_start_on=F("start_on"),
        package=Subquery(of_current.values("package")[:1]),
        inferred=Subquery(of_current.values("period_inferred")[:1]),
        next_seen_at=Subquery(next_at),
        status="open",
    )
    period.objects.filter(before_deletion=True, account__state="deleted").update(
        status="final", reason="before_deletion", high=F("used"), overage_high=F("overage")
    )
    period.objects.filter(read_at__gte=F("ends_at")).update(read_after_end_at=F("read_at"))
    _days(apps)
    _anomalies(apps)


def _days(apps: Any) -> None:
    """Note on which days of each period usage was read."""
    period = apps.get_model("billing", "UsagePeriod")
    snapshot = apps.get_model("billing", "UsageSnapshot")
    item = apps.get_model("billing", "SyncItem")
    ids = list(period.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), CHUNK):
        rows = {(row.account_id, row.start_on): row for row in period.objects.filter(pk__in=ids[start : start + CHUNK])}
        accounts = {account for account, _ in rows}
        of_accounts = snapshot.objects.filter(account__in=accounts)
        read = [
            *of_accounts.values_list("account", "period_start_on", "as_of"),
            *item.objects.filter(snapshot__in=of_accounts).values_list(
                "account", "snapshot__period_start_on", "read_at"
            ),
        ]
        for account, start_on, at in read:
            row = rows.get((account, start_on))
            if row is not None and 0 <= (day := (at.date() - start_on).days) < LONGEST:
                row.days_read |= 1 << day
        period.objects.bulk_update(rows.values(), ["days_read"], batch_size=500)


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
    decided = {row.snapshot_id: row for row in accepted.objects.all()}
    periods: dict[Any, Any] = defaultdict(lambda: None)
    for row in period.objects.filter(account__in=noted.values("account")):
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
