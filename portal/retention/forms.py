from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from portal.edits import EditForm
from portal.retention.periods import MOST_DAYS
from portal.retention.rules import RetentionRule


class PeriodForm(EditForm):
    """The period of a rule. `confirmed` is shown once a shorter period was sent, and is the period it confirms."""

    not_compared: ClassVar[frozenset[str]] = frozenset({"confirmed"})

    days = forms.IntegerField(label=gettext_lazy("Days"), max_value=MOST_DAYS)
    confirmed = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, rule: RetentionRule, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts = [ngettext("At least %(n)d day.", "At least %(n)d days.", rule.least) % {"n": rule.least}]
        if rule.may_keep:
            texts.append(_("Leave it empty to keep these rows permanently."))
        self.fields["days"] = forms.IntegerField(
            label=_("Days"),
            required=not rule.may_keep,
            min_value=rule.least,
            max_value=MOST_DAYS,
            help_text=" ".join(texts),
        )

    def confirm(self, days: int) -> None:
        """Carry the confirmation of this period from now on."""
        sent: Any = self.data.copy()  # type: ignore[attr-defined]  # of a request
        sent["confirmed"] = str(days)
        self.data = sent

    @property
    def is_confirmed(self) -> bool:
        confirmed = self.cleaned_data.get("confirmed")
        return confirmed is not None and confirmed == self.cleaned_data.get("days")
