"""Capabilities of AhaSend, and the consequences shown to staff. Facts: API v2, documentation and contract of August
2026; "early access" is the Platform Partner program."""

from __future__ import annotations

from portal.providers.base import Capabilities, KeyBundle, ReportedState, Scope, UsageSource
from portal.providers.rate_limit import Pace

OWN_SCOPES = (
    Scope("sub-accounts:read", "Read accounts: state, settings, counts, account list.", for_reads=("accounts",)),
    Scope("sub-accounts:write", "Create accounts; change name, website and monthly cap.", ("create", "settings")),
    Scope("sub-accounts:suspend", "Suspend and unsuspend accounts.", ("suspend", "unsuspend")),
    Scope("sub-accounts:delete", "Delete accounts.", ("delete",)),
    Scope("sub-accounts:usage", "Read usage and allocated cost.", for_reads=("usage",)),
    Scope("sub-account-api-keys:read", "List the API keys of accounts.", for_reads=("keys",)),
    Scope("sub-account-api-keys:write", "Create and change API keys of accounts.", ("key_create", "key_update")),
    Scope("sub-account-api-keys:delete", "Delete API keys of accounts.", ("key_delete",)),
)

# Scopes an account's key may have, in the form for all domains. For one domain, its name in braces replaces "all".
KEY_SCOPES = (
    "messages:send:all",
    "messages:cancel:all",
    "messages:read:all",
    "domains:read",
    "domains:write",
    "domains:delete:all",
    "accounts:read",
    "accounts:write",
    "accounts:billing",
    "accounts:members:read",
    "accounts:members:add",
    "accounts:members:update",
    "accounts:members:remove",
    "webhooks:read:all",
    "webhooks:write:all",
    "webhooks:delete:all",
    "routes:read:all",
    "routes:write:all",
    "routes:delete:all",
    "suppressions:read",
    "suppressions:write",
    "suppressions:delete",
    "suppressions:wipe",
    "smtp-credentials:read:all",
    "smtp-credentials:write:all",
    "smtp-credentials:delete:all",
    "statistics-transactional:read:all",
    "api-keys:read",
    "api-keys:write",
    "api-keys:delete",
)

AHASEND = Capabilities(
    kind="ahasend",
    label="AhaSend",
    regions={"global": "https://api.ahasend.com"},
    offerings=False,
    test_accounts=False,
    sign_in_as=False,
    idempotent_create=True,
    writable_states=frozenset({ReportedState.ACTIVE, ReportedState.STOPPED_BY_US}),
    usage_sources=(UsageSource.POOLED,),
    # 100 a second, bursts of 200, all endpoints of an account together; back-off from one second (documented).
    pace=Pace(per_minute=6000, burst=100, each_endpoint=False, pause=1),
    settings=True,
    keys=True,
    sending_setup=True,
    needs_account_id=True,
    reason_is_shown=True,
    reason_max=500,
    own_scopes=OWN_SCOPES,
    key_bundles=(
        KeyBundle("send", "Send only", ("messages:send:all",)),
        KeyBundle(
            "setup",
            "Send and set up domains",
            ("messages:send:all", "messages:read:all", "domains:read", "domains:write"),
        ),
        KeyBundle(
            "smtp",
            "Send, set up domains and SMTP credentials",
            (
                "messages:send:all",
                "messages:read:all",
                "domains:read",
                "domains:write",
                "smtp-credentials:read:all",
                "smtp-credentials:write:all",
                "smtp-credentials:delete:all",
            ),
        ),
        KeyBundle(
            "watch",
            "Read only",
            ("messages:read:all", "domains:read", "suppressions:read", "statistics-transactional:read:all"),
        ),
    ),
    key_scopes=KEY_SCOPES,
    ip_allow_list_max=100,
    suspend_consequences=(
        ("hand-stop", "Sending stops.", "AhaSend accepts no new email from this account until it is unsuspended."),
        ("key", "Its API keys stop working.", "API requests with the account's keys fail until it is unsuspended."),
        (
            "world",
            "Domains are locked.",
            ("Domains can't be added, edited, deleted or checked until it is unsuspended."),
        ),
        ("eye", "The customer sees the reason.", "AhaSend shows it on the customer's dashboard."),
    ),
    unsuspend_consequences=(
        ("send", "Sending resumes.", "AhaSend accepts new email immediately."),
        ("key", "Its API keys work again.", "No new keys are needed."),
    ),
    delete_consequences=(
        ("trash", "The account is permanently deleted.", "The account can't be restored."),
        ("key", "Its API keys are revoked.", "Anything that still sends through this account fails immediately."),
        ("receipt", "Its usage is still billed.", ("AhaSend lists it under removed accounts for this billing period.")),
    ),
    held_because=(
        (
            "parent-suspended",
            "AhaSend suspended our parent account, which blocks all of its sub accounts.",
            (
                "This is unrelated to the customer and can't be fixed in the portal. Whoever owns the "
                "AhaSend contract must resolve it with AhaSend. The account then returns to its previous "
                "state."
            ),
        ),
    ),
)
