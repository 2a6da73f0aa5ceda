"""Messages of operations and their steps, by code. A code is removed only when no row can have it."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

TEXTS: dict[str, str | Promise] = {
    "already_so": _("Already in this state at the provider."),
    "already_gone": _("It was already deleted."),
    "cancelled": _("Canceled before anything was sent."),
    # Before a send
    "leader.failed": _("%(code)s did not succeed, so this was not sent."),
    "requester.disabled": _("The team member who requested this is disabled. The request was not sent."),
    "requester.not_permitted": _(
        "The team member who requested this no longer has permission. The request was not sent."
    ),
    "connection.edited": _("The connection was edited. The request is retried with the new settings."),
    "send.connection_stopped": _(
        "The connection was paused or edited before the request was sent. It will be sent once the connection "
        "works again."
    ),
    "send.lease_over": _("The worker lost its lease before sending."),
    "send.unforeseen": _("An internal error occurred while the request was being sent."),
    "hold.cancelled": _("Marked “Do not suspend” by %(name)s: %(why)s"),
    "hold.not_sent": _("Marked “Do not suspend” by %(name)s: %(why)s. The suspension was not sent."),
    # Workers that did not return
    "worker.lost_claim": _("The worker stopped before anything was sent."),
    "worker.lost_answer": _("The worker stopped before a response was recorded."),
    "worker.lost_often": _("Three workers stopped while preparing this. Nothing was sent."),
    "repaired.looked_for": _(
        "Repaired: the request was sent but its response was not recorded, so the outcome is being checked."
    ),
    "repaired.queued": _("Repaired: the request was never sent, so it was queued again."),
    "api_key.made_before_restore": _(
        "API key %(id)s exists at the provider. It was created before the database was restored, so its secret may have"
        " been revealed and be in use. Ask the customer. If it isn't in use, delete it and create a key again."
    ),
    "restore.assumed_sent": _(
        "The database was restored from a backup, and this may have been sent after the backup. The outcome is being"
        " checked before anything is sent."
    ),
    # Reviews
    "decided.linked": _("Manually linked to %(id)s."),
    "decided.not_created": _("A team member confirmed that the account was not created."),
    "decided.retry": _("A team member retried the operation."),
    "decided.failed": _("A team member marked the operation as failed."),
    "account.taken": _("Account %(id)s already belongs to %(customer)s. Review which customer is correct."),
    "account.taken_elsewhere": _(
        "Account %(id)s already belongs to another customer. Review which customer is correct."
    ),
    "key.too_late": _(
        "The idempotency key can no longer be used, and a new key could apply the request twice. Check at the "
        "provider whether it was applied, then close this operation. After that, you can submit a new request."
    ),
    # Creates
    "create.test_only": _(
        "This connection now allows only test accounts, and this request was for a paid account. Nothing was sent."
    ),
    "create.budget": _("This connection reached its hourly limit for creating accounts. Nothing was sent."),
    "create.done": _("Created as %(id)s."),
    "create.exists": _("The account already exists."),
    "create.found": _("Found in the account list as %(id)s."),
    "create.deleted_since": _("%(id)s was created and has since been deleted."),
    "create.replay_unread": _("%(id)s was created by an earlier request, but its data could not be retrieved."),
    "create.absent": _(
        "Three full scans of the account list did not find the account. It was not created, so the request is retried."
    ),
    "create.absent_keyed": _(
        "A full scan of the account list did not find the account. It was not created, so the request is "
        "retried with the same idempotency key."
    ),
    "create.absent_so_far": _(
        "A full scan of the account list has not found the account yet. We will scan again. You can resolve "
        "this sooner."
    ),
    "create.absent_so_far_keyed": _(
        "A full scan of the account list has not found the account yet. We will scan again."
    ),
    "create.list_busy": _("The account list is being scanned."),
    "create.list_broken": _("The account list scan was incomplete. We will scan again soon."),
    "create.list_lacks_accounts": _(
        "The account list is missing accounts that exist, so it can't confirm that this account was not "
        "created. We will scan again."
    ),
    "create.several": _("More than one account matches. Select the right one."),
    "create.several_keyed": _("More than one account could be the result of this request. Select the right one."),
    "create.one_unsure": _("One account could be the result of this request. Confirm whether it is."),
    "create.doubtful": _("This request may have created an account, but there is no proof."),
    # Offerings, settings and states
    "offerings.already_so": _("The provider already has these offerings."),
    "offerings.replaced": _("The offerings were replaced and verified."),
    "offerings.unchanged": _("The offerings are unchanged at the provider."),
    "offerings.other_answer": _("The response shows offerings that differ from the request."),
    "offerings.conflict": _("The offerings changed at the provider while you were editing."),
    "settings.changed": _("The settings were changed and verified."),
    "settings.unchanged": _("The settings are unchanged at the provider."),
    "settings.other_answer": _("The response shows settings that differ from the request."),
    "settings.conflict": _("The settings changed at the provider while you were editing."),
    "state.suspended": _("Suspended."),
    "state.unsuspended": _("Unsuspended."),
    "state.held": _("%(provider)s blocked this account. Only %(provider)s can unblock it."),
    "state.still": _("%(provider)s accepted the change but still reports %(state)s."),
    "state.not_yet": _("The change has not taken effect yet. We will check again."),
    "state.unchanged": _("The state did not change after three checks."),
    "delete.done": _("Deleted."),
    "delete.not_deleted": _("The account still exists at the provider."),
    "delete.usage_unread_yet": _("The final usage could not be retrieved yet: %(why)s"),
    "delete.usage_unread": _("The final usage could not be retrieved, and it can't be retrieved after deletion."),
    "usage.not_permitted": _("The connection's last test couldn't read usage."),
    # API keys
    "api_key.created": _("The API key was created."),
    "api_key.secret_kept": _("The API key exists, and its secret was stored when it arrived."),
    "api_key.no_answer": _("No usable response. We check the account's API keys before anything else is sent."),
    "api_key.orphan_deleted": _("Deleted API key %(id)s because its secret was lost."),
    "api_key.sent_often": _(
        "The provider didn't confirm the new API key in %(n)d attempts. The keys of these attempts were deleted, so "
        "none is left without its secret."
    ),
    "api_key.twins": _("The API key was created, but it's not the only key this operation created."),
    "api_key.twins_unread": _("The API key was created, but we couldn't check whether it's the only one."),
    "api_key.changed": _("The API key was changed."),
    "api_key.changed_as_read": _("The API key was changed and verified."),
    "api_key.unchanged": _("The API key is unchanged at the provider."),
    "api_key.other_answer": _("The response shows an API key that differs from the request."),
    "api_key.deleted": _("The API key was deleted."),
    "api_key.deleted_as_read": _("The API key no longer exists at the provider."),
    "api_key.not_deleted": _("The API key still exists at the provider."),
    "api_key.gone": _("The account no longer has this key."),
    "api_key.account_gone": _("The account no longer exists at the provider, and its API keys were deleted with it."),
    # Sending
    "domain.added": _("%(domain)s was added."),
    "domain.absent": _("The domain was not added. The request is retried with the same idempotency key."),
    "message.accepted": _("Accepted as %(id)s."),
    "message.no_answer": _(
        "No usable response. The request is retried with the same idempotency key to prevent a duplicate "
        "message. In rare cases, the message may still arrive twice."
    ),
    "own_key.none": _(
        "No API key with a stored secret is left for this account. Create or rotate a key and store its secret."
    ),
    "own_key.refused": _("The account's API key was rejected: it was deleted, or the account is suspended."),
    "own_key.not_permitted": _(
        "The account's API key lacks the required scopes. Edit the key, or store one that has them."
    ),
    "own_key.account_not_active": _("The account is not active, so its API keys don't work."),
}
