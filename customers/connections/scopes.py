"""Scopes that our own credential of a connection lacks, as of the last check. A scope that was not or could not be
tried counts as granted: the provider decides."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _

from customers.models import Connection
from portal.providers import Scope


def why_no_scope(connection: Connection, kind: str) -> str:
    """Return which scope the credential lacked at the check that an operation of `kind` needs; "" when it has all."""
    return _text(connection, (scope for scope in connection.capabilities.own_scopes if kind in scope.for_kinds))


def why_no_read(connection: Connection, part: str) -> str:
    """Return which scope the credential lacked at the check that reading `part` of an account needs; "" for none."""
    return _text(connection, (scope for scope in connection.capabilities.own_scopes if part in scope.for_reads))


def _text(connection: Connection, needed: Iterable[Scope]) -> str:
    refused = {check["name"] for check in connection.checks if check["ok"] is False}
    lacking = next((scope for scope in needed if scope.name in refused), None)
    if lacking is None:
        return ""
    named = {"connection": connection.name, "scope": lacking.name, "provider": connection.provider_label}
    return (
        _(
            "The API key of %(connection)s lacks the scope %(scope)s. Add the scope in %(provider)s, then test "
            "the connection."
        )
        % named
    )
