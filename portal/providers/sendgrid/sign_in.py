"""Validation of one-time sign-in URLs: a wrong one would give away access to an account."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from portal.providers.sockets import LOOPBACK_NAMES

_PLAIN = re.compile(r"[!-~]{1,4096}", re.ASCII)  # no space, CR, LF, NUL, nothing beyond ASCII
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.ASCII)


def trusted(url: str, hosts: Iterable[str]) -> bool:
    """Return whether `url` is https to one of `hosts` or a subdomain, on the standard port, without user information.

    A loopback name in `hosts` (development) allows exactly that name, over http and on any port. Anything that browsers
    and this parser may interpret differently (backslashes, spaces, dots of other alphabets) is rejected.
    """
    if not _PLAIN.fullmatch(url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = (parts.hostname or "").lower()
    if not host or "@" in parts.netloc or parts.geturl() != url:
        return False
    allowed = {name.lower() for name in hosts}
    if host in LOOPBACK_NAMES:
        return host in allowed and parts.scheme in ("http", "https") and _written_plainly(parts, host, port)
    below = any(host == name or host.endswith(f".{name}") for name in allowed if name not in LOOPBACK_NAMES)
    return (
        below
        and parts.scheme == "https"
        and port in (None, 443)
        and bool(_HOST.fullmatch(host))
        and _written_plainly(parts, host, port)
    )


def _written_plainly(parts: SplitResult, host: str, port: int | None) -> bool:
    """Return whether the authority is only the host and port, with nothing a browser could interpret differently."""
    name = f"[{host}]" if ":" in host else host
    return parts.netloc.lower() == (name if port is None else f"{name}:{port}")
