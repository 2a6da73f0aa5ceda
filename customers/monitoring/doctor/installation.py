"""Settings that contradict each other, keys, files, and the checks of Django."""

from __future__ import annotations

import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.db import connection
from django.http.request import validate_host
from django.utils.translation import gettext as _

from customers.connections import credentials
from customers.models import Connection, KeySecret
from customers.monitoring.doctor.findings import Finding, error, warning
from portal import encryption
from portal.access.permissions import Permission
from portal.access.queries import people_who_may
from portal.access.sso.queries import break_glass_admins, is_configured, local_admins

LEAST_FREE_BYTES, LEAST_FREE_SHARE = 1_000_000_000, 0.05


def check_with_django() -> Iterator[Finding]:
    """Django's and the portal's own checks for deployment (`portal/checks.py`)."""
    for found in checks.run_checks(include_deployment_checks=True):
        make = error if found.level >= checks.ERROR else warning
        if not found.is_silenced():
            why = _("Django's deployment checks report it.")
            yield make(str(found.id), found.msg, why, found.hint or _("See the message."))


def check_addresses() -> Iterator[Finding]:
    portal = urlsplit(settings.PORTAL_URL)
    if not validate_host(portal.hostname or "", settings.ALLOWED_HOSTS):
        yield error(
            "settings.portal_url",
            _("PORTAL_URL is %(url)s, whose host is none of ALLOWED_HOSTS") % {"url": settings.PORTAL_URL},
            _("Links in emails lead to a page that is refused."),
            _("Set PORTAL_URL to https:// and one of ALLOWED_HOSTS."),
        )
    if settings.PRODUCTION and portal.scheme != "https" and not settings.LOOPBACK_ONLY:
        yield error(
            "settings.portal_url_tls",
            _("PORTAL_URL doesn't begin with https://"),
            _("One-time links would be sent without TLS."),
            _("Set PORTAL_URL to https:// and one of ALLOWED_HOSTS."),
        )
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        if not validate_host(urlsplit(origin.replace("*.", ".")).hostname or "", settings.ALLOWED_HOSTS):
            yield warning(
                "settings.csrf_origins",
                _("CSRF_TRUSTED_ORIGINS has %(origin)s, whose host is none of ALLOWED_HOSTS") % {"origin": origin},
                _("Forms of another site would be accepted."),
                _("Remove it from CSRF_TRUSTED_ORIGINS, or add its host to ALLOWED_HOSTS."),
            )


def check_connection_secrets() -> Iterator[Finding]:
    """Decrypt the secrets of the connections: few, however many API keys are stored."""
    return _check_keys(Connection.objects.order_by("pk"))


def check_stored_secrets() -> Iterator[Finding]:
    """Decrypt every stored secret."""
    stored = KeySecret.objects.exclude(sealed="").order_by("pk").iterator()
    return _check_keys(chain(Connection.objects.order_by("pk"), stored))


def _check_keys(rows: Iterable[Connection | KeySecret]) -> Iterator[Finding]:
    """Compare FIELD_KEYS with the keys that all stored secrets name, and decrypt those of the rows."""
    current, *others = encryption.key_ids()
    in_use = credentials.secrets_by_key()
    unreadable = Counter({name: n for name, n in in_use.items() if name not in (current, *others)})
    for row in rows:
        for column in row.SEALED_FIELDS:
            sealed = getattr(row, column)
            if encryption.key_id(sealed) not in (current, *others):
                continue
            try:
                encryption.decrypt(sealed, context=row.context_of(column))
            except encryption.DecryptionError:
                unreadable[encryption.key_id(sealed)] += 1
    for name, n in sorted(unreadable.items()):
        yield error(
            "keys.unreadable",
            _("%(n)d stored secrets can't be decrypted with the key “%(key)s”") % {"n": n, "key": name},
            _("Nothing is sent through their connections, and their API keys can't be shown."),
            _("Add “%(key)s:…” from your copy of the keys to FIELD_KEYS.") % {"key": name},
        )
    if older := sorted(in_use.keys() - {current} - unreadable.keys()):
        yield warning(
            "keys.older",
            _("Secrets are still encrypted with %(keys)s") % {"keys": ", ".join(older)},
            _("An old key that is removed too early makes them unreadable."),
            "python manage.py rotate_field_keys",
        )
    if unused := sorted({*others} - in_use.keys()):
        yield warning(
            "keys.unused",
            _("No secret uses the keys %(keys)s of FIELD_KEYS") % {"keys": ", ".join(unused)},
            _("A key that isn't needed can only leak."),
            _("Remove %(keys)s from FIELD_KEYS.") % {"keys": ", ".join(unused)},
        )


def check_files() -> Iterator[Finding]:
    private = [("files.data_dir", settings.DATA_DIR, "700", "DATA_DIR")]
    if connection.vendor == "sqlite":
        private.append(("files.sqlite", Path(str(connection.settings_dict["NAME"])), "600", _("The database file")))
    for code, path, mode, name in private:
        if settings.PRODUCTION and path.exists() and path != Path("/tmp") and path.stat().st_mode & stat.S_IRWXO:  # noqa: S108  a container's own
            yield warning(
                code,
                _("Every user of this machine can read %(name)s (%(path)s)") % {"name": name, "path": path},
                _("It holds data of customers, or messages of the queue."),
                f"chmod {mode} {path}",
            )
    disk = shutil.disk_usage(settings.DATA_DIR)
    if disk.free < min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * disk.total):
        yield error(
            "files.disk",
            _("%(n)d MB are free on the disk of DATA_DIR") % {"n": disk.free >> 20},
            _("A full disk stops the scheduler, and the database if it is on it."),
            _("Free space on the disk of %(path)s.") % {"path": settings.DATA_DIR},
        )


def check_admins() -> Iterator[Finding]:
    if settings.PRODUCTION and not people_who_may(Permission.MANAGE_TEAM).exists():
        yield error(
            "team.no_admin",
            _("There is no active admin"),
            _("Nobody gets alerts, manages connections, or invites team members."),
            "python manage.py create_admin --email ADDRESS --name NAME",
        )
    if not is_configured() or break_glass_admins().exists():
        return
    if local_admins().exists():
        yield warning(
            "team.break_glass_not_ready",
            _("The admin without single sign-on has no second factor"),
            _("Whoever signs in with the password first can set up a second factor of their own."),
            _("Sign in as this admin once, and add an authenticator app."),
        )
    else:
        yield warning(
            "team.no_break_glass",
            _("No admin can sign in without single sign-on"),
            _("Nobody can manage the portal when the identity provider is down or its groups name no admin."),
            "python manage.py create_admin --email ADDRESS --name NAME",
        )
