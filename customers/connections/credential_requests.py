"""Requests to replace a connection's credential: shown, and applied once approved. The connection is tested after that,
as it is without approval."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.connections import commands
from customers.connections.forms import ConnectionForm
from customers.connections.views import look_at
from customers.models import Connection
from portal.approvals.actions import ApprovalAction, Row
from portal.approvals.models import Approval
from portal.commands import Command
from portal.refusals import Refusal


def _apply(command: Command, approval: Approval) -> Connection:
    """Store the credential. Raises `Refusal`, and `DecryptionError` where FIELD_KEYS lost its key."""
    connection = _connection_of(approval)
    if connection is None or connection.revision != approval.payload["revision"]:
        raise Refusal(_changed(approval))
    secrets, facts = approval.secrets(), approval.payload["facts"]
    if facts or "api_key" not in secrets:
        commands.edit_connection(
            command,
            connection=connection,
            facts=facts,
            api_key=secrets.get("api_key", ""),
            v2_password=secrets.get("v2_password", ""),
        )
    else:
        commands.replace_key(
            command,
            connection=connection,
            api_key=secrets["api_key"],
            v2_password=secrets.get("v2_password"),
        )
    connection.refresh_from_db()
    return connection


def _changed(approval: Approval) -> str:
    text = _(
        "The connection changed since this was requested. Nothing was changed. Reject the request, and ask %(name)s to "
        "request it again."
    )
    return text % {"name": approval.requested_by}


def _connection_of(approval: Approval) -> Connection | None:
    return Connection.objects.filter(public_id=str(approval.subject_id)).first()


def _rows(approval: Approval) -> list[Row]:
    connection, said = _connection_of(approval), approval.payload
    found: list[Row] = []
    for name, end in said["ends_in"].items():
        if name == "api_key":
            before = connection.api_key_last4 if connection and approval.is_waiting else ""
            found.append((_("API key ends in"), before, end or _("not shown")))
        else:
            found.append((_("v2 password"), _("Current password"), _("New password")))
    for name, value in said["facts"].items():
        field = ConnectionForm.base_fields.get(name)
        before = str(getattr(connection, name, "")) if connection and approval.is_waiting else ""
        found.append((field.label if field and field.label else name, before, str(value)))
    return found


def _applied(request: HttpRequest | None, approval: Approval, connection: Connection) -> None:
    if request:
        look_at(request, connection)


ACTION = ApprovalAction(_apply, _rows, _applied)
