"""Secrets of every kind pass through the processes of production, all of which log at DEBUG and some of which crash:
none is left in the database, in Redis, in logs, in reports of errors, or in files."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis as Client

from tests.access.test_second_factor import code_of
from tests.journeys.canaries import files, forms, hits
from tests.journeys.processes import Installation, installation, until
from tests.journeys.test_production_services import Hidden, Visitor
from tests.support.canary_crashes import FILE, HEADER
from tests.support.identity_provider import IdentityProvider, identity_provider
from tests.support.mail_server import MailServer, mail_server
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.test_sentry import Ingest

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.xdist_group("journeys"),
]
# Other stories use the server too.
DATABASE = "canaries"
PEOPLE = """
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from portal.access.models import User
User.objects.create_user("ada@example.com", {password!r}, name="Ada Moreau", role="admin")
User.objects.create_user("rosa@example.com", "an-old-password-of-rosa", name="Rosa", role="auditor")
fay = User.objects.create_user("fay@example.com", name="Fay", role="finance")
SocialAccount.objects.create(user=fay, provider=settings.OIDC_ISSUER, uid="fay")
"""
REQUESTS = """
from customers.connections import catalogue
from customers.models import Connection, Customer
from customers.operations.commands import FirstKey, request_create
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, NewKey, Profile, ProviderOffering
ada = User.objects.get(email="ada@example.com")
for connection in Connection.objects.all():
    of_sendgrid = connection.kind == "sendgrid"
    if of_sendgrid:
        catalogue.refresh_catalogue(Command(None), connection=connection)
    customer = Customer.objects.create(company_name=connection.kind, email=f"ops@{connection.kind}.example")
    new = NewKey("web shop", ("messages:send:all", "domains:read", "domains:write", "messages:read:all"))
    request_create(
        Command(ada, token=f"canary-{connection.pk}"), customer=customer, connection=connection, is_test=False,
        profile=Profile(email=customer.email if of_sendgrid else ""),
        offerings=[ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)] if of_sendgrid else [],
        settings=None if of_sendgrid else AccountSettings("Northwind Oy", "northwind.example", 250_000),
        first_key=None if of_sendgrid else FirstKey(new, keep=False),
    )
"""
STATES = """
from customers.models import Operation
print(sorted(Operation.objects.values_list("kind", "state")))
"""
ACCOUNTS = """
import json
from customers.models import Account, AccountKey
found = {row.connection.kind: str(row.public_id) for row in Account.objects.select_related("connection")}
print(json.dumps([found["sendgrid"], found["ahasend"], list(AccountKey.objects.values_list("key_id", flat=True))]))
"""
SUSPEND = """
from customers.models import Account
from customers.operations.commands import request_suspend
from portal.access.models import User
from portal.commands import Command
for account in Account.objects.all():
    request_suspend(Command(User.objects.get(email="ada@example.com"), reason="Unpaid", token=f"s{account.pk}"),
        account=account)
