"""Capabilities of SendGrid, and the consequences shown to staff."""

from __future__ import annotations

from portal.providers.base import Capabilities, ReportedState, UsageSource
from portal.providers.rate_limit import Pace

SENDGRID = Capabilities(
    kind="sendgrid",
    label="SendGrid",
    regions={"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"},
    offerings=True,
    test_accounts=True,
    sign_in_as=True,
    sign_in_hosts=("sendgrid.com",),
    statistics=True,
    idempotent_create=False,
    writable_states=frozenset({ReportedState.ACTIVE, ReportedState.STOPPED_BY_US}),
    usage_sources=(UsageSource.CREDITS, UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML),
    # One-minute windows per endpoint (documented); the limit is not: 600 was seen. 97.5 % plus 15 stay within one.
    pace=Pace(per_minute=600, burst=15, each_endpoint=True, pause=60),
    blocks_temporarily=True,
    # Accounts of a reseller stop at 2.5 times the allotment (support pages).
    credit_ceiling=(5, 2),
    suspend_consequences=(
        ("hand-stop", "Sending stops.", "SendGrid rejects new email from this account until it is unsuspended."),
        (
            "mail",
            "Queued email is deleted.",
            "SendGrid doesn't report how much is queued, and it can't be restored.",
        ),
        (
            "receipt",
            "Billing continues.",
            "SendGrid still charges for the package. To stop charges, change offerings or delete the account.",
        ),
        (
            "key",
            "Sign-in and API keys may stop working.",
            "SendGrid's documentation is inconsistent on this. Don't promise either to the customer.",
        ),
    ),
    unsuspend_consequences=(
        ("send", "Sending resumes.", "SendGrid accepts new email after the account is active."),
        (
            "mail",
            "Deleted email is not restored.",
            ("Email that was queued when the account was suspended has been deleted."),
        ),
    ),
    delete_consequences=(
        ("trash", "The account is permanently deleted.", "The account can't be restored."),
        (
            "key",
            "Sign-in and API keys stop working.",
            "Anything that still sends through this account fails immediately.",
        ),
        ("world", "Offerings and dedicated IPs are removed.", "The same IP addresses can't be assigned again."),
        ("receipt", "Billing ends.", "SendGrid stops charging for the account immediately."),
    ),
)
