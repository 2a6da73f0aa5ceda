"""AhaSend API v2: authentication, order of checks, and routes.

A call passes: token, key, allowlist, the account in the path, its suspension, rate limit, stored answers, scope,
validation, existence. Only the allowlist's place before the stored answers is documented; two switches move the rate
limit and the scope.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable

from portal.sandbox import faults, idempotency
from portal.sandbox.admin.request import Refused
from portal.sandbox.ahasend import accounts, domains, keys, messages, usage
from portal.sandbox.ahasend import store as rows
from portal.sandbox.ahasend.fields import allowed, identifier
from portal.sandbox.ahasend.scopes import require
from portal.sandbox.faults import HOLD, Fault
from portal.sandbox.idempotency import ORDINARY, WITH_SECRET, Conflict, Lease, Rule
from portal.sandbox.messages import Api, Call, Held, Reply, Route, json_reply
from portal.sandbox.sendgrid.keys import bearer_of

Work = Callable[[Call], Reply]

MESSAGES = {
    400: "bad request",
    401: "invalid API key",
    403: "insufficient permissions for the required scope",
    404: "not found",
    405: "method not allowed",
    409: "a request with this idempotency key is already in progress",
    422: "idempotency key was already used with a different request payload",
    429: "too many requests, rate limited",
}
USED_EVERY = 300  # seconds; `last_used_at` is updated no more often than that
WORDS = ("sorry", "no", "such", "thing", "please", "wait", "kiwi", "plum", "wrong", "again", "later", "denied", "quota")


def error(status: int, message: str = "") -> Reply:
    return json_reply(status, {"message": message or MESSAGES.get(status, "internal server error")})


def admit(call: Call) -> Reply | None:
    try:
        key = _key(call)
        _account(call, key)
        if call.switch("aha_rate_check") == "before-lookup":
            _pace(call)
    except Refused as refused:
        return _refusal(call, refused)
    return None


def reword(call: Call, reply: Reply) -> None:
    """Replace error texts if the switch is on, so that clients can't rely on them; stable within a run."""
    if reply.status < 400 or not call.switch("aha_random_texts") or reply.headers.get("Content-Type") is None:
        return
    seed = hashlib.sha256(f"{call.store.meta('seed')}".encode() + reply.body).digest()
    reply.body = json.dumps({"message": " ".join(WORDS[byte % len(WORDS)] for byte in seed[:6])}).encode()


def guarded(work: Work, scope: str | None, rule: Rule | None = None) -> Work:
    """Wrap a handler with its scope, its stored answers, and the faults inside it."""

    def checked(call: Call) -> Reply:
        _may(call, scope)
        return work(call)

    def answer(call: Call) -> Reply:
        try:
            if call.switch("aha_scope_check") == "before-lookup":
                _may(call, scope)
            key = idempotency.key_of(call) if rule is not None else None
            known = None if key is None else _known(call, key)
            if known is not None:
                return known
            if call.switch("aha_rate_check") == "after-lookup":
                _pace(call)
        except Refused as refused:
            return _refusal(call, refused)
        lease = None if key is None else idempotency.take(call, key)
        return _execute(call, checked, lease, rule)

    return answer


def _execute(call: Call, work: Work, lease: Lease | None, rule: Rule | None) -> Reply:
    fault = faults.due(call, inside=True)
    if fault is None:
        return _settled(call, work, lease, rule)
    call.fault = fault.name
    if fault.kind == "hold":
        return _held(call, fault, work, lease, rule)
    if fault.kind == "crash":  # nothing releases the lease
        return faults.apply(fault, call, API, lambda: _attempt(call, work))
    return _settled(call, lambda call: faults.apply(fault, call, API, lambda: _attempt(call, work)), lease, rule)


def _settled(call: Call, work: Work, lease: Lease | None, rule: Rule | None) -> Reply:
    reply = _attempt(call, work)
    if lease is not None and rule is not None:
        idempotency.settle(call, lease, rule, reply)
    return reply


def _attempt(call: Call, work: Work) -> Reply:
    try:
        return work(call)
    except Refused as refused:
        return error(refused.status, str(refused))


def _held(call: Call, fault: Fault, work: Work, lease: Lease | None, rule: Rule | None) -> Reply:
    def resume() -> Reply:
        call.now = call.store.clock.now()
        return _settled(call, work if fault.effect else lambda _: error(500), lease, rule)

    return Reply(500, held=Held(fault.id, fault.seconds(HOLD), resume))


def _known(call: Call, key: str) -> Reply | None:
    if len(key) > idempotency.LONGEST_KEY:
        raise Refused(400, f"idempotency key is longer than {idempotency.LONGEST_KEY} characters")
    found = idempotency.find(call, key)
    if not isinstance(found, Conflict):
        return found
    reply = error(found.status)
    if found.retry_after is not None:
        reply.headers |= {"Idempotent-Replayed": "false", "Retry-After": str(found.retry_after)}
    return reply