"""


@dataclass
class World:
    portal: Installation
    database: Postgres
    redis: Redis
    mail: MailServer
    ingest: Ingest
    idp: IdentityProvider
    planted: dict[str, str] = field(default_factory=dict)

    def plant(self, kind: str, value: str | None = None) -> str:
        """Note a secret, and return it; one that is made up has what a URL and a shell would escape."""
        self.planted[kind] = (
            value if value is not None else f"cnry/{kind.replace(' ', '-')}+{secrets.token_urlsafe(18)}="
        )
        return self.planted[kind]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Guest(Visitor):
    """A visitor who sees where an answer leads, and what a refused one says."""

    def raw(self, path: str, form: dict[str, str], **headers: str) -> tuple[int, dict[str, str], str]:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), NoRedirect, *(h for h in self._opener.handlers if "Cookie" in str(h))
        )
        body = urllib.parse.urlencode(form).encode()
        names = {"Referer": self.url + path, **headers}
        request = urllib.request.Request(self.url + path, data=body, headers=names)  # noqa: S310  our own loopback URL
        try:
            answer = opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, dict(answer.headers), answer.read().decode()

    def fill(self, path: str, *, to: str = "", **typed: str) -> tuple[int, dict[str, str], str]:
        return self.raw(to or path, Hidden(self.get(path)).fields | typed)

    @property
    def cookies(self) -> dict[str, str]:
        (jar,) = (h.cookiejar for h in self._opener.handlers if hasattr(h, "cookiejar"))
        return {each.name: each.value or "" for each in jar}


def _drop(server: Postgres) -> None:
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def world(tmp_path: Path, postgres_server: Postgres) -> Iterator[World]:
    with ExitStack() as stack:
        ingest = stack.enter_context(Ingest())
        threading.Thread(target=ingest.serve_forever, daemon=True).start()
        stack.callback(ingest.shutdown)
        mail, idp = stack.enter_context(mail_server()), stack.enter_context(identity_provider())
        redis = Redis(persistent=True)
        stack.callback(redis.remove)
        redis.start()
        made = World(None, postgres_server, redis, mail, ingest, idp)  # type: ignore[arg-type]  # set below
        store = Client.from_url(redis.url)
        store.config_set("rdbcompression", "no")
        store.config_set("requirepass", word := made.plant("Redis password").replace("/", ""))
        made.planted["Redis password"] = word
        of_database = made.plant("database password", "canary-of-the-database-91c7")
        of_mail = urllib.parse.quote(made.plant("SMTP password"), safe="")
        with psycopg.connect(postgres_server.url, autocommit=True) as database:
            database.execute(f"CREATE DATABASE {DATABASE}")
            stack.callback(_drop, postgres_server)
        services = {
            "DATABASE_URL": postgres_server.url_of(DATABASE).replace("portal@", f"portal:{of_database}@"),
            "REDIS_URL": redis.url.replace("redis://", f"redis://:{urllib.parse.quote(word, safe='')}@"),
            "EMAIL_URL": f"smtp://mailer:{of_mail}@127.0.0.1:{mail.port}",
            "OIDC_ISSUER": idp.issuer, "OIDC_CLIENT_ID": "postkeeper", "OIDC_CLIENT_SECRET": made.plant("OIDC secret"),
            "SECRET_KEY": made.plant("signing key") + "x" * 40, "AUDIT_KEY": made.plant("audit key") + "y" * 40,
            "FIELD_KEYS": "canary:" + made.plant("encryption key", base64.b64encode(secrets.token_bytes(32)).decode()),
            "METRICS_TOKEN": made.plant("metrics token"), "SENTRY_DSN": ingest.dsn, "LOG_LEVEL": "DEBUG",
            "DJANGO_SETTINGS_MODULE": "tests.support.canary_settings",
        }  # fmt: skip
        made.portal = stack.enter_context(installation(tmp_path / "data", **services))
        yield made


def test_no_secret_is_left_anywhere(world: World, tmp_path: Path) -> None:
    portal = world.portal
    identity = tmp_path / "apart" / "backup-identity"
    identity.parent.mkdir()
    recipient = portal.manage("make_backup_identity", str(identity)).strip().partition("=")[2]
    world.plant("backup identity", identity.read_text().splitlines()[-1])
    portal.manage("migrate", "-v", "0")
    portal.manage("createcachetable", "-v", "0")
    portal.python(PEOPLE.format(password=world.plant("user password")))
    portal.start_web()
    worker, beat = portal.start_worker(), portal.start_beat()

    ada = sign_in(world)
    connect(world, ada)
    portal.python(REQUESTS)
    until(lambda: portal.python(STATES).count("'succeeded'") >= 3, what="accounts and a key", every=1)
    reveal_and_enter(world, ada)
    links(world, ada)
    single_sign_on(world)
    crash(world, ada)
    backup = portal.manage("backup", BACKUP_RECIPIENTS=recipient)
    assert "bytes" in backup
    portal.end(worker)
    portal.end(beat)
    portal.python(SUSPEND)  # their messages stay in Redis: no worker takes them

    assert len(world.planted) >= 18
    found = hits(world.planted, left_behind(world))
    assert not found, "\n".join(found)


def left_behind(world: World) -> dict[str, bytes]:
    """Return the dump of the database, Redis's files, what the processes wrote, what was reported, and all files."""
    where = ["-h", "127.0.0.1", "-p", str(world.database.port), "-U", "portal", DATABASE]
    program = str(world.database._programs / "pg_dump")
    dump = subprocess.run([program, *where], check=True, capture_output=True).stdout
    assert b"COPY public.customers_operation" in dump
    Client.from_url(world.redis.url, password=world.planted["Redis password"]).save()
    places = {"the database": dump, "the database's log": (world.database.folder / "log").read_bytes()}
    in_redis = {f"Redis {name}": content for name, content in files(Path(world.redis._folder))}
    assert any(name.endswith(".rdb") for name in in_redis)
    assert any(b"customers.perform" in content for name, content in in_redis.items() if name.endswith(".rdb")), list(
        in_redis
    )
    assert any(name.endswith(".aof") and content for name, content in in_redis.items())
    reports = "\n".join(world.ingest.said).encode()
    assert b"RuntimeError" in reports
    kept = dict(files(world.portal.folder, without=("sandbox",)))  # the provider's own memory
    for name in ("web", "worker", "beat"):
        assert b" debug " in kept[f"{name}.out"], name
    assert any("backups" in name for name in kept)
    return {**places, **in_redis, "reports": reports, **kept}


