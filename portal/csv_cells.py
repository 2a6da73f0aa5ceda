"""Cells and lines of a CSV file as PostgreSQL expressions, byte for byte as `portal.exports` writes them in Python.

    accounts.annotate(line=Line(TextCell(F("email")), NumberCell(F("usage_used")))).values_list("line", flat=True)

A row then costs Python one string. The rows are read by a server-side cursor and not by COPY: a cursor's plan gives the
first row at once, where COPY sorts and formats all rows before it, and the time limit of a statement is one piece's and
not the whole download's. With the same plan both take the same time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Func, TextField, Value
from django.utils.functional import Promise

from portal.exports import BLANKS, SEPARATORS, SIGNS, SIGNS_WITHIN, csv_cell

# PostgreSQL's \s depends on the locale, so all blanks are named.
_FORMULA = f"^[{BLANKS}]*[{SIGNS}]|^[\t\r\n]"
_FORMULA_WITHIN = f'([{SEPARATORS}])(?=["{BLANKS}]*[{SIGNS_WITHIN}])'
# Matches every text that is escaped, in one cheap look; most texts are not.
_SUSPICIOUS = f"^[{BLANKS}]*[{SIGNS}]|[{SEPARATORS}]"
_NOTHING = '""'


class Cell(Func):
    """An expression whose value is the text of one cell. `form` is its SQL, with `{x}` for the source."""

    output_field = TextField()
    form = "{x}"

    def as_sql(self, compiler: Any, connection: Any, *_options: Any, **_context: Any) -> tuple[str, tuple[Any, ...]]:
        return self.cell_sql(*(compiler.compile(each) for each in self.get_source_expressions()))

    def cell_sql(self, *sources: tuple[str, Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
        """Return the SQL of the cell and its parameters, for the sources as SQL and parameters."""
        ((source, params),) = sources
        return self.form.replace("{x}", source), tuple(params) * self.form.count("{x}")


class TextCell(Cell):
    """A text, escaped where a spreadsheet would take it for a formula; empty if NULL."""

    def cell_sql(self, *sources: tuple[str, Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
        ((source, params),) = sources
        escaped = f"regexp_replace(regexp_replace({source}, %s, %s, 'g'), %s, %s)"
        safe = f"CASE WHEN {source} ~ %s THEN {escaped} ELSE coalesce({source}, '') END"
        patterns = (_FORMULA_WITHIN, r"\1'", _FORMULA, r"'\&")
        return f"""'"' || replace({safe}, '"', '""') || '"'""", (*params, _SUSPICIOUS, *params, *patterns, *params)


class NumberCell(Cell):
    """A whole number, or a decimal one with the places of its column; empty if NULL."""

    form = f"coalesce(({{x}})::text, '{_NOTHING}')"


class AmountCell(Cell):
    """An amount of a `ScaledDecimalField` as `billing.money.trimmed` returns it: two places, and more where needed."""

    form = (
        f"CASE WHEN {{x}} IS NULL THEN '{_NOTHING}'"
        " WHEN ({x}) = round({x}, 2) THEN ({x})::numeric(20, 2)::text"
        " ELSE trim_scale({x})::text END"
    )


class TimeCell(Cell):
    """A time in UTC, in whole seconds; empty if NULL."""

    form = rf"""coalesce(to_char({{x}} AT TIME ZONE 'UTC', '\"YYYY-MM-DD"T"HH24:MI:SS"Z"\"'), '{_NOTHING}')"""


class DateCell(Cell):
    form = rf"""coalesce(to_char({{x}}, '\"YYYY-MM-DD\"'), '{_NOTHING}')"""


class YesNoCell(Cell):
    form = "CASE WHEN {x} THEN '\"yes\"' ELSE '\"no\"' END"


class UuidCell(Cell):
    form = f"""coalesce('"' || ({{x}})::text || '"', '{_NOTHING}')"""


class AddressCell(Cell):
    """An IP address; empty if NULL."""

    form = f"""coalesce('"' || host({{x}}) || '"', '{_NOTHING}')"""


class LabelCell(Cell):
    """The label of a code. A code without a label, and NULL, have `default`."""

    def __init__(self, code: Any, labels: Mapping[Any, str | Promise], *, default: str = "") -> None:
        super().__init__(code)
        self.labels = json.dumps({str(key): csv_cell(str(label)) for key, label in labels.items()})
        self.default = csv_cell(default)

    def cell_sql(self, *sources: tuple[str, Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
        ((source, params),) = sources
        return f"coalesce(%s::jsonb ->> ({source})::text, %s)", (self.labels, *params, self.default)


def same_cell(value: Any) -> Value:
    """Return the cell of a value that all rows share."""
    return Value(csv_cell(value), output_field=TextField())


class Cells(Func):
    """Several cells with commas between them: a part of a line."""

    output_field = TextField()
    template = "%(expressions)s"
    arg_joiner = " || ',' || "


class Line(Cells):
    """The cells of one row with its line end."""

    template = "%(expressions)s || E'\\r\\n'"
