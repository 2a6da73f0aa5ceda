#!/usr/bin/env python
import os
import sys
from importlib import import_module

from django.db import OperationalError, ProgrammingError

# Commands that need neither the settings nor the secrets they demand, and their modules.
WITHOUT_SETTINGS = {
    "sandbox": "portal.sandbox.cli",
    "make_secrets": "portal.make_secrets",
    "make_backup_identity": "portal.installation.identities",
    "rate": "billing.pricing.rating.cli",
}


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
    if module := WITHOUT_SETTINGS.get("".join(sys.argv[1:2])):
        sys.exit(import_module(module).main(sys.argv[2:]))
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
