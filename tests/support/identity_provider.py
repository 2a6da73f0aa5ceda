"""An OpenID provider as a process of its own (oidc-provider-mock), and a proxy in front that alters what it says.

The proxy is what the portal knows as the issuer. It checks PKCE, which that provider doesn't, and holds a second key
that the provider's key set lists: what is altered can be signed anew, so that a test of a claim is none of a signature.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

CLIENT_ID, CLIENT_SECRET = "postkeeper-of-a-test", "client-secret-of-a-test"
START_SECONDS = 60
Claims = dict[str, Any]


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, with the Host header as it is: the provider then takes the proxy's address for its own."""

    server: ProxyServer

    def log_message(self, *_: Any) -> None:
        pass

    def _pass_on(self) -> None:
        idp = self.server.idp
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.urlsplit(self.path)
        idp.seen.append((self.command, path.path))
        if path.path == "/oauth2/token" and not idp.verifier_fits(body):
            self._answer(400, {}, b'{"error": "invalid_grant"}')
            return
        upstream = http.client.HTTPConnection("127.0.0.1", idp.port, timeout=10)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content, told = answer.read(), dict(answer.getheaders())
        finally:
            upstream.close()
        if path.path == "/oauth2/authorize" and self.command == "POST":
            idp.note_challenge(path.query, told.get("Location", told.get("location", "")))
        status, told, content = idp.altered(path.path, answer.status, told, content)
        self._answer(status, told, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _pass_on  # noqa: N815 - names of the standard library


class ProxyServer(ThreadingHTTPServer):
    daemon_threads = True
    idp: IdentityProvider


@dataclass
class IdentityProvider:
    """The provider. A test sets `token`, `userinfo`, `discovery` or `keys` to alter what passes."""

    port: int = 0
    issuer: str = ""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    seen: list[tuple[str, str]] = field(default_factory=list)
    challenges: dict[str, str] = field(default_factory=dict)
    token: Callable[[str], str] | None = None
    userinfo: Callable[[Claims], Claims] | None = None
    discovery: Callable[[Claims], Claims] | None = None
    raw: Callable[[str, int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]] | None = None

    def reset(self) -> None:
        self.token = self.userinfo = self.discovery = self.raw = None
        self.seen.clear()

    def person(self, subject: str, **claims: Any) -> None:
        """Set what the provider says about a subject, who uses a second factor there if the test says nothing else."""
        claims = {"amr": ["pwd", "mfa"], **claims}
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        upstream.request("PUT", f"/users/{subject}", json.dumps(claims), {"Content-Type": "application/json"})
        assert upstream.getresponse().status == 204
        upstream.close()

    def claims(self, change: Callable[[Claims], Claims | None]) -> None:
        """Alter the claims of every ID token, and sign it with the key that the provider lists."""

        def alter(token: str) -> str:
            claims = jwt.decode(token, options={"verify_signature": False})
            claims = change(claims) or claims
            return jwt.encode(claims, self.key, "ES256", headers={"kid": "proxy"})

        self.token = alter

    # --- the proxy's part

    def verifier_fits(self, body: bytes) -> bool:
        sent = dict(urllib.parse.parse_qsl(body.decode()))
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        found = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return self.challenges.get(sent.get("code", "")) == found

    def note_challenge(self, query: str, location: str) -> None:
        asked = dict(urllib.parse.parse_qsl(query))
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query)).get("code", "")
        if asked.get("code_challenge_method") == "S256":
            self.challenges[code] = asked["code_challenge"]

    def altered(
        self, path: str, status: int, headers: dict[str, str], content: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if path == "/jwks":
            mine = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
            keys = [*json.loads(content)["keys"], {**mine, "kid": "proxy", "use": "sig", "alg": "ES256"}]
            content = json.dumps({"keys": keys}).encode()
        elif path == "/oauth2/token" and self.token and status == 200:
            answer = json.loads(content)
            content = json.dumps({**answer, "id_token": self.token(answer["id_token"])}).encode()
        elif path == "/userinfo" and self.userinfo:
            content = json.dumps(self.userinfo(json.loads(content))).encode()
        elif path.startswith("/.well-known/") and self.discovery:
            content = json.dumps(self.discovery(json.loads(content))).encode()
        return self.raw(path, status, headers, content) if self.raw else (status, headers, content)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Start the provider and its proxy, and end both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)],
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    proxy = ProxyServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, name="identity-provider-proxy", daemon=True)
    try:
        _wait_for(port, process)
        proxy.idp = IdentityProvider(port=port, issuer=f"http://127.0.0.1:{proxy.server_port}")
        thread.start()
        yield proxy.idp
        proxy.shutdown()
    finally:
        proxy.server_close()
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the identity provider did not start (exit {process.poll()})")


class Browser:
    """A browser with one session at the portal, which signs in at the provider as whoever the test says."""

    def __init__(self, client: Client | None = None) -> None:
        self.client = client or Client()

    def leave(self, url: str = "/sign-in/sso/", **fields: str) -> str:
        """Press a button for single sign-on, and return where the browser is sent."""
        page: Any = self.client.post(url, fields)
        assert page.status_code == 200, (page.status_code, page.content.decode()[:3000])
        return str(page["Refresh"]).partition("url=")[2]

    def approve(self, authorization_url: str, subject: str) -> str:
        """Sign in at the provider, and return where it sends the browser: path and query."""
        parts = urllib.parse.urlsplit(authorization_url)
        upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        upstream.request("POST", f"{parts.path}?{parts.query}", urllib.parse.urlencode({"sub": subject}), form)
        location = upstream.getresponse().getheader("Location") or ""
        upstream.close()
        back = urllib.parse.urlsplit(location)
        assert back.netloc == "testserver", location
        return f"{back.path}?{back.query}"

    def sso(self, subject: str, url: str = "/sign-in/sso/", **fields: str) -> Any:
        """Go through the whole of it, and return the portal's answer."""
        return self.client.get(self.approve(self.leave(url, **fields), subject))

    @property
    def is_signed_in(self) -> bool:
        return self.client.get("/me/").status_code == 200
