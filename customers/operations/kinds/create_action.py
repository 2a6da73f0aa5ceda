"""A paid account. Where the provider takes idempotency keys an unknown create is looked for and, if it is not there,
sent again under the same key with the same bytes; elsewhere it is sent again only once its absence is proven."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, Operation, Sighting
from customers.models.account import AccountState, as_offerings, identity_of
from customers.observed.matching import Window
from customers.operations import create_search, idempotency, transitions
from customers.operations.outcomes import Done, Go, NotDone, Person, Prepared, Refuse, Wait
from portal.providers import (
    AccountRef,
    AccountSettings,
    Created,
    NewAccount,
    NotFound,
    Once,
    OutcomeUnknown,
    Profile,
    Provider,
    ProviderError,
    RemoteAccount,
)

PATIENCE = 30.0  # the whole walk happens under one lease
CANDIDATES_KEPT = 20
# By how much the clocks of one provider's servers may differ.
CLOCKS = timedelta(minutes=30)


class Create:
    """Without an idempotency key an unknown create is taken for ours, or sent again, by proof alone. What can't be
    proven is left to a person."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Wait | Person:
        if known := self.known(operation):
            return known
        repeated = transitions.uncertain(operation).exists()
        found = create_search.last_look(operation, provider, now=now, recall=self.recall) if repeated else None
        return found or self.go(operation, provider)

    def known(self, operation: Operation) -> Done | None:
        if operation.account.provider_id:
            return Done(_("The account exists already."))
        late = transitions.late_answer(operation) or transitions.late_answer_of_earlier_create(operation)
        return self.recall(late.result) if late else None

    def go(self, operation: Operation, provider: Provider) -> Go:
        new = new_account(operation)
        body = operation.body or provider.create_body(new)

        def send() -> Done | Prepared | Refuse:
            created = provider.create_account(new, Once(str(operation.public_id), body))
            return self.trust(created, provider)

        return Go("create account", body, send, body, clock_skew=provider.clock_skew())

    def trust(self, created: Created, provider: Provider) -> Done | Refuse:
        return self.recall({"account_id": created.id})

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Wait | Person:
        return create_search.verdict(operation, provider, now=now, recall=self.recall)

    def recall(self, result: dict[str, Any]) -> Done:
        account_id = result["account_id"]
        columns = {"provider_id": account_id, "state": AccountState.UNKNOWN, "changed_what": _("Created")}
        return Done(_("Created as %(id)s.") % {"id": account_id}, columns, result)


class KeyedCreate(Create):
    """The rules stand in docs/decisions/idempotency.md. Before anything is sent again the whole list is looked through
    for an account of this name and website that came to be since the first send."""

    def before(self, operation: Operation, provider: Provider, *, now: datetime) -> Go | Done | Wait | Person:
        if known := self.known(operation):
            return known
        if not transitions.uncertain(operation).exists():
            return self.go(operation, provider)
        if found := self._found(operation, provider):
            return found
        return idempotency.spent(operation, now=now) or self.go(operation, provider)

    def trust(self, created: Created, provider: Provider) -> Done | Refuse:
        """A replayed answer speaks of the past: the account may be gone since."""
        if created.replayed:
            try:
                provider.details(AccountRef(created.id))
            except NotFound:
                return Refuse(
                    "gone", _("%(id)s was created and deleted since.") % {"id": created.id}, {"account_id": created.id}
                )
            except ProviderError as error:
                raise OutcomeUnknown(
                    _("%(id)s was created by an earlier send, and could not be read back.") % {"id": created.id},
                    evidence=error.evidence,
                ) from None
        return self.recall({"account_id": created.id})

    def after(self, operation: Operation, provider: Provider, *, now: datetime) -> Done | NotDone | Wait | Person:
        """What is not there yet may come to be after all, and then the key helps no more: a 5xx gives it free, and the
        lease of an execution that goes on ends. So it has to be absent for as long as where there is no key."""
        unknown_at = operation.unknown_at or now
        settled_at, absent_at = unknown_at + create_search.SETTLE, unknown_at + create_search.ABSENT_AFTER
        if now < settled_at:
            return Wait(settled_at, operation.summary)
        if found := self._found(operation, provider):
            return found
        if now < absent_at:
            again = min(now + create_search.BETWEEN_WALKS, absent_at)
            return Wait(again, _("Looked through the whole list: not there so far. Looking again."))
        return idempotency.not_done(
            operation,
            _("Looked through the whole list: it was not created. The same is sent again, under the same key."),
            now=now,
        )

    def _found(self, operation: Operation, provider: Provider) -> Done | Person | None:
        sent = transitions.sent(operation).first()
        window = Window.of(sent) if sent else None
        found = _candidates(operation, provider, window) if window else []
        if not window or not found:
            return None
        rows = [_as_row(each) for each in found[:CANDIDATES_KEPT]]
        if len(found) > 1 or not window.is_since(found[0].created_at):
            return Person(
                "several",
                _("There is more than one account that it may have made. A person must say which one.")
                if len(found) > 1
                else _("There is an account that it may have made. A person must say whether it is the one."),
                {"candidates": rows},
            )
        evidence = {"by": "name, website and time", **rows[0]}
        done = self.recall({"account_id": found[0].id, "proof": evidence})
        return Done(_("Found in the list as %(id)s.") % {"id": found[0].id}, done.account, done.result)


def new_account(operation: Operation) -> NewAccount:
    payload = operation.payload
    settings = payload.get("settings")
    return NewAccount(
        Profile(**payload["profile"]),
        tuple(as_offerings(payload["offerings"])),
        settings=AccountSettings(**settings) if settings else None,
        test=payload["is_test"],
    )


def _candidates(operation: Operation, provider: Provider, window: Window) -> list[RemoteAccount]:
    """Accounts of this name and website which were not surely there before the send and are nobody's yet. Raises
    `ProviderError` where the list cannot be read to its end."""
    walk = transitions.keeping_the_lease(operation, provider.list_accounts(patience=PATIENCE))
    alike = [each for each in walk if each.settings and identity_of(each.settings) == operation.identity]
    ids = [each.id for each in alike]
    met = Sighting.objects.filter(connection=operation.connection, provider_id__in=ids, pk__lte=window.mark or 0)
    met_before = set(met.values_list("provider_id", flat=True))
    found = [each for each in alike if not _was_there(each, window, met_before)]
    theirs = Account.objects.filter(connection=operation.connection).exclude(pk=operation.account_id)
    taken = set(theirs.filter(provider_id__in=[each.id for each in found]).values_list("provider_id", flat=True))
    return [each for each in found if each.id not in taken]


def _was_there(remote: RemoteAccount, window: Window, met_before: set[str]) -> bool:
    """Whether it was surely there before the send. The clock that stamps accounts need not be the one that was
    measured, so one that is older by minutes has to be met before the send, too."""
    at = remote.created_at
    return at is not None and window.is_before(at) and (remote.id in met_before or at < window.opens_at - CLOCKS)


def _as_row(remote: RemoteAccount) -> dict[str, Any]:
    return {
        "provider_id": remote.id,
        "name": remote.settings.name if remote.settings else "",
        "website": remote.settings.website if remote.settings else "",
        "created_at": remote.created_at.isoformat() if remote.created_at else "",
    }
