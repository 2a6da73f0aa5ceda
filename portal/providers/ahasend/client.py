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

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
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
from portal.providers.calls import Answer, Call
from portal.providers.errors import (
    Evidence,
    Forbidden,
    NotSent,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
)
from portal.providers.http import Http
from portal.providers.key_types import ApiKey, CreatedKey, NewKey
from portal.providers.provider import Sending
from portal.providers.rate_limit_protocol import Pacer
from portal.providers.unsupported import UnsupportedCalls

from . import parsing, payloads
from .account_client import AhaSendSending
from .capabilities import AHASEND

PAGE = 100
_PRINTABLE = re.compile(r"[!-~]{1,255}")
EARLY_ACCESS = (
    "AhaSend refuses every call about sub accounts (403). Either the key has none of their scopes, or AhaSend has not "
    "enabled the Platform Partner programme (early access) for this account: ask AhaSend to enable it."
)


class AhaSend(UnsupportedCalls):
    """Implementation of `portal.providers.provider.Provider`."""

    capabilities = AHASEND

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        on_exchange: Callable[[Evidence], None] | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        if not parsing.is_id(config.account_id):
            raise Unsupported("An AhaSend connection needs the id of our own account there (a UUID).")
        self._config, self._on_exchange = config, on_exchange
        self._http = Http(config, label=AHASEND.label, on_exchange=on_exchange, pacer=pacer)
        self._base = f"/v2/accounts/{config.account_id}/sub-accounts"

    # accounts

    def clock_skew(self) -> float | None:
        return self._http.clock_skew(Call("GET", self._base, "accounts.list", query={"limit": "1"}))

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[ListedAccount]:
        until = time.monotonic() + patience
        for answer, rows in self._pages(self._base, "accounts.list", until):
            yield from (parsing.remote_account(answer, row) for row in rows)

    def create_body(self, new: NewAccount) -> str:
        return payloads.account_body(new)

    def create_account(self, new: NewAccount, once: IdempotentBody) -> Created:
        return parsing.created(self._http.call(_keyed(self._base, "accounts.create", once)))

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
        if on:
            self._http.call(Call("POST", path, "accounts.suspend", changes=True))
            return
        if not reason.strip():
            raise payloads.refused("AhaSend wants a reason, which the customer sees.", "reason")
        body = {"reason": reason.strip()[: AHASEND.reason_max]}
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
        found: list[ApiKey] = []
        for answer, rows in self._pages(self._path(account, "/api-keys"), "keys.list", time.monotonic()):
            found += [parsing.api_key(answer, row) for row in rows]
        return found

    def key_body(self, new: NewKey) -> str:
        return payloads.key_body(new)

    def create_key(self, account: AccountRef, once: IdempotentBody) -> CreatedKey:
        answer = self._http.call(_keyed(self._path(account, "/api-keys"), "keys.create", once))
        key = parsing.api_key(answer, answer.json())
        return CreatedKey(key=key, secret=parsing.secret(answer), replayed=parsing.replayed(answer))

    def update_key(self, account: AccountRef, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        body = dict(changes)
        if "scopes" in body:
            body["scopes"] = list(payloads.key_scopes(body["scopes"]))
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

    def usage(self, account: AccountRef, source: UsageSource) -> Usage:
        if source is not UsageSource.POOLED:
            raise Unsupported(f"AhaSend has no usage source {source!r}.")
        wanted = _checked_id(account.id)
        pool = self.pooled_usage()
        for share in pool.accounts:
            if share.account_id == wanted:
                return parsing.usage_of(pool, share)
        raise Unreadable("AhaSend's usage does not name this account.")

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
            yield Check("accounts", False, f"{listed.error} The key, or the id of our account, is wrong.")
            for scope in AHASEND.own_scopes:
                yield Check(scope.name, None, "Not tried: the key was refused.")
            yield Check(UsageSource.POOLED.value, None, "Not tried: the key was refused.")
            return
        tried = {"sub-accounts:read": listed} | {name: self._try(name, call) for name, call in self._probes()}
        all_refused = all(isinstance(each.error, Forbidden) for each in tried.values())
        if all_refused:
            yield Check("accounts", False, EARLY_ACCESS)
        else:
            yield Check("accounts", listed.granted, "The account list can be read." if listed.granted else listed.said)
        for scope in AHASEND.own_scopes:
            yield Check(scope.name, tried[scope.name].granted, tried[scope.name].said)
        usage = tried["sub-accounts:usage"]
        yield Check(UsageSource.POOLED.value, usage.granted, "Usage can be read." if usage.granted else usage.said)

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
            return _Tried(False, f"Missing: AhaSend refused it (403). Grant {name} to the key.", error)
        except (Unauthorized, RateLimited) as error:
            return _Tried(None, str(error), error)
        except Rejected:
            return _Tried(True, "Granted.")
        except ProviderError as error:
            return _Tried(None, str(error), error)
        return _Tried(True, "Granted.")

    # requests

    def _pages(self, path: str, endpoint: str, until: float) -> Iterator[tuple[Answer, list[Mapping[str, Any]]]]:
        """Yield every page of a list. Raises `Unreadable` if a cursor or a row repeats, as pages then overlap or
        loop."""
        cursors: set[str] = set()
        seen: set[str] = set()
        cursor = ""
        while True:
            query = {"limit": str(PAGE)} | ({"after": cursor} if cursor else {})
            answer = self._patiently(Call("GET", path, endpoint, query=query), until)
            rows, cursor = parsing.page(answer)
            new = {str(row.get("id")) for row in rows} - seen
            if len(new) < len(rows) or cursor in cursors or (cursor and not rows):
                raise answer.unusable("AhaSend's list repeats itself, so it can't be read to its end.")
            seen |= new
            yield answer, rows
            if not cursor:
                return
            cursors.add(cursor)

    def _patiently(self, call: Call, until: float) -> Answer:
        """Perform `call`, waiting while the rate limit returns a retry time not later than `until`."""
        while True:
            try:
                return self._http.call(call)
            except (NotSent, RateLimited) as error:
                if error.retry_at is None:
                    raise
                pause = max((error.retry_at - datetime.now(UTC)).total_seconds(), 0) + 0.05
                if time.monotonic() + pause > until:
                    raise
            self._http.sleep(pause)

    def _path(self, account: AccountRef, rest: str = "") -> str:
        return f"{self._base}/{_checked_id(account.id)}{rest}"

    def _key_path(self, account: AccountRef, key_id: str) -> str:
        return self._path(account, f"/api-keys/{_checked_id(key_id)}")


class _Tried:
    def __init__(self, granted: bool | None, said: str, error: ProviderError | None = None) -> None:
        self.granted, self.said, self.error = granted, said, error


def _keyed(path: str, endpoint: str, once: IdempotentBody) -> Call:
    if not _PRINTABLE.fullmatch(once.key):
        raise Rejected("The idempotency key can't be sent. Nothing was sent.")
    headers = {"Idempotency-Key": once.key}
    return Call("POST", path, endpoint, 201, changes=True, headers=headers, text=once.body)


def _checked_id(value: str) -> str:
    """Return `value` if it is a valid ID for a path. Raises `Rejected`."""
    if not parsing.is_id(value):
        raise Rejected("The account or key has no usable id at AhaSend. Nothing was sent.")
    return value
