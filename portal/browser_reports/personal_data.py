"""Reports of browsers hold no address, no person and no query string."""

from __future__ import annotations

from portal.personal_data import declare

declare("browser_reports.BrowserReport", plain="directive blocked page browser")
