"""SendGrid Web API v2, reseller family: the account overview, in JSON and XML."""

import re
import sqlite3
from datetime import timedelta
from html import escape
from urllib.parse import parse_qsl

from portal.sandbox.admin.overrides import overridden
from portal.sandbox.messages import Api, Call, Reply, Route, html_reply, json_reply, too_many_requests
from portal.sandbox.sendgrid import accounts as sendgrid_accounts
from portal.sandbox.sendgrid.keys import bearer_of, enter, key_row
from portal.sandbox.sendgrid.statistics import lifetime_requests
from portal.sandbox.store import first_row

WRONG = "Permission denied, wrong credentials"
NO_PASSWORDS = "invalid authentication method"
PROLOG = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
XML = {"Content-Type": "text/xml; charset=ISO-8859-1"}
CREDENTIALS = ("api_user", "api_key")


def error(status: int) -> Reply:
    return too_many_requests() if status == 429 else html_reply(status, f"{status}")


def parameters(call: Call) -> dict[str, str]:
    """Return the parameters of GET or POST. v2 accepts both: a key in the URL works, and is flagged in the log."""
    form = parse_qsl(call.request.body.decode("utf-8", "replace"), keep_blank_values=True)
    return {**call.request.query, **dict(form)}


def admit(call: Call) -> Reply | None:
    if call.switch("v2_retired"):
        return html_reply(call.switch("v2_retired"), "Gone", "<p>This API is no longer available.</p>")
    given = parameters(call)
    if "api_user" not in given and "api_key" not in given:
        key = bearer_of(call) if call.switch("v2_bearer") else None
    elif given.get("api_user") == "apikey":
        key = given.get("api_key")
    else:
        return _admit_password(call, given)
    row = key_row(call, key) if key else None
    if row is None:
        return problem(call, "e2", 401)
    if not row["reseller"]:
        return problem(call, "e1", 403, "Permission denied")
    enter(call, row)
    return None


def overview(call: Call) -> Reply:
    given = parameters(call)
    if given.get("task") != "overview":
        return problem(call, "e1", 400, "Missing or unknown task")
    if not given.get("user"):
        return problem(call, "e1", 400, "Missing user")
    account = _customer(call, given["user"])
    if account is None:
        return problem(call, "e1", 400, "User does not exist")
    call.account = account
    values = _overview(call, account)
    if _is_xml(call):
        texts = {name: escape(str(value), quote=False) for name, value in values.items()}
        lines = "".join(f"      <{name}>{text}</{name}>\n" for name, text in texts.items())
        return _xml(200, f"<result>\n   <overview>\n{lines}   </overview>\n</result>\n")
    return json_reply(200, values)


def problem(call: Call, shape: str, status: int, text: str = WRONG) -> Reply:
    """Return an error in one of the known formats of this API, e1 to e7; in XML all but two have the same envelope."""
    if shape == "e5":
        return too_many_requests()
    if shape == "e7":
        return html_reply(status, "Internal Server Error")
    if _is_xml(call):
        errors = f"<errors><error>{escape(text, quote=False)}</error></errors>"
        return _xml(status, f"<result><message>error</message>{errors}</result>\n")
    bodies: dict[str, dict[str, object]] = {
        "e1": {"message": "error", "errors": [text]},
        "e2": {"error": {"code": 401, "message": text}},
        "e3": {"error": text},
        "e4": {"errors": [text], "message": "error"},
        "e6": {"message": "error", "errors": [NO_PASSWORDS]},
    }
    return json_reply(status, bodies[shape])


def _admit_password(call: Call, given: dict[str, str]) -> Reply | None:
    if not call.switch("v2_password_login"):
        return problem(call, "e6", 401, NO_PASSWORDS)
    row = call.db.execute(
        "SELECT * FROM organisation WHERE username = ? AND password = ?",
        (given.get("api_user", ""), given.get("api_key", "")),
    ).fetchone()
    if row is None:
        return problem(call, "e1", 400, "Bad username / password") if _is_xml(call) else problem(call, "e2", 401)
    call.organisation, call.key, call.key_label = row["id"], row["username"], f"{row['id']} password"
    call.region = call.request.region or ""
    return None


def _customer(call: Call, username: str) -> sqlite3.Row | None:
    """Find a customer by username. A password login has no region, and then matches every region."""
    query = "SELECT * FROM account WHERE organisation = ? AND username = ? AND deleted_at IS NULL AND created_at <= ?"
    values = (call.organisation, username, call.now, call.region, call.region)
    return first_row(call.db, f"{query} AND (region = ? OR ? = '')", *values)


def _overview(call: Call, account: sqlite3.Row) -> dict[str, str | int]:
    history = sendgrid_accounts.history_of(call.store, account)
    lag = sendgrid_accounts.account_switches(call.store, account)["credits_lag_seconds"]
    known = sendgrid_accounts.current_credits(call.store, account, call.now)
    package = sendgrid_accounts.package_of(call.db, account)
    values: dict[str, str | int] = {
        "reputation": round(account["reputation"]),
        # A separate counter at the provider; here everything since the account's creation.
        "requests": lifetime_requests(history, call.now - lag),
        "package": package["display_name"] if package is not None else "",
        "credits_allowed": known.allowed,
        "credits_used": known.used,
        "credits_remain": known.remain,
        "credits_overage": known.overage,
    }
    if call.switch("v2_typing") == "strings":
        values = {name: value if name == "credits_remain" else str(value) for name, value in values.items()}
    if call.switch("v2_billing_dates"):
        values["billing_start_date"] = known.period.start.isoformat()
        values["billing_end_date"] = (known.period.end - timedelta(days=1)).isoformat()
        values["billing_process_date"] = known.period.end.isoformat()
    values.pop(call.switch("v2_missing_field"), None)
    return overridden(call.db, account["id"], "overview", values)


def _is_xml(call: Call) -> bool:
    return call.ids.get("format") == "xml"


def _xml(status: int, body: str) -> Reply:
    return Reply(status, (PROLOG + body).encode("iso-8859-1", "xmlcharrefreplace"), dict(XML))


OVERVIEW = re.compile(r"/apiv2/reseller\.account\.(?P<format>json|xml)")

API = Api(
    name="v2",
    routes=(Route("overview", "POST", OVERVIEW, overview), Route("overview", "GET", OVERVIEW, overview)),
    admit=admit,
    error=error,
)
