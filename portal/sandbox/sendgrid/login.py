"""Target page of a sign-in: it accepts a code once, within a minute of the sandbox's clock."""

import re
from html import escape

from portal.sandbox.messages import Reply, Request, html_reply
from portal.sandbox.store import Store

LIFETIME = 60
PATH = re.compile(r"/_login/(?P<account>[^/]+)")


def show(store: Store, request: Request) -> Reply:
    match = PATH.fullmatch(request.path)
    now = store.clock.now()
    with store.transaction() as db:
        row = db.execute(
            "SELECT sso_code.*, email, username FROM sso_code JOIN account ON account.id = account"
            " WHERE code = ? AND account = ?",
            (request.query.get("code", ""), match["account"] if match else ""),
        ).fetchone()
        if row is None:
            return _refused("Unknown code.")
        if row["used_at"] is not None:
            return _refused("This code has already been used.")
        if not 0 <= now - row["created_at"] <= LIFETIME:
            return _refused("This code has expired. Codes are valid for 60 seconds.")
        db.execute("UPDATE sso_code SET used_at = ? WHERE code = ?", (now, row["code"]))
    who = escape(row["email"] or row["username"])
    return html_reply(200, f"Sandbox: signed in as {who}", f"<p>Account {escape(row['account'])}.</p>")


def _refused(why: str) -> Reply:
    return html_reply(410, "Sandbox: sign-in rejected", f"<p>{why}</p>")
