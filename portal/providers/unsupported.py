"""Default for every optional part of `Provider`: raises `Unsupported`. A provider inherits it and overrides what it
supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .base import (
    AccountRef,
    AccountSettings,
    Capabilities,
    CatalogEntry,
    Details,
    IdempotentBody,
    PooledUsage,
    ProviderOffering,
    SignIn,
)
from .errors import Unsupported
from .key_types import ApiKey, CreatedKey, NewKey
from .provider import Sending


class UnsupportedCalls:
    capabilities: Capabilities

    def catalog(self) -> list[CatalogEntry]:
        self._lacks("catalogue of offerings")

    def offerings(self, account: AccountRef) -> list[ProviderOffering]:
        self._lacks("offerings")

    def replace_offerings(self, account: AccountRef, offerings: list[ProviderOffering]) -> list[ProviderOffering]:
        self._lacks("offerings")

    def sign_in_url(self, account: AccountRef) -> SignIn:
        self._lacks("sign-in as an account")

    def details(self, account: AccountRef) -> Details:
        self._lacks("account settings")

    def update_settings(self, account: AccountRef, changes: Mapping[str, str | int]) -> AccountSettings:
        self._lacks("account settings")

    def keys(self, account: AccountRef) -> list[ApiKey]:
        self._lacks("API keys of accounts")

    def key_body(self, new: NewKey) -> str:
        self._lacks("API keys of accounts")

    def create_key(self, account: AccountRef, once: IdempotentBody) -> CreatedKey:
        self._lacks("API keys of accounts")

    def update_key(self, account: AccountRef, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        self._lacks("API keys of accounts")

    def delete_key(self, account: AccountRef, key_id: str) -> None:
        self._lacks("API keys of accounts")

    def sending(self, account: AccountRef, secret: str) -> Sending:
        self._lacks("sending set-up")

    def pooled_usage(self) -> PooledUsage:
        self._lacks("usage of all accounts at once")

    def _lacks(self, what: str) -> NoReturn:
        raise Unsupported(f"{self.capabilities.label} has no {what}.")
