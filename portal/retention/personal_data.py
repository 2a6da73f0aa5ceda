"""Tables of retention name no person."""

from __future__ import annotations

from portal.personal_data import declare

declare("retention.RetentionPeriod", plain="code")
declare("retention.RetentionRun", plain="slot remaining removed errors")
