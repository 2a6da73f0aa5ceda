"""Views of retention: the rules with the last runs, and the period of one rule."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.access.reauth import reauthenticated
from portal.audit.queries import last_change
from portal.clock import database_now
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to
from portal.refusals import Refusal
from portal.retention import periods, queries
from portal.retention.forms import PeriodForm
from portal.retention.rules import RetentionRule, find_rule


@require_GET
def retention_page(request: HttpRequest) -> HttpResponse:
    context = {
        "rows": queries.retention_rows(),
        "runs": queries.run_rows(),
        "alarms": queries.alarms(now=database_now()),
    }
    return render(request, "retention/rules.html", context)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def retention_rule(request: HttpRequest, code: str) -> HttpResponse:
    """Change the period. A shorter one is confirmed on a second page, which says how many rows the next run removes."""
    rule = find_rule(code)
    if rule is None or rule.is_fixed:
        raise Http404
    form = _form(rule, request)
    to_confirm = None
    if request.method == "POST" and form.is_valid():
        facts, confirmed = form.changed_facts(), form.is_confirmed
        try:
            periods.change_period(command_of(request), rule, facts=facts, confirmed=confirmed, seen=form.seen)
        except EditConflict as conflict:
            row = queries.retention_row(rule).stored
            form.show(conflict, fresh=_form(rule), last=last_change(row, conflict.fields) if row else None)
        except periods.Unconfirmed as shorter:
            to_confirm = _confirmation(form, rule, shorter.days)
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("%(rule)s: saved.") % {"rule": rule.label})
            return go_to(request, "retention:rules")
    context = {"form": form, "row": queries.retention_row(rule), "to_confirm": to_confirm}
    return render(request, "retention/rule.html", context, status=422 if to_confirm else status_of(form))


def _confirmation(form: PeriodForm, rule: RetentionRule, days: int) -> str:
    """Make the form carry the confirmation, and return how many rows the next run removes."""
    form.confirm(days)
    return queries.count_text(periods.count_due(rule, days, now=database_now() + timedelta(days=1)))


def _form(rule: RetentionRule, request: HttpRequest | None = None) -> PeriodForm:
    posted = request.POST if request and request.method == "POST" else None
    return PeriodForm(posted, rule=rule, initial={"days": periods.retention_days(rule)})
