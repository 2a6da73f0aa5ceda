"""The part of a new account for each kind of provider. Shared pages find it here by the connection's kind, without
naming providers.

A new kind adds its line.
"""

from __future__ import annotations

from customers.accounts.create.ahasend import AhaSendPart
from customers.accounts.create.base import AccountPart
from customers.accounts.create.sendgrid import SendGridPart

PARTS: dict[str, type[AccountPart]] = {"sendgrid": SendGridPart, "ahasend": AhaSendPart}
