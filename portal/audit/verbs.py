"""Labels of audit verbs for pages, filters, timelines and exports.

The words follow a user's name ("Nadia Berg - asked to suspend the account"). Events that may also happen automatically
have a sentence without an actor ("The operation succeeded"). An unlisted verb is derived from its code:
"invoice.closed_again" becomes "invoice: closed again".
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Verb:
    words: str | Promise
    icon: str
    alone: str | Promise = ""


VERBS: dict[str, Verb] = {
    "customer.created": Verb(_("added the customer"), "building"),
    "customer.edited": Verb(_("edited the customer"), "pencil"),
    "customer.archived": Verb(_("archived the customer"), "archive"),
    "customer.restored": Verb(_("brought the customer back"), "rotate"),
    "note.added": Verb(_("wrote a note"), "note"),
    "account.create_asked": Verb(_("asked for a new account"), "plus"),
    "account.offerings_asked": Verb(_("asked to change the offerings"), "package"),
    "account.suspend_asked": Verb(_("asked to suspend the account"), "player-pause"),
    "account.unsuspend_asked": Verb(_("asked to unsuspend the account"), "player-play"),
    "account.delete_asked": Verb(_("asked to delete the account"), "trash"),
    "account.settings_asked": Verb(_("asked to change the settings"), "adjustments-horizontal"),
    "key.create_asked": Verb(_("asked for an API key"), "key"),
    "key.update_asked": Verb(_("asked to change an API key"), "key"),
    "key.delete_asked": Verb(_("asked to delete an API key"), "key"),
    "key.secret_shown": Verb(_("was shown the secret of an API key"), "eye"),
    "key.secret_kept": Verb(_("kept the secret of an API key, encrypted"), "lock"),
    "key.secret_forgotten": Verb(_("let go of the secret of an API key"), "lock-open"),
    "domain.add_asked": Verb(_("asked to add a sending domain"), "world"),
    "domain.checked": Verb(_("had the DNS records of a domain checked"), "world"),
    "message.test_asked": Verb(_("asked for a test message"), "send"),
    "account.signed_in_as": Verb(_("signed in as the customer"), "login"),
    "account.username_edited": Verb(_("changed the reporting username"), "pencil"),
    "account.refreshed": Verb(_("read the account anew"), "refresh"),
    "account.linked": Verb(_("linked the account at the provider"), "link"),
    "account.adopted": Verb(_("took over an account that existed at the provider"), "link"),
    "account.marked_duplicate": Verb(
        _("marked the account as a duplicate"), "git-compare", _("The account was marked as a duplicate")
    ),
    "account.possible_duplicate": Verb(
        _("reported a possible duplicate account"), "git-compare", _("A possible duplicate account appeared")
    ),
    "account.merged": Verb(_("merged the duplicate account"), "link"),
    "account.moved": Verb(_("moved the account to another customer"), "link"),
    "drift.accepted": Verb(_("accepted the provider's value"), "git-compare"),
    "drift.ignored": Verb(_("chose not to see a difference for a while"), "eye-off"),
    "orphan.ignored": Verb(_("left an unknown account aside"), "eye-off"),
    "orphan.watched": Verb(_("put an unknown account back on the board"), "eye"),
    "estate.proposed": Verb(_("had accounts at the provider matched to customers"), "link"),
    "estate.started": Verb(_("began to take accounts over"), "link"),
    "estate.paused": Verb(_("paused the taking over of accounts"), "player-pause"),
    "scan.asked": Verb(_("asked to look through the provider's accounts"), "refresh"),
    "hold.placed": Verb(_("held the account"), "shield"),
    "hold.released": Verb(_("released the hold of the account"), "shield"),
    "schedule.asked": Verb(_("put a change on the calendar"), "calendar"),
    "schedule.edited": Verb(_("changed what stands on the calendar"), "calendar"),
    "schedule.cancelled": Verb(_("took a change off the calendar"), "calendar"),
    "schedule.done": Verb(
        _("had a change of the calendar asked for"), "calendar", _("A change of the calendar was asked for")
    ),
    "schedule.skipped": Verb(
        _("skipped a change of the calendar"), "calendar", _("A change of the calendar was skipped")
    ),
    "schedule.moved": Verb(
        _("moved a change to the cycle's end"), "calendar", _("A change of the calendar moved with the cycle's end")
    ),
    "bulk.planned": Verb(_("planned a change of many accounts"), "list-check"),
    "bulk.submitted": Verb(_("asked a second person to approve a change"), "user-shield"),
    "bulk.started": Verb(_("began a change of many accounts"), "player-play"),
    "bulk.approved": Verb(_("approved a change that another person asked for"), "user-shield"),
    "bulk.refused": Verb(_("refused a change that another person asked for"), "circle-minus"),
    "bulk.paused": Verb(_("paused a change of many accounts"), "player-pause"),
    "bulk.resumed": Verb(_("went on with a change of many accounts"), "player-play"),
    "bulk.cancelled": Verb(_("cancelled a change of many accounts"), "circle-minus"),
    "bulk.ended": Verb(
        _("asked for the last of many accounts"),
        "check",
        _("A change of many accounts was asked for, account by account"),
    ),
    "operation.cancelled": Verb(_("cancelled the operation"), "circle-minus"),
    "operation.repaired": Verb(_("repaired the operation"), "rotate", _("The operation was repaired")),
    "account.names_restored": Verb(
        _("restored the names of the account's offerings"), "package", _("The names of the offerings were restored")
    ),
    "operation.retried": Verb(_("asked for it again"), "rotate"),
    "operation.decided": Verb(_("decided what happened"), "git-compare"),
    "operation.succeeded": Verb(_("settled the operation as done"), "check", _("The operation succeeded")),
    "operation.failed": Verb(_("settled the operation as failed"), "x", _("The operation failed")),
    "operation.unknown": Verb(_("left the outcome open"), "help-hexagon", _("The outcome is not known")),
    "operation.needs_attention": Verb(
        _("left the operation to a person"), "alert-triangle", _("A person must decide about the operation")
    ),
    "connection.created": Verb(_("added the connection"), "plug"),
    "connection.edited": Verb(_("edited the connection"), "pencil"),
    "connection.verified": Verb(_("checked the connection"), "plug-connected"),
    "connection.paused": Verb(_("paused the connection"), "player-pause", _("The connection was paused")),
    "connection.resumed": Verb(_("let the connection go on"), "player-play"),
    "connection.breaker_opened": Verb(
        _("stopped sending to the provider"), "plug-connected-x", _("The provider could not be reached")
    ),
    "connection.breaker_closed": Verb(
        _("let sending to the provider go on"), "plug-connected", _("The provider answered again")
    ),
    "connection.key_replaced": Verb(_("replaced the connection's key"), "key"),
    "catalogue.refreshed": Verb(_("read the catalogue anew"), "refresh"),
    "usage.run_started": Verb(_("started a usage sync"), "refresh"),
    "usage.run_retried": Verb(_("asked to read the failed accounts again"), "rotate"),
    "usage.items_removed": Verb(_("removed the results by account of a usage run"), "trash"),
    "usage.lower_accepted": Verb(_("took over a lower reading"), "check"),
    "staff.invited": Verb(_("invited the person"), "user-plus"),
    "staff.role_changed": Verb(_("changed the person's role"), "user-shield"),
    "staff.disabled": Verb(_("disabled the person"), "user-off"),
    "staff.enabled": Verb(_("enabled the person"), "user"),
    "staff.reset_link_made": Verb(_("reset the person's password"), "link"),
    "staff.sessions_ended": Verb(_("ended the person's sessions"), "logout"),
    "staff.signed_in": Verb(_("signed in"), "login-2"),
    "staff.sign_in_failed": Verb(_("refused a sign-in"), "ban"),
    "staff.password_changed": Verb(_("set their password"), "key"),
}


def words_of(verb: str) -> str:
    known = VERBS.get(verb)
    if known:
        return str(known.words)
    noun, _dot, act = verb.partition(".")
    return f"{noun}: {act}".replace("_", " ") if act else verb.replace("_", " ")


def sentence_of(verb: str, who: str) -> str:
    """Return "Nadia Berg asked to suspend the account"; `who` "" is the portal itself, as in "The operation
    succeeded"."""
    if not who and _alone(verb):
        return _alone(verb)
    return f"{who or gettext('The portal')} {words_of(verb)}"


def title_of(verb: str, who: str) -> str:
    """Return the text of the event for display next to `who`."""
    return known_as(verb) if who or not _alone(verb) else _alone(verb)


def _alone(verb: str) -> str:
    return str(VERBS[verb].alone) if verb in VERBS else ""


def icon_of(verb: str) -> str:
    return VERBS[verb].icon if verb in VERBS else "point"


def verb_choices() -> list[tuple[str, str]]:
    return sorted(((verb, title_of(verb, "")) for verb in VERBS), key=lambda pair: pair[1])


def known_as(verb: str) -> str:
    """Return the words with a capital, as used alone in a filter."""
    words = words_of(verb)
    return words[:1].upper() + words[1:]
