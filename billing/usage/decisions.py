"""Decisions of finance: about anomalies, and about figures that will never come. Audited, and reversible.

Everything that one event at the provider explains is decided together, and undone together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext as _

from billing.models import Anomaly, Decision, PooledSnapshot, Status, UsagePeriod
from billing.usage import figures, postponed, splits
from billing.usage.assess import Reason
from billing.usage.current_usage import tell_accounts
from billing.usage.ledger import next_batch
from billing.usage.pool_reports import follow_reports
from billing.usage.series import Verdict
from billing.usage.snapshots import lock_accounts
from customers.models import Account
from portal.access.models import User
from portal.access.permissions import Permission
from portal.commands import Command
from portal.refusals import Refusal

FALL_VERDICTS = (Verdict.CORRECTION, Verdict.RESET, Verdict.NEW_PERIOD, Verdict.WRONG)
VALUE_VERDICTS = (Verdict.COUNTED, Verdict.WRONG)
FIGURE_VERDICTS = (Verdict.AS_KNOWN, Verdict.QUANTITY, Verdict.BASE_ONLY)
ALONE = (Verdict.NEW_PERIOD,)
MISSING_VERDICTS = (Verdict.QUANTITY, Verdict.BASE_ONLY)
# Figures that are derived again together, and at most while a person waits: about three seconds.
TOGETHER = 200
WHILE_WAITING = 1000
# Accounts named in the audit event of a decision about many.
NAMED = 20


class AlreadyDecided(Refusal):
    """Someone else decided first."""


def verdicts_of(anomalies: Sequence[Anomaly]) -> tuple[Verdict, ...]:
    """Return what may be decided about all of these anomalies together. A report counts or doesn't, as a whole."""
    kinds = {each.kind for each in anomalies}
    if kinds != {Anomaly.Kind.FELL} or any(each.pooled_id for each in anomalies):
        return VALUE_VERDICTS if kinds else ()
    return FALL_VERDICTS if len(anomalies) == 1 else tuple(each for each in FALL_VERDICTS if each not in ALONE)


def of_cause(anomaly: Anomaly) -> QuerySet[Anomaly]:
    """Return the open anomalies that are decided together with this one, and itself."""
    same = Q(cause=anomaly.cause) if anomaly.cause else Q(pk=anomaly.pk)
    return Anomaly.objects.filter(same, closed_at=None)


def decided_with(decision: Decision) -> list[Anomaly]:
    """Return the anomalies that were decided together with the one of `decision`."""
    return list(Anomaly.objects.filter(decisions__batch=decision.batch).order_by("pk"))


def state_of(anomalies: QuerySet[Anomaly]) -> str:
    """Return what a form was opened with: which anomalies are open, and how their figures are."""
    found = anomalies.aggregate(last=Max("pk"), batch=Max("period__batch"))
    return f"{anomalies.count()}.{found['last']}.{found['batch']}"


def decide_anomalies(command: Command, *, anomalies: Sequence[Anomaly], verdict: str, seen: str = "") -> int:
    """Decide anomalies, one or all of one cause, in one transaction; return how many. `seen`: their `state_of` when the
    form was opened. Raises `Refusal`, and `AlreadyDecided` if someone else was first."""
    if verdict not in verdicts_of(anomalies):
        raise Refusal(_("Select a decision that fits all of these anomalies."), field="verdict")
    keys = [each.pk for each in anomalies]
    with transaction.atomic():
        reports = _reports_of(anomalies)
        lock_accounts(_account_ids(anomalies, reports))
        batch = next_batch()
        still_open = Anomaly.objects.filter(pk__in=keys, closed_at=None)
        if still_open.count() != len(anomalies):
            raise AlreadyDecided(_("Someone else decided this in the meantime."))
        if seen and seen != state_of(still_open):
            raise Refusal(_("The figures changed since you opened this page. Review the new ones, then decide again."))
        still_open.update(closed_at=command.now)
        _record(command, verdict, batch=batch, anomalies=anomalies)
        moved: set[tuple[date, int]] = set()
        periods = _period_ids(anomalies, reports)
        if verdict == Verdict.NEW_PERIOD:
            _refuse_decided(UsagePeriod.objects.filter(anomalies__in=anomalies))
            moved, split = splits.split_period(anomalies[0])
            periods.add(split.pk)
        moved |= splits.follow_dates(anomalies, verdict)
        _derive_again(periods, reports, now=command.now, batch=batch, moved=moved)
    return len(anomalies)


