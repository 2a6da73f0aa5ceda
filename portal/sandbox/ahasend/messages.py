"""Messages of an AhaSend account. None is sent: each is counted, and completed by the sandbox's clock.

The result is set by `sandbox_result`, or by the recipient's name before the @: `bounce`, `defer`, `fail`, `suppress`
(also with a `+tail`); all others are delivered.
"""

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portal.sandbox.admin.request import Refused, row_or_404
from portal.sandbox.ahasend import accounts as ahasend_accounts
from portal.sandbox.ahasend.domains import find, is_valid
from portal.sandbox.ahasend.fields import FQDN, UUID, body_of, text, window
from portal.sandbox.ahasend.scopes import domains_of, require_any, require_for
from portal.sandbox.ahasend.store import new_id
from portal.sandbox.clock import DAY, iso, moment_of
from portal.sandbox.messages import Call, Reply, json_reply
from portal.sandbox.sendgrid import accounts as sendgrid_accounts

OUTCOMES = {
    "deliver": "Delivered",
    "bounce": "Bounced",
    "defer": "Deferred",
    "fail": "Failed",
    "suppress": "Suppressed",
}
MOST_RECIPIENTS = 100
KEPT_DAYS = 30
LONGEST_SUBJECT = 998
FIELDS = {
    "from",
    "recipients",
    "reply_to",
    "subject",
    "text_content",
    "html_content",
    "amp_content",
    "attachments",
    "headers",
    "substitutions",
    "tags",
    "sandbox",
    "sandbox_result",
    "tracking",
    "retention",
    "schedule",
}


@dataclass(frozen=True, slots=True)
class Message:
    """Content common to all recipients of one send, each of which gets its own message."""

    body: Mapping[str, Any]
    sender: str
    domain: sqlite3.Row
    schedule: Mapping[str, str]


def send(call: Call) -> Reply:
    require_any(call, "messages:send")
    body = body_of(call, FIELDS)
    sender = _address(body.get("from"), "from")
    require_for(call, "messages:send", sender.rpartition("@")[2])
    recipients = _recipients(body.get("recipients"))
    _check(body)
    schedule = _schedule(call, body.get("schedule"))
    message = Message(body, sender, _sending_domain(call, sender), schedule)
    if body.get("sandbox") is not True:
        sendgrid_accounts.add_usage(call.db, call.organisation, call.now, len(recipients))
    sent = [_add(call, message, recipient) for recipient in recipients]
    return json_reply(202, {"object": "list", "data": sent})


def list_messages(call: Call) -> Reply:
    require_any(call, "messages:read")
    since, until = window(call)
    query = "SELECT * FROM aha_message WHERE account = ? AND created_at BETWEEN ? AND ?"
    values: list[object] = [call.organisation, since, until]
    for name in ("sender", "recipient"):
        if call.request.query.get(name):
            query, values = f"{query} AND {name} = ?", [*values, call.request.query[name].lower()]
    allowed = domains_of(call, "messages:read")
    if allowed is not None:
        query += f" AND substr(sender, instr(sender, '@') + 1) IN ({', '.join('?' * len(allowed))})"
        values += sorted(allowed)
    if call.request.query.get("status"):
        wanted = call.request.query["status"].split(",")
        query += f" AND CASE WHEN due_at <= ? THEN outcome ELSE 'Received' END IN ({', '.join('?' * len(wanted))})"
        return ahasend_accounts.list_reply(call, "messages", query, (*values, call.now, *wanted), shown)
    return ahasend_accounts.list_reply(call, "messages", query, tuple(values), shown)


def read(call: Call) -> Reply:
    """Return a message by the ID of its send, `<uuid@domain>`, or by its bare UUID."""
    require_any(call, "messages:read")
    bare = call.ids["message"].strip("<>").partition("@")[0].lower()
    if not UUID.fullmatch(bare):
        raise Refused(400, "invalid message id")
    query = "SELECT * FROM aha_message WHERE account = ? AND id = ?"
    row = row_or_404(call.db, query, call.organisation, bare, missing="message not found")
    require_for(call, "messages:read", row["sender"].rpartition("@")[2])
    return json_reply(200, shown(call, row))


