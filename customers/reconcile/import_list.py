"""The list of accounts that a user uploads for an import: CSV as Excel and others write it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from portal.input_bounds import MOST_COLUMNS
from portal.refusals import Refusal
from portal.typed_text import nfc, why_refused

ROWS_MAX, BYTES_MAX = 20_000, 5_000_000
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Excel's own way to name the separator, in a line before the column names.
_SEPARATOR = re.compile(r'"?sep=([;,\t|])"?[;,\t|]*(?:\n|\Z)', re.IGNORECASE)
# The columns of the uploaded list, with the length of their longest value.
COLUMNS = {"provider_id": 100, "external_reference": 100, "company": 200, "email": 254}


@dataclass(frozen=True)
class ImportRow:
    """One row of the uploaded list, about one account at the provider."""

    provider_id: str
    external_reference: str = ""
    company: str = ""
    email: str = ""
    line: int = field(default=0, compare=False)


# How the names of files end that are accepted.
ENDINGS = (".csv", ".tsv", ".txt")


def check_name(name: str) -> None:
    """Raise `Refusal` for a file that doesn't say it is a text table."""
    if not name.lower().endswith(ENDINGS):
        raise Refusal(_("Select a file whose name ends with .csv, .tsv, or .txt."), field="listed")


def read_list(content: bytes) -> list[ImportRow]:
    """Parse a CSV file with `provider_id` and any of the other `COLUMNS`, as Excel and others write it: separated by
    commas, semicolons or tabs, with or without a line `sep=;`. Raises `Refusal`, naming the line."""
    if len(content) > BYTES_MAX:
        raise Refusal(_("The file is larger than 5 MB."), field="listed")
    text = _decoded(content).replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        raise Refusal(_("The file is not a valid CSV file."), field="listed")
    said = _SEPARATOR.match(text)
    text = text[said.end() :] if said else text
    header = text.partition("\n")[0]
    separator = said[1] if said else max(",;\t", key=header.count)  # a comma if there is none
    try:
        return _read_rows(csv.DictReader(io.StringIO(text), delimiter=separator), skipped=1 if said else 0)
    except csv.Error:
        raise Refusal(_("The file is not a valid CSV file."), field="listed") from None


def is_unicode(content: bytes) -> bool:
    """Return whether a list names its own characters; Excel's plain CSV does not, and is read as Windows-1252."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.startswith(_UTF16)
    return True


def _decoded(content: bytes) -> str:
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    if not is_unicode(content) and not content.startswith(codecs.BOM_UTF8):
        encoding = "cp1252"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise Refusal(
            _("The file's characters can't be read. Save it as CSV UTF-8, then upload it again."), field="listed"
        ) from None


def _read_rows(reader: csv.DictReader[str], *, skipped: int) -> list[ImportRow]:
    """Return the rows with their lines. `skipped`: lines before the column names."""
    given = [name.strip().casefold() for name in reader.fieldnames or ()]
    if len(given) > MOST_COLUMNS:  # each row gets a value for each
        raise Refusal(_("The file has more than %(n)d columns. Remove some.") % {"n": MOST_COLUMNS}, field="listed")
    if twice := next((name for name in COLUMNS if given.count(name) > 1), None):
        raise Refusal(_("The column %(column)s appears twice. Remove one of them.") % {"column": twice}, field="listed")
    names = dict(zip(given, reader.fieldnames or (), strict=True))
    if "provider_id" not in names:
        raise Refusal(
            _(
                "The first line must contain the column names: provider_id, and optionally external_reference, "
                "company, and email."
            ),
            field="listed",
        )
    found: dict[str, ImportRow] = {}
    for row in reader:
        further: list[str] = list(row.pop(None, None) or ())  # where DictReader puts what has no column
        if not any((value or "").strip() for value in [*row.values(), *further]):
            continue
        if len(found) >= ROWS_MAX:
            raise Refusal(_("The file has more than 20,000 rows."), field="listed")
        facts = {name: nfc((row.get(names[name]) or "").strip()) for name in COLUMNS if name in names}
        facts["provider_id"] = (row[names["provider_id"]] or "").strip()  # the provider's, as it is
        line = reader.line_num + skipped
        if why := _refused_line(facts, found, further):
            raise Refusal(_("Line %(line)d: %(why)s") % {"line": line, "why": why}, field="listed")
        found[facts["provider_id"]] = ImportRow(**facts, line=line)
    return list(found.values())


def _refused_line(facts: dict[str, str], found: dict[str, ImportRow], further: list[str]) -> str:
    """Return why a line can't be used; "" where it can. `further`: its values beyond the last column."""
    if any(value.strip() for value in further):
        return _("it has more values than there are columns. Put a value that contains the separator in quotes.")
    if not facts["provider_id"]:
        return _("the account ID is missing.")
    if facts["provider_id"] in found:
        return _("this account ID appears twice in the file.")
    if long := next((name for name, value in facts.items() if len(value) > COLUMNS[name]), None):
        return _("%(column)s is too long.") % {"column": long}
    for name, value in facts.items():
        if why := why_refused(value):
            return f"{name}: {why}"
    if facts.get("email"):
        try:
            validate_email(facts["email"])
        except ValidationError:
            return _("the email address is not valid.")
    return ""
