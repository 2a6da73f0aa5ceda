"""Requests to link an account without proof: shown, and linked once approved."""

from __future__ import annotations

from django.utils.translation import gettext as _

from customers.connections.client import client_for
from customers.models import Account, Customer, RemoteAccount
from customers.reconcile import link
from portal.approvals import gate
from portal.approvals.actions import ApprovalAction, Row
from portal.approvals.models import Approval
from portal.commands import Command
from portal.refusals import Refusal


def _apply(command: Command, approval: Approval) -> Account:
    """Link the account as the provider has it now. Raises `Refusal`, and `DecryptionError` for an unreadable key."""
    remote_account, customer = _remote_account(approval), _customer(approval)
    if remote_account is None or customer is None or customer.archived_at:
        raise Refusal(gate.changed_text(approval))
    provider = client_for(remote_account.connection, interactive=True)
    return link.link_account(command, remote_account=remote_account, customer=customer, provider=provider)


def _remote_account(approval: Approval) -> RemoteAccount | None:
    return RemoteAccount.objects.select_related("connection").filter(public_id=str(approval.subject_id)).first()


def _customer(approval: Approval) -> Customer | None:
    return Customer.objects.filter(public_id=approval.payload["customer"]).first()


def _rows(approval: Approval) -> list[Row]:
    remote_account, said = _remote_account(approval), approval.payload
    account_email = remote_account.email if remote_account else ""
    account_name = remote_account.name if remote_account else ""
    return [
        (_("Account ID"), said["provider_id"], said["provider_id"]),
        (_("Name of the account, customer"), account_name, said["company_name"]),
        (_("Email of the account, of the customer"), account_email, said["email"]),
        (_("Customer"), _("Unlinked"), said["company_name"]),
    ]


ACTION = ApprovalAction(_apply, _rows)
