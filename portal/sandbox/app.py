"""Request handling: API, authentication, quota, fault, and request log."""

import re
import sys
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import parse_qsl, urlencode

from portal.sandbox import faults
from portal.sandbox.admin import api as admin_api
from portal.sandbox.ahasend import api as ahasend_api
from portal.sandbox.limits import Limiter
from portal.sandbox.messages import Api, Call, Held, Reply, Request, Route, plain_error
from portal.sandbox.seed import Credentials, Start, begin
from portal.sandbox.sendgrid import login as sendgrid_login
from portal.sandbox.sendgrid import on_behalf
from portal.sandbox.sendgrid import partner as sendgrid_partner
from portal.sandbox.sendgrid import v2 as sendgrid_v2
from portal.sandbox.sendgrid.keys import bearer_of
from portal.sandbox.store import Store

APIS = (sendgrid_partner.API, on_behalf.API, sendgrid_v2.API, ahasend_api.API)
SECRET_FIELDS = ("api_user", "api_key", "code")
SECRETS = re.compile(r"SG\.[\w-]{8,}(?:\.[\w-]+)?|aha-sk-[\w-]+|-----BEGIN [^-]+-----[^-]*(?:-----END [^-]+-----)?")
BODY_KEPT = 4_000
# A demo may run for weeks: only the latest lines of the log are stored.
LOG_KEPT = 100_000
PRUNE_EVERY = 1_000
HOLD_STEP = 0.02  # seconds between checks of a held call


