"""The checks of the deployment, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from django.utils.translation import gettext as _

from customers.monitoring.doctor import database, installation, services, work
from customers.monitoring.doctor.findings import Finding, warning

log = structlog.get_logger(__name__)
Run = Callable[[], Iterator[Finding]]


@dataclass(frozen=True)
class DeploymentCheck:
    """A check that changes nothing. `quick`: it takes milliseconds and asks nobody but the database, so a page may run
    it, or `on_page` instead where it grows with the rows. `reads_rows`: it is left out while the database doesn't
    answer."""

    name: str
    run: Run
    quick: bool = False
    reads_rows: bool = True
    on_page: Run | None = None


CHECKS = (
    DeploymentCheck("database", database.check_server, quick=True),
    DeploymentCheck("migrations", database.check_migrations),
    DeploymentCheck("clock", database.check_clock, quick=True),
    DeploymentCheck("settings", installation.check_with_django, reads_rows=False),
    DeploymentCheck("addresses", installation.check_addresses, quick=True, reads_rows=False),
    DeploymentCheck(
        "keys", installation.check_stored_secrets, quick=True, on_page=installation.check_connection_secrets
    ),
    DeploymentCheck("files", installation.check_files, quick=True, reads_rows=False),
    DeploymentCheck("team", installation.check_admins, quick=True),
    DeploymentCheck("redis", services.check_redis, reads_rows=False),
    DeploymentCheck("mail", services.check_mail, reads_rows=False),
    DeploymentCheck("processes", work.check_processes),
    DeploymentCheck("audit log", work.check_audit_log, quick=True),
    DeploymentCheck("backups", work.check_backups, quick=True),
    DeploymentCheck("erasures", work.check_erasures),
    DeploymentCheck("providers", work.check_providers),
)


def examine(*, quick: bool = False) -> list[Finding]:
    """Return the findings of all checks, or of the quick ones."""
    found: list[Finding] = []
    for check in CHECKS:
        lost = any(each.code == database.UNREACHABLE for each in found)
        if (check.quick or not quick) and not (lost and check.reads_rows):
            found += _run(check, (quick and check.on_page) or check.run)
    return found


def _run(check: DeploymentCheck, run: Run) -> list[Finding]:
    """Return the findings of one check. That it failed is a finding: it must not hide what the others find."""
    try:
        return list(run())
    except Exception as failure:
        log.warning("doctor.check_failed", check=check.name, exc_info=failure)
        title = _("The check of %(name)s could not run (%(error)s)")
        named = {"name": check.name, "error": type(failure).__name__}
        return [warning(f"{check.name}.failed", title % named, _("It may be wrong unseen."), _("See the log above."))]
