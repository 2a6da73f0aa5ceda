"""Return addresses after signing in or reauthenticating."""

from __future__ import annotations

from django.http import HttpRequest


def page_behind(request: HttpRequest) -> str:
    """Return the path of the page this request belongs to: always on this portal, and always one for GET."""
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.history_restore_request:
        return str(htmx.current_url_abs_path or "/")
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return request.get_full_path()
    origin = f"{request.scheme}://{request.get_host()}"
    referer = request.headers.get("Referer", "")
    return referer.removeprefix(origin) if referer.startswith(f"{origin}/") else "/"
