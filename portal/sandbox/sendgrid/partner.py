"""SendGrid Account Provisioning API v3, operations 1 to 9."""

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from portal.sandbox.clock import iso
from portal.sandbox.messages import Api, Call, Reply, Route, json_reply, too_many_requests
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.keys import admit_bearer
from portal.sandbox.sendgrid.partner_fields import (
    FieldError,
    field_error,
    offering_errors,
    offerings_of,
    parse_object,
    profile_errors,
    profile_of,
)

ERRORS = {
    400: (40000, "The request was formatted incorrectly"),
    401: (40100, "Failed to authenticate user"),
    403: (
        40300,
        "The authenticated user is not authorized to perfrom this request",
    ),  # misspelled by the provider
    404: (40400, "No such endpoint"),
    500: (50000, "Something went wrong"),
    502: (50200, "Bad Gateway"),
    503: (50300, "Service Unavailable"),
    504: (50400, "Endpoint request timed out"),
}


def error(status: int) -> Reply:
    if status == 429:
        return too_many_requests()
    number, message = ERRORS.get(status, (status * 100, "Something went wrong"))
    return json_reply(status, {"errors": [field_error(number, message, "")]})


def refused(errors: list[FieldError]) -> Reply:
    return json_reply(400, {"errors": errors})


def admit(call: Call) -> Reply | None:
    row = admit_bearer(call)
    if isinstance(row, Reply):
        return error(401) if row.status == 401 and call.switch("partner_401") == "declared" else row
    return None if row["reseller"] else error(403)


def on_account(handler: Callable[[Call, sqlite3.Row], Reply]) -> Callable[[Call], Reply]:
    """Pass the account in the path to `handler`; unknown, deleted, foreign and not yet ready are all 404."""

    def answer(call: Call) -> Reply:
        account = sendgrid_accounts.find(
            call.db, call.ids["account"], organisation=call.organisation, region=call.region, now=call.now
        )
        if account is None or (call.now < account["ready_at"] and call.switch("create_lag_as") == "404"):
            return error(404)
        return handler(call, account)

    return answer


def list_accounts(call: Call) -> Reply:
    limit = _limit(call.request.query.get("limit", "10"))
    if limit is None:
        return refused([field_error(40031, "Field must be an integer from 1 to 100", "limit")])
    offset = call.request.query.get("offset", "")
    after = None
    if offset:
        after = call.db.execute(
            "SELECT * FROM account WHERE id = ? AND organisation = ? AND region = ? AND deleted_at IS NULL",
            (offset, call.organisation, call.region),
        ).fetchone()
        if after is None:
            return refused([field_error(40032, "Field must be the id of an account", "offset")])
    cap = call.switch("list_page_cap")
    rows = _page(call, min(limit, cap) if cap else limit, after)
    items = [_item(call, row) for row in rows]
    return json_reply(200, {"accounts": items, "pages": _pages(call, rows, offset)})


def create(call: Call) -> Reply:
    body = parse_object(call.request.body)
    if body is None:
        return error(400)
    errors = profile_errors(body["profile"]) if "profile" in body else []
    errors += offering_errors(body.get("offerings"), {row["name"]: row["type"] for row in _on_sale(call)})
    if errors:
        return refused(errors)
    account = sendgrid_accounts.open_account(
        call.store,
        organisation=call.organisation,
        region=call.region,
        profile=profile_of(body),
        offerings=offerings_of(body),
        at=call.now,
        test=call.request.headers.get("t-test-account") == "true",
    )
    call.account = account
    return json_reply(201, {"account_id": account["id"]})


def delete(call: Call, account: sqlite3.Row) -> Reply:
    sendgrid_accounts.delete(call.db, account["id"], call.now)
    return Reply(204)


def read_offerings(call: Call, account: sqlite3.Row) -> Reply:
    return json_reply(200, {"offerings": json.loads(account["offerings"])})


def put_offerings(call: Call, account: sqlite3.Row) -> Reply:
    if _held(call, account):
        return error(403)
    body = parse_object(call.request.body)
    if body is None:
        return error(400)
    # Offerings the account has may stay, even if the catalog no longer has them.
    known = {item["name"]: item["type"] for item in json.loads(account["offerings"])}
    known |= {row["name"]: row["type"] for row in _on_sale(call)}
    errors = offering_errors(body.get("offerings"), known)
    if errors:
        return refused(errors)
    sendgrid_accounts.set_offerings(call.store, account, offerings_of(body), call.now)
    return read_offerings(call, sendgrid_accounts.row_of(call.db, account["id"]))


def sign_in(call: Call, account: sqlite3.Row) -> Reply:
    if account["state"] != "activated" and call.switch("sso_inactive") == "403":
        return error(403)
    code = f"{call.store.rng('sso').getrandbits(160):040x}"
    call.db.execute("INSERT INTO sso_code VALUES (?, ?, ?, NULL)", (code, account["id"], call.now))
    return Reply(303, headers={"Location": f"{call.base_url}/_login/{account['id']}?code={code}"})


