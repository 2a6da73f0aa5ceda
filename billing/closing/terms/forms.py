"""Form of the billing terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from billing.closing.terms.commands import FIELDS
from billing.models import BillingTerms
from portal.edits import EditForm
from portal.typed_text import TypedText

LONGEST_GRACE = 60


class BillingTermsForm(EditForm):
    grace_days = forms.IntegerField(label=_("Days until a month is in review"), min_value=0, max_value=LONGEST_GRACE)
    number_prefix = TypedText(
        label=_("Prefix of statement numbers"),
        max_length=12,
        required=False,
        validators=[RegexValidator(r"^[A-Za-z0-9/._-]*\Z", _("Use letters, digits, and - / . _ only."))],
    )
    default_account_code = TypedText(label=_("Default account code"), max_length=40, required=False)
    accrued_account_code = TypedText(label=_("Account code of accrued revenue"), max_length=40, required=False)

    def __init__(self, data: Mapping[str, Any] | None = None, *, terms: BillingTerms) -> None:
        super().__init__(data, initial={name: getattr(terms, name) for name in FIELDS})
