"""System checks of the installation. Errors stop every command; checks for public operation run with `--deploy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured

from portal import encryption

Apps = Sequence[AppConfig] | None
AUDIT_KEY_LENGTH = 32


@register(Tags.security)
def keys_are_usable(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check keys: portal.E001 FIELD_KEYS, portal.E002 AUDIT_KEY, portal.E003 one key used twice."""
    found: list[CheckMessage] = []
    try:
        encryption.check_keys()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="portal.E001"))
    if len(settings.AUDIT_KEY) < AUDIT_KEY_LENGTH:
        found.append(
            Error(
                f"AUDIT_KEY has fewer than {AUDIT_KEY_LENGTH} characters.",
                hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
                id="portal.E002",
            )
        )
    if settings.AUDIT_KEY == settings.SECRET_KEY or settings.AUDIT_KEY in settings.FIELD_KEYS:
        found.append(
            Error(
                "AUDIT_KEY is also used as another key.",
                hint="Whoever learns one of them must not be able to rewrite the audit trail.",
                id="portal.E003",
            )
        )
    return found


@register(Tags.security)
def nothing_is_silenced(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.E004: silenced checks are not allowed."""
    if not settings.SILENCED_SYSTEM_CHECKS:
        return []
    return [Error("SILENCED_SYSTEM_CHECKS is not empty.", hint="Mend what the check says.", id="portal.E004")]


@register(Tags.security, deploy=True)
def fit_for_people_outside(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Check portal.W001 demo, W002 SQLite, W003 no email, W004 endless redirect, W005 all clients have the proxy's
    address."""
    behind_proxy = bool(settings.SECURE_PROXY_SSL_HEADER)
    rules = (
        (
            settings.DEMO or not settings.PRODUCTION,
            "PORTAL_ENV is not production.",
            "Unset PORTAL_DEMO, and set PORTAL_ENV=production.",
        ),
        (
            settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"),
            "The database is SQLite: one machine, one writer at a time, no backup while it runs but by its own tool.",
            "Set DATABASE_URL to a PostgreSQL database.",
        ),
        (
            ".smtp." not in settings.EMAIL_BACKEND,
            "Mail is not sent by SMTP: invitations and password links reach nobody.",
            "Set EMAIL_URL, for example smtp+tls://user:password@smtp.example.com:587.",
        ),
        (
            settings.SECURE_SSL_REDIRECT and not behind_proxy,
            "Every page redirects to https, but no proxy in front is trusted to say that it spoke https.",
            "Set BEHIND_TLS_PROXY=1 when the proxy sets X-Forwarded-Proto itself.",
        ),
        (
            behind_proxy and settings.TRUSTED_PROXIES < 1,
            "TRUSTED_PROXIES is 0 behind a proxy: everybody shares the proxy's address and its sign-in limits.",
            "Set TRUSTED_PROXIES to the number of your own proxies in front.",
        ),
    )
    return [
        Warning(sentence, hint=hint, id=f"portal.W{number:03}")
        for number, (broken, sentence, hint) in enumerate(rules, start=1)
        if broken
    ]
