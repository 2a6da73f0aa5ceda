"""Faults of calls, before or after their side effect.

A fault is armed for an operation (or a group of them) with a count or a probability. Its name describes it; the prefix
`before-` or `after-` states whether the side effect took place, where the name does not.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portal.sandbox.messages import Api, Call, Reply, Route, html_reply, json_reply
from portal.sandbox.sendgrid import v2 as sendgrid_v2
from portal.sandbox.store import Store, first_row

# kind -> whether the side effect is done if the name does not state it
KINDS = {
    "status": False,
    "html": False,
    "empty": False,
    "reset": False,
    "hang": False,
    "redirect": False,
    "429": False,
    "v2": False,
    "latency": False,
    "truncated": True,
    "slow-drip": True,
    "huge": True,
    "no-account-id": True,
    "wrong-201": True,
    "late-create": True,
    "crash": False,
    "hold": True,
}
ALIASES = {
    "create-then-504": ("create", "after-status-504"),
    "no-account-id": ("create", "no-account-id"),
    "wrong-201": ("create", "wrong-201"),
    "late-create": ("create", "late-create"),
}
PARAMS = {"seconds", "status", "reset", "retry_after", "location", "megabytes", "inside"}
AT_THE_EDGE = (401, 403, 429)
HOLD = 10  # default, in seconds


class UnableToArm(ValueError):
    """Unknown fault, or invalid numbers."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    kind: str
    detail: str
    effect: bool
    params: Mapping[str, Any]
    id: int = 0

    @property
    def inside(self) -> bool:
        """Return whether the fault is inside the handler or on the way to and from it. It matters for stored answers: a
        handler's answer is stored, its edge's is not. 500 and most refusals are a handler's, 502 to 504 a gateway's;
        the parameter `inside` overrides that."""
        if self.kind == "status":
            status = int(self.detail)
            usual = status == 500 or (400 <= status < 500 and status not in AT_THE_EDGE)
            return bool(self.params.get("inside", usual))
        return self.kind in ("crash", "hold")

    def seconds(self, default: float) -> float:
        return float(self.params.get("seconds", default))


def parse(name: str, params: Mapping[str, Any], id_: int = 0) -> Fault:
    bare, effect = name, None
    if match := re.fullmatch(r"(before|after)-(.+)", name):
        effect, bare = match[1] == "after", match[2]
    elif match := re.fullmatch(r"(reset|hang|crash)-(before|after)", name):
        effect, bare = match[2] == "after", match[1]
    kind, detail = bare, ""
    if match := re.fullmatch(r"(status|html)-([1-5]\d\d)|(v2)-(e[1-7](?:-200)?)", bare):
        kind, detail = match[1] or match[3], match[2] or match[4]
    if kind not in KINDS or (kind in ("status", "html", "v2") and not detail):
        raise UnableToArm(f"unknown fault {name!r}")
    if unknown := set(params) - PARAMS:
        raise UnableToArm(f"unknown fault parameters: {', '.join(sorted(unknown))}")
    return Fault(name, kind, detail, KINDS[kind] if effect is None else effect, params, id_)


