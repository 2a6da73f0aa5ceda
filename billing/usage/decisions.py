"""Decisions of finance: about anomalies, and about figures that will never come. Audited, and reversible."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from billing.models import Anomaly, Decision, Status, UsagePeriod
from billing.usage import figures
from billing.usage.ledger import next_batch
from billing.usage.periods import DAY, midnight
from billing.usage.series import Verdict
from billing.usage.snapshots import lock_accounts
from portal.commands import Command
from portal.refusals import Refusal

FALL_VERDICTS = (Verdict.CORRECTION, Verdict.RESET, Verdict.NEW_PERIOD, Verdict.WRONG)
VALUE_VERDICTS = (Verdict.COUNTED, Verdict.WRONG)
FIGURE_VERDICTS = (Verdict.AS_KNOWN, Verdict.QUANTITY, Verdict.BASE_ONLY)


def verdicts_of(kind: str) -> tuple[Verdict, ...]:
    """Return what may be decided about an anomaly of this kind."""
    return FALL_VERDICTS if kind == Anomaly.Kind.FELL else VALUE_VERDICTS


def decide_anomalies(command: Command, *, anomalies: Sequence[Anomaly], verdict: str) -> int:
    """Decide anomalies, one or all of one cause, in one transaction; return how many. Raises `Refusal`.

    An anomaly that was decided since the page was opened is refused: its deciding person is named on its page.
    """
    kinds = {each.kind for each in anomalies}
    if not anomalies or any(verdict not in verdicts_of(kind) for kind in kinds):
        raise Refusal(_("Select a decision that fits all of these anomalies."))
    if verdict == Verdict.NEW_PERIOD and len(anomalies) > 1:
        raise Refusal(_("Decide new billing periods one at a time."))
    with transaction.atomic():
        lock_accounts(sorted({each.account_id for each in anomalies if each.account_id}))
        batch = next_batch()
        still_open = Anomaly.objects.filter(pk__in=[each.pk for each in anomalies], closed_at=None)
        if still_open.update(closed_at=command.now) != len(anomalies):
            raise Refusal(_("Someone else decided this in the meantime. Reload the page to see the decision."))
        for each in anomalies:
            _record(command, verdict, batch=batch, anomaly=each)
        periods = {each.period_id for each in anomalies if each.period_id}
        moved = set()
        if verdict == Verdict.NEW_PERIOD:
            moved, split = _split(anomalies[0])
            periods.add(split.pk)
        figures.recompute(periods, now=command.now, batch=batch, cause=figures.Cause.DECISION, moved=moved)
    return len(anomalies)


def undo_decision(command: Command, *, anomaly: Anomaly) -> None:
    """Open the anomaly again. Raises `Refusal`."""
    last = anomaly.decisions.last()
    if last is None or last.verdict == Verdict.UNDONE:
        raise Refusal(_("There is no decision to undo."))
    if last.verdict == Verdict.NEW_PERIOD:
        raise Refusal(_("A new billing period can't be undone, because figures of it are kept."))
    with transaction.atomic():
        lock_accounts([anomaly.account_id] if anomaly.account_id else [])
        batch = next_batch()
        if Anomaly.objects.filter(pk=anomaly.pk, closed_at__isnull=False).update(closed_at=None) != 1:
            raise Refusal(_("Someone else decided this in the meantime. Reload the page to see the decision."))
        _record(command, Verdict.UNDONE, batch=batch, anomaly=anomaly)
        if anomaly.period_id:
            figures.recompute([anomaly.period_id], now=command.now, batch=batch, cause=figures.Cause.DECISION)


def decide_figure(
    command: Command, *, period: UsagePeriod, seen_version: int, verdict: str, quantity: int | None = None
) -> None:
    """Decide on an interval that will never become exact: what is known so far, a typed number of emails, or the base
    fee only; UNDONE takes it back. `seen_version` is the figure's version on the page. Raises `Refusal`."""
    if verdict not in (*FIGURE_VERDICTS, Verdict.UNDONE):
        raise Refusal(_("Select a decision."), field="verdict")
    if (verdict == Verdict.QUANTITY) != (quantity is not None):
        raise Refusal(_("Enter the number of emails, 0 or more."), field="quantity")
    with transaction.atomic():
        lock_accounts([period.account_id])
        fresh = UsagePeriod.objects.get(pk=period.pk)
        if fresh.version != seen_version:
            raise Refusal(_("The figure changed since you opened this page. Review the new figure first."))
        wanted = (Status.FINAL,) if verdict == Verdict.UNDONE else (Status.INTERVAL, Status.FINAL)
        if fresh.status not in wanted or (fresh.status == Status.FINAL and not _is_decided(fresh)):
            raise Refusal(
                _("Only an interval can be decided. This figure is %(status)s.")
                % {"status": fresh.get_status_display().lower()}
            )
        batch = next_batch()
        _record(command, verdict, batch=batch, period=fresh, quantity=quantity)
        figures.recompute([fresh.pk], now=command.now, batch=batch, cause=figures.Cause.DECISION)