def read_state(call: Call, account: sqlite3.Row) -> Reply:
    return json_reply(200, {"state": "indeterminate" if call.now < account["ready_at"] else account["state"]})


def put_state(call: Call, account: sqlite3.Row) -> Reply:
    body = parse_object(call.request.body)
    if body is None:
        return error(400)
    if body.get("state") not in ("activated", "deactivated"):
        return refused([field_error(40033, "Field must be activated or deactivated", "state")])
    if _held(call, account):
        return error(403)
    sendgrid_accounts.set_state(call.db, account["id"], body["state"], call.now)
    return Reply(204)


def catalogue(call: Call) -> Reply:
    return json_reply(200, {"catalog": [_entry(row) for row in _on_sale(call)]})


def _on_sale(call: Call) -> list[sqlite3.Row]:
    entries = sendgrid_accounts.catalogue(call.db, call.organisation).values()
    return [row for row in entries if not row["gone"]]


def _held(call: Call, account: sqlite3.Row) -> bool:
    return account["state"] in sendgrid_accounts.HELD and call.switch("put_on_held") == "403"


def _limit(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) and 1 <= int(text) <= 100 else None


def _page(call: Call, limit: int, after: sqlite3.Row | None) -> list[sqlite3.Row]:
    order, beyond = {
        "created": ("seq", "seq > :seq"),
        "reversed": ("seq DESC", "seq < :seq"),
        "shuffled": ("id", "id > :id"),
    }[call.switch("list_order")]
    if call.switch("list_cursor") == "loop":
        after = None
    elif after is not None and call.switch("list_cursor") == "repeat":
        beyond = beyond.replace(" > ", " >= ").replace(" < ", " <= ")
    # The parts put into the statement are the values above, never the caller's.
    where = f"AND {beyond}" if after is not None else ""
    rows = call.db.execute(
        "SELECT * FROM account WHERE organisation = :organisation AND region = :region"  # noqa: S608
        " AND deleted_at IS NULL AND created_at <= :now AND listed_at <= :now"
        f" {where} ORDER BY {order} LIMIT :limit",
        {
            "organisation": call.organisation,
            "region": call.region,
            "now": call.now,
            "limit": limit,
            "seq": after["seq"] if after is not None else None,
            "id": after["id"] if after is not None else None,
        },
    )
    return rows.fetchall()


def _pages(call: Call, rows: list[sqlite3.Row], offset: str) -> dict[str, str]:
    if not rows or call.switch("list_cursor") == "missing":
        return {}
    return {"last": offset if offset and call.switch("list_cursor") == "stuck" else rows[-1]["id"]}


def _item(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    skew = call.switch("clock_skew_seconds")
    item: dict[str, Any] = {"id": row["id"], "created_at": iso(row["created_at"] + skew)}
    if not call.switch("list_bare"):
        if row["email"] is not None:
            item["email"] = sendgrid_accounts.email_as(call.switch("email_form"), row["email"])
        item["updated_at"] = iso(row["updated_at"] + skew)
    return item


def _entry(row: sqlite3.Row) -> dict[str, Any]:
    entry: dict[str, Any] = {"offering": {"name": row["name"], "type": row["type"], "quantity": 1}}
    if row["entitlements"] is not None:
        entry["entitlements"] = json.loads(row["entitlements"])
    return entry


ACCOUNTS = re.compile(r"/v3/partners/accounts")
ACCOUNT = re.compile(r"/v3/partners/accounts/(?P<account>[^/]+)")
OFFERINGS = re.compile(r"/v3/partners/accounts/(?P<account>[^/]+)/offerings")
SSO = re.compile(r"/v3/partners/accounts/(?P<account>[^/]+)/sso")
STATE = re.compile(r"/v3/partners/accounts/(?P<account>[^/]+)/state")
CATALOGUE = re.compile(r"/v3/partners/offerings")

API = Api(
    name="partner",
    routes=(
        Route("list", "GET", ACCOUNTS, list_accounts),
        Route("create", "POST", ACCOUNTS, create, writes=True),
        Route("delete", "DELETE", ACCOUNT, on_account(delete), writes=True),
        Route("offerings", "GET", OFFERINGS, on_account(read_offerings)),
        Route("put-offerings", "PUT", OFFERINGS, on_account(put_offerings), writes=True),
        Route("sso", "POST", SSO, on_account(sign_in), writes=True),
        Route("state", "GET", STATE, on_account(read_state)),
        Route("put-state", "PUT", STATE, on_account(put_state), writes=True),
        Route("catalogue", "GET", CATALOGUE, catalogue),
    ),
    admit=admit,
    error=error,
)
