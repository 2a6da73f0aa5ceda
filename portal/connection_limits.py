"""Check of every new database connection: the time limits that the settings ask for are in force."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver


@receiver(connection_created)
def refuse_dropped_limits(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Raise `ImproperlyConfigured` if the server does not apply the limits of `DATABASES`. A connection pooler such as
    PgBouncer may drop them without a word, and then nothing ends a statement or a lock that hangs."""
    wanted = dict(re.findall(r"-c (\w+)=(\d+)(?!\w)", str(connection.settings_dict["OPTIONS"].get("options", ""))))
    if connection.vendor != "postgresql" or not wanted:
        return
    parts = ", ".join(f"current_setting('{name}')::interval = '{value} ms'::interval" for name, value in wanted.items())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {parts}")
        in_force = cursor.fetchone()
    if dropped := [name for name, holds in zip(wanted, in_force, strict=True) if not holds]:
        connection.close()  # or the next query would use it
        raise ImproperlyConfigured(
            f"The database connection lost {', '.join(dropped)}: what stands at DATABASE_URL drops the connection's "
            "options, as PgBouncer does with ignore_startup_parameters. Set DATABASE_URL to PostgreSQL itself."
        )
