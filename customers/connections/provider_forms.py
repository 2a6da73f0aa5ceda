"""The form of a connection to each kind of provider. Shared pages find it here by the kind, without naming providers.

A new kind adds its line.
"""

from __future__ import annotations

from customers.connections.ahasend_form import AhaSendConnectionForm
from customers.connections.forms import ConnectionForm
from customers.connections.sendgrid_form import SendGridConnectionForm

FORMS: dict[str, type[ConnectionForm]] = {"sendgrid": SendGridConnectionForm, "ahasend": AhaSendConnectionForm}
