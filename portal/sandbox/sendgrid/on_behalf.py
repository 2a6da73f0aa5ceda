"""SendGrid v3 reads of a reseller on behalf of a customer account (`on-behalf-of: account-id <id>`).

Without the header the call acts as the reseller's own account, which has sent nothing here: a client that omits the
header reads plausible zeros, as at the provider.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import date, timedelta

from portal.sandbox.admin.overrides import overridden
from portal.sandbox.clock import day_of
from portal.sandbox.messages import Api, Call, Reply, Route, json_reply, plain_error, too_many_requests
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.credits import Credits
from portal.sandbox.sendgrid.keys import admit_bearer, lacks
from portal.sandbox.sendgrid.resets import CALENDAR_MONTHS, period_at
from portal.sandbox.sendgrid.statistics import Revision, shown_by_day

MESSAGES = {401: "authorization required", 403: "access forbidden", 404: "not found"}
PROFILE = (
    "address",
    "address2",
    "city",
    "company",
    "country",
    "first_name",
    "last_name",
    "phone",
    "state",
    "website",
)
MAX_DAYS = 3_660


def error(status: int) -> Reply:
    if status == 429:
        return too_many_requests()
    return plain_error(status, MESSAGES.get(status, "something went wrong"))


def admit(call: Call) -> Reply | None:
    row = admit_bearer(call)
    if isinstance(row, Reply):
        return row
    if call.operation == "credits" and (lacks(row, "user.credits.read") or call.switch("credits") == "403"):
        return error(403)
    return _act_as(call)


def _act_as(call: Call) -> Reply | None:
    behalf = call.request.headers.get("on-behalf-of")
    if behalf is None:
        return None
    match = re.fullmatch(r"account-id (\S+)", behalf)
    if match is None:
        return error(call.switch("unknown_behalf"))  # a bare value would be a subuser, of which there are none
    call.account = sendgrid_accounts.find(
        call.db, match[1], organisation=call.organisation, region=call.region, now=call.now
    )
    if call.account is None or (call.now < call.account["ready_at"] and call.switch("create_lag_as") == "404"):
        return error(call.switch("unknown_behalf"))
    if call.account["state"] == "deactivated" and call.switch("deactivated") == "old":
        return error(403)  # the older tables: API keys are disabled
    return None


def read_credits(call: Call) -> Reply:
    if call.account is None:
        return json_reply(200, _credits(Credits(period_at(CALENDAR_MONTHS, call.now), allowed=0, used=0)))
    answer = _credits(sendgrid_accounts.current_credits(call.store, call.account, call.now))
    return json_reply(200, overridden(call.db, call.account["id"], "credits", answer))


def plan(call: Call) -> Reply:
    if call.account is None:
        return json_reply(200, {"type": "paid", "reputation": 100.0})
    free = sendgrid_accounts.is_free(call.db, call.account)
    return json_reply(200, {"type": "free" if free else "paid", "reputation": call.account["reputation"]})


def username(call: Call) -> Reply:
    if call.account is None:
        return json_reply(200, {"username": _reseller(call)["username"], "user_id": 1})
    return json_reply(200, {"username": call.account["username"], "user_id": call.account["user_id"]})


def email(call: Call) -> Reply:
    address = f"{_reseller(call)['username']}@sandbox.test" if call.account is None else call.account["email"]
    return json_reply(200, {"email": sendgrid_accounts.email_as(call.switch("email_form"), address or "")})


def profile(call: Call) -> Reply:
    known = json.loads(call.account["profile"]) if call.account is not None else {}
    given = {**known, "company": known.get("company_name", ""), "website": known.get("company_website", "")}
    return json_reply(200, {name: given.get(name, "") for name in (*PROFILE, "zip")})


def stats(call: Call) -> Reply:
    query = call.request.query
    aggregated_by = query.get("aggregated_by", "day")
    zone = "UTC" if call.account is None else sendgrid_accounts.timezone_of(call.store, call.account)
    first, last = _date(query.get("start_date")), _date(query.get("end_date", day_of(call.now, zone).isoformat()))
    if first is None:
        return plain_error(400, "start_date is required as YYYY-MM-DD", "start_date")
    if last is None or last < first or (last - first).days > MAX_DAYS:
        return plain_error(400, "end_date must be YYYY-MM-DD and not before start_date", "end_date")
    if aggregated_by not in ("day", "week", "month"):
        return plain_error(400, "aggregated_by must be day, week or month", "aggregated_by")
    offset, limit = _count(query.get("offset", "0")), _count(query.get("limit", str(MAX_DAYS + 1)))
    if offset is None or limit is None:
        return plain_error(400, "limit and offset must be numbers", "limit")
    requests = {}
    if call.account is not None:
        history = sendgrid_accounts.history_of(call.store, call.account)
        switches = sendgrid_accounts.account_switches(call.store, call.account)
        names = ("stats_lag_seconds", "stats_first_share", "stats_revised_hours")
        revision = Revision(*(switches[name] for name in names))
        subusers = switches["stats_subusers"]
        requests = shown_by_day(history, zone, first, last, call.now, subusers=subusers, revision=revision)
    rows = _aggregate(requests, first, last, aggregated_by)
    return json_reply(200, [{"date": day, "stats": [{"metrics": sums}]} for day, sums in rows[offset : offset + limit]])


def mail_send(call: Call) -> Reply:
    """Refuse: the provider does on behalf of an account, and the sandbox sends no mail."""
    return error(403)


def metrics_of(requests: int) -> dict[str, int]:
    """Return plausible counters in fixed proportions. Whole numbers per day, so weeks and months are exact sums."""
    bounce_drops, invalid = requests // 2_000, requests // 5_000
    spam_drops, unsubscribe_drops = requests // 20_000, requests // 10_000
    processed = requests - bounce_drops - invalid - spam_drops - unsubscribe_drops
    bounces, blocks = processed * 8 // 1_000, processed // 1_500
    delivered = processed - bounces - blocks
    return {
        "blocks": blocks,
        "bounce_drops": bounce_drops,
        "bounces": bounces,
        "clicks": delivered * 4 // 100,
        "deferred": processed // 400,
        "delivered": delivered,
        "invalid_emails": invalid,
        "opens": delivered * 31 // 100,
        "processed": processed,
        "requests": requests,
        "spam_report_drops": spam_drops,
        "spam_reports": delivered // 8_000,
        "unique_clicks": delivered * 3 // 100,
        "unique_opens": delivered * 24 // 100,
        "unsubscribe_drops": unsubscribe_drops,
        "unsubscribes": delivered // 3_000,
    }


def _aggregate(requests: dict[date, int], first: date, last: date, by: str) -> list[tuple[str, dict[str, int]]]:
    sums: dict[str, dict[str, int]] = {}
    for step in range((last - first).days + 1):
        day = first + timedelta(days=step)
        bucket = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[by].isoformat()
        counters = metrics_of(requests.get(day, 0))
        known = sums.setdefault(bucket, dict.fromkeys(counters, 0))
        for name, count in counters.items():
            known[name] += count
    return list(sums.items())


def _credits(known: Credits) -> dict[str, int | str]:
    return {
        "remain": known.remain,
        "total": known.allowed,
        "overage": known.overage,
        "used": known.used,
        "last_reset": known.period.start.isoformat(),
        "next_reset": known.period.end.isoformat(),
        "reset_frequency": "monthly",
    }


def _reseller(call: Call) -> sqlite3.Row:
    row: sqlite3.Row = call.db.execute("SELECT * FROM organisation WHERE id = ?", (call.organisation,)).fetchone()
    return row


def _date(text: str | None) -> date | None:
    if text is None or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _read(operation: str, path: str, handler: Callable[[Call], Reply]) -> Route:
    return Route(operation, "GET", re.compile(re.escape(path)), handler)


API = Api(
    name="behalf",
    routes=(
        _read("credits", "/v3/user/credits", read_credits),
        _read("account", "/v3/user/account", plan),
        _read("username", "/v3/user/username", username),
        _read("email", "/v3/user/email", email),
        _read("profile", "/v3/user/profile", profile),
        _read("stats", "/v3/stats", stats),
        Route("mail-send", "POST", re.compile(r"/v3/mail/send"), mail_send, writes=True),
    ),
    admit=admit,
    error=error,
)
