"""Static files carry the same security headers as pages, and may still be cached."""

from __future__ import annotations

import pytest
from django.test import Client

WANTED = {
    "Content-Security-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
    "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options",
}  # fmt: skip


@pytest.mark.parametrize("address", ["/static/css/base.css", "/static/js/portal.js"])
@pytest.mark.parametrize("asked", [{}, {"HTTP_IF_MODIFIED_SINCE": "Fri, 01 Jan 2100 00:00:00 GMT"}])
def test_a_static_file(address: str, asked: dict[str, str], client: Client) -> None:
    answer = client.get(address, **asked)
    b"".join(answer)  # read to its end, which closes the file
    assert answer.status_code == (304 if asked else 200)
    assert set(answer.headers) >= WANTED
    assert "no-store" not in answer.headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in answer.headers
