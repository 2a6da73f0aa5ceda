"""System checks of the installation. Errors stop every command; checks for public operation run with `--deploy`."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured

from portal import encryption, env_file
from portal.secret_files import UNUSED

Apps = Sequence[AppConfig] | None
AUDIT_KEY_LENGTH = 32


@register(Tags.security)
def keys_are_usable(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check keys: portal.E001 FIELD_KEYS, portal.E002 AUDIT_KEY and the former ones, portal.E003 one key used twice. A
    process may do without."""
    found: list[CheckMessage] = []
    try:
        if settings.FIELD_KEYS != UNUSED:
            encryption.check_keys()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="portal.E001"))
    if settings.AUDIT_KEY == UNUSED:
        return found
    named = {"AUDIT_KEY": [settings.AUDIT_KEY], "A key of AUDIT_KEY_FALLBACKS": settings.AUDIT_KEY_FALLBACKS}
    found += [
        Error(
            f"{name} has fewer than {AUDIT_KEY_LENGTH} characters.",
            hint="Generate one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
            id="portal.E002",
        )
        for name, values in named.items()
        if any(len(key) < AUDIT_KEY_LENGTH for key in values)
    ]
    others = (settings.SECRET_KEY, *settings.AUDIT_KEY_FALLBACKS)
    if settings.AUDIT_KEY in others or settings.AUDIT_KEY in settings.FIELD_KEYS:
        found.append(
            Error(
                "AUDIT_KEY is also used as another key.",
                hint="Use a separate key, so that a leaked key is not enough to alter the audit log.",
                id="portal.E003",
            )
        )
    return found


@register(Tags.security)
def nothing_is_silenced(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.E004: silenced checks are not allowed, but for HSTS preload, which is a choice."""
    if not set(settings.SILENCED_SYSTEM_CHECKS) - {"security.W021"}:
        return []
    return [
        Error("SILENCED_SYSTEM_CHECKS is not empty.", hint="Fix the problems that the checks report.", id="portal.E004")
    ]


@register(Tags.security)
def env_file_is_private(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.W007: the file with the secrets can't be read by everyone."""
    file = env_file.path()
    if file is None or not file.exists() or not file.stat().st_mode & stat.S_IRWXO:
        return []
    return [
        Warning(
            f"Every user of this machine can read or change {file}, which holds secrets.",
            hint=f"Run: chmod 600 {file}",
            id="portal.W007",
        )
    ]


@register(Tags.staticfiles, deploy=True)
def static_files_are_collected(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.E005: in production, every static file is collected as it is now."""
    if not hasattr(staticfiles_storage, "hashed_files"):  # no production
        return []
    missing = next(_uncollected(staticfiles_storage), "")
    if not missing:
        return []
    return [
        Error(
            f"The static files are not collected, or are those of another version: {missing} is missing in "
            f"{settings.STATIC_ROOT}. Every page would be an error.",
            hint="Run: python manage.py collectstatic --noinput",
            id="portal.E005",
        )
    ]


def refuse_without_static_files() -> None:
    """Raise `ImproperlyConfigured` if static files are not collected. For web servers, which run no checks."""
    for problem in static_files_are_collected(None):
        raise ImproperlyConfigured(f"{problem.msg} {problem.hint}")


def _uncollected(collected: Any) -> Iterator[str]:
    """Yield the names of static files whose collected copy is missing or differs. Like collectstatic, skip what it
    ignores, and of several files with one name take the first."""
    seen: set[str] = set()
    ignored = apps.get_app_config("staticfiles").ignore_patterns  # type: ignore[attr-defined]
    for finder in get_finders():
        for name, storage in finder.list(ignored):
            if name in seen:
                continue
            seen.add(name)
            copy = Path(collected.path(name))
            same = copy.exists() and copy.read_bytes() == Path(storage.path(name)).read_bytes()
            if not same or name not in collected.hashed_files:
                yield name


@register(Tags.security, deploy=True)
def fit_for_people_outside(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.W001 demo, W002 SQLite, W003 no email, W004 endless redirect, W005 all clients have the proxy's
    address, W006 no TLS."""
    behind_proxy = bool(settings.SECURE_PROXY_SSL_HEADER)
    rules = (
        (
            settings.DEMO or not settings.PRODUCTION,
            "PORTAL_ENV is not production.",
            "Unset PORTAL_DEMO and set PORTAL_ENV=production.",
        ),
        (
            settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"),
            (
                "The database is SQLite. It supports only one machine and one writer at a time, and copying its "
                "file while the portal runs is not a safe backup."
            ),
            "Set DATABASE_URL to a PostgreSQL database.",
        ),
        (
            ".smtp." not in settings.EMAIL_BACKEND,
            "Email is not sent by SMTP, so invitations and password reset links are not delivered.",
            "Set EMAIL_URL, for example smtp+tls://user:password@smtp.example.com:587.",
        ),
        (
            settings.SECURE_SSL_REDIRECT and not behind_proxy,
            (
                "Every page redirects to HTTPS, but no proxy is trusted to report HTTPS requests. The result is "
                "a redirect loop."
            ),
            "Set BEHIND_TLS_PROXY=1 if your proxy sets X-Forwarded-Proto.",
        ),
        (
            behind_proxy and settings.TRUSTED_PROXIES < 1,
            (
                "TRUSTED_PROXIES is 0 behind a proxy, so all clients share the proxy's IP address and its "
                "sign-in limits."
            ),
            "Set TRUSTED_PROXIES to the number of proxies you run in front of the portal.",
        ),
        (
            settings.LOOPBACK_ONLY,
            "LOOPBACK_ONLY is on: the portal answers its own machine alone, without TLS.",
            "Unset LOOPBACK_ONLY once a proxy with TLS is in front.",
        ),
    )
    return [
        Warning(sentence, hint=hint, id=f"portal.W{number:03}")
        for number, (broken, sentence, hint) in enumerate(rules, start=1)
        if broken
    ]
