"""Answers of gunicorn itself: no name of the server on any, and our security headers on its error answers."""

from __future__ import annotations

from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import Response

from portal.security_headers import SECURITY_HEADERS

_default_headers = Response.default_headers


def _without_server(response: Any) -> list[str]:
    return [line for line in _default_headers(response) if not line.startswith("Server:")]


def _write_error(sock: Any, status_int: int, reason: str, _message: str) -> None:
    """Answer a request that can't be read. The message is left out: it repeats what was sent."""
    body = f"{reason}\n"
    lines = [
        f"HTTP/1.1 {status_int} {reason}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in SECURITY_HEADERS.items()),
    ]
    util.write_nonblock(sock, ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii"))


def install() -> None:
    """Replace both functions of gunicorn, which has no setting for them (tests/house/test_headers.py asks a server)."""
    Response.default_headers = _without_server
    util.write_error = _write_error
