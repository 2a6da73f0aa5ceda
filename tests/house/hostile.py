"""A portal with one of everything, and requests that no browser sends: every route, word, field and header takes part.

`World.explore` finds what can be asked by looking: what views read from a request, and what the forms of pages send.
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlencode
from uuid import uuid4

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.signals import got_request_exception
from django.db import transaction
from django.http import QueryDict
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from billing.closing.invoices.commands import enter_invoice
from billing.models import Anomaly, Blocker, PriceList, PriceVersion
from billing.pricing.contracts import commands as contract_commands
from billing.pricing.lists import commands as list_commands
from billing.pricing.lists import drafts as list_drafts
from billing.pricing.opening_balances.commands import enter_opening_balance
from billing.pricing.parallel.commands import upload_month
from billing.pricing.parallel.spreadsheet import SheetRow
from billing.reports.exports import request_export
from billing.reports.filters import UsageFilters
from billing.usage import runs
from billing.usage.periods import last_day
from billing.usage.snapshots import AccountReading, store_readings
from customers.bulk import commands as bulk_commands
from customers.models import Connection, RemoteAccount, Schedule
from customers.observed import account_list
from customers.reconcile import account_import as account_imports
from customers.schedules import commands as schedule_commands
from customers.schedules import holds
from portal.access import links
from portal.access.models import CustomRole, User
from portal.access.roles import Role
from portal.approvals import commands as approval_commands
from portal.approvals import gate
from portal.approvals.kinds import ApprovalKind
from portal.commands import Command
from portal.privacy.commands import search_person
from portal.providers import Usage, UsageSource
from tests.billing.closing.invoiced import line as invoice_line
from tests.billing.pricing.statements.agreed import rated_statements
from tests.customers.conftest import Desk
from tests.customers.keys import created_account, domain_of, key_of, secret_of
from tests.customers.sub_accounts import NORTHWIND, sub_desk
from tests.support.factories import PACKAGE_ROW, OperationFactory
from tests.support.people import sign_in

VALUES = [
    "", " ", "[", "]", "http://[::1", "//[", "a\x00b", "\x00", "\ud7ff\u202e", "\ufeff", "\u00b2", "\u0660", "%", "%00",
    "%_'\\\"", "<b>", "1,5", "-1", "-0", "0", "+1", "1_0", "1e309", "1e-400", "NaN", "Infinity", "9" * 19, "9" * 40,
    "9" * 5_000, "2147483648", "9223372036854775808", "0001-01-01", "0001-01-02", "9999-12-30", "9999-12-31",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59-14:00", "2026-02-30", "2026-13-01",
    "0000-00-00", "0001-01", "9999-12", "24:00", "23:59:60", "Pacific/Kiritimati", "../../etc/passwd", "/", "//x", ".",
    "a/b", "a.b", "home", "javascript:alert(1)", "\r\nX: y", "null", "true", "{}", "[]", "[null]", '{"a": 1}',
    "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", "urn:uuid:0", "x" * 300,
    "x" * 10_000, "\u0130" * 254, "a@[", "a@" + "b" * 300, "http://127.0.0.1:99999", "https://api.sendgrid.com:x",
    "http://localhost:-1", "xn--", "xn--a.example", "a..b", "\u00e9" * 80 + ".example", "a,b,c", "a\nb\nc",
]  # fmt: skip
INNER: list[Any] = [
    None, True, [], {}, "", "\x00", "\ud800", -1, 0.5, 2**31, 2**63, 10**30, 1e308, "9" * 5_000, "x" * 10_000, [[]],
    {"": None}, "0001-01-01",
]  # fmt: skip
RAW = [
    "[" * 200_000,
    "1e309",
    '{"monthly_cap": 1e309}',
    "NaN",
    "Infinity",
    "9" * 5_000,
    '"\\ud800"',
    '["\\u0000"]',
    "{",
]
HEADERS = (
    "HTTP_REFERER", "HTTP_ORIGIN", "HTTP_HOST", "HTTP_ACCEPT_LANGUAGE", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING",
    "HTTP_COOKIE", "HTTP_HX_REQUEST", "HTTP_HX_CURRENT_URL", "HTTP_HX_CURRENT_URL_URI_AUTOENCODED", "HTTP_HX_TARGET",
    "HTTP_HX_TRIGGER", "HTTP_HX_TRIGGER_NAME", "HTTP_HX_PROMPT", "HTTP_HX_BOOSTED", "HTTP_HX_HISTORY_RESTORE_REQUEST",
    "HTTP_TRIGGERING_EVENT", "CONTENT_TYPE", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_REQUEST_ID", "HTTP_X_REQUESTED_WITH", "HTTP_X_CSRFTOKEN",
    "HTTP_USER_AGENT", "HTTP_AUTHORIZATION", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE",
    "REMOTE_ADDR", "HTTP_DATE", "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_FORWARDED",
)  # fmt: skip
IN_HEADERS = [
    *(value for value in VALUES if value.isascii()), "\xff\xfe", "http://testserver/[", "http://testserver[/", "http://[/",
    "http://testserver:99999/", "http://testserver:x/", "http://\u2100/".encode().decode("latin-1"), "sessionid=\x00",
    "sessionid=" + "x" * 5_000, 'sessionid="', "messages=[", "messages=x$y", "csrftoken=\xff", "de;q=x", "x-" * 5_000,
    "text/html; charset=\x00", "application/x-www-form-urlencoded; charset=nothing", "multipart/form-data",
    "multipart/form-data; boundary=" + "x" * 300, "multipart/form-data; boundary=\x00", "application/json",
    "text/plain",
    "application/x-www-form-urlencoded; charset=utf-7", "1, 2, 3", "true", "[::1]:443", "203.0.113.7:51234",
]  # fmt: skip


class Forms(HTMLParser):
    """The forms of a page: where each leads and what it would send as it stands."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, list[str]]]] = []
        self._fields: dict[str, list[str]] | None = None
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._fields = {}
            self.found.append((given.get("action", ""), self._fields))
        elif tag == "option" and self._select and "selected" in given and self._fields is not None:
            self._fields[self._select] = [given.get("value", "")]
        elif self._fields is not None and given.get("name"):
            self._select = given["name"] if tag == "select" else ""
            loose = given.get("type") in ("radio", "checkbox") and "checked" not in given
            values = self._fields.setdefault(given["name"], [])
            if not loose and tag in ("input", "button"):
                values.append(given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None


@dataclass
class Target:
    """One address, the words its view reads from it, and what a form of the portal sends there."""

    name: str
    url: str
    words: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    sent: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """One request, as it can be made again from a failure's line."""

    who: str
    method: str
    url: str
    query: list[tuple[str, str]]
    body: bytes
    headers: dict[str, str]
    checked: bool = False  # whether the token of forms is checked, as for browsers

    def __str__(self) -> str:
        said = {name: value[:60] for name, value in self.headers.items()}
        query = [(name, value[:60]) for name, value in self.query]
        return f"{self.who} {self.method} {self.url} {query!r} {self.body[:400]!r} {said!r}"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    page: str


def priced_draft(command: Command, price_list: PriceList, *, amount: str) -> PriceVersion:
    """A draft with a price that stands in it, and the version that it began with."""
    price = {"offering": PACKAGE_ROW["name"], "component": "base", "amount": amount}
    first = list_drafts.start_draft(command, price_list=price_list)
    list_drafts.replace_prices(command, version=first, prices=[price], seen_edits=0)
    list_drafts.publish_version(command, version=first, valid_from=command.now.date(), seen_edits=1)
    return list_drafts.start_draft(command, price_list=price_list)


class World:
    """Everything there is to ask for, in a sandbox of its own; every request is undone after it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        Connection.objects.update(requests_per_minute=60_000)
        self.people = {
            role: User.objects.create_user(f"{role}@hostile.example", name=role, role=role) for role in Role.values
        }
        self._fill()
        self.cookies = {
            who: sign_in(Client(), person).cookies if person else SimpleCookie()
            for who, person in {"nobody": None, **self.people}.items()
        }
        self.trace = ""
        self.targets: list[Target] = []
        self.words: set[str] = set()

    def _fill(self) -> None:
        now, admin = timezone.now(), self.people["admin"]
        account = self.desk.created()
        other = sub_desk_of(self.desk)
        Connection.objects.update(requests_per_minute=60_000)
        child = created_account(other)
        key = key_of(child)
        domain_of(child)
        secret_of(key, admin)
        conflicts = {
            "offerings": (account, {"base": [], "wanted": [PACKAGE_ROW]}),
            "settings": (child, {each: asdict(NORTHWIND) for each in ("base", "wanted")}),
        }  # fmt: skip
        hold = holds.place_hold(Command(admin, now, reason="Pays"), account=account, until=None)
        operations = [
            OperationFactory(
                kind=kind,
                account=of,
                state="failed",
                error_kind="conflict",
                result=result,
                payload=result | {"changes": {}, "offerings": []},
            )
            for kind, (of, result) in conflicts.items()
        ] + [
            OperationFactory(account=account, state="needs_attention"),
            OperationFactory(kind="create", state="unknown"),
        ]
        self.desk.sandbox.admin.add_account(email="stranger@globex.example")
        scan, _ = account_list.begin_scan(connection=self.desk.connection, kind="asked", slot="now", now=now)
        account_list.read_account_list(scan, self.desk.connect(self.desk.connection))
        account_imports.propose_import(Command(admin, now), connection=self.desk.connection, listed=[])
        change = bulk_commands.plan_bulk_change(
            Command(admin, now, reason="Not paid", token=uuid4().hex),
            kind="suspend",
            wanted={},
            account_ids=[account.pk],
        )
        schedule = schedule_commands.schedule_change(
            Command(admin, now, reason="Due", token=uuid4().hex),
            account=account,
            kind=Schedule.Kind.SUSPEND,
            due_at=now + timedelta(days=9),
        )
        run, _ = runs.start_run(
            connection=self.desk.connection, kind="asked", slot="x", now=now, until=now + timedelta(hours=1)
        )
        dates = {"period_start_on": now.date().replace(day=1), "period_end_on": last_day(now.date())}
        for hours, used in enumerate((200, 100)):
            usage = Usage(source=UsageSource.CREDITS, used=used, allowed=1000, raw={"used": used}, **dates)
            store_readings([AccountReading(account.pk, usage, now + timedelta(hours=hours))], run=None)
        anomaly = Anomaly.objects.get()
        export = request_export(
            Command(self.people["finance"], now), filters=UsageFilters({}, today=now.date()), file_format="csv"
        )
        approval = approval_commands.request_approval(
            Command(admin, now, token=uuid4().hex),
            gate.Change(
                ApprovalKind.RULE, subject=None, label="Rule", payload={"rule": "bulk", "before": {}, "facts": {}}
            ),
        )
        link = links.make_link(
            person=self.people["finance"], lasts=timedelta(days=1), now=now, request=RequestFactory().get("/")
        )
        both, connections = [account, child], [self.desk.connection, other.connection]
        self.price_list = list_commands.create_price_list(
            Command(admin, now), name="In crowns", side="sell", provider_kind="sendgrid", currency="NOK"
        )
        version = priced_draft(Command(admin, now), self.price_list, amount="12.00")
        contract = contract_commands.start_contract(Command(admin, now), customer=account.customer)
        sold, costs = rated_statements(account, anomaly.period.month, now=now)
        billed = [SheetRow(line, name, "", "EUR", 100, "") for line, name in ((1, "Nobody"), (2, account.email))]
        parallel = upload_month(
            Command(admin, now), month=anomaly.period.month, filename="billed.csv", rows=billed, currency="EUR"
        )
        invoice = enter_invoice(
            Command(admin, now), connection=account.connection, number="INV-1", issued_on=now.date(), currency="NOK",
            total_minor=73137, lines=[invoice_line(account, 73137, start=now.date(), end=now.date()) | {"n": 1}],
        )  # fmt: skip
        balance = enter_opening_balance(
            Command(admin, now), customer=account.customer, month=anomaly.period.month, currency="NOK",
            amount=Decimal(12), description="Owed before",
        )  # fmt: skip
        blocker = Blocker.objects.create(
            month=anomaly.period.month, key="no_reference", kind="no_reference", customer=account.customer,
            currency="NOK", money_minor=95000, weight=95000, opened_at=now,
        )  # fmt: skip
        # By the longest beginning of a route's pattern that fits.
        self.rows: dict[str, list[Any]] = {
            "customers/": [account.customer], "accounts/": both, "operations/": operations, "connections/": connections,
            "estate/": connections, "recovery/": connections, "usage/accounts/": both, "usage/pools/": connections,
            "usage/runs/": [run], "statements/": sold, "statements/customers/": [account.customer],
            "statements/costs/": costs, "statements/parallel/": [parallel], "statements/balances/": [balance],
            "invoices/": [invoice], "invoices/compare/": connections, "blockers/": [blocker],
            "prices/quotes/accounts/": both, "prices/quotes/changes/": [change], "prices/unpriced/": [self.price_list],
            "usage/decide/": [anomaly], "usage/exports/": [export],
            "drift/orphans/": list(RemoteAccount.objects.orphans()), "drift/": both, "changes/": [change],
            "schedules/": [schedule], "holds/": [hold], "staff/": [self.people["finance"]],
            "staff/roles/": [CustomRole.objects.create(name="Desk", created_by=admin, created_at=now)],
            "approvals/": [approval], "prices/lists/": [self.price_list], "prices/versions/": [version],
            "personal-data/": [search_person(Command(admin, now), kind="contact", email=account.email)],
            "prices/connections/": connections, "contracts/of/": [account.customer], "contracts/": [contract],
        }  # fmt: skip
        self.texts: dict[str, Any] = {
            "slug": "states",
            "kind": "bulk",
            "code": "notices",
            "key_id": key.key_id,
            "name": "mail.larkfield.example",
            "field": "state",
            "month": f"{now:%Y-%m}",
            "n": 1,
            "token": link.url.split("/")[-2],
            "start": f"{anomaly.period.start_on}",
            "factor": Authenticator.objects.create(user=admin, type="totp", data={"secret": ""}).pk,
            "session": UserSession.objects.create(
                user=self.people["finance"], ip="192.0.2.1", user_agent="", session_key="of-finance"
            ).pk,
        }

    # -- what can be asked

    def explore(self) -> None:
        """Open every route once as an admin, with GET and with an empty POST, and note what its view reads."""
        forms: dict[str, dict[str, list[str]]] = {}
        for name, pattern, converters in _routes(get_resolver()):
            for url in self._urls(name, pattern, converters):
                target = Target(name, url)
                with _listening() as (words, fields):
                    page = self.ask(Attempt("admin", "GET", url, [], b"", {}))
                    self.ask(Attempt("admin", "POST", url, [], b"", {"CONTENT_TYPE": FORM}))
                target.words, target.fields = set(words), set(fields)
                for action, sent in Forms(page).found:
                    forms.setdefault(action.split("?")[0] or url, {}).update(sent)
                self.targets.append(target)
        for target in self.targets:
            target.sent = forms.get(target.url, {})
            if target.sent:
                with _listening() as (_, fields):
                    self.ask(Attempt("admin", "POST", target.url, [], _encoded(target.sent), {"CONTENT_TYPE": FORM}))
                target.fields |= fields
            target.fields |= set(target.sent)
            self.words |= target.words | target.fields

    def _urls(self, name: str, pattern: str, converters: Mapping[str, Any]) -> list[str]:
        rows: list[Any] = [None]
        if "public_id" in converters:
            rows = self.rows[max((each for each in self.rows if pattern.startswith(each)), key=len)]
        rest = {each: self.texts[each] for each in converters if each != "public_id"}
        return [reverse(name, kwargs=rest | ({"public_id": row.public_id} if row else {})) for row in rows]

    # -- asking

    def ask(self, attempt: Attempt) -> str:
        """The page that is answered, "" for anything but 200. `trace` says what failed; "" when nothing did."""
        reply = self.send(attempt)
        return reply.page if reply.status == 200 else ""

    def send(self, attempt: Attempt) -> Reply:
        """Return the whole answer, and note in `trace` what failed."""
        self.trace = ""

        def noted(**_: Any) -> None:
            self.trace = traceback.format_exc()

        got_request_exception.connect(noted)
        try:
            with transaction.atomic():
                client = Client(raise_request_exception=False, enforce_csrf_checks=attempt.checked)
                client.cookies = SimpleCookie({name: each.value for name, each in self.cookies[attempt.who].items()})
                query = urlencode(attempt.query)
                answer = client.generic(
                    attempt.method, attempt.url + (f"?{query}" if query else ""), attempt.body,
                    content_type=attempt.headers.get("CONTENT_TYPE", FORM),
                    **{name: value for name, value in attempt.headers.items() if name != "CONTENT_TYPE"},
                )  # fmt: skip
                page = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
                transaction.set_rollback(True)
        finally:
            got_request_exception.disconnect(noted)
        if answer.status_code >= 500 and not self.trace:
            self.trace = f"status {answer.status_code}"
        return Reply(answer.status_code, list(answer.items()), page.decode("utf-8", "replace"))

    @property
    def where(self) -> str:
        """Our own innermost line of what failed, by which failures are told apart."""
        lines = [line for line in self.trace.splitlines() if ".venv" not in line and '", line ' in line]
        return f"{lines[-1:]} {self.trace.strip().splitlines()[-1][:200]}"

    def attempts(self, rng: random.Random) -> Iterator[Attempt]:
        while True:
            yield self.attempt(rng)

    def attempt(self, rng: random.Random) -> Attempt:
        target = rng.choice(self.targets)
        who = rng.choice([*self.cookies, "admin", "admin", "admin", "admin"])
        headers = {"HTTP_HX_REQUEST": "true"} if rng.random() < 0.4 else {}
        for name in rng.sample(HEADERS, rng.choice([0, 0, 1, 2])):
            headers[name] = rng.choice(IN_HEADERS)
        url, query = target.url, [(word, rng.choice(VALUES)) for word in _some(rng, target.words)]
        if rng.random() < 0.2:  # a view that copies its words is not heard
            query.append((rng.choice(sorted(self.words)), rng.choice(VALUES)))
        if rng.random() < 0.05:
            query.append((rng.choice(VALUES), "x" * rng.choice([1, 60_000])))
        for known in map(str, self.texts.values()):
            if rng.random() < 0.3 and f"/{known}/" in url:
                odd = quote(rng.choice([each for each in VALUES if each]), safe="")
                url = url.replace(f"/{known}/", f"/{odd}/")
        if rng.random() < 0.4:
            return Attempt(who, "GET", url, query, b"", headers)
        body, kind = self._body(rng, target)
        return Attempt(who, "POST", url, query, body, {"CONTENT_TYPE": kind} | headers)

    def _body(self, rng: random.Random, target: Target) -> tuple[bytes, str]:
        sent = {name: list(values) for name, values in target.sent.items()}
        for name in _some(rng, target.fields):
            sent[name] = [_odd(rng, (sent.get(name) or [""])[0]) for _ in range(rng.choice([1, 1, 1, 2]))]
        return rng.choice(SHAPES)(rng, sent)


FORM = "application/x-www-form-urlencoded"


def sub_desk_of(desk: Desk) -> Desk:
    """A second connection, to the other provider, of the same person."""
    return sub_desk(desk.sandbox, desk.person)


def _some(rng: random.Random, names: set[str]) -> list[str]:
    found = sorted(names - {"csrfmiddlewaretoken"})
    return rng.sample(found, min(len(found), rng.choice([0, 1, 1, 2, 3])))


def _odd(rng: random.Random, value: str) -> str:
    """Instead of a form's value; what holds JSON is damaged inside as well."""
    if value[:1] in ("[", "{") and rng.random() < 0.8:
        return rng.choice(RAW) if rng.random() < 0.3 else json.dumps(_damaged(rng, json.loads(value)))
    return "x" * 1_000_000 if rng.random() < 0.01 else rng.choice(VALUES)


def _damaged(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        return value | {key: _damaged(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], _damaged(rng, value[at]), *value[at + 1 :]]
    return rng.choice(INNER)


def _encoded(sent: Mapping[str, list[str]]) -> bytes:
    return urlencode([(name, each) for name, values in sent.items() for each in values]).encode()


def _plain(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    return _encoded(sent), FORM


def _multipart(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    parts = [(name, each) for name, values in sent.items() for each in values]
    files = rng.choice(["", "", '; filename="a.csv"', '; filename=""', '; filename="\x00"', "; filename*=utf-8''%ff"])
    head = "--cut\r\nContent-Disposition: form-data; name="
    lines = [f'{head}"{name}"{files}\r\n\r\n{value}\r\n' for name, value in parts]
    return "".join([*lines, "--cut--\r\n"]).encode(), "multipart/form-data; boundary=cut"


def _broken(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    body, kind = _multipart(rng, sent)
    if rng.random() < 0.2:
        return (
            b'--cut\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n',
            kind,
        )
    at = rng.randrange(len(body))
    noise = rng.choice([b"", b"--cut", b"\xff", b"\x00", b"\r\n", b'"'])
    return body[:at] + noise + body[at + rng.choice([1, 9, 90]) :], kind


def _json(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    return json.dumps(sent).encode(), "application/json"


def _bytes(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    body = _encoded(sent)
    at = rng.randrange(len(body) + 1)
    return body[:at] + rng.choice([b"%", b"%ED%A0%80", b"%FF", b"\xff", b"&", b"=", b"%00"]) + body[at:], FORM


def _many(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    name = rng.choice([*sent, "x"])
    return _encoded(sent) + f"&{quote(name)}=1".encode() * rng.choice([1_500, 3_000]), FORM


def _large(rng: random.Random, sent: dict[str, list[str]]) -> tuple[bytes, str]:
    return _encoded(sent) + b"&large=" + b"x" * 3_000_000, FORM


Shape = Callable[[random.Random, dict[str, list[str]]], tuple[bytes, str]]
SHAPES: list[Shape] = [*[_plain] * 14, *[_multipart] * 3, *[_broken] * 2, *[_bytes] * 3, _json, _many, _large]


def _routes(
    resolver: URLResolver, spaces: tuple[str, ...] = (), before: str = ""
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for entry in resolver.url_patterns:
        here = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry, (*spaces, entry.namespace) if entry.namespace else spaces, here)
        elif isinstance(entry, URLPattern):
            yield ":".join((*spaces, str(entry.name))), here, entry.pattern.converters


@contextmanager
def _listening() -> Iterator[tuple[set[str], set[str]]]:
    """The names that views ask an address for, and those that they ask a form for."""
    words: set[str] = set()
    fields: set[str] = set()
    with patch.multiple(QueryDict, **{each: _heard(each, words, fields) for each in ("get", "getlist", "__getitem__")}):
        yield words, fields


def _heard(method: str, words: set[str], fields: set[str]) -> Callable[..., Any]:
    plain = getattr(QueryDict, method)

    def hear(self: QueryDict, name: str, *rest: Any, **more: Any) -> Any:
        words.add(name)
        fields.add(name)
        return plain(self, name, *rest, **more)

    return hear
