"""Check an admin's input about a connection."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from customers.connections import credentials


class UnableToConnect(Exception):
    """A refusal shown to users. `field` names the form field."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def check_base_url(base_url: str) -> str:
    """Return the address, normalized: https to a known provider host, or outside production the sandbox on loopback."""
    hosts = ", ".join(settings.PROVIDER_HOSTS)
    refusal = UnableToConnect(
        _("The address must be https and one of: %(hosts)s.") % {"hosts": hosts}, field="base_url"
    )
    try:
        parts = urlsplit(base_url.strip().rstrip("/"))
        port = parts.port
    except ValueError:  # "http://[::1", or a port that is none
        raise refusal from None
    plain = not parts.query and not parts.fragment and parts.username is None and parts.password is None
    known = parts.scheme == "https" and parts.hostname in settings.PROVIDER_HOSTS and port in (None, 443)
    sandbox = not settings.PRODUCTION and parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not plain or not (sandbox or (known and parts.path == "")):
        raise refusal
    return credentials.normal_address(parts.geturl())
