"""Personal data in notices."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from portal.personal_data import declare

declare(
    "notices.Notice",
    name=gettext_lazy("Notices"),
    why=gettext_lazy("Telling team members what needs their attention."),
    until=gettext_lazy("As long as the retention settings say."),
    erased="title text",
    plain="kind about path",
    of_user="to",
)
