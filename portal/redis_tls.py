"""TLS options of a Redis URL, for broker, cache, and rate limiter alike."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured


def redis_tls(name: str, url: str, *, ca_file: str) -> dict[str, Any]:
    """Return the options for the URL in the setting `name`: none without a URL. kombu would accept any certificate of a
    rediss:// server, and an option in the URL would override these."""
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured(f"{name} must begin with redis:// or rediss://.")
    if loose := next((option for option, _ in parse_qsl(parts.query) if option.startswith("ssl_")), ""):
        raise ImproperlyConfigured(f"{name} contains {loose}. Certificates are always verified; see REDIS_CA_FILE.")
    if parts.scheme == "redis":
        return {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": ca_file or None}
