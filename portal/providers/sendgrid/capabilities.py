"""Capabilities of SendGrid, and the consequences shown to staff."""

from __future__ import annotations

from portal.providers.base import Capabilities, ReportedState, UsageSource
from portal.providers.rate_limit_protocol import Pace

SENDGRID = Capabilities(
    kind="sendgrid",
    label="SendGrid",
    regions={"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"},
    offerings=True,
    test_accounts=True,
    sign_in_as=True,
    sign_in_hosts=("sendgrid.com",),
    idempotent_create=False,
    writable_states=frozenset({ReportedState.ACTIVE, ReportedState.STOPPED_BY_US}),
    usage_sources=(UsageSource.CREDITS, UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML),
    # One-minute windows per endpoint (documented); the limit is not: 600 was seen. 95 % plus 30 stay within one.
    pace=Pace(per_minute=600, burst=30, each_endpoint=True, pause=60),
    suspend_consequences=(
        ("hand-stop", "Mail stops.", "SendGrid refuses every new e-mail until it is unsuspended."),
        (
            "mail",
            "Queued mail is deleted.",
            "SendGrid does not say how much is queued. It can't be brought back.",
        ),
        (
            "receipt",
            "Billing goes on.",
            "SendGrid still charges for the package. To stop charges, change offerings or delete the account.",
        ),
        (
            "key",
            "Sign-in and API keys: not certain.",
            "SendGrid's pages disagree on whether they keep working. Promise neither.",
        ),
    ),
    unsuspend_consequences=(
        ("send", "Mail can be sent again.", "SendGrid accepts new e-mail once it has changed the state."),
        ("mail", "Deleted mail stays deleted.", "What was queued when the account was suspended is gone."),
    ),
    delete_consequences=(
        ("trash", "The account is gone for good.", "SendGrid can't bring it back, and neither can we."),
        ("key", "Sign-in and API keys end.", "Whatever still sends through this account fails at once."),
        ("world", "Offerings and dedicated IPs are removed.", "The same addresses can't be had again."),
        ("receipt", "Billing ends.", "SendGrid stops charging for the account at once."),
    ),
)
