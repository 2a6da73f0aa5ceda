"""Client addresses of requests. Only entries written by the portal's own proxies are trusted."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import uuid

from django.conf import settings
from django.http import HttpRequest

_WITH_PORT = re.compile(r"\[([^\[\]]*)\](?::\d{1,5})?|([\d.]+):\d{1,5}", re.ASCII)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def client_ip(request: HttpRequest) -> str | None:
    """Return the client's address as text that `ipaddress` reads; None if it is not known (a Unix socket).

    It is the entry of X-Forwarded-For as many steps from the right as there are trusted proxies. If that entry is no
    address (a proxy that writes "unknown") or is missing, the peer's address is returned. With TRUSTED_PROXIES = 0 the
    header is ignored, as any client could set it.
    """
    return _parse(_forwarded(request)) or _parse(_peer(request))


def throttle_key(request: HttpRequest) -> str:
    """Return the key for sign-in limits: the client's address, or a value that no two clients share.

    Behind a proxy that writes something else than an address, every request has the proxy's own one. With that as key,
    one attacker would lock everybody out, so the proxy's entry is used instead. If nothing tells clients apart, only
    the limits per account apply.
    """
    forwarded = _forwarded(request)
    if found := _parse(forwarded):
        return found
    if forwarded:
        return f"text-{hashlib.sha256(forwarded.encode('utf-8', 'replace')).hexdigest()}"
    return _parse(_peer(request)) or f"unknown-{uuid.uuid4().hex}"


def _peer(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _forwarded(request: HttpRequest) -> str:
    """Return what the outermost trusted proxy wrote about its client, "" if none. An empty entry counts as one."""
    depth = int(settings.TRUSTED_PROXIES)
    hops = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    return hops[-depth].strip() if 0 < depth <= len(hops) else ""


def _parse(text: str) -> str | None:
    """Parse an address without the port, brackets, quotes and zone that proxies add; an embedded IPv4 address is
    returned as such. Return None for the unspecified address."""
    text = text.strip().removeprefix('"').removesuffix('"')
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            found = found.ipv4_mapped or found
    return None if found.is_unspecified else str(found)