def undo_decision(command: Command, *, anomaly: Anomaly) -> int:
    """Open the anomalies again that were decided together with this one; return how many. Raises `Refusal`."""
    last = anomaly.decisions.last()
    if last is None or last.verdict == Verdict.UNDONE:
        raise AlreadyDecided(_("There is no decision to undo."))
    together = Decision.objects.filter(batch=last.batch, verdict=last.verdict, anomaly__isnull=False)
    anomalies = list(Anomaly.objects.filter(pk__in=together.values("anomaly")).select_related("account", "period"))
    with transaction.atomic():
        reports = _reports_of(anomalies)
        lock_accounts(_account_ids(anomalies, reports))
        batch = next_batch()
        decided = Anomaly.objects.filter(pk__in=[each.pk for each in anomalies], closed_at__isnull=False)
        if anomaly.decisions.last() != last or decided.update(closed_at=None) != len(anomalies):
            raise AlreadyDecided(_("Someone else decided this in the meantime."))
        _record(command, Verdict.UNDONE, batch=batch, anomalies=anomalies)
        moved: set[tuple[date, int]] = set()
        if last.verdict == Verdict.NEW_PERIOD:
            _refuse_decided(UsagePeriod.objects.filter(pk__in=_parts(anomaly)))
            moved = splits.join_period(anomaly, batch=batch)
        moved |= splits.follow_dates(anomalies, Verdict.UNDONE)
        _derive_again(_period_ids(anomalies, reports), reports, now=command.now, batch=batch, moved=moved)
    return len(anomalies)


def decide_figure(
    command: Command, *, period: UsagePeriod, seen_version: int, verdict: str, quantity: int | None = None
) -> None:
    """Decide on a figure that will never become exact: what is known so far, a typed number of emails, or the base fee
    only; UNDONE takes it back. `seen_version` is the figure's version on the page. Raises `Refusal`."""
    if (verdict == Verdict.QUANTITY) != (quantity is not None):
        raise Refusal(_("Enter the number of emails, 0 or more."), field="quantity")
    with transaction.atomic():
        lock_accounts([period.account_id])
        fresh = UsagePeriod.objects.select_related("account__customer").get(pk=period.pk)
        if fresh.version != seen_version:
            raise AlreadyDecided(_("The figure changed since you opened this page. Review the new figure first."))
        if verdict == Verdict.UNDONE and not has_decision(fresh):
            raise AlreadyDecided(_("There is no decision to undo."))
        if verdict != Verdict.UNDONE and verdict not in figure_verdicts_of(fresh, now=command.now):
            raise Refusal(
                _("A figure that is %(status)s can't be decided like this.")
                % {"status": fresh.get_status_display().lower()},
                field="verdict",
            )
        if quantity is not None:
            _check_quantity(fresh, quantity, now=command.now)
        batch = next_batch()
        _record_figure(command, verdict, batch=batch, period=fresh, quantity=quantity)
        _derive_again({fresh.pk}, set(), now=command.now, batch=batch)


def figure_verdicts_of(period: UsagePeriod, *, now: datetime) -> tuple[Verdict, ...]:
    """Return what may be decided about a figure: nothing while its billing period goes on, or once it is exact."""
    if period.ends_at > now:
        return ()
    if period.current_id is None:
        return MISSING_VERDICTS
    contradicted = period.status == Status.DISPUTED and period.reason in Reason.NOT_AS_ENTERED
    return FIGURE_VERDICTS if period.status == Status.INTERVAL or contradicted or is_decided(period) else ()


def is_decided(period: UsagePeriod) -> bool:
    """Return whether the figure is what a person decided."""
    applies = period.reason in (Reason.AS_KNOWN, Reason.QUANTITY, Reason.BASE_ONLY, *Reason.NOT_AS_ENTERED)
    return applies and has_decision(period)


def has_decision(period: UsagePeriod) -> bool:
    """Return whether a person decided about the figure, also where an exact one came since."""
    last = last_decision_about(period)
    return last is not None and last.verdict != Verdict.UNDONE


def last_decision_about(period: UsagePeriod) -> Decision | None:
    return Decision.objects.filter(period=period, anomaly=None).select_related("by").last()


def _parts(anomaly: Anomaly) -> list[int]:
    at = anomaly.snapshot.as_of if anomaly.snapshot else None
    parts = UsagePeriod.objects.filter(Q(counts_from=at) | Q(counts_until=at), account=anomaly.account_id)
    return list(parts.values_list("pk", flat=True)) if at else []


def _refuse_decided(periods: QuerySet[UsagePeriod]) -> None:
    """Refuse to change the dates of a figure that a person decided on."""
    if any(has_decision(period) for period in periods):
        raise Refusal(_("Undo the decision about the figure of the billing period first."), field="verdict")


def _check_quantity(period: UsagePeriod, quantity: int, *, now: datetime) -> None:
    [figure] = figures.preview(figures.load_periods([period.pk]), figures.Assumed(undecided=True), now=now)
    if figure.used is not None and quantity < figure.used:
        raise Refusal(
            _("The provider already reported %(n)s emails. Enter at least that number.") % {"n": f"{figure.used:,}"},
            field="quantity",
        )
    if figure.high is not None and quantity > figure.high:
        raise Refusal(
            _("The account can't have sent more than %(n)s emails in this billing period. Enter at most that number.")
            % {"n": f"{figure.high:,}"},
            field="quantity",
        )


