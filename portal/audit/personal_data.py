"""Personal data in the audit log. It is erased by signed redactions, so that the hash chain stays valid."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from portal.personal_data import declare

declare(
    "audit.AuditEvent",
    name=gettext_lazy("Audit log"),
    why=gettext_lazy("Proof of who changed what, when and why."),
    until=gettext_lazy("As long as the retention settings say."),
    erased="actor_label object_label customer_label before after reason ip",
    plain="actor_role verb object_type request_id",
    of_user="actor",
    by="portal.audit.redaction",
)
declare("audit.AuditSeal", plain="prev_hash row_hash key_id")
declare("audit.AuditRedaction", plain="row_hash content_hash key_id signature")
declare("audit.AuditCheckpoint", plain="prev_hash key_id signature")
declare("audit.ErasurePermit", plain="of_table")
