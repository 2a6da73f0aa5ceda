"""The table of docs/reference/personal-data.md, made from the declarations.

`DJANGO_SETTINGS_MODULE=tests.settings python -m tests.house.personal_data_table` writes it into the page.
"""

from __future__ import annotations

from pathlib import Path

import django
from django.utils.translation import override

PAGE = Path("docs/reference/personal-data.md")
_HEAD = "| Data | Columns | Why it is held | How long | At an erasure |\n|---|---|---|---|---|\n"
_BEGINS, _ENDS = "<!-- table -->\n", "<!-- end of table -->\n"


def made_table() -> str:
    """Return the table in Markdown, in English."""
    from portal.personal_data import personal_tables  # noqa: PLC0415  not before the setup below

    with override("en"):
        return _HEAD + "".join(_line(each) for each in sorted(personal_tables(), key=lambda each: str(each.name)))


def _line(each: object) -> str:
    from portal.personal_data import Declaration  # noqa: PLC0415  not before the setup below
    from portal.privacy.queries import treatment_of  # noqa: PLC0415  the same

    assert isinstance(each, Declaration)
    columns = ", ".join(f"`{name}`" for name in (*each.erased, *each.kept)) or "all"
    kept = "".join(f" `{name}` is kept: {reason}" for name, reason in each.kept.items())
    treatment = "" if each.kept and not each.erased and not each.removed else f"{treatment_of(each)}."
    frozen = f" {each.frozen}" if each.frozen else ""
    return f"| {each.name} | {columns} | {each.why} | {each.until} | {f'{treatment}{kept}{frozen}'.strip()} |\n"


def stored_table() -> str:
    return PAGE.read_text(encoding="utf-8").partition(_BEGINS)[2].partition(_ENDS)[0]


if __name__ == "__main__":
    django.setup()
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(stored_table(), made_table()), encoding="utf-8")
