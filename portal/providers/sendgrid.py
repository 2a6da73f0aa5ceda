"""SendGrid: the Account Provisioning API v3 for partners, and v3 reads on behalf of one account.

What SendGrid does not promise, and what follows from it here:

* a create is not idempotent and takes no key: one POST, and without an `account_id` in a 201 its outcome is unknown;
* `PUT .../offerings` replaces the whole list; `PUT .../state` answers 204 with nothing to compare, so read back;
* the end of the account list is not defined: see `SendGrid.list_accounts`;
* a 401 on behalf of an account may mean the key or the account: see `SendGrid._on_behalf`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from . import sendgrid_reseller
from .base import (
    AccountRef,
    AccountState,
    Capabilities,
    CatalogEntry,
    Check,
    ConnectionConfig,
    Identity,
    Offering,
    Profile,
    RemoteAccount,
    SignIn,
    StateReading,
    Usage,
    UsageSource,
)
from .errors import (
    Evidence,
    FieldError,
    Forbidden,
    NotSent,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unsupported,
)
from .http import Answer, Call, Http
from .reading import day, mapping, moment, text, whole
from .sign_in import trusted

CAPABILITIES = Capabilities(
    kind="sendgrid",
    label="SendGrid",
    regions={"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"},
    offerings=True,
    test_accounts=True,
    sign_in_as=True,
    idempotent_create=False,
    writable_states=frozenset({AccountState.ACTIVE, AccountState.STOPPED_BY_US}),
    usage_sources=(UsageSource.CREDITS, UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML),
    suspend_consequences=(
        ("hand-stop", "Mail stops.", "SendGrid refuses every new e-mail until the account is unsuspended."),
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
            "Sign-in and API keys may stop working.",
            "SendGrid's own pages disagree about this, so promise the customer neither.",
        ),
    ),
    unsuspend_consequences=(
        (
            "send",
            "Mail can be sent again.",
            "SendGrid accepts new e-mail as soon as it has changed the state.",
        ),
        (
            "mail",
            "Deleted mail does not come back.",
            "What was queued when the account was suspended is gone.",
        ),
        ("shield", "A hold by SendGrid stays.", "Only SendGrid can lift a suspension it set itself."),
    ),
    delete_consequences=(
        ("trash", "The account is gone for good.", "SendGrid can't bring it back, and neither can we."),
        ("key", "API keys and sign-in end.", "Whatever still sends with this account fails at once."),
        ("world", "Offerings and dedicated IPs are removed.", "The same addresses can't be had again."),
        (
            "receipt",
            "Billing ends.",
            "SendGrid stops charging for this account. Its last usage is read first and kept.",
        ),
    ),
)

PAGE = 100
_ACCOUNTS = "/v3/partners/accounts"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_STATES = {
    "activated": AccountState.ACTIVE,
    "deactivated": AccountState.STOPPED_BY_US,
    "suspended": AccountState.STOPPED_BY_PROVIDER,
    "banned": AccountState.BANNED,
    "indeterminate": AccountState.INDETERMINATE,
}


class SendGrid:
    """Fulfils `portal.providers.base.Provider`."""

    capabilities = CAPABILITIES

    def __init__(
        self, config: ConnectionConfig, *, on_exchange: Callable[[Evidence], None] | None = None
    ) -> None:
        self._config = config
        self._http = Http(config, label=CAPABILITIES.label, on_exchange=on_exchange)

    # -- accounts -----------------------------------------------------------------------------------------------

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[RemoteAccount]:
        """Walk the complete list; may wait up to `patience` seconds in all where SendGrid's rate limit asks for it.

        The list ends with an empty or short page, or one that names no `last`. A full page that brings nothing new,
        or a cursor that comes twice, is a loop: the rest of the list is out of reach, so the walk is `Unreadable`.
        """
        until = time.monotonic() + patience
        seen: set[str] = set()
        cursors: set[str] = {""}
        cursor = ""
        while True:
            answer = self._patiently(_page(PAGE, cursor), until)
            rows, last = _account_page(answer)
            new = [row for row in rows if row.id not in seen]
            for row in new:
                if row.id not in seen:  # a page may repeat an id within itself
                    seen.add(row.id)
                    yield row
            if len(rows) < PAGE or not last:
                return
            if not new or last in cursors:
                raise answer.unusable(
                    "SendGrid's account list repeats itself, so it can't be read to its end."
                )
            cursors.add(last)
            cursor = last

    def _patiently(self, call: Call, until: float) -> Answer:
        while True:
            try:
                return self._http.call(call)
            except (NotSent, RateLimited) as error:
                pause = (error.retry_at - datetime.now(UTC)).total_seconds() if error.retry_at else None
                if pause is None or time.monotonic() + pause > until:
                    raise
            time.sleep(max(pause, 0.0) + 0.05)

    def create_account(self, profile: Profile, offerings: list[Offering], *, test: bool) -> str:
        if not profile.email.strip():  # without it an unknown create could never be proven ours
            missing = FieldError(message="An e-mail address is needed.", field="email")
            raise Rejected("An account needs an e-mail address.", field_errors=(missing,))
        body = {
            "profile": {name: value for name, value in vars(profile).items() if value},
            "offerings": _wire_offerings(offerings),
        }
        headers = {"T-Test-Account": "true"} if test else {}
        call = Call("POST", _ACCOUNTS, "accounts.create", 201, changes=True, headers=headers, body=body)
        answer = self._http.call(call)
        account_id = text(mapping(answer.json()).get("account_id"))
        if not _ID.fullmatch(account_id):
            raise answer.unusable("SendGrid said the account was created and gave no id for it.")
        return account_id

    def delete_account(self, account: AccountRef) -> None:
        self._http.call(Call("DELETE", _path(account), "accounts.delete", 204, changes=True))

    # -- offerings ----------------------------------------------------------------------------------------------

    def catalog(self) -> list[CatalogEntry]:
        answer = self._http.call(Call("GET", "/v3/partners/offerings", "catalogue"))
        listed = mapping(answer.json()).get("catalog")
        if not isinstance(listed, list):
            raise answer.unusable("SendGrid's catalogue is not a list.")
        return [_catalog_entry(answer, entry) for entry in listed]

    def offerings(self, account: AccountRef) -> list[Offering]:
        return _offerings(self._http.call(Call("GET", _path(account, "/offerings"), "offerings.read")))

    def replace_offerings(self, account: AccountRef, offerings: list[Offering]) -> list[Offering]:
        path, body = _path(account, "/offerings"), {"offerings": _wire_offerings(offerings)}
        return _offerings(self._http.call(Call("PUT", path, "offerings.write", changes=True, body=body)))

    # -- state and sign-in --------------------------------------------------------------------------------------

    def state(self, account: AccountRef) -> StateReading:
        answer = self._http.call(Call("GET", _path(account, "/state"), "state.read"))
        raw = text(mapping(answer.json()).get("state"), limit=100)
        if not raw:
            raise answer.unusable("SendGrid named no state.")
        return StateReading(state=_STATES.get(raw.lower(), AccountState.UNKNOWN), raw=raw)

    def set_sending(self, account: AccountRef, *, on: bool) -> None:
        body = {"state": "activated" if on else "deactivated"}
        self._http.call(Call("PUT", _path(account, "/state"), "state.write", 204, changes=True, body=body))

    def sign_in_url(self, account: AccountRef) -> SignIn:
        """The address carries a code that is valid for 60 seconds, once. Following the redirect here would burn it."""
        call = Call("POST", _path(account, "/sso"), "sign_in", 303, changes=True, secret_answer=True)
        answer = self._http.call(call)
        location = answer.headers.get("location", "")
        if not location:
            raise answer.unusable("SendGrid gave no sign-in address.")
        if not trusted(location, self._config.sign_in_hosts):
            raise Rejected(
                "SendGrid gave a sign-in address that is not SendGrid's own.", evidence=answer.evidence
            )
        return SignIn(url=location)

    # -- on behalf of one account -------------------------------------------------------------------------------

    def identity(self, account: AccountRef) -> Identity:
        """Each part on its own: one that cannot be read is None and says nothing about the others."""

        def part(path: str, name: str) -> str | None:
            try:
                value = mapping(self._on_behalf(account, path).json()).get(name)
            except ProviderError:
                return None
            return text(value) if isinstance(value, str) else None

        return Identity(
            email=part("/v3/user/email", "email"),
            username=part("/v3/user/username", "username"),
            company=part("/v3/user/profile", "company"),
        )

    def usage(self, account: AccountRef, source: UsageSource) -> Usage:
        if source is UsageSource.CREDITS:
            return self._credits(account)
        if source not in CAPABILITIES.usage_sources:
            raise Unsupported(f"SendGrid has no usage source {source!r}.")
        return sendgrid_reseller.overview(self._http, self._config, account.username, source)

    def _credits(self, account: AccountRef) -> Usage:
        answer = self._on_behalf(account, "/v3/user/credits")
        found = mapping(answer.json())
        if "used" not in found:
            raise answer.unusable("SendGrid's answer holds no credits.")
        start_on, next_on = day(found.get("last_reset")), day(found.get("next_reset"))
        end_on = next_on - timedelta(days=1) if next_on else None
        if start_on and end_on and end_on < start_on:
            start_on = end_on = None  # not a period; the words stay in `raw`
        return Usage(
            source=UsageSource.CREDITS,
            used=whole(found["used"]),
            allowed=whole(found.get("total")),
            remaining=whole(found.get("remain")),
            overage=whole(found.get("overage")),
            period_start_on=start_on,
            period_end_on=end_on,
            period_inferred=start_on is None,
            raw=self._http.redactor.plain(found),
        )

    def _on_behalf(self, account: AccountRef, path: str) -> Answer:
        """A v3 read as the account. What a wrong account id gives is not documented, and 401 is among the guesses,
        so after a 401 our own list is asked: only where that refuses as well is it the key (`Unauthorized`)."""
        headers = {"on-behalf-of": f"account-id {_checked_id(account)}"}
        try:
            return self._http.call(Call("GET", path, path.removeprefix("/v3/"), headers=headers))
        except Unauthorized as error:
            refused = error
        self._http.call(_page(1))
        raise Forbidden(
            "SendGrid does not answer on behalf of this account (401).",
            field_errors=refused.field_errors,
            evidence=refused.evidence,
        )

    # -- set-up -------------------------------------------------------------------------------------------------

    def verify(self) -> list[Check]:
        """Six reads at most in `total_timeout` seconds together, none repeated."""
        with self._http.budget(self._config.total_timeout):
            return list(self._checks())

    def _checks(self) -> Iterator[Check]:
        first: list[RemoteAccount] = []
        found = Identity()

        def accounts() -> str:
            first.extend(_account_page(self._http.call(_page(1)))[0][:1])
            return "The account list can be read." if first else "The account list can be read. It is empty."

        def catalogue() -> str:
            return f"The catalogue names {len(self.catalog())} offerings."

        yield _check("accounts", accounts)
        yield _check("catalogue", catalogue)
        if not first:
            for name in ("identity", "credits", "overview_json", "overview_xml"):
                yield Check(name, None, "Not tried: there is no account to try it with.")
            return
        account = AccountRef(first[0].id)

        def identity() -> str:
            answer = mapping(self._on_behalf(account, "/v3/user/email").json())
            return f"An account's e-mail address can be read ({len(text(answer.get('email')))} characters)."

        yield _check("identity", identity)
        yield _check("credits", lambda: _figures(self.usage(account, UsageSource.CREDITS)))
        found = self.identity(account)
        for source in (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML):
            if found.username:
                ref = AccountRef(account.id, found.username)
                yield _check(source.value, lambda ref=ref, source=source: _figures(self.usage(ref, source)))
            else:
                yield Check(source.value, None, "Not tried: the account's v2 user name can't be read.")


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except ProviderError as error:
        return Check(name, False, str(error))


def _figures(usage: Usage) -> str:
    return (
        "Usage can be read."
        if usage.used is not None
        else "An answer came, and its usage figure can't be read."
    )


def _checked_id(account: AccountRef) -> str:
    """The id as it may stand in a path or a header; anything else never came from SendGrid."""
    if not _ID.fullmatch(account.id):
        raise Rejected("The account has no usable id at SendGrid. Nothing was sent.")
    return account.id


def _path(account: AccountRef, rest: str = "") -> str:
    return f"{_ACCOUNTS}/{_checked_id(account)}{rest}"


def _page(limit: int, cursor: str = "") -> Call:
    query = {"limit": str(limit)} | ({"offset": cursor} if cursor else {})
    return Call("GET", _ACCOUNTS, "accounts.list", query=query)


def _account_page(answer: Answer) -> tuple[list[RemoteAccount], str]:
    """The rows and `pages.last`. `accounts` may be missing on an empty page, but then nothing else may stand there."""
    data = answer.json()
    listed = mapping(data).get("accounts")
    if listed is None and isinstance(data, dict) and set(data) <= {"accounts", "pages"}:
        listed = []
    if not isinstance(listed, list):
        raise answer.unusable("SendGrid's account list is not a list.")
    rows = [_account(answer, row) for row in listed]
    return rows, text(mapping(mapping(data).get("pages")).get("last"))


def _account(answer: Answer, row: Any) -> RemoteAccount:
    found = mapping(row)
    account_id = text(found.get("id"))
    if not account_id:
        raise answer.unusable("SendGrid's account list holds an account without an id.")
    return RemoteAccount(
        id=account_id,
        created_at=moment(found.get("created_at")),
        email=text(found.get("email")),
        updated_at=moment(found.get("updated_at")),
    )


def _offerings(answer: Answer) -> list[Offering]:
    """A missing list is not an empty one: writing it back would take everything away from the customer."""
    listed = mapping(answer.json()).get("offerings")
    if not isinstance(listed, list):
        raise answer.unusable("SendGrid's list of offerings is not a list.")
    return [_offering(answer, item) for item in listed]


def _offering(answer: Answer, item: Any) -> Offering:
    found = mapping(item)
    name, kind = text(found.get("name")), text(found.get("type"), limit=100)
    quantity = 1 if found.get("quantity") is None else whole(found["quantity"])
    if not name or not kind or quantity is None:
        raise answer.unusable("SendGrid's list holds an offering that can't be read.")
    return Offering(name=name, type=kind, quantity=quantity)


def _catalog_entry(answer: Answer, entry: Any) -> CatalogEntry:
    found = mapping(entry)
    named = mapping(found.get("entitlements")).items()
    entitlements = {text(name): amount for name, value in named if (amount := whole(value)) is not None}
    return CatalogEntry(offering=_offering(answer, found.get("offering")), entitlements=entitlements)


def _wire_offerings(offerings: list[Offering]) -> list[dict[str, Any]]:
    return [{"name": o.name, "type": o.type, "quantity": o.quantity} for o in offerings]
