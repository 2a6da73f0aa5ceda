"""Return addresses after signing in or reauthenticating."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, resolve

from portal.access.permissions import Rule, rule_of


def page_behind(request: HttpRequest) -> str:
    """Return the path of the page this request belongs to: always on this portal, and always one for GET."""
    address = _sent_from(request)
    path = urlsplit(address).path
    rule = _rule(path)
    while path != "/" and "GET" not in (rule or ()):
        path = path.rstrip("/").rpartition("/")[0] + "/"
        rule = _rule(path)
    return address if path == urlsplit(address).path else path


def takes_only_posts(address: str) -> bool:
    rule = _rule(urlsplit(address).path)
    return rule is not None and "GET" not in rule


def _rule(path: str) -> Rule | None:
    try:
        return rule_of(resolve(path).view_name)
    except Resolver404:
        return None


def _sent_from(request: HttpRequest) -> str:
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.history_restore_request:
        return str(htmx.current_url_abs_path or "/")
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return request.get_full_path()
    origin = f"{request.scheme}://{request.get_host()}"
    referer = request.headers.get("Referer", "")
    return referer.removeprefix(origin) if referer.startswith(f"{origin}/") else "/"
