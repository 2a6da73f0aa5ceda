"""The forms of each kind of provider. Shared pages find them here by the connection's kind and know no names.

A new kind adds its line."""

from __future__ import annotations

from dataclasses import dataclass

from customers.connections.forms import ConnectionForm
from customers.forms.ahasend import AhaSendConnectionForm, AhaSendPart
from customers.forms.parts import AccountPart
from customers.forms.sendgrid import SendGridConnectionForm, SendGridPart


@dataclass(frozen=True)
class KindForms:
    account: type[AccountPart]
    connection: type[ConnectionForm]


KINDS = {
    "sendgrid": KindForms(SendGridPart, SendGridConnectionForm),
    "ahasend": KindForms(AhaSendPart, AhaSendConnectionForm),
}
