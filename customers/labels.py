"""Values of accounts in words, the same on every page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from portal.formats import number_text

_KEY_LABEL = re.compile(r"(?P<typed>.*) · (?P<code>op_[0-9A-F]{6})", re.DOTALL)


def cap_of(settings: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> int | None:
    """Return the monthly cap as read, or before the first reading as requested; 0 = no cap, None = not known."""
    cap: int | None = (asked if settings is None else settings).get("monthly_cap")
    return cap


def cap_text(cap: int | None, *, short: bool = False) -> str:
    """Return "No cap", "250,000 emails a month" (`short`: "250,000 a month"), or "" where it is not known. 0 is no
    cap."""
    if cap is None:
        return ""
    words = _("%(n)s/month") if short else _("%(n)s emails/month")
    return words % {"n": number_text(cap)} if cap else _("No cap")


def split_label(label: str) -> tuple[str, str]:
    """Return a key's label as typed, and the code of the operation that made the key ("" where there is none)."""
    found = _KEY_LABEL.fullmatch(label)
    return (found["typed"], found["code"]) if found else (label, "")


def joined_label(typed: str, code: str) -> str:
    return f"{typed} · {code}" if code else typed
