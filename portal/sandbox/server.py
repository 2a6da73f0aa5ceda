"""HTTP server on the standard library, able to reset, delay or never answer a connection."""

import select
import socket
import socketserver
import struct
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from portal.sandbox.app import Application
from portal.sandbox.messages import Reply, Request, plain_error

MAX_BODY = 20_000_000  # the admin API accepts accounts by the thousand
REGIONS = ("global", "eu")
LONGEST_HANG = 600


class SandboxServer(ThreadingHTTPServer):
    daemon_threads = True
    # Hanging answers must not delay the end of the process.
    block_on_close = False
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, host: str, port: int, app: Application, *, fd: int | None = None) -> None:
        """Create the server. `fd` is an inherited socket that already listens; then none is bound."""
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Handler, bind_and_activate=fd is None)
        if fd is not None:
            self.socket.close()
            self.socket = socket.socket(fileno=fd)
            self.server_address = self.socket.getsockname()
        self.app = app
        shown = f"[{host}]" if ":" in host else host
        app.base_url = f"http://{shown}:{self.server_address[1]}"

    def server_bind(self) -> None:
        # Without HTTPServer's lookup of the hostname, which can take seconds with slow DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore disconnected clients, which are usual here."""


class Handler(BaseHTTPRequestHandler):
    server: SandboxServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def answer(self) -> None:
        request = self._read()
        if request is None:
            return
        reply = self.server.app.handle(request)
        if reply.wait_before:
            time.sleep(reply.wait_before)
        if reply.delivery == "reset":
            self._reset()
        elif reply.delivery == "hang":
            self._hang()
        else:
            self._send(reply)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Handle every `do_GET` and so on with `answer`, so that every method gets a provider's answer, never the
        library's 501."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Write nothing: the request log is in the store, with secrets masked."""

    def _read(self) -> Request | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._send(plain_error(413, "request body is too large or has no length"))
            return None
        body = self.rfile.read(int(length))
        target = urlsplit(self.path)
        path, region = unquote(target.path) or "/", None
        first, _, rest = path.lstrip("/").partition("/")
        if first in REGIONS:
            region, path = first, f"/{rest}"
        return Request(
            method=self.command,
            path=path,
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            region=region,
            peer=str(self.client_address[0]),
        )

    def _head(self, reply: Reply) -> bytes:
        bare = reply.status in (204, 303) or reply.status < 200
        headers = {
            # The sandbox's clock, so that clients compute rate windows correctly.
            "Date": formatdate(self.server.app.store.clock.now(), usegmt=True),
            "X-Sandbox": "1",
            **reply.headers,
        }
        if reply.status != 204:
            headers["Content-Length"] = str(len(reply.body))
        if bare:
            headers.pop("Content-Type", None)
        if self.close_connection or reply.delivery != "plain":
            headers["Connection"] = "close"
        lines = [f"{name}: {value}" for name, value in headers.items()]
        phrase = self.responses.get(reply.status, ("",))[0]
        return "\r\n".join([f"HTTP/1.1 {reply.status} {phrase}", *lines, "", ""]).encode("latin-1", "replace")

    def _send(self, reply: Reply) -> None:
        body = b"" if self.command == "HEAD" or reply.status == 204 else reply.body
        head = self._head(reply)
        if reply.delivery == "truncated":
            self.wfile.write(head + body[: len(body) // 2])
            self.close_connection = True
        elif reply.delivery == "drip":
            self._drip(head, body, reply.drip_seconds)
        else:
            self.wfile.write(head + body)

    def _drip(self, head: bytes, body: bytes, seconds: float) -> None:
        self.close_connection = True
        self.wfile.write(head)
        for index in range(len(body)):
            self.wfile.write(body[index : index + 1])
            time.sleep(seconds)

    def _reset(self) -> None:
        """Reset the connection: without lingering, close() sends RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _hang(self) -> None:
        """Send nothing until the client disconnects, at most `LONGEST_HANG` seconds."""
        self.close_connection = True
        deadline = time.monotonic() + LONGEST_HANG
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.connection], [], [], 5)
            if readable and self.connection.recv(4096) == b"":
                return
