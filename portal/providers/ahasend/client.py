"""AhaSend API v2 client: sub accounts of a Platform Partner, their API keys and pooled usage.

AhaSend's guarantees, and their consequences here:

* creates of accounts and keys take an idempotency key: the stored body is sent byte for byte under it;
* the 409 that may be retried is identified by two headers, never by its text (`outcomes`);
* a replayed 201 may be outdated: `Created.replayed`;
* an update that changes nothing is rejected (400), so only differences are sent;
* a deleted account is 404 everywhere, and that 404 carries AhaSend's own body.

Sources: the official contract (api v2, August 2026) and documentation; inferred facts are marked.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from portal.providers.base import (
    AccountRef,
    AccountSettings,
    Check,
    ConnectionConfig,
    Created,
    Details,
    IdempotentBody,
    Identity,
    ListedAccount,
    NewAccount,
    PooledUsage,
    StateReading,
    Usage,
    UsageSource,
)
from portal.providers.calls import Call, rows_of_list
from portal.providers.errors import (
    Evidence,
    Forbidden,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
)
from portal.providers.http import Http
from portal.providers.key_types import ApiKey, CreatedKey, NewKey
from portal.providers.provider import Provider, Sending
from portal.providers.rate_limit import Pacing

from . import parsing, payloads
from .account_client import AhaSendSending
from .capabilities import AHASEND

EARLY_ACCESS = (
    "AhaSend denied all requests for sub accounts (403). Either the key has no sub account scopes, or the "
    "Platform Partner program (early access) is not enabled for this account. Ask AhaSend to enable it."
)


class AhaSend(Provider):
    """Implementation of `portal.providers.provider.Provider`."""

    capabilities = AHASEND

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        on_exchange: Callable[[Evidence], None] | None = None,
        pacer: Pacing | None = None,
    ) -> None:
        if not parsing.is_id(config.account_id):
            raise Unsupported("An AhaSend connection requires the ID of your parent account at AhaSend (a UUID).")
        self._config, self._on_exchange = config, on_exchange
        self._http = Http(config, label=AHASEND.label, on_exchange=on_exchange, pacer=pacer)
        self._base = f"/v2/accounts/{config.account_id}/sub-accounts"

    # accounts

    def clock_skew(self) -> float | None:
        return self._http.clock_skew(Call("GET", self._base, "accounts.list", query={"limit": "1"}))

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[ListedAccount]:
        until = time.monotonic() + patience
        return rows_of_list(
            lambda call: self._http.call_patiently(call, until),
            partial(payloads.page_call, self._base, "accounts.list"),
            partial(parsing.page, parsing.remote_account),
        )

    def create_body(self, new: NewAccount) -> str:
        return payloads.account_body(new)

    def create_account(self, new: NewAccount, once: IdempotentBody) -> Created:
        return parsing.created(self._http.call(payloads.keyed_call(self._base, "accounts.create", once)))

    def state(self, account: AccountRef) -> StateReading:
        return self.details(account).state

    def details(self, account: AccountRef) -> Details:
        return parsing.details(self._http.call(Call("GET", self._path(account), "accounts.read")))

    def update_settings(self, account: AccountRef, changes: Mapping[str, str | int]) -> AccountSettings:
        body = payloads.wire_settings(dict(changes))
        call = Call("PUT", self._path(account), "accounts.write", changes=True, body=body)
        return parsing.details(self._http.call(call)).settings

    def set_sending(self, account: AccountRef, *, on: bool, reason: str = "") -> None:
        """Suspend or unsuspend. A reason is required to suspend (contract: 1 to 500 characters)."""
        path = self._path(account, "/unsuspend" if on else "/suspend")
        if not on and not reason.strip():
            raise payloads.refused("AhaSend requires a reason. The customer can see it.", "reason")
        body = None if on else {"reason": reason.strip()[: AHASEND.reason_max]}
        self._http.call(Call("POST", path, "accounts.suspend", changes=True, body=body))

    def delete_account(self, account: AccountRef) -> None:
        self._http.call(Call("DELETE", self._path(account), "accounts.delete", changes=True))

    def identity(self, account: AccountRef) -> Identity:
        """Return the name, the only identifying field; AhaSend has no email address."""
        try:
            return Identity(company=self.details(account).settings.name)
        except ProviderError:
            return Identity()

    # keys

    def keys(self, account: AccountRef) -> list[ApiKey]:
        page = partial(payloads.page_call, self._path(account, "/api-keys"), "keys.list")
        return list(rows_of_list(self._http.call, page, partial(parsing.page, parsing.api_key)))

    def key_body(self, new: NewKey) -> str:
        return payloads.key_body(new)

    def create_key(self, account: AccountRef, once: IdempotentBody) -> CreatedKey:
        answer = self._http.call(payloads.keyed_call(self._path(account, "/api-keys"), "keys.create", once))
        key = parsing.api_key(answer, answer.json())
        return CreatedKey(key=key, secret=parsing.secret(answer), replayed=parsing.replayed(answer))

    def update_key(self, account: AccountRef, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        body = dict(changes)
        if "scopes" in body:
            body["scopes"] = list(payloads.without_included(body["scopes"]))  # it may have some that we do not know
        if "ip_allow_list" in body:
            body["ip_allow_list"] = list(payloads.canonical_allow_list(body["ip_allow_list"]))
        call = Call("PUT", self._key_path(account, key_id), "keys.write", changes=True, body=body)
        answer = self._http.call(call)
        return parsing.api_key(answer, answer.json())

    def delete_key(self, account: AccountRef, key_id: str) -> None:
        self._http.call(Call("DELETE", self._key_path(account, key_id), "keys.delete", changes=True))

    # usage

    def pooled_usage(self) -> PooledUsage:
        return parsing.pooled(self._http.call(Call("GET", f"{self._base}/usage", "usage")))

    def usage(self, account: AccountRef, source: UsageSource, *, seconds: float | None = None) -> Usage:
        if source is not UsageSource.POOLED:
            raise Unsupported(f"AhaSend doesn't support the usage source {source!r}.")
        wanted = _checked_id(account.id)
        with self._http.budget(seconds) if seconds else nullcontext():
            pool = self.pooled_usage()
        for share in pool.accounts:
            if share.account_id == wanted:
                return pool.usage_of(share)
        raise Unreadable("AhaSend's usage report doesn't include this account.")

    # with an account's own key

    def sending(self, account: AccountRef, secret: str) -> Sending:
        config = replace(self._config, api_key=secret)
        http = Http(config, label=AHASEND.label, on_exchange=self._on_exchange)
        return AhaSendSending(http, _checked_id(account.id))

    # verification

    def verify(self) -> list[Check]:
        """Check the key's scopes within `total_timeout` seconds in total, without retries.

        Writes are tried on an account that cannot exist (a fresh UUID), and the create with a body without a name, so
        that nothing is changed: a missing scope is 403, any other response means that the scope is granted.
        """
        with self._http.budget(self._config.total_timeout):
            return list(self._checks())

    def _checks(self) -> Iterator[Check]:
        listed = self._try("accounts", Call("GET", self._base, "accounts.list", query={"limit": "1"}))
        if isinstance(listed.error, Unauthorized):
            yield Check("accounts", False, f"{listed.error} The API key or the parent account ID is wrong.")
            for scope in AHASEND.own_scopes:
                yield Check(scope.name, None, "Not tested: the key was rejected.")
            yield Check(UsageSource.POOLED.value, None, "Not tested: the key was rejected.")
            return
        tried = {"sub-accounts:read": listed} | {name: self._try(name, call) for name, call in self._probes()}
        if all(isinstance(each.error, Forbidden) for each in tried.values()):
            yield Check("accounts", False, EARLY_ACCESS)
        else:
            yield Check("accounts", listed.granted, "The account list is readable." if listed.granted else listed.said)
        for scope in AHASEND.own_scopes:
            yield Check(scope.name, tried[scope.name].granted, tried[scope.name].said)
        usage = tried["sub-accounts:usage"]
        yield Check(UsageSource.POOLED.value, usage.granted, "Usage is readable." if usage.granted else usage.said)

    def _probes(self) -> list[tuple[str, Call]]:
        nobody = f"{self._base}/{uuid.uuid4()}"
        key = f"{nobody}/api-keys/{uuid.uuid4()}"
        return [
            ("sub-accounts:write", Call("POST", self._base, "accounts.create", 201, changes=True, body={})),
            ("sub-accounts:suspend", Call("POST", f"{nobody}/suspend", "accounts.suspend", changes=True, body={})),
            ("sub-accounts:delete", Call("DELETE", nobody, "accounts.delete", changes=True)),
            ("sub-accounts:usage", Call("GET", f"{self._base}/usage", "usage")),
            ("sub-account-api-keys:read", Call("GET", f"{nobody}/api-keys", "keys.list")),
            (
                "sub-account-api-keys:write",
                Call("POST", f"{nobody}/api-keys", "keys.create", 201, changes=True, body={}),
            ),
            ("sub-account-api-keys:delete", Call("DELETE", key, "keys.delete", changes=True)),
        ]

    def _try(self, name: str, call: Call) -> _Tried:
        try:
            self._http.call(call)
        except Forbidden as error:
            return _Tried(False, f"Missing: AhaSend denied access (403). Grant {name} to the key.", error)
        except (Unauthorized, RateLimited) as error:
            return _Tried(None, str(error), error)
        except Rejected:
            return _Tried(True, "Granted.")
        except ProviderError as error:
            return _Tried(None, str(error), error)
        return _Tried(True, "Granted.")

    # requests

    def _path(self, account: AccountRef, rest: str = "") -> str:
        return f"{self._base}/{_checked_id(account.id)}{rest}"

    def _key_path(self, account: AccountRef, key_id: str) -> str:
        return self._path(account, f"/api-keys/{_checked_id(key_id)}")


class _Tried:
    def __init__(self, granted: bool | None, said: str, error: ProviderError | None = None) -> None:
        self.granted, self.said, self.error = granted, said, error


def _checked_id(value: str) -> str:
    """Return `value` if it is a valid ID for a path. Raises `Rejected`."""
    if not parsing.is_id(value):
        raise Rejected("The account or key has no valid ID at AhaSend. Nothing was sent.")
    return value
