"""Scopes that our own credential of a connection lacks, as of the last check. A scope that was not or could not be
tried counts as granted: the provider decides."""

from __future__ import annotations

from django.utils.translation import gettext as _

from customers.models import Connection
from portal.providers import Scope


def missing_scope(connection: Connection, kind: str) -> Scope | None:
    """Return the scope that an operation of `kind` needs and the credential lacked at the check."""
    return next((scope for scope in _lacking(connection) if kind in scope.for_kinds), None)


def missing_read(connection: Connection, part: str) -> Scope | None:
    """Return the scope that reading `part` of an account needs and the credential lacked at the check."""
    return next((scope for scope in _lacking(connection) if part in scope.for_reads), None)


def missing_text(connection: Connection, scope: Scope) -> str:
    named = {"connection": connection.name, "scope": scope.name, "provider": connection.provider_label}
    return (
        _("The key of %(connection)s lacks the scope %(scope)s. Grant it at %(provider)s, then check the connection.")
        % named
    )


def _lacking(connection: Connection) -> list[Scope]:
    refused = {check["name"] for check in connection.checks if check["ok"] is False}
    return [scope for scope in connection.capabilities.own_scopes if scope.name in refused]