def assign_decisions(
    command: Command, *, owner: User | None, anomalies: QuerySet[Anomaly], periods: QuerySet[UsagePeriod]
) -> int:
    """Make `owner` responsible for what is to be decided, None: nobody; return how many rows. Raises `Refusal`."""
    if owner is not None and not owner.may(Permission.ACCEPT_USAGE):
        raise Refusal(
            _("%(name)s can't decide on usage. Select someone in finance, or an admin.") % {"name": owner.name}
        )
    verb = "usage.decision_taken" if owner else "usage.decision_released"
    with transaction.atomic():
        accounts = list(periods.values_list("account", flat=True))
        lock_accounts(accounts)  # a reading that is stored saves the whole row of its period
        count = anomalies.update(owner=owner) + periods.update(owner=owner)
        first = anomalies.select_related("account__customer", "connection").first()
        period = None if first else periods.select_related("account__customer").first()
        if about := (first.account or first.connection) if first else period and period.account:
            command.record(verb=verb, obj=about, after={"rows": count} | ({"owner": owner.name} if owner else {}))
    return count


def _reports_of(anomalies: Sequence[Anomaly]) -> set[tuple[int, date]]:
    """Return connection and first day of the periods whose pooled reports are decided about."""
    pooled = {each.pooled_id for each in anomalies if each.pooled_id}
    return set(PooledSnapshot.objects.filter(pk__in=pooled).values_list("connection", "period_start_on"))


def _of_reports(reports: Collection[tuple[int, date]]) -> Q:
    found = Q(pk__in=[])
    for connection, start_on in reports:
        found |= Q(account__connection=connection, reported_start_on=start_on)
    return found


def _account_ids(anomalies: Sequence[Anomaly], reports: Collection[tuple[int, date]]) -> list[int]:
    of_reports = UsagePeriod.objects.filter(_of_reports(reports)).values_list("account", flat=True)
    return sorted({each.account_id for each in anomalies if each.account_id} | set(of_reports))


def _period_ids(anomalies: Sequence[Anomaly], reports: Collection[tuple[int, date]]) -> set[int]:
    of_reports = UsagePeriod.objects.filter(_of_reports(reports)).values_list("pk", flat=True)
    return {each.period_id for each in anomalies if each.period_id} | set(of_reports)


def _derive_again(
    periods: Collection[int],
    reports: Collection[tuple[int, date]],
    *,
    now: datetime,
    batch: int,
    moved: Collection[tuple[date, int]] = (),
) -> None:
    for connection, start_on in reports:
        follow_reports(connection, start_on, now=now)
    ordered = sorted(periods)
    if len(ordered) > WHILE_WAITING:
        postponed.postpone(ordered, moved=moved)
        return
    for start in range(0, len(ordered), TOGETHER):
        some = ordered[start : start + TOGETHER]
        changed = figures.recompute(some, now=now, batch=batch, cause=figures.FigureCause.DECISION, moved=moved)
        tell_accounts(changed, now=now)
        moved = ()


def _record(command: Command, verdict: str, *, batch: int, anomalies: Sequence[Anomaly]) -> None:
    Decision.objects.bulk_create(
        (
            Decision(
                anomaly=each, verdict=verdict, reason=command.reason, by=command.person, at=command.now, batch=batch
            )
            for each in anomalies
        ),
        batch_size=500,
    )
    first = anomalies[0]
    after = {"decision": str(Verdict(verdict).label), "ledger_batch": batch}
    if len(anomalies) == 1:
        before = {"anomaly": first.get_kind_display(), "before": first.before, "reported": first.after}
        command.record(verb="usage.decided", obj=first.account or first.connection, before=before, after=after)
        return
    named = Account.objects.filter(pk__in=[each.account_id for each in anomalies if each.account_id][:NAMED])
    after |= {"anomalies": len(anomalies), "accounts": [str(each.provider_id) for each in named]}
    command.record(verb="usage.decided", obj=first.connection, before={}, after=after)


def _record_figure(command: Command, verdict: str, *, batch: int, period: UsagePeriod, quantity: int | None) -> None:
    Decision.objects.create(
        period=period,
        verdict=verdict,
        quantity=quantity,
        reason=command.reason,
        by=command.person,
        at=command.now,
        batch=batch,
    )
    before = {"billing_period": str(period.start_on), "used": period.used, "at_most": period.high}
    after = {"decision": str(Verdict(verdict).label), "emails": quantity, "ledger_batch": batch}
    command.record(verb="usage.decided", obj=period.account, before=before, after=after)
