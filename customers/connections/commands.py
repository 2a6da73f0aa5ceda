"""Commands on connections: add, verify, pause, resume, change the key. All audited; secrets are never returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.connections import circuit_breaker, credential_checks, credentials
from customers.connections.client import client_for, config_of
from customers.models import Connection, Operation, Recovery
from customers.models.connection import last4
from customers.models.operation_states import OPEN, OperationKind
from portal import providers
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.edits import refuse_stale
from portal.notices import raising as notices
from portal.providers import CAPABILITIES, Unsupported
from portal.refusals import Refusal

Paused = Connection.Paused
KEY_REFUSED = "connection.key_refused"
# How often an edit is tried again where the connection is edited between its reading and its writing.
WRITE_TRIES = 5


def add_connection(
    command: Command,
    *,
    facts: dict[str, Any],
    api_key: str,
    v2_password: str = "",
    list_seconds: float = credentials.LIST_SECONDS,
) -> Connection:
    """Add a connection. `facts` are columns of Connection without secrets; the key is encrypted before it is written.

    Raises `Refusal`, also where another connection has the credential. Where one has the key at another
    address, both account lists are read first, for at most about `list_seconds`.
    """
    facts = facts | {"base_url": credentials.check_base_url(facts["base_url"])}
    if not api_key:
        raise Refusal(_("The API key is missing."), field="api_key")
    facts = {"requests_per_minute": CAPABILITIES[facts["kind"]].pace.per_minute} | facts
    sources = CAPABILITIES[facts["kind"]].usage_sources
    if facts.get("usage_source") not in sources:
        facts = facts | {"usage_source": str(sources[0])}
    connection = Connection(**facts)
    connection.seal("api_key_sealed", api_key)
    connection.seal("v2_password_sealed", v2_password)
    _check_account_id(connection)
    _check_credential(connection, api_key, seconds=list_seconds)
    after = facts | ({"same_key_as": connection.same_key_as.name} if connection.same_key_as else {})
    try:
        with transaction.atomic():
            connection.save(force_insert=True)
            command.record(verb="connection.created", obj=connection, after=after)
    except IntegrityError:
        raise _taken(connection) from None
    return connection


def edit_connection(
    command: Command,
    *,
    connection: Connection,
    facts: dict[str, Any],
    api_key: str = "",
    v2_password: str = "",
    seen: Mapping[str, Any] | None = None,
) -> None:
    """Change settings. A new address needs every secret again: a stored one is sent to no other host. The v2 password
    is removed where the v2 sign-in does not use it.

    `seen` holds the values that the user's form was opened with, as `portal.edits` has them. Raises `EditConflict`
    where one of `facts` was changed since then, and `Refusal`.
    """
    if "base_url" in facts:
        facts = facts | {"base_url": credentials.check_base_url(facts["base_url"])}
    edit = partial(_edit, command, facts=facts, api_key=api_key, v2_password=v2_password)
    _write_current(connection, _compared(facts, api_key), seen, edit)


def _edit(command: Command, connection: Connection, *, facts: dict[str, Any], api_key: str, v2_password: str) -> bool:
    """Write what differs. False when the connection was changed meanwhile; then nothing was written."""
    forgets = _removes_v2_password(connection, facts, api_key=api_key, v2_password=v2_password)
    before = {name: getattr(connection, name) for name in facts}
    changes = {name: value for name, value in facts.items() if before[name] != value}
    if not changes and not api_key and not v2_password:
        return True
    _refuse_another_list(connection, changes)
    for name, value in changes.items():
        setattr(connection, name, value)
    if "account_id" in changes:
        _check_account_id(connection)
    columns, told = list(changes), dict(changes)
    if api_key:
        connection.seal("api_key_sealed", api_key)
        columns += ["api_key_sealed", "api_key_last4"]
    if api_key or "account_id" in changes:
        columns += _check_credential(connection, api_key or connection.open("api_key_sealed"))
    if v2_password or forgets:
        connection.seal("v2_password_sealed", v2_password)
        columns.append("v2_password_sealed")
    replaced = [name for name, given in (("API key", api_key), ("v2 sign-in", v2_password)) if given]
    told |= {"replaced": replaced}
    told |= {"removed": ["v2 sign-in"] if forgets else []}

    def then() -> None:
        secrets = {"api_key": api_key, "v2_password": v2_password}
        approved = (
            credential_checks.check_credential_change(command, connection, replaced, facts=changes, secrets=secrets)
            if replaced
            else {}
        )
        _refuse_another_list(connection, changes)  # nothing is sent while the row is locked (transitions.intend)
        command.record(
            verb="connection.edited",
            obj=connection,
            before={name: before[name] for name in changes},
            after={name: value for name, value in told.items() if name in changes or value} | approved,
        )
        if "base_url" in changes:
            circuit_breaker.start_again(connection)
        if api_key:
            _resume_refused(command, connection)

    return _write(connection, columns, then)


def _write(connection: Connection, columns: Iterable[str], then: Callable[[], None]) -> bool:
    """Write the columns and raise the revision, if it is still the one that was read; `then` runs in the same
    transaction, which locks the row. False when the connection was changed meanwhile."""
    values = {name: getattr(connection, name) for name in columns}
    try:
        with transaction.atomic():
            if connection.as_read().update(**values, revision=F("revision") + 1) != 1:
                return False
            connection.revision += 1
            then()
    except IntegrityError:
        raise _taken(connection) from None
    return True


def _compared(facts: Mapping[str, Any], api_key: str) -> dict[str, Any]:
    """Return an edit's changes as compared with what the user saw: the region goes with the address, and a key is
    identified by its end."""
    compared = {name: value for name, value in facts.items() if name != "region"}
    return compared | ({"api_key_last4": last4(api_key)} if api_key else {})


def _write_current(
    connection: Connection,
    compared: Mapping[str, Any],
    seen: Mapping[str, Any] | None,
    write: Callable[[Connection], bool],
) -> None:
    """Call `write` with the stored row, and again where it was changed meanwhile. Raises `EditConflict` where the user
    saw other values."""
    for _attempt in range(WRITE_TRIES):
        stored = Connection.objects.get(pk=connection.pk)
        refuse_stale(stored, compared, seen)
        if write(stored):
            connection.refresh_from_db()
            return
    raise Refusal(_("Someone else is editing this connection. Nothing was saved. Try again in a moment."))


def _resume_refused(command: Command, connection: Connection) -> None:
    """Resume with a new key where the old one was refused. Call it with the row locked, after the key was written."""
    if Connection.objects.filter(pk=connection.pk, paused=Paused.BY_AUTH).exists():
        resume_connection(command, connection=connection)


def key_replaced_at(connection: Connection, *, since: datetime) -> datetime | None:
    """Return when the key was first replaced since a moment, or None. Only the audit log stores it."""
    events = AuditEvent.objects.filter(
        object_id=connection.public_id, verb__in=("connection.key_replaced", "connection.edited"), at__gte=since
    ).order_by("at")
    replaced = (
        each.at for each in events if each.verb != "connection.edited" or "API key" in each.after.get("replaced", ())
    )
    return next(replaced, None)


def _refuse_another_list(connection: Connection, changes: dict[str, Any]) -> None:
    """Refuse another address or account ID where it matters: its account list proves nothing about earlier sends."""
    if "account_id" in changes and connection.accounts.filter(provider_id__isnull=False).exists():
        raise Refusal(
            _(
                "This connection's accounts belong to the current account ID. To use a different ID, add "
                "another connection."
            ),
            field="account_id",
        )
    field = next((name for name in ("base_url", "account_id") if name in changes), None)
    if field is None:
        return
    creates = Operation.objects.filter(
        kind=OperationKind.CREATE, state__in=OPEN, attempt_count__gt=0, connection=connection
    )
    if create := creates.order_by("pk").first():
        raise Refusal(
            _(
                "%(code)s was sent with the current value of this field and isn't finished. Wait for it to "
                "finish, or resolve it on its page."
            )
            % {"code": create.code},
            field=field,
        )


def _check_credential(connection: Connection, api_key: str, *, seconds: float = credentials.LIST_SECONDS) -> list[str]:
    """Refuse a credential that another connection uses; set the columns that identify it, and return their names."""
    connection.same_key_as = credentials.check_free(connection, api_key, seconds=seconds)
    connection.credential_hash = credentials.hashes_of(connection.kind, connection.base_url, api_key)[0]
    return ["credential_hash", "same_key_as"]


def _taken(connection: Connection) -> Refusal:
    """Return the error for a violated constraint: the name, or a credential that was connected at this moment."""
    if Connection.objects.filter(name__iexact=connection.name).exclude(pk=connection.pk).exists():
        return Refusal(_("Another connection already has this name."), field="name")
    return Refusal(_("Another connection with these credentials was just added. Use that connection."), field="api_key")


def _removes_v2_password(connection: Connection, facts: dict[str, Any], *, api_key: str, v2_password: str) -> bool:
    """Return whether this edit removes the stored v2 password. Raises `Refusal` for a new address without the
    secrets that are used there."""
    if facts.get("base_url", connection.base_url) == connection.base_url:
        return False
    if not api_key:
        raise Refusal(_("To change the API URL, enter the API key again."), field="api_key")
    if v2_password or not connection.v2_password_sealed:
        return False
    if facts.get("v2_auth", connection.v2_auth) == Connection.V2Auth.PASSWORD:
        raise Refusal(_("To change the API URL, enter the v2 password again."), field="v2_password")
    return True


def _check_account_id(connection: Connection) -> None:
    """Check that a client can be made: the account ID that the provider requires is present and valid."""
    if not connection.capabilities.needs_account_id:
        return
    try:
        providers.client(config_of(connection))
    except Unsupported as error:
        raise Refusal(str(error), field="account_id") from None


def replace_key(
    command: Command,
    *,
    connection: Connection,
    api_key: str,
    v2_password: str | None = None,
    seen: Mapping[str, Any] | None = None,
) -> None:
    """Replace the key. A connection paused because the old one was refused resumes. `seen` as in `edit_connection`.
    Raises `EditConflict` and `Refusal`."""
    if not api_key:
        raise Refusal(_("The API key is missing."), field="api_key")
    replace = partial(_replace_key, command, api_key=api_key, v2_password=v2_password)
    _write_current(connection, _compared({}, api_key), seen, replace)


def _replace_key(command: Command, connection: Connection, *, api_key: str, v2_password: str | None) -> bool:
    """Write the key. False when the connection was changed meanwhile; then nothing was written."""
    before = connection.api_key_last4
    connection.seal("api_key_sealed", api_key)
    columns = ["api_key_sealed", "api_key_last4", *_check_credential(connection, api_key)]
    if v2_password is not None:
        connection.seal("v2_password_sealed", v2_password)
        columns.append("v2_password_sealed")

    def then() -> None:
        replaced = ["API key", *(["v2 sign-in"] if v2_password else [])]
        secrets = {"api_key": api_key, "v2_password": v2_password or ""}
        told = credential_checks.check_credential_change(command, connection, replaced, secrets=secrets)
        command.record(
            verb="connection.key_replaced",
            obj=connection,
            before={"ends_in": before},
            after={"ends_in": connection.api_key_last4} | told,
        )
        _resume_refused(command, connection)

    return _write(connection, columns, then)


def verify_connection(command: Command, *, connection: Connection) -> bool:
    """Check what the credential can do, changing nothing at the provider, and store the result. False where the
    connection was edited meanwhile: the result is not about the present credential. Raises `DecryptionError`."""
    checks = client_for(connection, interactive=True).verify()
    found = {check.name: check.ok for check in checks}
    with transaction.atomic():
        kept = connection.as_read().update(
            checks=[asdict(check) for check in checks],
            verified_at=command.now,
            probe_available=found.get("identity"),
        )
        if kept:
            if any(found.values()):
                record_contact(connection, now=command.now)
                circuit_breaker.close(connection)
            command.record(verb="connection.verified", obj=connection, after=found)
    connection.refresh_from_db()
    return bool(kept)


def pause_connection(command: Command, *, connection: Connection) -> None:
    """Stop sending anything on this connection. Queued operations stay queued."""
    _pause(command, connection, Connection.objects.filter(pk=connection.pk), Paused.BY_PERSON)
    connection.refresh_from_db()


def pause_for_auth(connection: Connection, *, message: str, now: datetime) -> None:
    """Pause the connection once after the provider refused its key, and notify the admins; operations stay queued.
    Nothing happens where it was edited since: the answer is about another key or address then."""
    path = reverse("customers:connection", args=[connection.public_id])  # may import all pages: not with the row locked
    with transaction.atomic():
        if _pause(Command(None, now, reason=message), connection, connection.as_read(), Paused.BY_AUTH):
            notices.raised(
                KEY_REFUSED,
                about=str(connection.public_id),
                now=now,
                text=message,
                title=_("%(connection)s is paused: the provider rejected the key") % {"connection": connection.name},
                path=path,
            )


def resume_connection(command: Command, *, connection: Connection) -> None:
    """Resume a paused connection. After a restore it is on hold then, until `customers.recovery` releases it."""
    with transaction.atomic():
        recovery = Recovery.objects.filter(connection=connection.pk, released_at=None).first()
        changed = (
            Connection.objects.filter(pk=connection.pk)
            .exclude(paused__in=Connection.READABLE)
            .update(
                paused=Paused.BY_RESTORE if recovery else Paused.NO,
                paused_reason="",
                paused_at=recovery.began_at if recovery else None,
            )
        )
        if changed:
            command.record(verb="connection.resumed", obj=connection)
            notices.ended(KEY_REFUSED, about=str(connection.public_id), now=timezone.now())
    connection.refresh_from_db()


def _pause(command: Command, connection: Connection, which: QuerySet[Connection], kind: str) -> bool:
    with transaction.atomic():
        if kind == Paused.BY_AUTH:  # also on hold after a restore: a rejected key is not used to read either
            which = which.filter(paused__in=Connection.READABLE)
        else:
            which = which.filter(paused="")
        changed = which.update(paused=kind, paused_reason=command.reason[:300], paused_at=command.now)
        if changed:
            command.record(verb="connection.paused", obj=connection)
    return bool(changed)


def record_contact(connection: Connection, *, now: datetime) -> None:
    """Record when the provider last answered, as shown beside the connection. Written at most twice a minute, and not
    where the settings changed since they were read for the request: it went to another host or used another key."""
    before = now - timedelta(seconds=30)
    if connection.last_answer_at and connection.last_answer_at >= before:
        return
    old = Q(last_answer_at=None) | Q(last_answer_at__lt=before)
    connection.as_read().filter(old).update(last_answer_at=now)
