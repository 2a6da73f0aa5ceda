"""Template tags of the drift page: a value in words, lists as lists; and whether a scan is in progress."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from customers.reconcile.drift import Drift, Field
from customers.reconcile.queries import any_running, value_text

register = template.Library()
register.filter(any_running)


@register.simple_tag
def drift_value(drift: Drift, value: Any) -> SafeString | str:
    if drift.field != Field.OFFERINGS:
        return value_text(drift, value)
    names = [(row["name"], f", {row['quantity']}" if row["quantity"] != 1 else "") for row in value]
    return format_html('<ul class="pk-lines">{}</ul>', format_html_join("", "<li>{}{}</li>", names))
