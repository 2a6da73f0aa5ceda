"""The forms of each kind of provider. Shared pages find them here by the connection's kind and know no names.

A new kind adds its line."""

from __future__ import annotations

from dataclasses import dataclass

from customers.accounts.create.ahasend import AhaSendPart
from customers.accounts.create.base import AccountPart
from customers.accounts.create.sendgrid import SendGridPart
from customers.connections.ahasend_form import AhaSendConnectionForm
from customers.connections.forms import ConnectionForm
from customers.connections.sendgrid_form import SendGridConnectionForm


@dataclass(frozen=True)
class KindForms:
    account: type[AccountPart]
    connection: type[ConnectionForm]


KINDS = {
    "sendgrid": KindForms(SendGridPart, SendGridConnectionForm),
    "ahasend": KindForms(AhaSendPart, AhaSendConnectionForm),
}
