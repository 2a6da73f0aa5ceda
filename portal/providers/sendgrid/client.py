"""SendGrid client: the Account Provisioning API v3 for partners, and v3 reads on behalf of one account.

Limitations of the API, and their consequences here:

* a create is not idempotent and takes no key: one POST, and a 201 without `account_id` is an unknown outcome;
* `PUT .../offerings` replaces the whole list; `PUT .../state` answers 204 without a body, so the state is
  read back;
* the end of the account list is not defined: see `parsing.account_page`;
* a 401 on behalf of an account may concern the key or the account: see `SendGrid._on_behalf`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import date
from functools import partial
from typing import Any

from portal.providers.base import (
    STATISTICS_DAYS,
    AccountRef,
    CatalogEntry,
    Check,
    ConnectionConfig,
    Created,
    IdempotentBody,
    Identity,
    ListedAccount,
    NewAccount,
    ProviderOffering,
    SignIn,
    StateReading,
    Usage,
    UsageSource,
)
from portal.providers.calls import Answer, Call, rows_of_list
from portal.providers.errors import (
    Evidence,
    FieldError,
    Forbidden,
    ProviderError,
    Rejected,
    Unauthorized,
    Unsupported,
)
from portal.providers.http import Http
from portal.providers.parsing import mapping, text, token
from portal.providers.provider import Provider
from portal.providers.rate_limit import Pacing

from . import parsing, reseller
from .capabilities import SENDGRID
from .sign_in import trusted

_ACCOUNTS = "/v3/partners/accounts"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


class SendGrid(Provider):
    """Implementation of `portal.providers.provider.Provider`."""

    capabilities = SENDGRID

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        on_exchange: Callable[[Evidence], None] | None = None,
        pacer: Pacing | None = None,
    ) -> None:
        self._config = config
        self._http = Http(config, label=SENDGRID.label, on_exchange=on_exchange, pacer=pacer)

    @property
    def seconds_waited(self) -> float:
        return self._http.seconds_waited

    # accounts

    def clock_skew(self) -> float | None:
        return self._http.clock_skew(_page(1))

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[ListedAccount]:
        until = time.monotonic() + patience
        return rows_of_list(
            lambda call: self._http.call_patiently(call, until), partial(_page, parsing.PAGE), parsing.account_page
        )

    def create_body(self, new: NewAccount) -> str:
        if not new.profile.email.strip():  # without one, an unknown create could never be verified
            missing = FieldError(message="Enter an email address.", field="email")
            raise Rejected("An account must have an email address.", field_errors=(missing,))
        given = {name: value for name, value in vars(new.profile).items() if value}
        return json.dumps({"profile": given, "offerings": _wire_offerings(list(new.offerings))})

    def create_account(self, new: NewAccount, once: IdempotentBody) -> Created:
        """Create the account. Only the body is sent; there is no idempotency key."""
        headers = {"T-Test-Account": "true"} if new.test else {}
        call = Call("POST", _ACCOUNTS, "accounts.create", 201, changes=True, headers=headers, text=once.body)
        answer = self._http.call(call)
        account_id = token(mapping(answer.json()).get("account_id"), limit=parsing.ID_MAX)
        if not _ID.fullmatch(account_id):
            raise answer.unusable("SendGrid confirmed that the account was created but returned no account ID.")
        return Created(account_id)

    def delete_account(self, account: AccountRef) -> None:
        self._http.call(Call("DELETE", _path(account), "accounts.delete", 204, changes=True))

    # offerings

    def catalog(self) -> list[CatalogEntry]:
        return parsing.catalog(self._http.call(Call("GET", "/v3/partners/offerings", "catalogue")))

    def offerings(self, account: AccountRef) -> list[ProviderOffering]:
        return parsing.offerings(self._http.call(Call("GET", _path(account, "/offerings"), "offerings.read")))

    def replace_offerings(self, account: AccountRef, offerings: list[ProviderOffering]) -> list[ProviderOffering]:
        path, body = _path(account, "/offerings"), {"offerings": _wire_offerings(offerings)}
        return parsing.offerings(self._http.call(Call("PUT", path, "offerings.write", changes=True, body=body)))

    # state and sign-in

    def state(self, account: AccountRef) -> StateReading:
        return parsing.state(self._http.call(Call("GET", _path(account, "/state"), "state.read")))

    def set_sending(self, account: AccountRef, *, on: bool, reason: str = "") -> None:
        body = {"state": "activated" if on else "deactivated"}
        self._http.call(Call("PUT", _path(account, "/state"), "state.write", 204, changes=True, body=body))

    def sign_in_url(self, account: AccountRef) -> SignIn:
        """Return the sign-in URL. Its code is valid once and for 60 seconds: following the redirect would consume
        it."""
        call = Call("POST", _path(account, "/sso"), "sign_in", 303, changes=True, secret_answer=True)
        answer = self._http.call(call)
        location = answer.headers.get("location", "")
        if not location:
            raise answer.unusable("SendGrid returned no sign-in URL.")
        if not trusted(location, self._config.sign_in_hosts):
            raise Rejected("SendGrid returned a sign-in URL with an untrusted host.", evidence=answer.evidence)
        return SignIn(url=location)

    # on behalf of one account

    def identity(self, account: AccountRef) -> Identity:
        """Return each part separately: one that cannot be read is None and does not affect the others."""

        def part(path: str, name: str, read: Callable[..., str] = text) -> str | None:
            try:
                return read(self._named(account, path, name), limit=500)
            except ProviderError:
                return None

        return Identity(
            email=part("/v3/user/email", "email"),
            username=part("/v3/user/username", "username", token),  # v2 asks by it
            company=part("/v3/user/profile", "company"),
        )

    def usage(self, account: AccountRef, source: UsageSource, *, seconds: float | None = None) -> Usage:
        with self._http.budget(seconds) if seconds else nullcontext():
            if source is UsageSource.CREDITS:
                return parsing.credits(self._on_behalf(account, "/v3/user/credits"))
            if source not in SENDGRID.usage_sources:
                raise Unsupported(f"SendGrid doesn't support the usage source {source!r}.")
            return reseller.overview(self._http, self._config, account.username, source)

    def statistics(self, account: AccountRef, first: date, last: date) -> dict[date, int]:
        """Return `requests` per day. SendGrid counts a request for every recipient, as it does credits; "processed"
        and "delivered" are fewer."""
        if not 0 <= (last - first).days < STATISTICS_DAYS:
            raise ValueError(f"Statistics cover 1 to {STATISTICS_DAYS} days: {first} to {last}")
        query = {"start_date": first.isoformat(), "end_date": last.isoformat(), "aggregated_by": "day"}
        return parsing.statistics(self._on_behalf(account, "/v3/stats", query), first, last)

    def _named(self, account: AccountRef, path: str, name: str) -> str:
        answer = self._on_behalf(account, path)
        value = mapping(answer.json()).get(name)
        if not isinstance(value, str):
            raise answer.unusable(f"SendGrid's response contains no {name}.")
        return value

    def _on_behalf(self, account: AccountRef, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """Perform a v3 read as the account. The response to a wrong account ID is not documented, and may be 401. So
        after a 401 the account list is read: only if that is rejected too is the key at fault (`Unauthorized`)."""
        headers = {"on-behalf-of": f"account-id {_checked_id(account)}"}
        try:
            return self._http.call(Call("GET", path, path.removeprefix("/v3/"), query=query or {}, headers=headers))
        except Unauthorized as error:
            refused = error
        self._http.call(_page(1))
        message = "SendGrid rejected the request on behalf of this account (401)."
        raise Forbidden(message, field_errors=refused.field_errors, evidence=refused.evidence)

    # verification

    def verify(self) -> list[Check]:
        """Check the key within `total_timeout` seconds in total, without retries."""
        with self._http.budget(self._config.total_timeout):
            return list(self._checks())

    def _checks(self) -> Iterator[Check]:
        accounts: list[ListedAccount] = []

        def listed() -> str:
            accounts.extend(parsing.account_page(self._http.call(_page(1)))[0])
            return "The account list is readable." if accounts else "The account list is readable. It is empty."

        first = _check("accounts", listed)
        yield first
        yield _check("catalogue", lambda: f"The catalog has {len(self.catalog())} offerings.")
        if not accounts:
            why = "there is no account to test with" if first.ok else "the account list is not readable"
            for name in ("identity", *SENDGRID.usage_sources):
                yield Check(str(name), None, f"Not tested: {why}.")
            return
        account = AccountRef(accounts[0].id)
        yield _check("identity", lambda: self._probe_identity(account))
        yield _check("credits", lambda: self._probe_usage(account, UsageSource.CREDITS))
        with suppress(ProviderError):  # `usage` then reports the missing username
            account = AccountRef(account.id, self._named(account, "/v3/user/username", "username"))
        for source in (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML):
            yield _check(source.value, partial(self._probe_usage, account, source))

    def _probe_identity(self, account: AccountRef) -> str:
        self._named(account, "/v3/user/email", "email")
        return "Account email addresses are readable, so an account creation with an unknown outcome can be verified."

    def _probe_usage(self, account: AccountRef, source: UsageSource) -> str:
        used = self.usage(account, source).used
        return "Usage is readable." if used is not None else "The response contained no usage figure."


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except ProviderError as error:
        untried = isinstance(error, Unsupported) and error.evidence.status is None
        return Check(name, None if untried else False, str(error))


def _checked_id(account: AccountRef) -> str:
    """Return the ID if it is valid for a path or a header. Raises `Rejected`."""
    if not _ID.fullmatch(account.id):
        raise Rejected("The account has no valid ID at SendGrid. Nothing was sent.")
    return account.id


def _path(account: AccountRef, rest: str = "") -> str:
    return f"{_ACCOUNTS}/{_checked_id(account)}{rest}"


def _page(limit: int, cursor: str = "") -> Call:
    query = {"limit": str(limit)} | ({"offset": cursor} if cursor else {})
    return Call("GET", _ACCOUNTS, "accounts.list", query=query)


def _wire_offerings(offerings: list[ProviderOffering]) -> list[dict[str, Any]]:
    return [{"name": o.name, "type": o.type, "quantity": o.quantity} for o in offerings]