def sign_in(world: World) -> Guest:
    """Type a wrong password, the right one, set up an app, and use it and a recovery code at the next sign-ins."""
    url, wrong = world.portal.url, world.plant("mistyped password")
    word = world.planted["user password"]
    ada = Guest(url)
    assert ada.fill("/sign-in/", login="ada@example.com", password=wrong)[0] in (200, 422)
    assert ada.post("/sign-in/", login="ada@example.com", password=word) == "/"
    form = ada.get("/me/security/app/")
    seed = re.search(r'data-copy="([A-Z2-7]{32})"', form)
    assert seed
    world.plant("TOTP seed", seed[1])
    page = ada.raw("/me/security/app/", Hidden(form).fields | {"code": code_of(seed[1])})[2]
    codes = sorted(set(re.findall(r"<code>(\d{10})</code>", page)))
    assert len(codes) >= 8, page
    for n, code in enumerate(codes):
        world.plant(f"recovery code {n}", code)
    again = Guest(url)
    assert again.post("/sign-in/", login="ada@example.com", password=word) == "/sign-in/second-factor/"
    assert again.post("/sign-in/second-factor/", code=code_of(seed[1], later=1)) == "/"
    third = Guest(url)
    third.post("/sign-in/", login="ada@example.com", password=word)
    assert third.post("/sign-in/second-factor/", code=codes[0]) == "/"
    for n, each in enumerate((ada, again, third)):
        world.plant(
            f"session {n}", next(value for name, value in each.cookies.items() if "sess" in name or "sid" in name)
        )
    return ada


def connect(world: World, ada: Guest) -> None:
    """Connect both providers by the form, with keys that the sandbox knows."""
    sandbox = world.portal.sandbox
    key = world.plant("provider key", f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}")
    organisation = sandbox.admin.organisations()[0]["id"]
    sandbox.admin.add_key(organisation=organisation, key=key, reseller=True)
    world.plant("provider key, other", sandbox.ahasend_key)
    common = {"region": "other", "base_url": sandbox.base_url, "requests_per_minute": "6000", "creates_per_hour": "50"}
    of_sendgrid = {
        "kind": "sendgrid", "name": "SendGrid", "api_key": key, "usage_source": "overview_json", "v2_auth": "password",
        "v2_username": "reseller", "v2_password": world.plant("v2 password"),
    }  # fmt: skip
    of_ahasend = {
        "kind": "ahasend", "name": "AhaSend", "api_key": sandbox.ahasend_key, "keep_keys": "on",
        "account_id": sandbox.ahasend_account, "usage_source": "pooled",
    }  # fmt: skip
    for typed in (of_sendgrid, of_ahasend):
        page = f"/connections/new/?kind={typed['kind']}"
        status, headers, text = ada.fill(page, to="/connections/new/", **common, **typed)
        assert status == 303, re.findall(r"pk-error[^<]*<[^>]*>[^<]*|errorlist.*", text) or text[-3000:]
        ada.fill(headers["Location"], to=f"{headers['Location']}verify/")


def reveal_and_enter(world: World, ada: Guest) -> None:
    """Reveal the secret of a key, and sign in as a customer."""
    sendgrid, ahasend, keys = json.loads(world.portal.python(ACCOUNTS))
    assert keys
    page = ada.fill(f"/accounts/{ahasend}/keys/{keys[0]}/secret/")[2]
    secret = re.search(r"aha-sk-[\w-]{20,}", page)
    assert secret, page
    world.plant("API key secret", secret[0])
    enter = f"/accounts/{sendgrid}/sign-in-as/"
    status, headers, text = ada.fill(enter, why="sender", reason="case 3318")
    assert status == 303, text[-2000:]
    world.plant("sign-in code", headers["Location"].partition("code=")[2])


