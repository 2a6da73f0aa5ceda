"""Where a request ends: gunicorn with our settings takes one request for one, or refuses it (request smuggling)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.house.test_deploy import ROOT, _is_open
from tests.journeys.processes import until
from tests.support.postgres import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    free = free_port()
    env = os.environ | {
        "WEB_BIND": f"127.0.0.1:{free}", "WEB_CONCURRENCY": "1", "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "DJANGO_SETTINGS_MODULE": "tests.settings", "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: _is_open(free), what="the web server")
            yield free
        finally:
            server.terminate()


def answers(port: int, sent: bytes) -> list[int]:
    """Return the status of each answer until the server closes the connection, or says nothing for half a second."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65_536):
            received += piece
    return [int(each) for each in re.findall(rb"^HTTP/1\.1 (\d{3})", received, re.MULTILINE)]


def test_two_requests_that_follow_each_other_are_two(port: int) -> None:
    assert answers(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + SECOND) == [200, 404]


AMBIGUOUS = {
    "length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(SECOND)),
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SECOND),
    "a list of lengths": b"Content-Length: 0, %d\r\n\r\n" % len(SECOND),
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a length of letters": b"Content-Length: 0x0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two encodings": b"Transfer-Encoding: identity, chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"X-One: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of a negative size": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk of letters": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a NUL in a header": b"X-One: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a bare line end in a name": b"X-One\n: a\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_an_ambiguous_end_hides_no_second_request(case: str, port: int) -> None:
    """Refused, or answered once: what follows isn't taken for a request of its own behind a proxy that read it as the
    body of this one."""
    found = answers(port, HEAD + AMBIGUOUS[case] + SECOND)
    assert all(400 <= status < 502 for status in found), found
    assert found[1:] in ([], [400]), "what follows is refused, if it is read at all"
