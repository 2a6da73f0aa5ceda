"""Rows of access and approvals: custom roles, second factors, sessions, single sign-on, and requests in every state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession

from customers.connections.commands import replace_key
from customers.models import Connection
from portal import encryption
from portal.access import custom_roles, second_factor, staff
from portal.access.models import FormerSsoLink, User
from portal.approvals import commands, gate, rules
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import EXPIRES_AFTER, Approval
from portal.commands import Command

PEOPLE = ("Ada", "Bo", "Cy", "Dee", "Eve")
TYPE = second_factor.TYPE


def add(*, now: datetime) -> None:
    ada, bo, cy, dee, eve = (_person(name) for name in PEOPLE)
    role = custom_roles.create_role(
        Command(ada, now, reason="A desk of its own."),
        name="Stored desk",
        description="Looks and edits.",
        permissions=["view", "edit_customer"],
    )
    staff.change_role(Command(ada, now), person=cy, role=str(role.public_id))
    _sign_in_facts(ada, now=now)
    rules.change_rule(Command(ada, now), kind=ApprovalKind.ADMIN_ROLE, facts={"is_on": True})
    rules.change_rule(Command(ada, now), kind=ApprovalKind.CREDENTIAL, facts={"is_on": True})
    _requests(ada, bo, dee, eve, now=now)


def _person(name: str) -> User:
    role = "admin" if name in PEOPLE[:2] else "finance"
    return User.objects.create_user(f"{name.lower()}@stored.example", "a long test password", name=name, role=role)


def _sign_in_facts(person: User, *, now: datetime) -> None:
    """A factor of every type, as the flows in a browser leave them."""
    secret = encryption.encrypt("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", context=second_factor.CONTEXT)
    Authenticator.objects.create(user=person, type=TYPE.TOTP, data={"secret": secret, "last_step": 1})
    Authenticator.objects.create(user=person, type=TYPE.WEBAUTHN, data={"name": "Key", "credential": {}})
    codes = RecoveryCodes.activate(person)
    assert codes.validate_code(codes.generate_codes()[0]), "one is used"
    UserSession.objects.create(
        user=person, ip="192.0.2.7", session_key="stored", user_agent="Firefox/140", last_seen_at=now, created_at=now
    )
    SocialAccount.objects.create(user=person, provider="https://sso.stored.example", uid="stored-1")
    FormerSsoLink.objects.create(user=person, issuer="https://sso.stored.example", subject="stored-0")


def _requests(ada: User, bo: User, dee: User, eve: User, *, now: datetime) -> None:
    """One that ended for each state, then two that wait, one of them with a secret."""

    def admin_role(person: User = dee, *, at: datetime = now) -> Approval:
        return _request(ada, at, lambda command: staff.change_role(command, person=person, role="admin"))

    expires = admin_role(at=now - EXPIRES_AFTER - timedelta(hours=1))
    commands.expire_due(now=now)
    commands.cancel(Command(ada, now), approval=admin_role())
    commands.reject(Command(bo, now, reason="Not now."), approval=admin_role())
    applied = admin_role()
    commands.approve(Command(bo, now), approval=applied, seen=applied.payload_hash)
    waits = admin_role(eve)
    connection = Connection.objects.order_by("pk")[0]
    secret = _request(ada, now, lambda command: replace_key(command, connection=connection, api_key="stored-new-key"))
    assert secret.secret_sealed
    assert Approval.objects.get(pk=expires.pk).state == "expired"
    assert set(Approval.objects.values_list("state", flat=True)) == set(Approval.State.values)
    assert Approval.objects.get(pk=waits.pk).is_waiting


def _request(asks: User, now: datetime, change: Callable[[Command], object]) -> Approval:
    command = Command(asks, now, reason="Stored.", token=f"stored-{Approval.objects.count()}")
    try:
        change(command)
    except gate.ApprovalRequired as needed:
        return commands.request_approval(command, needed.change)
    raise AssertionError("the rule is on")
