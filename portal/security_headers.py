"""Security headers of every answer: what a browser may load, run, embed and report. No Django setting is read here,
because gunicorn's own answers carry them as well (portal/gunicorn_answers.py)."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

GetResponse = Callable[[HttpRequest], HttpResponse]

REPORTS_PATH = "/browser-reports/"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        # The two policies of static/js/trusted-types.js.
        "trusted-types default portal-inspection",
        f"report-uri {REPORTS_PATH}",
        "report-to portal",
    )
)
_REPORT_TO = "; report-to portal"
# Features that the portal uses itself; its pages are the only ones that may.
_OWN_FEATURES = ("clipboard-write", "publickey-credentials-create", "publickey-credentials-get")
_NO_FEATURES = (
    "accelerometer",
    "autoplay",
    "browsing-topics",
    "camera",
    "clipboard-read",
    "compute-pressure",
    "cross-origin-isolated",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "keyboard-map",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "sync-xhr",
    "unload",
    "usb",
    "window-management",
    "xr-spatial-tracking",
)
PERMISSIONS_POLICY = ", ".join(
    [f"{feature}=()" for feature in _NO_FEATURES] + [f"{feature}=(self)" for feature in _OWN_FEATURES]
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Reporting-Endpoints": f'portal="{REPORTS_PATH}"',
    "Permissions-Policy": PERMISSIONS_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def security_headers(get_response: GetResponse) -> GetResponse:
    """Set security headers on every response, including static files. Not cached unless Cache-Control is set."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in SECURITY_HEADERS.items():
            response.setdefault(name, value)
        if not request.is_secure():
            # Without https Chromium knows no endpoints, and would ignore report-uri beside report-to.
            policy = response["Content-Security-Policy"]
            response["Content-Security-Policy"] = policy.removesuffix(_REPORT_TO)
        patch_vary_headers(response, ["HX-Request"])
        return response

    return middleware