def arm(
    store: Store,
    name: str,
    *,
    operation: str | None = None,
    count: int | None = None,
    probability: float | None = None,
    after: int = 0,
    email: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> int:
    """Arm a fault and return its number. Without count and probability it fires on every call.

    `after` lets that many matching calls through first; `email` limits it to one account or one create body.
    """
    alias_operation, real = ALIASES.get(name, ("*", name))
    parse(real, params or {})
    if count is not None and count < 1:
        raise UnableToArm("count must be at least 1")
    if probability is not None and not 0 < probability <= 1:
        raise UnableToArm("probability must be greater than 0 and at most 1")
    cursor = store.db.execute(
        "INSERT INTO fault (name, operation, count, probability, after, email, params) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (real, operation or alias_operation, count, probability, after, email, json.dumps(params or {})),
    )
    return int(cursor.lastrowid or 0)


def arm_text(store: Store, text: str) -> int:
    """Arm a fault from the command line's form, `[OPERATION/]NAME[:COUNT|:PROB]`; a number with a dot is a
    probability."""
    operation, slash, rest = text.rpartition("/")
    name, _, number = rest.partition(":")
    if number and not re.fullmatch(r"\d+|\d*\.\d+", number):
        raise UnableToArm(f"{number!r} is neither a count nor a probability")
    return arm(
        store,
        name,
        operation=operation if slash else None,
        count=int(number) if number.isdigit() else None,
        probability=float(number) if "." in number else None,
    )


def groups_of(api: Api, route: Route) -> tuple[str, ...]:
    return ("*", route.operation, api.name, "writes" if route.writes else "reads")


def due(call: Call, *, inside: bool | None = None) -> Fault | None:
    """Return the first armed fault that fires on this call, and count it. `inside` limits it to faults inside a
    handler, or to the others."""
    for row in call.db.execute("SELECT * FROM fault ORDER BY id").fetchall():
        if row["operation"] not in call.groups or not _email_fits(call, row["email"]):
            continue
        fault = parse(row["name"], json.loads(row["params"]), row["id"])
        if inside is not None and fault.inside != inside:
            continue
        if row["after"] > 0:
            call.db.execute("UPDATE fault SET after = after - 1 WHERE id = ?", (row["id"],))
        elif _fires(call.store, row):
            return fault
    return None


def apply(fault: Fault, call: Call, api: Api, run: Callable[[], Reply]) -> Reply:
    """Execute the call if the fault allows it, then alter the answer."""
    if fault.kind == "late-create":
        # The account is created in the future: until then neither list nor paths return it.
        call.now += fault.seconds(60)
        run()
        return api.error(504)
    if fault.kind == "latency":
        reply = run()
        reply.wait_before = fault.seconds(1)
        return reply
    reply = run() if fault.effect else json_reply(200, {})
    return SPOILERS[fault.kind](fault, call, api, reply)


def _redirect(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
    target = fault.params.get("location", f"{call.base_url}/_login/redirected?code=fault")
    return Reply(int(fault.params.get("status", 302)), headers={"Location": str(target)})


def _throttle(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
    throttled = api.error(429)
    if not api.own_edge:
        reset = fault.params.get("reset", int(call.now + fault.seconds(2)) + 1)
        throttled.headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
    if "retry_after" in fault.params:
        throttled.headers["Retry-After"] = str(fault.params["retry_after"])
    return throttled


def _v2(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
    shape, _, ok = fault.detail.partition("-")
    status = {"e2": 401, "e5": 429, "e6": 401, "e7": 500}.get(shape, 400)
    return sendgrid_v2.problem(call, shape, 200 if ok else status)


def _delivered(delivery: str) -> Callable[[Fault, Call, Api, Reply], Reply]:
    def spoil(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
        reply.delivery = delivery
        reply.drip_seconds = fault.seconds(1)
        return reply

    return spoil


def _hold(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
    """Delay the answer: without stored answers, holding a call open is only waiting."""
    reply.wait_before = fault.seconds(HOLD)
    return reply


def _body(body: bytes) -> Callable[[Fault, Call, Api, Reply], Reply]:
    def spoil(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
        return Reply(201 if reply.status == 200 else reply.status, body, {"Content-Type": "application/json"})

    return spoil


def _huge(fault: Fault, call: Call, api: Api, reply: Reply) -> Reply:
    size = int(fault.params.get("megabytes", 8)) * 1_000_000
    return Reply(reply.status, b'{"padding":"' + b"x" * size + b'"}', {"Content-Type": "application/json"})


SPOILERS: dict[str, Callable[[Fault, Call, Api, Reply], Reply]] = {
    "status": lambda fault, _, api, __: api.error(int(fault.detail)),
    "html": lambda fault, *_: html_reply(int(fault.detail), f"{fault.detail} Bad Gateway"),
    "empty": lambda fault, *_: Reply(int(fault.params.get("status", 502))),
    "redirect": _redirect,
    "429": _throttle,
    "v2": _v2,
    "reset": _delivered("reset"),
    "crash": _delivered("reset"),
    "hold": _hold,
    "hang": _delivered("hang"),
    "truncated": _delivered("truncated"),
    "slow-drip": _delivered("drip"),
    "huge": _huge,
    "no-account-id": _body(b"{}"),
    "wrong-201": _body(b'<<<not json "account_id"'),
}


def _fires(store: Store, row: sqlite3.Row) -> bool:
    if row["count"] is not None and row["hits"] >= row["count"]:
        return False
    if row["probability"] is not None and store.rng("fault").random() >= row["probability"]:
        return False
    store.db.execute("UPDATE fault SET hits = hits + 1 WHERE id = ?", (row["id"],))
    return True


def _email_fits(call: Call, email: str | None) -> bool:
    """Match by the account's email, or by its name for AhaSend, whose accounts have no email."""
    if email is None:
        return True
    if call.account is not None:
        return bool(call.account["email"] == email)
    of_aha = call.operation.startswith("aha-")
    id_, query = call.ids.get("account"), "SELECT email AS said FROM account WHERE id = ?"
    if of_aha:
        id_, query = call.ids.get("child"), "SELECT name AS said FROM aha_account WHERE id = lower(?)"
    if id_ is not None:
        row = first_row(call.db, query, id_)
        return row is not None and bool(row["said"] == email)
    try:
        body = json.loads(call.request.body)
        return bool((body["name"] if of_aha else body["profile"]["email"]) == email)
    except (ValueError, KeyError, TypeError):
        return False
