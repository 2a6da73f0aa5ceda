"""A value of the drift board in words."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.drift import Drift, Field
from portal.formats import number_text
from portal.states import account_state_text

register = template.Library()


@register.simple_tag
def drift_value(drift: Drift, value: Any) -> SafeString | str:
    match drift.field:
        case Field.STATE:
            return account_state_text(str(value), drift.account.provider_label)
        case Field.OFFERINGS:
            names = [(row["name"], f", {row['quantity']}" if row["quantity"] != 1 else "") for row in value]
            return format_html('<ul class="pk-lines">{}</ul>', format_html_join("", "<li>{}{}</li>", names))
        case Field.CAP:
            if value == 0:
                return _("No cap")
            return ngettext("%(n)s e-mail a month", "%(n)s e-mails a month", int(value)) % {"n": number_text(value)}
        case Field.EXISTENCE:
            return {"there": _("There"), "missing": _("Missing in its list"), "gone": _("Gone from its list")}[value]
        case _:
            return str(value)
