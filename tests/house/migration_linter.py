"""`make lint`: refuse migrations that processes of the release before can't run with (docs/how-to/upgrade.md).

It reads the SQL that the migrations send to PostgreSQL, from a server of its own.
"""

from __future__ import annotations

import os
import sys

import django
from django_migration_linter import MigrationLinter

from tests.env import KEYS
from tests.support import postgres

# The last migrations that were examined by hand. The others are checked.
BASELINE = {"access": 2, "audit": 4, "billing": 22, "customers": 26, "installation": 0, "notices": 2}
# Checks that a migration fails and that were examined by hand. Of 0032, the new constraint is wider than the one it
# replaces, so no row of the release before can break it.
EXAMINED = {("customers", "0032_key_hygiene"): ["ADD_UNIQUE"]}
REFUSED = """\
During an upgrade, processes of the release before run on this schema. Add columns with db_default, keep those that it
reads with KeepColumn or KeepTable of portal.kept_columns, and remove or rename them in a later release.
"""


def lint() -> bool:
    """Print what is wrong with the migrations after the baseline, and return whether nothing is."""
    linter = _linter([])
    linters = {}
    for (app, name), migration in sorted(linter.migration_loader.disk_migrations.items()):
        if app in BASELINE and int(name[:4]) > BASELINE[app]:
            linters[app, name] = _linter(EXAMINED[app, name]) if (app, name) in EXAMINED else linter
            linters[app, name].lint_migration(migration)
    return not any(each.has_errors for each in linters.values())


def _linter(without: list[str]) -> MigrationLinter:
    quiet = ["ok", "ignore"]
    return MigrationLinter(no_cache=True, quiet=quiet, analyser_string="postgresql", exclude_migration_tests=without)


def main() -> int:
    if postgres.programs() is None:
        sys.stdout.write(f"Migrations were not checked: {postgres.MISSING}\n")
        return int(os.environ.get("NO_SKIPS") == "1")
    server = postgres.Postgres()
    try:
        server.start()
        os.environ.update(KEYS, DATABASE_URL=server.url, DJANGO_SETTINGS_MODULE="portal.settings")
        django.setup()
        if lint():
            return 0
        sys.stdout.write(REFUSED)
        return 1
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
