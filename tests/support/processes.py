"""What a process that a test starts needs to reach the test's own database."""

from __future__ import annotations

from django.db import connection


def database_url() -> str:
    """The address of the database that the test at hand writes to."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    return f"postgres://{facts['USER']}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}"
