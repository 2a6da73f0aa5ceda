"""Where a person is, so that they come back there after signing in or typing the password again."""

from __future__ import annotations

from django.http import HttpRequest


def page_behind(request: HttpRequest) -> str:
    """The path of the page this request belongs to: always one of ours, always one that can be opened with GET."""
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.history_restore_request:
        return str(htmx.current_url_abs_path or "/")
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return request.get_full_path()
    origin = f"{request.scheme}://{request.get_host()}"
    referer = request.headers.get("Referer", "")
    return referer.removeprefix(origin) if referer.startswith(f"{origin}/") else "/"
