"""Proof that an unlinked account is a customer's, and the check whether linking it without needs approval."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Customer, RemoteAccount
from portal.approvals import gate
from portal.approvals.kinds import ApprovalKind
from portal.approvals.settling import SETTLING
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.email_addresses import domain_key, same_mailbox


def proof_of(remote_account: RemoteAccount, customer: Customer, *, email: str = "") -> list[str]:
    """Return what shows that the account is the customer's, by the values that the provider reported; [] for nothing.

    It is the email address. An account without one is known by name and website together: either alone is
    typed freely by whoever has the account.
    """
    address = email or remote_account.email
    if address:
        return ["email"] if same_mailbox(address, customer.email) else []
    names = remote_account.name.casefold(), customer.company_name.casefold()
    sites = _host(remote_account.website), _host(customer.website)
    return ["name", "website"] if names[0] == names[1] and sites[0] == sites[1] and all((*names, *sites)) else []


def _host(website: str) -> str:
    host = website.casefold().removeprefix("https://").removeprefix("http://").partition("/")[0]
    return domain_key(host.removeprefix("www."))


# The customer's value that each proof compares.
VALUE_OF = {"email": "email", "name": "company_name", "website": "website"}


def settled_proof(proof: list[str], customer: Customer, *, now: datetime) -> list[str]:
    """Return the proof, or [] where it rests on a value that a user edited less than `SETTLING` ago: one person could
    otherwise make the proof, link the account, and put the value back."""
    edits = AuditEvent.objects.filter(
        verb="customer.edited", object_id=customer.public_id, at__gt=now - SETTLING, actor__isnull=False
    )
    edited = {name for after in edits.values_list("after", flat=True) for name in after}
    return [] if any(VALUE_OF[each] in edited for each in proof) else proof


def check_link(command: Command, remote_account: RemoteAccount, customer: Customer, *, email: str) -> dict[str, Any]:
    """Return facts for the audit event. Call it in the transaction that links the account."""
    proof = settled_proof(proof_of(remote_account, customer, email=email), customer, now=command.now)
    if proof and command.approval is None:
        return {"proof": proof}
    payload = {
        "provider_id": remote_account.provider_id,
        "customer": str(customer.public_id),
        "company_name": customer.company_name,
        "email": customer.email,
    }
    name = remote_account.name or remote_account.email or remote_account.provider_id
    label = _("%(account)s to %(customer)s") % {"account": name, "customer": customer.company_name}
    return gate.pass_gate(command, gate.Change(ApprovalKind.LINK, subject=remote_account, label=label, payload=payload))
