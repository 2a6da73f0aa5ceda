"""Where a request comes from. Only what our own proxies wrote is believed."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104  a word for "not known", not an address to listen on


def client_ip(request: HttpRequest) -> str:
    """The client's address: as many steps from the right of X-Forwarded-For as we have proxies of our own.

    With TRUSTED_PROXIES = 0 the header is ignored: whoever sends it could write anything.
    """
    depth = int(settings.TRUSTED_PROXIES)
    candidate = str(request.META.get("REMOTE_ADDR", ""))
    if depth > 0:
        hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
        if len(hops) >= depth:
            candidate = hops[-depth]
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return UNKNOWN  # a unix socket, or a proxy that writes something else
