"""Answers kept under an Idempotency-Key: replayed, refused while the first is on its way, forgotten in time.

A record is taken with a lease before the work begins. It ends in one of four ways: kept (the answer is replayed until
it expires), released (a 5xx: the next try executes again), left (the handler died: nobody may try until the lease
ends), or overtaken (the lease ended first and another try has it).
"""

import hashlib
import math
from dataclasses import dataclass

from portal.sandbox.messages import JSON, Call, Reply

LEASE = 300
LONGEST_KEY = 255
HEADER = "idempotency-key"


@dataclass(frozen=True, slots=True)
class Rule:
    """How long an operation's success is kept, and whether a refusal is kept too. Where it is not, the key stays in
    progress until its lease ends."""

    seconds: int
    keeps_refusals: bool


ORDINARY = Rule(24 * 3_600, keeps_refusals=True)
WITH_SECRET = Rule(300, keeps_refusals=False)


@dataclass(frozen=True, slots=True)
class Lease:
    account: str
    key: str
    number: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a call may not execute: 409 with the seconds left, or 422."""

    status: int
    retry_after: int | None = None


def key_of(call: Call) -> str | None:
    return call.request.headers.get(HEADER) or None


def find(call: Call, key: str) -> Reply | Conflict | None:
    """What is known under the key: an answer to replay, a reason to refuse, or nothing."""
    row = call.db.execute(
        "SELECT * FROM aha_idempotency WHERE account = ? AND key = ?", (call.organisation, key)
    ).fetchone()
    if row is None:
        return None
    finished = row["finished_at"] is not None and row["finished_at"] <= call.now
    if call.now >= (row["expires_at"] if finished else row["lease_until"]):
        # Also what an expired answer held: its secret is not kept a moment longer than it is replayed.
        call.db.execute("DELETE FROM aha_idempotency WHERE account = ? AND key = ?", (call.organisation, key))
        return None
    if row["digest"] != _digest(call):
        return Conflict(422)
    if finished:
        return Reply(row["status"], row["body"], {**JSON, "Idempotent-Replayed": "true"})
    return Conflict(409, min(LEASE, max(1, math.ceil(row["lease_until"] - call.now))))


def take(call: Call, key: str) -> Lease:
    number = call.store.rng("aha-lease").getrandbits(48)
    call.db.execute(
        "INSERT INTO aha_idempotency (account, key, digest, operation, lease_until, lease) VALUES (?, ?, ?, ?, ?, ?)",
        (call.organisation, key, _digest(call), call.operation, call.now + LEASE, number),
    )
    return Lease(call.organisation, key, number)


def settle(call: Call, lease: Lease, rule: Rule, reply: Reply) -> None:
    """The handler has answered: keep it, release the key, or leave the lease, as the rule says."""
    mine = (lease.account, lease.key, lease.number)
    if reply.status >= 500:
        call.db.execute("DELETE FROM aha_idempotency WHERE account = ? AND key = ? AND lease = ?", mine)
    elif reply.status < 400 or rule.keeps_refusals:
        call.db.execute(
            "UPDATE aha_idempotency SET finished_at = ?, expires_at = ?, status = ?, body = ?"
            " WHERE account = ? AND key = ? AND lease = ?",
            (call.now, call.now + rule.seconds, reply.status, reply.body, *mine),
        )


def _digest(call: Call) -> str:
    """Over method, path with its ids, and the body as it came, byte for byte."""
    request = call.request
    parts = (request.method.encode(), request.path.encode(), request.body)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
