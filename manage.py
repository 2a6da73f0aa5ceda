#!/usr/bin/env python
import os
import sys

from django.db import OperationalError, ProgrammingError


def hint_for(error: Exception) -> str:
    """Return what to do about an error of the database; "" where its own message has to do."""
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", "")
    if code == "57014":  # query_canceled
        return "A statement may take at most PORTAL_STATEMENT_SECONDS seconds. Set it to 0 for no limit."
    if code == "42P01" or str(error).startswith("no such table"):
        return "Run: python manage.py migrate"
    # PostgreSQL's own errors have a code. One without came from the driver: there is no connection.
    unreachable = isinstance(error, OperationalError) and code in ("", "SQLITE_CANTOPEN")
    return "Check DATABASE_URL." if unreachable else ""


if __name__ == "__main__":
    if sys.argv[1:2] == ["sandbox"]:
        # The simulator stands alone: it needs neither the portal's settings nor the secrets they demand.
        from portal.sandbox.cli import main

        sys.exit(main(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, OperationalError, ProgrammingError) as error:
        hint = hint_for(error)
        if "--traceback" in sys.argv or (isinstance(error, ProgrammingError) and not hint):
            raise
        sys.exit(f"{error}\n{hint}".strip())
