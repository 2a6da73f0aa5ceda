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
    label: str | Promise
    icon: str


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
    "key.create_asked": Verb(_("API key creation requested"), "key"),
    "key.update_asked": Verb(_("API key change requested"), "key"),
    "key.delete_asked": Verb(_("API key deletion requested"), "key"),
    "key.secret_shown": Verb(_("API key secret revealed"), "eye"),
    "key.secret_kept": Verb(_("API key secret stored (encrypted)"), "lock"),
    "key.secret_forgotten": Verb(_("Stored API key secret deleted"), "lock-open"),
    "domain.add_asked": Verb(_("Sending domain requested"), "world"),
    "domain.checked": Verb(_("Domain DNS records checked"), "world"),
    "message.test_asked": Verb(_("Test message requested"), "send"),
    "account.signed_in_as": Verb(_("Signed in as customer"), "login"),
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
    "connection.resumed": Verb(_("Connection resumed"), "player-play"),
    "connection.breaker_opened": Verb(_("Provider unreachable, sending stopped"), "plug-connected-x"),
    "connection.breaker_closed": Verb(_("Provider reachable again, sending resumed"), "plug-connected"),
    "connection.key_replaced": Verb(_("Connection key replaced"), "key"),
    "catalogue.refreshed": Verb(_("Catalog refreshed"), "refresh"),
    "usage.run_started": Verb(_("Usage sync started"), "refresh"),
    "usage.run_retried": Verb(_("Usage sync retried for failed accounts"), "rotate"),
    "usage.items_removed": Verb(_("Per-account results of a usage sync deleted"), "trash"),
    "usage.exported": Verb(_("Usage exported"), "download"),
    "usage.export_downloaded": Verb(_("Usage export downloaded again"), "download"),
    "usage.lower_accepted": Verb(_("Lower usage value accepted"), "check"),
    "usage.decided": Verb(_("Usage decided"), "check"),
    "usage.decision_taken": Verb(_("Usage decision assigned"), "user"),
    "usage.decision_released": Verb(_("Usage decision unassigned"), "user-off"),
    "staff.invited": Verb(_("Team member invited"), "user-plus"),
    "staff.role_changed": Verb(_("Team member role changed"), "user-shield"),
    "staff.disabled": Verb(_("Team member disabled"), "user-off"),
    "staff.enabled": Verb(_("Team member enabled"), "user"),
    "staff.reset_link_made": Verb(_("Team member password reset"), "link"),
    "staff.sessions_ended": Verb(_("Team member sessions ended"), "logout"),
    "staff.signed_in": Verb(_("Signed in"), "login-2"),
    "staff.sign_in_failed": Verb(_("Sign-in failed"), "ban"),
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


def icon_of(verb: str) -> str:
    return VERBS[verb].icon if verb in VERBS else "point"


def verb_choices() -> list[tuple[str, str]]:
    return sorted(((verb, title_of(verb)) for verb in VERBS), key=lambda pair: pair[1])