class Application:
    def __init__(self, store: Store, start: Start) -> None:
        self.store = store
        self.start = start
        self.limiter = Limiter()
        self.base_url = ""  # set once the port is known
        self.resets = 0
        self.credentials: Credentials = begin(store, start)

    def handle(self, request: Request) -> Reply:
        try:
            if request.path == "/_admin" or request.path.startswith("/_admin/"):
                return admin_api.handle(self.store, request, admin_key=self.credentials.admin_key, reset=self.reset)
            if request.path.startswith("/_login/"):
                return sendgrid_login.show(self.store, request)
            return self._provider(request)
        except Exception:  # noqa: BLE001 - whatever breaks, the client gets an answer and we get the traceback
            traceback.print_exc(file=sys.stderr)
            return _family(request).error(500)

    def reset(self) -> None:
        with self.store.transaction():
            self.store.wipe()
            self.resets += 1
        self.limiter.forget()
        self.credentials = begin(self.store, self.start)

    def _provider(self, request: Request) -> Reply:
        with self.store.transaction():
            now = self.store.clock.now()
            call = Call(self.store, request, now, "", self.base_url, {}, limiter=self.limiter)
            api = _family(request)
            reply = self._answer(call)
            line, resets = self._finish(call, api, reply, now), self.resets
        if reply.held is not None:
            reply = self._resume(call, api, reply.held, line, resets)
        return reply

    def _resume(self, call: Call, api: Api, held: Held, line: int, resets: int) -> Reply:
        """End a call that was held open while others were served. A reset of the store discards it."""
        deadline = time.monotonic() + held.seconds
        while time.monotonic() < deadline and self._is_armed(held.fault):
            time.sleep(HOLD_STEP)
        with self.store.transaction() as db:
            if self.resets != resets:
                return Reply(500, delivery="reset")
            reply = held.resume()
            if reply.delivery == "plain":
                db.execute("UPDATE request_log SET status = ? WHERE id = ?", (reply.status, line))
            self._dress(call, api, reply, line)
        return reply

    def _is_armed(self, fault: int) -> bool:
        with self.store.transaction() as db:
            return db.execute("SELECT 1 FROM fault WHERE id = ?", (fault,)).fetchone() is not None

    def _answer(self, call: Call) -> Reply:
        api, route, allowed = self._route(call)
        if api is None:
            return _family(call.request).error(404)
        if route is None:  # the edge answers this before it checks the key
            reply = api.error(405) if api.own_edge else plain_error(405, f"{' and '.join(allowed)} method allowed only")
            reply.headers["Allow"] = ", ".join(allowed)
            return reply
        call.groups = faults.groups_of(api, route)
        refusal = api.admit(call)
        if refusal is not None:
            return refusal
        return self._admitted(call, api, route.handler)

    def _admitted(self, call: Call, api: Api, handler: Callable[[Call], Reply]) -> Reply:
        headers: dict[str, str] = {}
        if not api.own_edge:
            quota = self.limiter.take(call.key, call.operation, rate=call.switch("rate_per_minute"), now=call.now)
            headers = quota.headers()
            if quota.exceeded:
                reply = api.error(429)
                reply.headers |= headers
                return reply
        fault = faults.due(call, inside=False if api.own_edge else None)
        if fault is None:
            reply = handler(call)
        else:
            call.fault = fault.name
            reply = faults.apply(fault, call, api, lambda: handler(call))
        reply.headers = headers | reply.headers
        return reply

    def _route(self, call: Call) -> tuple[Api | None, Route | None, list[str]]:
        """Return the route, or the methods the path allows."""
        allowed: list[str] = []
        found: Api | None = None
        for api in APIS:
            for route in api.routes:
                match = route.path.fullmatch(call.request.path)
                if match is None:
                    continue
                found, call.ids = api, match.groupdict()
                if route.method == call.request.method:
                    call.operation = route.operation
                    return api, route, []
                allowed.append(route.method)
        return found, None, allowed

    def _finish(self, call: Call, api: Api, reply: Reply, now: float) -> int:
        """Write the log line, and set the headers that every answer has."""
        account = call.account["id"] if call.account is not None else call.ids.get("child") or call.ids.get("account")
        silent = reply.delivery in ("reset", "hang") or reply.held is not None
        cursor = call.db.execute(
            "INSERT INTO request_log (at, method, path, operation, organisation, region, key_label, account,"
            " body, status, fault, leaked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                now,
                call.request.method,
                _hidden(call, _masked_path(call.request)),
                call.operation,
                call.organisation or None,
                call.region or None,
                call.key_label or None,
                account,
                _hidden(call, _masked_body(call.request)),
                None if silent else reply.status,
                call.fault or None,
                _leaked(call),
            ),
        )
        line = cursor.lastrowid or 0
        if line % PRUNE_EVERY == 0:
            call.db.execute("DELETE FROM request_log WHERE id <= ?", (line - LOG_KEPT,))
        self._dress(call, api, reply, line)
        return line

    def _dress(self, call: Call, api: Api, reply: Reply, line: int) -> None:
        if not api.own_edge:
            rate = call.switch("rate_per_minute")
            reply.headers = self.limiter.untouched(rate=rate, now=call.now).headers() | reply.headers
        reply.headers["X-Request-Id"] = f"sandbox-{line}"
        if skew := call.switch("clock_skew_seconds"):
            reply.headers["Date"] = formatdate(self.store.clock.now() + skew, usegmt=True)
        reply.wait_before += call.switch("latency_ms") / 1000
        if api.reword is not None:
            api.reword(call, reply)


def _family(request: Request) -> Api:
    """Return the API whose error format applies outside handlers."""
    return ahasend_api.API if request.path.startswith("/v2/") else sendgrid_partner.API


def _masked_path(request: Request) -> str:
    if not request.query:
        return request.path
    shown = {name: "***" if _is_secret(name, value) else value for name, value in request.query.items()}
    return f"{request.path}?{urlencode(shown, safe='*:@,')}"


def _masked_body(request: Request) -> str:
    text = request.body[:BODY_KEPT].decode("utf-8", "replace")
    if "form-urlencoded" in request.headers.get("content-type", ""):
        fields = parse_qsl(text, keep_blank_values=True)
        return urlencode([(name, "***" if _is_secret(name, value) else value) for name, value in fields], safe="*@")
    return SECRETS.sub("***", text)


def _hidden(call: Call, text: str) -> str | None:
    """Return the text without the caller's key, so that the log never contains it."""
    for key in filter(None, (call.key, bearer_of(call))):
        text = text.replace(key, "***")
    return text or None


def _is_secret(name: str, value: str) -> bool:
    return name in SECRET_FIELDS or value.startswith(("SG.", "aha-sk-"))


def _leaked(call: Call) -> bool:
    """Return whether the URL contains a credential, which every proxy would have logged."""
    query = call.request.query
    return any(name in query for name in sendgrid_v2.CREDENTIALS) or bool(call.key and call.key in query.values())
