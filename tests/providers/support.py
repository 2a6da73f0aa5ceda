"""A server that does exactly what a test says, down to the byte and the reset, and shorthand for clients."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import requests

from portal.providers import ConnectionConfig, Evidence, IdempotentBody, NewAccount, Profile, Provider, ProviderOffering
from portal.providers.sendgrid.client import SendGrid

KEY = "SG.canary-v3-key.8f1c2b7d9e"
PASSWORD = "canary v2 pässword+/="
SENDGRID = "https://api.sendgrid.com"
PROFILE = Profile(email="ops@northwind.test", company_name="Northwind Oy")
PACKAGE = [ProviderOffering("acme.ei.pro-100k.v1", "package")]
ACCOUNT_ID = "sg0f3e5a7712c94b18a2d6c05e91b7f4aa"


def create(
    provider: Provider,
    profile: Profile = PROFILE,
    offerings: Sequence[ProviderOffering] = tuple(PACKAGE),
    *,
    test: bool = False,
) -> str:
    """A create as the executor sends it; the new account's id."""
    new = NewAccount(profile, tuple(offerings), test=test)
    return provider.create_account(new, IdempotentBody("an-operation", provider.create_body(new))).id


Script = Callable[[socket.socket], None]


def reply(status: int, body: Any = b"", **headers: str) -> bytes:
    """A whole HTTP answer. `headers` in snake case; a body that is not bytes goes as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def read_request(sock: socket.socket) -> bytes:
    """One request, headers and body; b"" when the other side has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(65_536)
        if not got:
            return b""
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0]) if lengths else 0
    while len(body) < wanted:
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body


def reset(sock: socket.socket) -> None:
    """RST instead of FIN: what is in flight is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Canned(io.BytesIO):
    """What requests reads a body from, without a connection."""

    @classmethod
    def response(cls, status: int, body: bytes) -> requests.Response:
        response = requests.Response()
        response.status_code = status
        response.raw = cls(body)
        return response


class Server:
    """`with Server(script, ...)`: connection n is handled by script n (the last one repeats), on 127.0.0.1."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.connections = 0
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.over = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @classmethod
    def answering(cls, *answers: bytes) -> Server:
        """Answers every request in turn, over kept-alive connections; the last answer repeats."""
        server = cls()
        left = list(answers)

        def script(sock: socket.socket) -> None:
            while request := read_request(sock):
                server.requests.append(request)
                sock.sendall(left.pop(0) if len(left) > 1 else left[0])

        server.scripts = (script,)
        return server

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            script = self.scripts[min(self.connections, len(self.scripts) - 1)]
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(script, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, sock: socket.socket) -> None:
        try:
            script(sock)
        except OSError:
            pass  # the client left, or the test is over
        finally:
            sock.close()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # close alone would not wake a script that waits in recv
            sock.close()
        for thread in self._threads:
            thread.join(5)


def config(base_url: str = SENDGRID, **more: Any) -> ConnectionConfig:
    given: dict[str, Any] = {
        "kind": "sendgrid", "base_url": base_url, "api_key": KEY, "v2_password": PASSWORD,
        "sign_in_hosts": ("sendgrid.com",),
    }  # fmt: skip
    return ConnectionConfig(**(given | more))


def sendgrid(base_url: str = SENDGRID, *, kept: list[Evidence] | None = None, **more: Any) -> SendGrid:
    """A client whose reads do not rest between tries. `kept` collects the evidence of every exchange."""
    client = SendGrid(config(base_url, **more), on_exchange=kept.append if kept is not None else None)
    client._http.sleep = lambda _seconds: None
    return client
