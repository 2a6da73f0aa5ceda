from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.privacy.commands import REASON_MIN
from portal.privacy.models import SubjectRequest
from portal.typed_text import TypedEmail, TypedText

MOST_OTHERS = 20


class SearchForm(forms.Form):
    kind = forms.ChoiceField(
        label=_("Person"),
        choices=SubjectRequest.Kind.choices,
        initial=SubjectRequest.Kind.CONTACT,
        widget=forms.RadioSelect,
    )
    email = TypedEmail(label=_("Email"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    others = TypedText(
        label=_("Other names and email addresses"),
        help_text=_("One per line. Names and phone numbers of customers with this email are added automatically."),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def clean_others(self) -> list[str]:
        found = [line.strip() for line in self.cleaned_data["others"].splitlines() if line.strip()]
        if len(found) > MOST_OTHERS:
            raise forms.ValidationError(_("Enter at most %(n)d lines.") % {"n": MOST_OTHERS})
        if short := [each for each in found if len(each) < 3]:
            raise forms.ValidationError(_("“%(word)s” is too short. Enter a full name.") % {"word": short[0]})
        return found


class EraseForm(forms.Form):
    reason = TypedText(
        label=_("Reason"),
        help_text=_("At least %(n)d characters, without the person's name.") % {"n": REASON_MIN},
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    confirm = forms.CharField(
        label=_("The person's email address"),
        help_text=_("Enter it to confirm."),
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
