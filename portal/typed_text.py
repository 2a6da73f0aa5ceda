"""Text that people type: stored in one form (NFC), without characters that nobody sees; and how it is found again.

What a provider returns is compared in this form, and sent back as it came.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext as _

# Control characters, line and paragraph separators, and what changes the direction of a text. Joiners are left: some
# scripts and emoji need them.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LINE_MARKS = "\t\n\r"
# Letters and symbols that are drawn as nothing: the Hangul fillers and the blank Braille pattern.
_BLANKS = "\u115f\u1160\u3164\uffa0\u2800"


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def comparable(text: str) -> str:
    """Return the form in which two texts that look the same are the same: NFC, single spaces, nothing invisible."""
    return " ".join(_INVISIBLE.sub(" ", nfc(text)).split())


def is_visible(text: str) -> bool:
    """Return whether any character of a text is seen by itself: spaces, joiners and accents without a letter aren't."""
    return any(unicodedata.category(each)[0] not in "CMZ" and each not in _BLANKS for each in text)


def visible_name(name: str | None) -> str:
    """Return a name, or words that can be read and clicked in place of one that nobody sees."""
    return name if name and is_visible(name) else _("(no visible name)")


def why_refused(text: str, *, lines: bool = False) -> str:
    """Return why a text can't be stored; "" where it can. `lines`: it may have several, and tabs."""
    for found in _INVISIBLE.finditer(text):
        if lines and found[0] in _LINE_MARKS:
            continue
        code, before = f"U+{ord(found[0]):04X}", text[: found.start()].rpartition("\n")[2][-20:]
        if not before:
            return _("Remove the invisible character %(code)s at the beginning.") % {"code": code}
        return _("Remove the invisible character %(code)s after “%(before)s”.") % {"code": code, "before": before}
    if text.strip() and not is_visible(text):
        return _("Nothing you typed is visible. Enter at least one letter or digit.")
    return ""


def matches(lookup: str, text: str) -> Q:
    """Match rows by a text in NFC or in NFD: rows of earlier versions and what providers name may hold either."""
    composed, decomposed = nfc(text), unicodedata.normalize("NFD", text)
    found = Q(**{lookup: composed})
    return found if composed == decomposed else found | Q(**{lookup: decomposed})


class AsShown(forms.Field):
    """A field that takes the value it was shown with, whatever it is, and returns it unchanged: its rules are for what
    a person types. `shown` is None where nothing was shown."""

    shown: Any = None

    def clean(self, value: Any) -> Any:
        if self.shown is not None and _as_posted(value) == _as_posted(self.prepare_value(self.shown)):
            return self.shown
        return super().clean(value)


def take_as_shown(form: forms.BaseForm, values: Mapping[str, Any]) -> None:
    """Let the form's fields take these values as they are. They are those of the row, never those of a request."""
    for name, value in values.items():
        if value not in (None, "", []) and isinstance(field := form.fields.get(name), AsShown):
            field.shown = value


def _as_posted(value: Any) -> str:
    """Return a value as a browser sends it from an input: without line ends."""
    return re.sub("[\r\n]", "", "" if value is None else str(value))


class TypedText(AsShown, forms.CharField):
    """A text that a person types. Only a textarea takes several lines."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if why := why_refused(text or "", lines=isinstance(self.widget, forms.Textarea)):
            raise forms.ValidationError(why, code="invisible")
        return text and nfc(text)


class TypedEmail(TypedText, forms.EmailField):
    """An email address that a person types."""
