"""The check whether replacing a connection's credential needs approval (portal/approvals/gate.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from customers.models import Connection
from customers.models.connection import last4
from portal.approvals import gate
from portal.approvals.kinds import ApprovalKind
from portal.commands import Command
from portal.edits import plain_value


def check_credential_change(
    command: Command,
    connection: Connection,
    replaced: Sequence[str],
    *,
    secrets: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return facts for the audit event. Call it in the transaction that writes the credential, with its row locked.

    `facts` are other columns that the same form changes. The revision that the change starts from is part of the
    request, so that an approval is for the connection as it was then.
    """
    given = {name: value for name, value in secrets.items() if value}
    payload = {
        "revision": connection.revision - 1,  # of the row before this write
        "replaced": list(replaced),
        "ends_in": {name: last4(value) if name == "api_key" else "" for name, value in given.items()},
        "facts": {name: plain_value(value) for name, value in (facts or {}).items()},
    }
    change = gate.Change(
        ApprovalKind.CREDENTIAL, subject=connection, label=connection.name, payload=payload, secrets=given
    )
    return gate.pass_gate(command, change)
