"""The whole story over HTTP with the services of production: PostgreSQL for the rows, Redis for the pokes.

In the middle Redis is killed and everything queued in it is lost: a click still answers, and the row is worked on.
"""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.journeys.processes import PASSWORD, Installation, installation, until
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.sandbox import KEY

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.xdist_group("journeys"),
]

PERSON = f"""
from portal.access.models import User
User.objects.create_user("ada@example.com", "{PASSWORD}", name="Ada Moreau", role="admin")
"""
LOOK = """
import json
from customers.models import Account
print(json.dumps(list(Account.objects.values_list("state", "package"))))
"""
PACKAGE, BIGGER = "postkeeper.ei.pro-100k.v1", "postkeeper.ei.pro-300k.v1"


class Hidden(HTMLParser):
    """The hidden fields of a page, as a browser would send them back."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden" and given.get("name"):
            self.fields[given["name"] or ""] = given.get("value") or ""


class Visitor:
    """Plain HTTP with cookies and without a script: every form works so, too."""

    def __init__(self, url: str) -> None:
        self.url = url
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> str:
        with self._opener.open(self.url + path, timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, path: str, *, to: str = "", **fields: str) -> str:
        """Fill a form of the page as it stands and send it; returns the path where it led."""
        return self.send(to or path, Hidden(self.get(path)).fields | fields)

    def send(self, path: str, form: dict[str, str]) -> str:
        """Send a form that was looked at before; returns the path where it led."""
        request = urllib.request.Request(  # noqa: S310 our own loopback URL
            self.url + path, data=urllib.parse.urlencode(form).encode(), headers={"Referer": self.url + path}
        )
        with self._opener.open(request, timeout=60) as answer:
            return str(answer.url).removeprefix(self.url)


def test_the_story_with_redis_and_postgresql(tmp_path: Path, postgres_server: Postgres, redis_server: Redis) -> None:
    services = {"DATABASE_URL": postgres_server.url, "REDIS_URL": redis_server.url}
    with installation(tmp_path / "data", **services) as portal:
        _prepare(portal)
        visitor = Visitor(portal.start_web())
        portal.start_worker()
        portal.start_beat()
        assert visitor.post("/sign-in/", login="ada@example.com", password=PASSWORD) == "/"
        connection = portal.python("from customers.models import Connection; print(Connection.objects.get().public_id)")
        account = visitor.post(
            "/customers/new/",
            company_name="Northwind", email="ops@northwind.example", connection=connection, package=PACKAGE,
        )  # fmt: skip
        assert account.startswith("/accounts/")
        _until(portal, "active", PACKAGE)
        (there,) = portal.sandbox.admin.accounts()

        assert visitor.post(f"{account}offerings/", package=BIGGER, checked="on") == account
        _until(portal, "active", BIGGER)

        redis_server.stop(kill=True)
        asked_at = time.monotonic()
        assert visitor.post(f"{account}suspend/", reason="Unpaid since May.") == account
        assert time.monotonic() - asked_at < 15  # two pages, on a machine that does much else; it does not hang
        redis_server.start()
        _until(portal, "stopped_by_us", BIGGER)
        assert portal.sandbox.admin.account(there["id"])["state"] == "deactivated"
        visitor.post(f"{account}unsuspend/", reason="Paid.")
        _until(portal, "active", BIGGER)

        portal.sandbox.admin.add_usage(there["id"], 4321)
        visitor.post("/usage/runs/", to="/usage/runs/start/", connection="all")
        # The cycle began today, so it belongs to the month in which it ends.
        today = datetime.now(UTC).date()
        month = f"{today if today.day == 1 else today.replace(day=28) + timedelta(days=4):%Y-%m}"
        until(lambda: "4,321" in visitor.get(f"/usage/?month={month}"), what="the reading in the report", every=1)
        assert len(portal.sandbox.admin.accounts()) == 1
        assert len(portal.sandbox.admin.requests("create")) == 1
        _rides_out_a_restart(visitor, postgres_server)


def _rides_out_a_restart(visitor: Visitor, server: Postgres) -> None:
    """503 while PostgreSQL is down, from pages and the probe alike; the first request after it is answered."""
    server.stop(signal.SIGQUIT)
    for path in ("/", "/customers/", "/sign-in/", "/readyz"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            visitor.get(path)
        assert refused.value.code == 503, path
        assert path == "/readyz" or refused.value.headers["Retry-After"] == "10"
        refused.value.close()
    assert Visitor(visitor.url).get("/healthz") == "alive\n"
    server.start()
    assert "Northwind" in visitor.get("/customers/")


def _until(portal: Installation, state: str, package: str) -> None:
    until(lambda: json.loads(portal.python(LOOK)) == [[state, package]], what=f"{state} with {package}", every=1)


def _prepare(portal: Installation) -> None:
    portal.manage("migrate", "-v", "0")
    portal.manage("createcachetable", "-v", "0")
    portal.manage(
        "connect", "sendgrid", "--name", "SendGrid", "--base-url", portal.sandbox.base_url, PORTAL_API_KEY=KEY
    )
    portal.python(PERSON)
