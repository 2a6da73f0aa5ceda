"""Forms of scheduled changes and holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Self

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.connections import catalogue
from customers.forms import ReasonForm, TokenForm
from customers.models import Account, Schedule
from customers.models.account import as_offerings, package_name_of
from customers.schedules import commands
from portal.audit.models import AuditEvent
from portal.edits import EditConflict, EditForm
from portal.formats import day_text
from portal.providers import ProviderOffering
from portal.typed_text import TypedText

CYCLE, DAY = "cycle", "day"
KIND_WORDS = {
    Schedule.Kind.SUSPEND: gettext_lazy("Suspend (skipped if the account is marked “Do not suspend”)"),
    Schedule.Kind.UNSUSPEND: gettext_lazy("Unsuspend"),
    Schedule.Kind.OFFERINGS: gettext_lazy("Change package (add-ons stay the same)"),
}


# A year typed by mistake is reported as that, before any calculation with it.
SANE = [
    MinValueValidator(date(2000, 1, 1), message=gettext_lazy("Check the year.")),
    MaxValueValidator(date(2200, 1, 1), message=gettext_lazy("Check the year.")),
]


def moment_of(day: date, clock: time, zone: tzinfo) -> datetime:
    """Return the moment of a local time. Raises `ValidationError` for one that a change of the clocks leaves out or has
    twice: a guess would be an hour off."""
    local = datetime.combine(day, clock, tzinfo=zone)
    if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise forms.ValidationError(
            _("This time doesn't exist on that day because the clocks go forward. Select another time.")
        )
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise forms.ValidationError(
            _("This time occurs twice on that day because the clocks go back. Select another time.")
        )
    return local.astimezone(UTC)


def day_after(day: date, zone: tzinfo) -> datetime:
    """Return the first moment after `day`."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)


class ScheduleForm(EditForm, TokenForm):
    """The change and its time. `schedule` is the one that is edited: its change stays, the rest may differ."""

    not_compared = frozenset({"client_token", "version"})

    kind = forms.ChoiceField(
        label=gettext_lazy("Action"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select an action.")},
    )
    package = forms.ChoiceField(
        label=gettext_lazy("New package"), error_messages={"required": gettext_lazy("Select the new package.")}
    )
    when = forms.ChoiceField(
        label=gettext_lazy("When"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select when the change takes effect.")},
    )
    on = forms.DateField(
        label=gettext_lazy("Date"),
        validators=SANE,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"required": gettext_lazy("Enter a date.")},
    )
    at = forms.TimeField(
        label=gettext_lazy("Time"),
        initial="09:00",
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        error_messages={"required": gettext_lazy("Enter a time.")},
    )
    reason = TypedText(
        label=gettext_lazy("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": gettext_lazy("Enter a reason. It's recorded in the audit log.")},
    )
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(
        self, account: Account, *args: Any, now: datetime, schedule: Schedule | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.account, self.schedule = account, schedule
        self.kinds = [Schedule.Kind(schedule.kind)] if schedule else commands.kinds_for(account)
        self.cycle_end = commands.cycle_end(account, now=now)
        end = (
            [(CYCLE, _("At the end of the billing period, after %(day)s (UTC)") % {"day": day_text(self.cycle_end)})]
            if self.cycle_end
            else []
        )
        self._choices("kind", [(each.value, KIND_WORDS[each]) for each in self.kinds])
        self._choices("when", [*end, (DAY, _("On a specific date"))])
        self._choices("package", [("", _("Select a package")), *self._packages()])
        if not end:
            self.fields["when"].initial = DAY
        if len(self.kinds) == 1:
            self.fields["kind"].initial = self.kinds[0].value
        for name, of, value in (("package", "kind", Schedule.Kind.OFFERINGS), ("on", "when", DAY), ("at", "when", DAY)):
            self.fields[name].required = not self.is_bound or self.data.get(of) == value

    def show(self, conflict: EditConflict, *, fresh: Self, last: AuditEvent | None = None) -> None:
        """Show a conflict with the version that the page shows now: the whole row is written."""
        super().show(conflict, fresh=fresh, last=last)
        data: Any = self.data
        data[self.add_prefix("version")] = str(fresh.get_initial_for_field(fresh.fields["version"], "version"))

    @property
    def changes_packages(self) -> bool:
        return Schedule.Kind.OFFERINGS in self.kinds

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["due_at"] = None
        if cleaned.get("when") == DAY and not self.errors.keys() & {"on", "at"}:
            try:
                cleaned["due_at"] = moment_of(cleaned["on"], cleaned["at"], timezone.get_current_timezone())
            except forms.ValidationError as error:
                self.add_error("at", error)
        return cleaned

    def offerings(self) -> list[ProviderOffering] | None:
        """Return the offerings at that time: the new package, and the add-ons the account has."""
        if self.cleaned_data["kind"] != Schedule.Kind.OFFERINGS:
            return None
        addons = [each for each in as_offerings(self.account.offerings or []) if each.type != "package"]
        return [ProviderOffering(self.cleaned_data["package"], "package", 1), *addons]

    def _packages(self) -> list[tuple[str, str]]:
        if not self.changes_packages:
            return []
        known = catalogue.known(self.account.connection).values()
        return [(each.name, each.label) for each in known if each.type == "package" and each.sold]

    def _choices(self, name: str, choices: list[tuple[str, Any]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # of a ChoiceField


def start_of(schedule: Schedule) -> dict[str, Any]:
    """Return the initial values of an edit form, in the active time zone."""
    local = timezone.localtime(schedule.due_at)
    rows = schedule.payload.get("offerings", [])
    return {
        "kind": schedule.kind,
        "package": package_name_of(rows),
        "when": CYCLE if schedule.cycle_end_on else DAY,
        "on": local.date(),
        "at": local.time(),
        "reason": schedule.reason,
        "version": schedule.version,
    }


class HoldForm(forms.Form):
    last_on = forms.DateField(
        label=gettext_lazy("End date"),
        required=False,
        validators=SANE,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    reason = TypedText(
        label=gettext_lazy("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={
            "required": gettext_lazy("Enter a reason. Anyone who tries to suspend the account will see it.")
        },
    )

    def until(self) -> datetime | None:
        day = self.cleaned_data.get("last_on")
        return day_after(day, timezone.get_current_timezone()) if day else None


class ReleaseForm(forms.Form):
    reason = TypedText(
        label=gettext_lazy("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": gettext_lazy("Enter a reason. It's recorded in the audit log.")},
    )


class HeldForm(ReasonForm):
    """The confirmation of a suspend while a hold is in force. It applies to the hold that was shown, and not to another
    one that was placed since (`hold`, its public ID)."""

    hold = forms.CharField(widget=forms.HiddenInput, required=False, max_length=36)

    despite_hold = forms.BooleanField(
        label=gettext_lazy("Suspend anyway. “Do not suspend” stays set and is named in the audit log."),
        error_messages={
            "required": gettext_lazy(
                "The account is marked “Do not suspend”. Confirm that you want to suspend it anyway, or remove the "
                "mark first."
            )
        },
    )

    def __init__(self, *args: Any, hold: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["hold"].initial = self._hold = hold

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("hold") != self._hold:
            sent: Any = self.data
            self.data = data = sent.copy()
            data["hold"] = self._hold
            if data.pop("despite_hold", None):
                told = _("“Do not suspend” changed since you confirmed. Review it, then confirm again.")
                self.add_error("despite_hold", told)
        return cleaned
