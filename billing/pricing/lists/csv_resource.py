"""Reading and writing price rows with django-import-export, without a model: the rows are those of one version.

The library parses each cell, finds the stored row with the same key, and says of every row whether it is new, changed,
unchanged or wrong. It saves nothing: the prices that come out are stored by a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.instance_loaders import BaseInstanceLoader
from import_export.resources import Resource
from import_export.widgets import Widget

from billing.pricing.amounts import MOST_CODE, canonical_amount
from billing.pricing.lists.csv_rows import KEY_COLUMNS, PriceRow
from billing.pricing.lists.kinds import COMPONENTS, EDGES, MODES, WHEN_CHANGED
from customers.connections.catalogue import NAME_MAX
from portal.exports import cell
from portal.typed_text import nfc, why_refused

_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?", re.ASCII)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")
# A quotation mark or one of these makes a spreadsheet see another cell, so a code has none of them.
NOT_IN_CODES = ';|"'


class CellWidget(Widget):  # type: ignore[misc]  # the library ships no types
    """One column: `parse` reads the text of a cell that is not empty, or raises `ValueError` with what to do."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        super().__init__()
        self.parse = parse

    def clean(self, value: Any, row: Any = None, **_options: Any) -> Any:
        text = without_mark(str(value or ""))
        return self.parse(text.strip()) if text.strip() else None

    def render(self, value: Any, obj: Any = None, **_options: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return "" if value is None else marked(str(value))


class OfferingWidget(CellWidget):
    """An offering, byte for byte. A known one is found by how the export writes it."""

    def __init__(self) -> None:
        super().__init__(str)
        self.known: Mapping[str, str] = {}

    def clean(self, value: Any, row: Any = None, **_options: Any) -> str:
        text = str(value or "")
        name = self.known.get(text) or self.known.get(without_mark(text)) or without_mark(text).strip()
        if len(name) > NAME_MAX:
            raise ValueError(_("An offering's name has up to %(n)d characters.") % {"n": NAME_MAX})
        if why := why_refused(name):
            raise ValueError(why)
        return name


def marked(text: str) -> str:
    """Write an apostrophe before a text that begins with one: the first is taken away when a cell is read."""
    return f"'{text}" if text.startswith("'") else text


def without_mark(text: str) -> str:
    return text.removeprefix("'")


def one_word_of(words: Iterable[str]) -> Callable[[str], str]:
    known = tuple(words)

    def parse(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(
                _("“%(text)s” is unknown. Enter one of: %(words)s.") % {"text": text[:40], "words": ", ".join(known)}
            )
        return text.lower()

    return parse


def parse_number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError(
            _("“%(text)s” isn't a number. Use a decimal point, no currency, and no mark between thousands: 1250.50.")
            % {"text": text[:40]}
        )
    return canonical_amount(text)


def parse_rate(text: str) -> str:
    number = parse_number(text)
    if Decimal(number) < 0:
        raise ValueError(_("A rate can't be negative. Enter 0 or more."))
    return number


def count_between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _COUNT.fullmatch(text) or not least <= int(text) <= most:
            words = {"text": text[:40], "least": least, "most": most}
            raise ValueError(_("“%(text)s” isn't a whole number from %(least)d to %(most)d.") % words)
        return int(text)

    return parse


def parse_yes_no(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ValueError(_("“%(text)s” is unknown. Enter yes or no.") % {"text": text[:40]})
    return text.lower() in _YES


def parse_code(text: str) -> str:
    if why := why_refused(text):
        raise ValueError(why)
    if len(text) > MOST_CODE or any(each in text for each in NOT_IN_CODES):
        raise ValueError(_('A code has up to %(n)d characters, and none of ; | and ".') % {"n": MOST_CODE})
    return nfc(text)


class StoredRows(BaseInstanceLoader):  # type: ignore[misc]  # as above
    """Finds the row of the version that a row of the file is about."""

    def get_instance(self, row: Mapping[str, str]) -> PriceRow | None:
        try:
            key = tuple(self.resource.fields[name].clean(row) for name in KEY_COLUMNS)
        except (KeyError, ValueError):
            return None
        found = self.resource.stored.get(key)
        return replace(found) if found else None


class PriceResource(Resource):  # type: ignore[misc]  # as above
    """The columns of a price list's file. `stored`: the rows of the version that the file is compared with."""

    offering = Field("offering", widget=OfferingWidget())
    component = Field("component", widget=CellWidget(one_word_of(COMPONENTS)))
    amount = Field("amount", widget=CellWidget(parse_number))
    included = Field("included", widget=CellWidget(count_between(0, 10**15)))
    mode = Field("mode", widget=CellWidget(one_word_of(MODES)))
    per = Field("per", widget=CellWidget(count_between(1, 10**9)))
    block_size = Field("block_size", widget=CellWidget(count_between(1, 10**9)))
    up_to = Field("up_to", widget=CellWidget(count_between(1, 10**15)))
    rate = Field("rate", widget=CellWidget(parse_rate))
    when_changed = Field("when_changed", widget=CellWidget(one_word_of(WHEN_CHANGED)))
    prorated = Field("prorated", widget=CellWidget(parse_yes_no))
    on_start = Field("on_start", widget=CellWidget(one_word_of(EDGES)))
    on_close = Field("on_close", widget=CellWidget(one_word_of(EDGES)))
    bill_when_suspended = Field("bill_when_suspended", widget=CellWidget(parse_yes_no))
    account_code = Field("account_code", widget=CellWidget(parse_code))
    tax_code = Field("tax_code", widget=CellWidget(parse_code))

    class Meta:
        import_id_fields = KEY_COLUMNS
        instance_loader_class = StoredRows
        clean_model_instances = True
        store_instance = True
        skip_html_diff = True
        skip_unchanged = True
        use_transactions = False
        using_db = "default"

    def __init__(self, stored: Sequence[PriceRow] = (), offerings: Iterable[str] = ()) -> None:
        super().__init__()
        self.stored = {(row.offering, row.component, row.up_to): row for row in stored}
        names = {*offerings, *(row.offering for row in stored)} - {""}
        self.fields["offering"].widget.known = {str(cell(marked(name))): name for name in sorted(names)}

    def init_instance(self, row: Any = None) -> PriceRow:
        return PriceRow()

    def after_init_instance(self, instance: PriceRow, new: bool, row: Any, **options: Any) -> None:
        instance.number = options["row_number"]

    def do_instance_save(self, instance: PriceRow, is_create: bool) -> None:
        """Store nothing; `csv_import` makes prices of all rows together."""