def _key(call: Call) -> sqlite3.Row:
    secret = bearer_of(call)
    if secret is None:
        raise Refused(call.switch("aha_missing_bearer"), "missing or malformed bearer token")
    row: sqlite3.Row | None = call.db.execute(
        "SELECT * FROM aha_key WHERE secret = ? AND deleted_at IS NULL", (secret,)
    ).fetchone()
    if row is None:
        raise Refused(401, MESSAGES[401])
    call.key, call.key_label, call.organisation = secret, row["label"], row["account"]
    call.scopes = frozenset(rows.scopes_of(row))
    if not allowed(call.switch("aha_client_ip") or call.request.peer, json.loads(row["ip_allow_list"])):
        raise Refused(403, "this address may not use the key")
    if row["last_used_at"] is None or call.now - row["last_used_at"] >= USED_EVERY:
        call.db.execute("UPDATE aha_key SET last_used_at = ? WHERE id = ?", (call.now, row["id"]))
    return row


def _account(call: Call, key: sqlite3.Row) -> None:
    if "account" in call.ids and identifier(call, "account") != key["account"]:
        raise Refused(401, MESSAGES[401])
    status = rows.status_of(rows.account(call.db, key["account"]))
    if status != "active":
        raise Refused(401, "account is suspended")


def _pace(call: Call) -> None:
    if call.limiter is None:
        return
    kind, rate, burst = "standard", call.switch("aha_rate"), call.switch("aha_burst")
    if call.operation == "aha-statistics":
        kind, rate, burst = "statistics", call.switch("aha_statistics_rate"), 1
    if not call.limiter.draw(call.organisation, kind, rate=rate, burst=burst, now=call.now):
        raise Refused(429, MESSAGES[429])


def _refusal(call: Call, refused: Refused) -> Reply:
    reply = error(refused.status, str(refused))
    if refused.status == 429 and call.switch("aha_rate_retry_after"):
        reply.headers["Retry-After"] = str(call.switch("aha_rate_retry_after"))
    return reply


def _may(call: Call, scope: str | None) -> None:
    if scope is None:
        return
    if scope.startswith("sub-account") and not call.switch("aha_early_access"):
        raise Refused(403, "sub accounts are not enabled for this account")
    require(call, scope)


def _route(operation: str, at: str, work: Work, scope: str | None = None, *, kept: Rule | None = None) -> Route:
    method, path = at.split()
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>(?!usage$)[^/]+)", path)
    return Route(operation, method, re.compile(pattern), guarded(work, scope, kept), writes=method != "GET")


CHILDREN = "/v2/accounts/{account}/sub-accounts"
CHILD = CHILDREN + "/{child}"  # never `usage`, which is in the place of an ID
KEYS = CHILD + "/api-keys"
KEY = KEYS + "/{key}"
DOMAINS = "/v2/accounts/{account}/domains"
DOMAIN = DOMAINS + "/{domain}"
MESSAGES_OF = "/v2/accounts/{account}/messages"
STATISTICS = "/v2/accounts/{account}/statistics/transactional/deliverability"

API = Api(
    name="ahasend",
    routes=(
        _route("aha-ping", "GET /v2/ping", lambda _: json_reply(200, {"message": "pong"})),
        _route("aha-list", f"GET {CHILDREN}", accounts.list_accounts, "sub-accounts:read"),
        _route("aha-create", f"POST {CHILDREN}", accounts.create, "sub-accounts:write", kept=ORDINARY),
        _route("aha-usage", f"GET {CHILDREN}/usage", usage.read, "sub-accounts:usage"),
        _route("aha-read", f"GET {CHILD}", accounts.read, "sub-accounts:read"),
        _route("aha-update", f"PUT {CHILD}", accounts.update, "sub-accounts:write"),
        _route("aha-delete", f"DELETE {CHILD}", accounts.delete, "sub-accounts:delete"),
        _route("aha-suspend", f"POST {CHILD}/suspend", accounts.suspend, "sub-accounts:suspend"),
        _route("aha-unsuspend", f"POST {CHILD}/unsuspend", accounts.unsuspend, "sub-accounts:suspend"),
        _route("aha-keys", f"GET {KEYS}", keys.list_keys, "sub-account-api-keys:read"),
        _route("aha-key-create", f"POST {KEYS}", keys.create, "sub-account-api-keys:write", kept=WITH_SECRET),
        _route("aha-key", f"GET {KEY}", keys.read, "sub-account-api-keys:read"),
        _route("aha-key-update", f"PUT {KEY}", keys.update, "sub-account-api-keys:write"),
        _route("aha-key-delete", f"DELETE {KEY}", keys.delete, "sub-account-api-keys:delete"),
        _route("aha-unpause", f"POST {CHILD}/domains/{{domain}}/unpause", domains.unpause, "sub-accounts:suspend"),
        # Called with an account's own key. If a scope may name a domain, the handler checks it.
        _route("aha-domains", f"GET {DOMAINS}", domains.list_domains, "domains:read"),
        _route("aha-domain-create", f"POST {DOMAINS}", domains.create, "domains:write", kept=ORDINARY),
        _route("aha-domain", f"GET {DOMAIN}", domains.read, "domains:read"),
        _route("aha-domain-delete", f"DELETE {DOMAIN}", domains.delete),
        _route("aha-check-dns", f"POST {DOMAIN}/check-dns", domains.check_dns, "domains:write"),
        _route("aha-message", f"POST {MESSAGES_OF}", messages.send, kept=ORDINARY),
        _route("aha-messages", f"GET {MESSAGES_OF}", messages.list_messages),
        _route("aha-message-read", f"GET {MESSAGES_OF}/{{message}}", messages.read),
        _route("aha-statistics", f"GET {STATISTICS}", usage.statistics, "statistics-transactional:read:all"),
    ),
    admit=admit,
    error=error,
    own_edge=True,
    reword=reword,
)
