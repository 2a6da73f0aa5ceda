"""Personal data in this app's own tables."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from portal.personal_data import declare

declare(
    "privacy.SubjectRequest",
    name=gettext_lazy("Personal data requests"),
    why=gettext_lazy("Proof that an access or erasure request was answered."),
    until=gettext_lazy("The words and the file: 7 days. The rest: as long as the installation exists."),
    erased="reason",
    plain="code subject_sealed file_sealed position found blocked error",
    secret="subject_sealed file_sealed",  # noqa: S106  the names of columns
)
declare("privacy.ErasedSubject", plain="code hashes")
