"""Stored answers by Idempotency-Key: replayed, refused while the first request is running, deleted on expiry.

A record is created with a lease before the work begins. It ends in one of four ways: stored (the answer is replayed
until it expires), released (a 5xx: the next request executes again), left (the handler died: refused until the lease
ends), or overtaken (the lease ended and another request took it).
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
    """How long an operation's success is stored, and whether a refusal is stored too. If it is not, the key stays in
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
    """Reason a call may not execute: 409 with the seconds left, or 422."""

    status: int
    retry_after: int | None = None


def key_of(call: Call) -> str | None:
    return call.request.headers.get(HEADER) or None


def find(call: Call, key: str) -> Reply | Conflict | None:
    """Return the answer to replay, a reason to refuse, or None for an unknown key."""
    row = call.db.execute(
        "SELECT * FROM aha_idempotency WHERE account = ? AND key = ?", (call.organisation, key)
    ).fetchone()
    if row is None:
        return None
    finished = row["finished_at"] is not None and row["finished_at"] <= call.now
    if call.now >= (row["expires_at"] if finished else row["lease_until"]):
        # Deletes an expired answer too: its secret is not stored longer than it is replayed.
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
    """Store the handler's answer, release the key, or leave the lease, as the rule says."""
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
    """Return the digest of method, path with its IDs, and the body as received, byte for byte."""
    request = call.request
    parts = (request.method.encode(), request.path.encode(), request.body)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