def shown(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    """Return a message without its content, which is not stored."""
    done = row["due_at"] <= call.now
    status = row["outcome"] if done else "Received"
    end = iso(row["due_at"])
    attempts = [{"time": end, "log": f"sandbox: {status.lower()}", "status": status}] if done else []
    return {
        "object": "message",
        "id": row["id"],
        "account_id": row["account"],
        "domain_id": row["domain_id"],
        "message_id": row["message_id"],
        "created_at": iso(row["created_at"]),
        "updated_at": end if done else iso(row["created_at"]),
        "sent_at": end if done else None,
        "delivered_at": end if done and status.endswith("Delivered") else None,
        "retain_until": iso(row["created_at"] + KEPT_DAYS * DAY),
        "direction": "outbound",
        "is_bounce_notification": False,
        "bounce_classification": "hard" if status.endswith("Bounced") else "",
        "delivery_attempts": attempts,
        "num_attempts": len(attempts),
        "subject": row["subject"],
        "tags": json.loads(row["tags"]),
        "sender": row["sender"],
        "recipient": row["recipient"],
        "status": status,
        "click_count": 0,
        "open_count": 0,
        "reference_message_id": None,
    }


def _add(call: Call, message: Message, recipient: Mapping[str, Any]) -> dict[str, Any]:
    id_, body, schedule = new_id(call.store), message.body, message.schedule
    message_id = f"<{id_}@{message.domain['domain']}>"
    begin = moment_of(schedule["first_attempt"]) if "first_attempt" in schedule else call.now
    values = {
        "id": id_,
        "account": call.organisation,
        "domain_id": message.domain["id"],
        "message_id": message_id,
        "sender": message.sender,
        "recipient": recipient["email"].lower(),
        "subject": body["subject"],
        "tags": json.dumps(body.get("tags") or []),
        "outcome": _outcome(body, recipient["email"]),
        "sandbox": body.get("sandbox") is True,
        "created_at": call.now,
        "due_at": begin + call.switch("aha_delivery_seconds"),
    }
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    call.db.execute(f"INSERT INTO aha_message ({names}) VALUES ({places})", values)  # noqa: S608 - our own names
    answer = {
        "object": "message",
        "id": message_id,
        "recipient": {"email": recipient["email"], "name": recipient.get("name") or ""},
        "status": "scheduled" if schedule else "queued",
        "error": None,
    }
    return {**answer, "schedule": schedule} if schedule else answer


def _outcome(body: Mapping[str, Any], recipient: str) -> str:
    if body.get("sandbox") is True:
        return f"Sandbox {OUTCOMES[body.get('sandbox_result') or 'deliver']}"
    return OUTCOMES.get(re.split(r"[+@]", recipient.lower())[0], OUTCOMES["deliver"])


def _sending_domain(call: Call, sender: str) -> sqlite3.Row:
    row = find(call.db, call.organisation, sender.rpartition("@")[2])
    if row is None or not is_valid(row):
        raise Refused(400, "from must be of a domain of the account whose DNS records are valid")
    if row["paused"]:
        raise Refused(403, "the domain is paused")
    return row


def _check(body: Mapping[str, Any]) -> None:
    text(body.get("subject"), "subject", LONGEST_SUBJECT)
    contents = [body.get(name) for name in ("text_content", "html_content")]
    if not any(isinstance(content, str) and content for content in contents):
        raise Refused(400, "text_content or html_content is required")
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Refused(400, "tags must be a list of texts")
    if body.get("sandbox") not in (None, True, False) or body.get("sandbox_result") not in (None, *OUTCOMES):
        raise Refused(400, "sandbox_result is not known")


def _schedule(call: Call, given: object) -> dict[str, str]:
    """Return the schedule's times, which must be at most seven and eight days ahead; empty without a schedule."""
    if not given:
        return {}
    schedule: dict[str, str] = {}
    for name, days in (("first_attempt", 7), ("expires", 8)):
        value = given.get(name) if isinstance(given, dict) else given
        if value is None:
            continue
        try:
            at = moment_of(str(value))
        except ValueError as error:
            raise Refused(400, f"schedule.{name} must be a time") from error
        if not call.now < at <= call.now + days * DAY:
            raise Refused(400, f"schedule.{name} must lie ahead, by at most {days} days")
        schedule[name] = iso(at)
    return schedule


def _recipients(given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_RECIPIENTS:
        raise Refused(400, f"recipients must be 1 to {MOST_RECIPIENTS}")
    for recipient in given:
        _address(recipient, "recipients")
    return given


def _address(given: object, name: str) -> str:
    email = given.get("email") if isinstance(given, dict) else None
    local, _, domain = email.lower().rpartition("@") if isinstance(email, str) else ("", "", "")
    if not re.fullmatch(r"[^\s@<>\"]{1,64}", local) or not FQDN.fullmatch(domain):
        raise Refused(400, f"{name} must be an e-mail address")
    return f"{local}@{domain}"
