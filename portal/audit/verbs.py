"""Labels of audit verbs for pages, filters, timelines and exports.

A label is an event in the past tense ("Account suspended") and reads the same with and without an actor beside it. The
label of an unlisted verb is derived from its code: "invoice.closed_again" becomes "Invoice: closed again".
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Verb:
    """`alerts`: every admin gets a notice by mail of each such event (portal/notices/apps.py). `access`: how it gives
    access to a customer's account or data, one of `ACCESS`; then the event is listed under "Account access"."""

    label: str | Promise
    icon: str
    alerts: bool = False
    access: str = ""


# The kinds of access to a customer's account or data.
ACCESS: dict[str, str | Promise] = {
    "sign_in": _("Sign-ins as customer"),
    "secret": _("Secrets revealed"),
    "key": _("API keys"),
    "message": _("Test messages"),
    "export": _("Exports"),
}
# Caused by somebody who has not signed in, so these events have no actor although the portal did not act by itself.
BY_VISITORS = frozenset(
    {"staff.sign_in_failed", "staff.passkey_failed", "staff.code_failed", "staff.sso_refused", "staff.sign_in_attacked"}
)


# How the verbs about cost begin.
OF_COST = ("cost_list.", "invoice.", "costs.", "margin.")

VERBS: dict[str, Verb] = {
    "customer.created": Verb(_("Customer added"), "building"),
    "customer.edited": Verb(_("Customer edited"), "pencil"),
    "customer.archived": Verb(_("Customer archived"), "archive"),
    "customer.restored": Verb(_("Customer restored"), "rotate"),
    "note.added": Verb(_("Note added"), "note"),
    "account.create_asked": Verb(_("Account creation requested"), "plus"),
    "account.offerings_asked": Verb(_("Offerings change requested"), "package"),
    "account.suspend_asked": Verb(_("Account suspension requested"), "player-pause"),
    "account.unsuspend_asked": Verb(_("Account unsuspension requested"), "player-play"),
    "account.delete_asked": Verb(_("Account deletion requested"), "trash"),
    "account.settings_asked": Verb(_("Settings change requested"), "adjustments-horizontal"),
    "key.create_asked": Verb(_("API key creation requested"), "key", access="key"),
    "key.update_asked": Verb(_("API key change requested"), "key", access="key"),
    "key.delete_asked": Verb(_("API key deletion requested"), "key", access="key"),
    "key.secret_shown": Verb(_("API key secret revealed"), "eye", access="secret"),
    "key.secret_kept": Verb(_("API key secret stored (encrypted)"), "lock"),
    "key.secret_forgotten": Verb(_("Stored API key secret deleted"), "lock-open"),
    "domain.add_asked": Verb(_("Sending domain requested"), "world"),
    "domain.records_downloaded": Verb(_("DNS records of a sending domain downloaded"), "download", access="export"),
    "domain.checked": Verb(_("Domain DNS records checked"), "world"),
    "message.test_asked": Verb(_("Test message requested"), "send", access="message"),
    "account.signed_in_as": Verb(_("Signed in as customer"), "login", access="sign_in"),
    "account.username_edited": Verb(_("v2 username changed"), "pencil"),
    "account.refreshed": Verb(_("Account refreshed"), "refresh"),
    "account.linked": Verb(_("Account linked"), "link"),
    "account.adopted": Verb(_("Existing account linked"), "link"),
    "account.marked_duplicate": Verb(_("Account marked as duplicate"), "git-compare"),
    "account.possible_duplicate": Verb(_("Possible duplicate account detected"), "git-compare"),
    "account.merged": Verb(_("Duplicate account merged"), "link"),
    "account.moved": Verb(_("Account moved to another customer"), "link"),
    "drift.accepted": Verb(_("Provider value accepted"), "git-compare"),
    "drift.ignored": Verb(_("Drift snoozed"), "eye-off"),
    "orphan.ignored": Verb(_("Unlinked account ignored"), "eye-off"),
    "orphan.watched": Verb(_("Unlinked account restored"), "eye"),
    "estate.proposed": Verb(_("Account import prepared"), "link"),
    "estate.started": Verb(_("Account import started"), "link"),
    "estate.paused": Verb(_("Account import paused"), "player-pause"),
    "scan.asked": Verb(_("Account list scan requested"), "refresh"),
    "hold.placed": Verb(_("Account marked “Do not suspend”"), "shield"),
    "hold.released": Verb(_("“Do not suspend” removed"), "shield"),
    "schedule.asked": Verb(_("Change scheduled"), "calendar"),
    "schedule.edited": Verb(_("Scheduled change edited"), "calendar"),
    "schedule.cancelled": Verb(_("Scheduled change canceled"), "calendar"),
    "schedule.done": Verb(_("Scheduled change started"), "calendar"),
    "schedule.skipped": Verb(_("Scheduled change skipped"), "calendar"),
    "schedule.moved": Verb(_("Scheduled change moved with the end of the billing period"), "calendar"),
    "bulk.planned": Verb(_("Bulk change created"), "list-check"),
    "bulk.submitted": Verb(_("Bulk change submitted for approval"), "user-shield"),
    "bulk.started": Verb(_("Bulk change started"), "player-play"),
    "bulk.approved": Verb(_("Bulk change approved"), "user-shield"),
    "bulk.refused": Verb(_("Bulk change rejected"), "circle-minus"),
    "bulk.paused": Verb(_("Bulk change paused"), "player-pause"),
    "bulk.resumed": Verb(_("Bulk change resumed"), "player-play"),
    "bulk.checked": Verb(_("Keys of a bulk change listed again"), "refresh"),
    "bulk.cancelled": Verb(_("Bulk change canceled"), "circle-minus"),
    "bulk.ended": Verb(_("All bulk change operations queued"), "check"),
    "operation.cancelled": Verb(_("Operation canceled"), "circle-minus"),
    "operation.repaired": Verb(_("Operation repaired"), "rotate"),
    "account.names_restored": Verb(_("Offering names restored"), "package"),
    "operation.retried": Verb(_("Operation retried"), "rotate"),
    "operation.decided": Verb(_("Operation resolved"), "git-compare"),
    "operation.succeeded": Verb(_("Operation succeeded"), "check"),
    "operation.failed": Verb(_("Operation failed"), "x"),
    "operation.unknown": Verb(_("Operation outcome unknown"), "help-hexagon"),
    "operation.needs_attention": Verb(_("Operation needs review"), "alert-triangle"),
    "connection.created": Verb(_("Connection added"), "plug"),
    "connection.edited": Verb(_("Connection edited"), "pencil"),
    "connection.verified": Verb(_("Connection tested"), "plug-connected"),
    "connection.paused": Verb(_("Connection paused"), "player-pause"),
    "connection.released": Verb(_("Connection released after a restore"), "player-play"),
    "installation.restored": Verb(_("Database restored from a backup"), "history"),
    "connection.resumed": Verb(_("Connection resumed"), "player-play"),
    "connection.breaker_opened": Verb(_("Provider unreachable, sending stopped"), "plug-connected-x"),
    "connection.breaker_closed": Verb(_("Provider reachable again, sending resumed"), "plug-connected"),
    "connection.key_replaced": Verb(_("Connection key replaced"), "key"),
    "catalogue.refreshed": Verb(_("Catalog refreshed"), "refresh"),
    "usage.run_started": Verb(_("Usage sync started"), "refresh"),
    "usage.run_retried": Verb(_("Usage sync retried for failed accounts"), "rotate"),
    "usage.items_removed": Verb(_("Per-account results of a usage sync deleted"), "trash"),
    "customers.exported": Verb(_("Customer list exported"), "download", access="export"),
    "keys.exported": Verb(_("List of API keys exported"), "download", access="export"),
    "drift.exported": Verb(_("Drift exported"), "download", access="export"),
    "bulk.exported": Verb(_("Bulk change exported"), "download", access="export"),
    "audit.exported": Verb(_("Audit log exported"), "download", access="export"),
    "audit.access_exported": Verb(_("Account access exported"), "download", access="export"),
    "usage.exported": Verb(_("Usage exported"), "download", access="export"),
    "usage.history_exported": Verb(_("Earlier usage figures exported"), "download", access="export"),
    "usage.export_downloaded": Verb(_("Usage export downloaded again"), "download", access="export"),
    "usage.lower_accepted": Verb(_("Lower usage value accepted"), "check"),
    "statements.exported": Verb(_("Statements exported"), "download", access="export"),
    "statements.pack_exported": Verb(_("Dispute pack downloaded"), "download", access="export"),
    "costs.exported": Verb(_("Cost exported"), "download", access="export"),
    "margin.exported": Verb(_("Margin exported"), "download", access="export"),
    "margin.idle_exported": Verb(_("Cost of accounts without use exported"), "download", access="export"),
    "accounting.exported": Verb(_("Accounting file exported"), "download", access="export"),
    "billing.terms_edited": Verb(_("Billing terms edited"), "pencil"),
    "usage.decided": Verb(_("Usage decided"), "check"),
    "usage.decision_taken": Verb(_("Usage decision assigned"), "user"),
    "usage.decision_released": Verb(_("Usage decision unassigned"), "user-off"),
    "price_list.created": Verb(_("Price list created"), "receipt-2"),
    "price_list.edited": Verb(_("Price list renamed"), "pencil"),
    "price_list.exported": Verb(_("Price list exported"), "download"),
    "price_list.archived": Verb(_("Price list archived"), "archive"),
    "price_list.restored": Verb(_("Price list restored"), "rotate"),
    "price_list.draft_started": Verb(_("Draft of a price list started"), "receipt-2"),
    "price_list.price_edited": Verb(_("Price edited in a draft"), "pencil"),
    "price_list.price_removed": Verb(_("Price removed from a draft"), "trash"),
    "price_list.prices_imported": Verb(_("Prices imported into a draft"), "upload"),
    "price_list.published": Verb(_("Version of a price list published"), "receipt-2"),
    "cost_list.created": Verb(_("Cost price list created"), "receipt-2"),
    "cost_list.edited": Verb(_("Cost price list renamed"), "pencil"),
    "cost_list.exported": Verb(_("Cost price list exported"), "download"),
    "cost_list.archived": Verb(_("Cost price list archived"), "archive"),
    "cost_list.restored": Verb(_("Cost price list restored"), "rotate"),
    "cost_list.draft_started": Verb(_("Draft of a cost price list started"), "receipt-2"),
    "cost_list.price_edited": Verb(_("Cost price edited in a draft"), "pencil"),
    "cost_list.price_removed": Verb(_("Cost price removed from a draft"), "trash"),
    "cost_list.prices_imported": Verb(_("Cost prices imported into a draft"), "upload"),
    "cost_list.published": Verb(_("Version of a cost price list published"), "receipt-2"),
    "contract.draft_started": Verb(_("Draft of a contract started"), "file-text"),
    "contract.edited": Verb(_("Draft of a contract edited"), "pencil"),
    "contract.published": Verb(_("Contract published"), "file-text"),
    "contract.ended": Verb(_("End of a contract published"), "file-text"),
    "exchange_rate.added": Verb(_("Exchange rate added"), "coin"),
    "blocker.assigned": Verb(_("Blocker of a month assigned"), "user"),
    "blocker.accepted": Verb(_("Blocker of a month accepted"), "check"),
    "blocker.reopened": Verb(_("Acceptance of a blocker withdrawn"), "rotate"),
    "opening_balance.entered": Verb(_("Opening balance entered"), "coin"),
    "opening_balance.removed": Verb(_("Opening balance removed"), "trash"),
    "parallel.uploaded": Verb(_("Parallel month uploaded"), "upload"),
    "parallel.matched": Verb(_("Row of a parallel month matched"), "link"),
    "parallel.compared": Verb(_("Parallel month compared again"), "refresh"),
    "parallel.exported": Verb(_("Parallel month exported"), "download", access="export"),
    "connection.billing_edited": Verb(_("Billing settings of a connection edited"), "receipt"),
    "invoice.entered": Verb(_("Provider invoice entered"), "receipt-2"),
    "invoice.edited": Verb(_("Provider invoice edited"), "pencil"),
    "invoice.withdrawn": Verb(_("Provider invoice withdrawn"), "circle-minus"),
    "invoice.line_added": Verb(_("Line of a provider invoice added"), "receipt-2"),
    "invoice.line_edited": Verb(_("Line of a provider invoice edited"), "pencil"),
    "invoice.line_removed": Verb(_("Line of a provider invoice removed"), "trash"),
    "invoice.account_assigned": Verb(_("Account assigned to lines of a provider invoice"), "link"),
    "invoice.difference_accepted": Verb(_("Difference to provider invoices accepted"), "check"),
    "invoice.comparison_exported": Verb(_("Comparison with provider invoices exported"), "download", access="export"),
    "approval.requested": Verb(_("Approval requested"), "user-shield"),
    "approval.approved": Verb(_("Request approved"), "user-shield"),
    "approval.rejected": Verb(_("Request rejected"), "circle-minus"),
    "approval.canceled": Verb(_("Approval request canceled"), "circle-minus"),
    "approval.expired": Verb(_("Approval request expired"), "clock"),
    "month.close_requested": Verb(_("Closing of a month requested"), "lock"),
    "month.closed": Verb(_("Month closed"), "lock"),
    "approval.rule_changed": Verb(_("Approval rule changed"), "user-shield"),
    "approval.broke_glass": Verb(_("Change made without approval (break-glass)"), "alert-triangle"),
    "retention.period_changed": Verb(_("Retention period changed"), "history"),
    "retention.applied": Verb(_("Retention rules applied"), "history"),
    "personal_data.searched": Verb(_("Personal data searched"), "search"),
    "personal_data.export_requested": Verb(_("Personal data export requested"), "download"),
    "personal_data.export_downloaded": Verb(_("Personal data export downloaded"), "download", access="export"),
    "personal_data.erasure_requested": Verb(_("Personal data erasure requested"), "trash", alerts=True),
    "personal_data.erased": Verb(_("Personal data erased"), "trash"),
    "personal_data.request_expired": Verb(_("Personal data request expired"), "clock"),
    "audit.redacted": Verb(_("Personal data erased from the audit log"), "circle-minus"),
    "audit.expired": Verb(_("Oldest audit events removed"), "trash"),
    "staff.invited": Verb(_("Team member invited"), "user-plus"),
    "staff.role_changed": Verb(_("Team member role changed"), "user-shield"),
    "role.created": Verb(_("Role created"), "user-shield", alerts=True),
    "role.permissions_changed": Verb(_("Role permissions changed"), "user-shield", alerts=True),
    "role.edited": Verb(_("Role edited"), "pencil"),
    "role.archived": Verb(_("Role archived"), "archive"),
    "staff.disabled": Verb(_("Team member disabled"), "user-off"),
    "staff.enabled": Verb(_("Team member enabled"), "user"),
    "staff.reset_link_made": Verb(_("Team member password reset"), "link"),
    "staff.sessions_ended": Verb(_("Team member sessions ended"), "logout"),
    "staff.session_ended": Verb(_("Session ended"), "logout"),
    "staff.other_sessions_ended": Verb(_("Own other sessions ended"), "logout"),
    "staff.second_factor_added": Verb(_("Second factor added"), "shield"),
    "staff.second_factor_removed": Verb(_("Second factor removed"), "shield"),
    "staff.second_factor_reset": Verb(_("Second factors reset"), "shield", alerts=True),
    "staff.recovery_codes_made": Verb(_("Recovery codes created"), "shield"),
    "staff.recovery_code_used": Verb(_("Recovery code used"), "shield"),
    "staff.passkey_failed": Verb(_("Passkey not accepted"), "alert-triangle"),
    "staff.code_failed": Verb(_("Incorrect code of a second factor"), "alert-triangle"),
    "staff.sign_in_attacked": Verb(_("Sign-ins from unknown devices blocked"), "alert-triangle", alerts=True),
    "staff.signed_in": Verb(_("Signed in"), "login-2"),
    "staff.sign_in_failed": Verb(_("Sign-in failed"), "ban"),
    "staff.sso_linked": Verb(_("Single sign-on connected"), "link"),
    "staff.sso_unlinked": Verb(_("Single sign-on disconnected"), "unlink"),
    "staff.sso_refused": Verb(_("Single sign-on refused"), "ban"),
    "staff.created_by_sso": Verb(_("Team member created by single sign-on"), "user-plus"),
    "staff.role_from_groups": Verb(_("Role changed by groups"), "user-shield"),
    "staff.broke_glass": Verb(_("Admin signed in without single sign-on"), "alert-triangle", alerts=True),
    "staff.password_changed": Verb(_("Password set"), "key"),
}


def title_of(verb: str) -> str:
    """Return the label of the verb."""
    known = VERBS.get(verb)
    if known:
        return str(known.label)
    words = verb.replace(".", ": ").replace("_", " ")
    return words[:1].upper() + words[1:]


def title_with_actor(verb: str, who: str, *, title: str = "") -> str:
    """Return "Account suspended by Nadia Berg"; the title alone if `who` is empty, which is the portal itself. `title`:
    another than the verb's."""
    title = title or title_of(verb)
    return gettext("%(event)s by %(name)s") % {"event": title, "name": who} if who else title


def access_verbs(kind: str = "") -> list[str]:
    """Return the verbs of a kind of access, or of all kinds."""
    return [verb for verb, known in VERBS.items() if known.access and kind in ("", known.access)]


def icon_of(verb: str) -> str:
    return VERBS[verb].icon if verb in VERBS else "point"


def verb_choices() -> list[tuple[str, str]]:
    return sorted(((verb, title_of(verb)) for verb in VERBS), key=lambda pair: pair[1])