def links(world: World, ada: Guest) -> None:
    """Invite a colleague, and let another forget their password; both links are used."""
    portal = world.portal
    status, _, page = ada.fill("/staff/invite/", name="Ina", email="ina@example.com", role="auditor")
    assert status in (200, 303), page[-2000:]
    Guest(portal.url).fill("/password/reset/", email="rosa@example.com")
    pattern = re.compile(r"/(?:invitation|password/reset)/([^/\s\"]{20,})/")
    for who in ("ina", "rosa"):
        sent = until(lambda who=who: [m for m in world.mail.mails if f"To: {who}@" in m], what=f"a mail to {who}")
        text = re.sub(r"=\r?\n", "", sent[-1])
        found = pattern.search(text.replace("=3D", "="))
        assert found, text
        world.plant(f"link of {who}", found[1])
        word = world.plant(f"new password of {who}")
        guest = Guest(portal.url)
        assert guest.fill(found[0], password=word, again=word)[0] in (200, 303)
    assert world.mail.logins


def single_sign_on(world: World) -> None:
    """Sign in by the identity provider; its code and its tokens pass through the portal."""
    world.idp.person("fay", name="Fay", email="fay@example.com", groups=[])
    tokens: list[str] = []

    def note(path: str, status: int, headers: dict[str, str], content: bytes) -> Any:
        if path == "/oauth2/token":
            tokens.append(content.decode())
        return status, headers, content

    world.idp.raw = note
    fay = Guest(world.portal.url)
    status, headers, page = fay.fill("/sign-in/", to="/sign-in/sso/")
    assert status in (200, 302, 303), page[-2000:]
    leads = (headers.get("Refresh", "").partition("url=")[2]) or headers["Location"]
    parts = urllib.parse.urlsplit(leads)
    form = urllib.parse.urlencode({"sub": "fay"}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    try:
        answer = opener.open(urllib.request.Request(leads, data=form), timeout=30)  # noqa: S310  loopback
        back = answer.headers["Location"]
    except urllib.error.HTTPError as error:
        back = error.headers["Location"]
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
    world.plant("OIDC code", query["code"])
    world.plant("OIDC state", query["state"])
    assert parts.netloc
    fay.get(back.removeprefix(world.portal.url))
    assert tokens
    for name in ("access_token", "id_token"):
        world.plant(f"OIDC {name}", json.loads(tokens[-1])[name])


def crash(world: World, ada: Guest) -> None:
    """Let a view fail with the form, cookies and headers of a request, and calls of web and worker with a key."""
    portal, word = world.portal, world.planted["user password"]
    typed = Hidden(ada.get("/me/password/")).fields | {"current": word, "password": word, "again": word}
    assert ada.raw("/me/password/", typed, **{HEADER: "1"})[0] == 500
    login = {"login": "ada@example.com", "password": word}
    assert Guest(portal.url).raw("/sign-in/", login, **{HEADER: "1", "Authorization": f"Bearer {word}"})[0] in (
        403,
        500,
    )
    (portal.folder / FILE).touch()
    ada.fill("/usage/runs/", to="/usage/runs/start/", connection="all")
    for connection in ("sendgrid", "ahasend"):
        where = portal.python(
            f"from customers.models import Connection as C; print(C.objects.get(kind='{connection}').public_id)"
        )
        ada.fill(f"/connections/{where}/", to=f"/connections/{where}/verify/")
    until(lambda: "call fails" in portal.said("worker"), what="a crash of the worker")
    assert "call fails" in portal.said("web")
    until(lambda: sum("RuntimeError" in text for text in world.ingest.said) >= 3, what="reports")
    (portal.folder / FILE).unlink()


@pytest.mark.parametrize("how", ["clear", "hex", "percent", "base64+0", "base64+1", "base64+2", "base64url+1"])
def test_a_planted_secret_is_found(how: str) -> None:
    secret = "cnry/of the+test?=91>>??"
    planted = {
        "base64+0": base64.b64encode(f"{secret}zz".encode()), "base64+1": base64.b64encode(f"a{secret}z".encode()),
        "base64+2": base64.b64encode(f"ab{secret}".encode()),
        "base64url+1": base64.urlsafe_b64encode(f"a{secret}".encode()),
    }.get(how, forms(secret).get(how))  # fmt: skip
    assert planted
    assert hits({"it": secret}, {"a log": b"before " + planted + b" after"})
    assert not hits({"it": secret}, {"a log": b"before after"})
