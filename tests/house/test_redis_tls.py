"""`rediss://`: broker, cache and rate limiter accept only a certificate that our CA signed for the server's name.

Each case starts a real TLS redis-server and a process with the production settings; nothing is stubbed.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.house.test_deploy import PRODUCTION, ROOT
from tests.support.postgres import free_port
from tests.support.redis import MISSING
from tests.support.skips import require

pytestmark = [pytest.mark.redis, pytest.mark.slow]
TRY_ALL = """
import json, django
django.setup()
from django.conf import settings
from django.core.cache import cache
from customers.connections.rate_limit import Shared
from portal.celery import app
from portal.providers.rate_limit import Rate

def outcome(attempt):
    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "connected"

def broker(connection):
    with connection:
        connection.default_channel.client.ping()

def limiter():
    ledger = Shared(settings.REDIS_URL)
    ledger._redis.ping()
    assert ledger.take("key", rate=Rate(1, 1), background=None, longest=0).taken and not ledger.lost

print(json.dumps({
    "worker": outcome(lambda: broker(app.connection_for_read())),
    "publisher": outcome(lambda: broker(app.connection_for_write())),
    "cache": outcome(lambda: cache.set("key", "value")),
    "limiter": outcome(limiter),
}))
"""


class Authority:
    """A certificate authority of the test, and what it signs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test CA {folder.name}")])
        self._write("ca", self._key, self._signed(self._name, self._key, ca=True))

    def server(self, host: x509.GeneralName) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
        self._write("server", key, self._signed(name, key, ca=False, host=host))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool, host: x509.GeneralName | None = None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if host:
            made = made.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        return made.sign(self._key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(pem, pkcs8, plain))


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    folder = tmp_path_factory.mktemp("tls")
    return {name: Authority(folder / name) for name in ("ours", "foreign")}


@pytest.fixture
def served(request: pytest.FixtureRequest, authorities: dict[str, Authority]) -> Iterator[str]:
    """The address of a TLS redis-server; the parameter says who signed its certificate, and for which host."""
    require(shutil.which("redis-server"), MISSING)
    signer, host = request.param
    authority, port = authorities[signer], free_port()
    authority.server(host)
    files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.pem"]
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
         "--tls-auth-clients", "no", *files],
        cwd=authority.folder, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not _speaks_tls(port):
            assert process.poll() is None, "redis-server did not start"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.05)
        yield f"rediss://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait(10)


def _speaks_tls(port: int) -> bool:
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as plain, unchecked.wrap_socket(plain):
            return True
    except OSError:
        return False


def _try_all(url: str, ca: Path) -> dict[str, str]:
    env = PRODUCTION | {
        "REDIS_URL": url, "REDIS_CA_FILE": str(ca), "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


HERE, ELSEWHERE = x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("redis.example")


@pytest.mark.parametrize("served", [("ours", HERE)], indirect=True)
@pytest.mark.long
def test_a_certificate_of_our_ca_is_accepted_everywhere(served: str, authorities: dict[str, Authority]) -> None:
    assert set(_try_all(served, authorities["ours"].folder / "ca.pem").values()) == {"connected"}


@pytest.mark.long
@pytest.mark.parametrize("served", [("foreign", HERE), ("ours", ELSEWHERE)], indirect=True, ids=["foreign", "name"])
def test_another_certificate_is_refused_everywhere(served: str, authorities: dict[str, Authority]) -> None:
    outcomes = _try_all(served, authorities["ours"].folder / "ca.pem")
    assert len(outcomes) == 4
    assert all("CERTIFICATE_VERIFY_FAILED" in outcome for outcome in outcomes.values()), outcomes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"REDIS_URL": "rediss://redis.example:6379/0?ssl_cert_reqs=none"}, "REDIS_URL contains ssl_cert_reqs"),
        ({"CACHE_URL": "rediss://redis.example:6379/0?ssl_check_hostname=no"}, "CACHE_URL contains ssl_check_hostname"),
        ({"REDIS_URL": "http://redis.example"}, "REDIS_URL must begin with redis:// or rediss://"),
        ({"REDIS_CA_FILE": "/no/such/file.pem"}, "REDIS_CA_FILE"),
    ],
    ids=["certificates", "names", "scheme", "file"],
)
def test_an_address_that_would_loosen_the_check_stops_the_start(change: dict[str, str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import portal.settings"], cwd=ROOT, env=PRODUCTION | change, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]
