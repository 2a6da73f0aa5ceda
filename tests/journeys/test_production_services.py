"""The same story over HTTP with the services of production: PostgreSQL for the rows, Redis for the pokes."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.journeys.processes import PASSWORD, Installation, installation, until
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.sandbox import KEY

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis, pytest.mark.xdist_group("journeys")]

PERSON = f"""
from portal.access.models import User
User.objects.create_user("cleo@example.com", "{PASSWORD}", name="Cleo Lindqvist", role="customer_success")
"""
LOOK = """
import json
from customers.models import Account
print(json.dumps(list(Account.objects.values_list("state", flat=True))))
"""


class Visitor:
    """Plain HTTP with cookies and without a script: every form works so, too."""

    def __init__(self, url: str) -> None:
        self.url = url
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> str:
        with self._opener.open(self.url + path, timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, path: str, **fields: str) -> str:
        """Fill the form of a page as it stands and send it; returns where it led."""
        form = dict(
            re.findall(r'<input[^>]*name="(csrfmiddlewaretoken|client_token)"[^>]*value="([^"]*)"', self.get(path))
        )
        request = urllib.request.Request(  # noqa: S310 our own loopback URL
            self.url + path, data=urllib.parse.urlencode(form | fields).encode(), headers={"Referer": self.url + path}
        )
        with self._opener.open(request, timeout=60) as answer:
            return str(answer.url)


def test_a_customer_is_opened_and_becomes_active(
    tmp_path: Path, postgres_server: Postgres, redis_server: Redis
) -> None:
    services = {"DATABASE_URL": postgres_server.url, "REDIS_URL": redis_server.url}
    with installation(tmp_path / "data", **services) as portal:
        _prepare(portal)
        visitor = Visitor(portal.start_web())
        portal.start_worker()
        portal.start_beat()
        assert visitor.post("/sign-in/", login="cleo@example.com", password=PASSWORD) == f"{portal.url}/"
        connection = portal.python("from customers.models import Connection; print(Connection.objects.get().public_id)")
        arrived = visitor.post(
            "/customers/new/",
            company_name="Northwind", email="ops@northwind.example", connection=connection,
            package="postkeeper.ei.pro-100k.v1",
        )  # fmt: skip
        assert "/accounts/" in arrived, arrived
        until(lambda: json.loads(portal.python(LOOK)) == ["active"] or None, what="the account to be active", every=1)
        assert len(portal.sandbox.admin.accounts()) == 1
        assert "Active" in visitor.get(arrived.removeprefix(portal.url))


def _prepare(portal: Installation) -> None:
    portal.manage("migrate", "-v", "0")
    portal.manage("createcachetable", "-v", "0")
    portal.manage(
        "connect", "sendgrid", "--name", "SendGrid", "--base-url", portal.sandbox.base_url, PORTAL_API_KEY=KEY
    )
    portal.python(PERSON)
