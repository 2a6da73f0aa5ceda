"""People at the portal's pages, all the time, through a proxy that knows which web processes are in service."""

from __future__ import annotations

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from itertools import count
from typing import Any

from tests.journeys.processes import PASSWORD
from tests.journeys.test_production_services import BIGGER, PACKAGE, Hidden

PAGES = (
    "/", "/customers/", "/customers/?q=a&sort=company", "{account}", "{account}operations/", "/operations/", "/usage/",
    "{usage}", "/usage/runs/", "/coming/", "/changes/", "/drift/", "/audit/",
)  # fmt: skip


class Fleet:
    """The web processes in service, in turn. One that is taken out has ended its requests before `remove` returns."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._turn = count()
        self._changed = threading.Condition()

    def add(self, url: str) -> None:
        with self._changed:
            self._open[url] = 0

    def remove(self, url: str) -> None:
        with self._changed:
            busy = {url: self._open.pop(url)}
            self._leaving = busy
            self._changed.wait_for(lambda: busy[url] == 0, timeout=60)

    @contextmanager
    def one(self) -> Iterator[str]:
        with self._changed:
            urls = list(self._open)
            url = urls[next(self._turn) % len(urls)]
            self._open[url] += 1
        try:
            yield url
        finally:
            with self._changed:
                where = self._open if url in self._open else self._leaving
                where[url] -= 1
                self._changed.notify_all()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass
class Answer:
    status: int
    place: str
    page: str


@dataclass
class Person(threading.Thread):
    """Signs in, has a customer created, and looks and changes until `stop` is set. Every request takes the next web
    process, so a form of one release is sent to the other."""

    fleet: Fleet
    email: str
    connection: str
    stop: threading.Event
    answers: list[tuple[str, int, str]] = field(default_factory=list)
    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        opener = (urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()), _NoRedirect)
        self._opener = urllib.request.build_opener(*opener)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        try:
            self._live()
        except BaseException as error:  # noqa: BLE001 the test says it
            self.error = error

    def _live(self) -> None:
        self._send("/sign-in/", login=self.email, password=PASSWORD)
        turn = 0
        account = ""
        while not self.stop.is_set():
            if turn % 8 == 0:
                name = f"{self.email.partition('@')[0]}-{turn}"
                fields = {"company_name": name, "email": f"{name}@load.example", "connection": self.connection}
                account = self._change("/customers/new/", package=PACKAGE, **fields) or account
            assert account, self.refused
            for path in PAGES:
                self._get(path.format(account=account, usage=account.replace("/accounts/", "/usage/accounts/")))
            turn += 1
            for path, fields in (
                ("offerings/", {"package": BIGGER if turn % 2 else PACKAGE, "checked": "on"}),
                ("suspend/", {"reason": "Unpaid since May."}),
                ("unsuspend/", {"reason": "Paid."}),
            ):
                self._change(f"{account}{path}", **fields)

    def _change(self, path: str, **fields: str) -> str:
        """Send a form and return where it led, or "" where it was refused, such as while another change runs."""
        answer = self._send(path, **fields)
        if answer is not None and answer.status in (302, 303) and answer.place.startswith("/accounts/"):
            self.accepted += 1
            return answer.place
        if answer is not None:
            self.refused.append(f"{path} {answer.status}")
        return ""

    def _send(self, path: str, **fields: str) -> Answer | None:
        seen = self._get(path)
        if seen.status != 200:
            self.refused.append(f"GET {path} {seen.status}")
            return None
        return self._ask(path, Hidden(seen.page).fields | fields)

    def _get(self, path: str) -> Answer:
        return self._ask(path)

    def _ask(self, path: str, form: dict[str, str] | None = None) -> Answer:
        with self.fleet.one() as url:
            request = urllib.request.Request(  # noqa: S310 our own loopback URL
                url + path,
                data=urllib.parse.urlencode(form).encode() if form else None,
                headers={"Referer": url + path},
            )
            try:
                answer = self._opener.open(request, timeout=60)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                page = answer.read().decode()
        place = urllib.parse.urlsplit(answer.headers.get("Location", "")).path
        self.answers.append(
            (f"{'POST' if form else 'GET'} {path}", answer.status, page[-300:] if answer.status >= 500 else "")
        )
        return Answer(answer.status, place, page)