def take_anomalies(command: Command, *, anomalies: Sequence[Anomaly]) -> int:
    """Make the person the owner of open anomalies; return how many."""
    with transaction.atomic():
        found = Anomaly.objects.filter(pk__in=[each.pk for each in anomalies], closed_at=None)
        count = found.update(owner=command.person)
        for each in anomalies:
            command.record(verb="usage.anomaly_taken", obj=each.account or each.connection, after={"kind": each.kind})
    return count


def _is_decided(period: UsagePeriod) -> bool:
    last = Decision.objects.filter(period=period, anomaly=None).last()
    return last is not None and last.verdict != Verdict.UNDONE


def _record(
    command: Command,
    verdict: str,
    *,
    batch: int,
    anomaly: Anomaly | None = None,
    period: UsagePeriod | None = None,
    quantity: int | None = None,
) -> None:
    Decision.objects.create(
        anomaly=anomaly,
        period=period,
        verdict=verdict,
        quantity=quantity,
        reason=command.reason,
        by=command.person,
        at=command.now,
        batch=batch,
    )
    about = anomaly or period
    obj = getattr(about, "account", None) or getattr(about, "connection", None)
    facts = {"kind": anomaly.kind, "was": anomaly.before, "reported": anomaly.after} if anomaly else {}
    if period:
        facts = {"billing_period": str(period.start_on), "used": period.used, "high": period.high}
    command.record(
        verb="usage.decided", obj=obj, before=facts, after={"decision": str(Verdict(verdict).label), "emails": quantity}
    )


def _split(anomaly: Anomaly) -> tuple[set[tuple[object, int]], UsagePeriod]:
    """Make the readings from the decrease on a billing period of their own; return what moved to another month."""
    period, row = anomaly.period, anomaly.snapshot
    if period is None or row is None:
        raise Refusal(_("Select a decision that fits all of these anomalies."))
    start_on = row.as_of.date()
    if not period.start_on < start_on <= period.end_on:
        raise Refusal(_("The billing period began on the same day. Select another decision."))
    moved = {(period.month, period.account.customer_id)}
    split = UsagePeriod.objects.create(
        account=period.account,
        start_on=start_on,
        reported_start_on=period.reported_start_on,
        end_on=period.end_on,
        ends_at=period.ends_at,
        month=period.month,
        counts_from=row.as_of,
        counts_until=period.counts_until,
        current=row,
        latest=period.latest,
        used=row.used,
        status=Status.OPEN,
        read_at=period.read_at,
        read_after_end_at=period.read_after_end_at,
        next_seen_at=period.next_seen_at,
        days_read=period.days_read >> (start_on - period.start_on).days,
    )
    end_on = start_on - DAY
    UsagePeriod.objects.filter(pk=period.pk).update(
        end_on=end_on,
        ends_at=midnight(start_on),
        month=end_on.replace(day=1),
        counts_until=row.as_of,
        next_seen_at=row.as_of,
        read_at=_last_before(period, row.as_of),
        batch=0,
    )
    return moved, split


def _last_before(period: UsagePeriod, at: datetime) -> datetime:
    rows = period.account.usage_snapshots.filter(Q(period_start_on=period.reported_start_on), as_of__lt=at).order_by(
        "-as_of"
    )
    return rows.values_list("as_of", flat=True).first() or at - timedelta(seconds=1)
