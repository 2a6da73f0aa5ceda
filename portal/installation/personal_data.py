"""The installation's own tables name no person."""

from __future__ import annotations

from portal.personal_data import declare

declare("installation.Epoch", plain="database")
declare("installation.Backup", plain="name error")
