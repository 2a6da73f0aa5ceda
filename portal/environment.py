"""The environment, and how settings are read from it. A wrong value stops the start with a sentence that names it."""

from __future__ import annotations

import environ
from django.core.exceptions import ImproperlyConfigured

from portal import env_file

env_file.load()
env = environ.Env()


def whole_number(name: str, *, default: int) -> int:
    """Return the variable as a whole number, 0 or more."""
    text: str = env.str(name, default=str(default)).strip()
    if not (text.isascii() and text.isdigit()):
        raise ImproperlyConfigured(f'{name} is "{text}". It must be a whole number, 0 or more.')
    return int(text)


def listed(name: str, *, default: list[str]) -> list[str]:
    """Return the comma-separated values without the blanks around them."""
    values: list[str] = env.list(name, default=default)
    return [stripped for value in values if (stripped := value.strip())]


PORTAL_ENV: str = env.str("PORTAL_ENV", default="production")
if PORTAL_ENV not in {"production", "development"}:
    raise ImproperlyConfigured(f'PORTAL_ENV is "{PORTAL_ENV}". It must be "production" or "development".')
PRODUCTION = PORTAL_ENV == "production"
DEMO: bool = env.bool("PORTAL_DEMO", default=False)
if DEMO and PRODUCTION:
    raise ImproperlyConfigured(
        "PORTAL_DEMO is set while PORTAL_ENV is production. The demo prints its passwords. Unset PORTAL_DEMO "
        "or set PORTAL_ENV=development."
    )
# To look at the portal on its own machine, or through `ssh -L`, before there is TLS: no redirect to https and cookies
# without "Secure". Hosts, address and proxy settings are replaced by those of loopback, and
# portal.middleware.loopback_only refuses requests from elsewhere.
LOOPBACK_ONLY: bool = env.bool("LOOPBACK_ONLY", default=False)
